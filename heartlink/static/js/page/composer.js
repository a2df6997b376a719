/** Where one writes: sending, drafts, replies, edits, typing, mentions. */
import { Attachments } from "./attach.js";
import { EmojiCompletion } from "./emoji_completion.js";
import { summaryOf } from "./summary.js";
import { avatar, el, explain, t, toast, toastError } from "./ui.js";

const COUNT_FROM_SHARE = 0.9;
const MOST_SUGGESTIONS = 6;
const DRAFT_AFTER_MS = 250;

export class Composer {
  #room;
  #conversation;
  #form = document.getElementById("composer");
  #input = document.getElementById("message-input");
  #context = document.getElementById("composer-context");
  #mentions = document.getElementById("mention-list");
  #attachments;
  #emoji;
  #replyTo = null;
  #editing = null;
  #heldDraft = "";
  #draftTimer = null;
  #suggested = [];
  #picked = 0;

  constructor(room, conversation) {
    this.#room = room;
    this.#conversation = conversation;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#input.addEventListener("input", () => this.#typed());
    this.#input.addEventListener("keydown", (event) => this.#pressed(event));
    this.#input.addEventListener("blur", () => setTimeout(() => this.#suggest(null), 150));
    this.#mentions.addEventListener("pointerdown", (event) => event.preventDefault());
    this.#mentions.addEventListener("click", (event) => this.#take(event.target.closest("li")?.dataset.name));
    document.getElementById("context-cancel").addEventListener("click", () => this.cancel());
    addEventListener("pagehide", () => this.#keepDraft());
    this.#emoji = new EmojiCompletion(this.#input, document.getElementById("emoji-list"), () => this.#typed());
    this.#input.value = room.draft;
    this.#attachments = new Attachments(room, { changed: () => this.#fit(), focus: () => this.focus() });
    this.#fit();
  }

  /**
   * Open, or closed with what says why: a sentence, or a panel.
   * @param {{isShown?: boolean}} [options] isShown: the input stays in sight with its draft, though nothing can be sent
   */
  allow(isAllowed, because, { isShown = isAllowed } = {}) {
    const closed = document.getElementById("composer-closed");
    const hadFocus = !isAllowed && document.activeElement === this.#input;
    const opens = isAllowed && this.#input.disabled;
    if (hadFocus) this.#keepDraft();
    this.#form.hidden = !isShown;
    this.#input.disabled = !isAllowed;
    for (const button of this.#form.querySelectorAll("[data-composes]")) {
      button.removeAttribute("data-wait");
      button.disabled = !isAllowed;
    }
    this.#form.classList.toggle("closed", !isAllowed);
    closed.hidden = isAllowed;
    closed.replaceChildren(isAllowed ? "" : because);
    if (opens) this.#fit();
    else if (!isAllowed) document.getElementById("send").disabled = true;
  }

  focus() {
    this.#input.focus({ preventScroll: true });
  }

  insert(text) {
    this.#input.setRangeText(text, this.#input.selectionStart, this.#input.selectionEnd, "end");
    this.#typed();
    this.focus();
  }

  reply(message) {
    this.cancel();
    this.#replyTo = message;
    this.#showContext(
      t("Reply to {name}", { name: message.is_own ? t("yourself") : message.sender_name || message.sender }),
      summaryOf(message),
    );
    this.focus();
  }

  edit(message) {
    if (!message) return;
    this.cancel();
    this.#editing = message;
    this.#heldDraft = this.#input.value;
    this.#input.value = message.content;
    this.#showContext(t("Edit the message"), t("Enter saves, Esc leaves it as it was."));
    this.#fit();
    this.focus();
    this.#input.setSelectionRange(message.content.length, message.content.length);
  }

  /** Leaves the reply or the edit; what was being written before comes back. */
  cancel() {
    if (this.#editing) this.#input.value = this.#heldDraft;
    this.#replyTo = this.#editing = null;
    this.#heldDraft = "";
    this.#context.hidden = true;
    this.#fit();
  }

  /** What a voice message answers, if anything: the composer is done with it. */
  takeReply() {
    const replyTo = this.#replyTo;
    if (replyTo) this.cancel();
    this.#conversation.toLatest();
    return replyTo;
  }

  #showContext(title, text) {
    document.getElementById("context-title").textContent = title;
    document.getElementById("context-text").textContent = text;
    this.#context.hidden = false;
  }

  #submit() {
    const content = this.#input.value;
    if (!content.trim() && (this.#editing || this.#attachments.isEmpty)) return;
    if (this.#editing) {
      this.#saveEdit(this.#editing, content);
      return;
    }
    try {
      if (this.#attachments.isEmpty) this.#room.send(content, { replyTo: this.#replyTo });
      else this.#attachments.send(content.trim(), this.#replyTo);
    } catch (error) {
      const { sentence, fix } = explain(error);
      toast(sentence, fix);
      return;
    }
    this.#input.value = "";
    this.#keepDraft();
    this.cancel();
    this.#conversation.toLatest();
  }

  async #saveEdit(message, content) {
    this.cancel();
    if (content === message.content) return;
    try {
      await this.#room.edit(message.id, content);
    } catch (error) {
      this.edit(message);
      this.#input.value = content;
      this.#fit();
      toastError(error);
    }
  }

  #typed() {
    this.#fit();
    clearTimeout(this.#draftTimer);
    this.#draftTimer = setTimeout(() => this.#keepDraft(), DRAFT_AFTER_MS);
    if (!this.#editing) {
      if (this.#input.value.trim()) this.#room.typing();
      else this.#room.stopTyping();
    }
    this.#suggest(this.#mentionBeingTyped());
  }

  #keepDraft() {
    clearTimeout(this.#draftTimer);
    this.#room.draft = this.#editing ? this.#heldDraft : this.#input.value;
  }

  #fit() {
    this.#input.style.height = "auto";
    this.#input.style.height = `${this.#input.scrollHeight}px`;
    const length = [...this.#input.value].length;
    const most = this.#room.limits.message_chars ?? 0;
    const counter = document.getElementById("counter");
    counter.hidden = !most || length < most * COUNT_FROM_SHARE;
    counter.textContent = counter.hidden ? "" : String(most - length);
    counter.classList.toggle("over", Boolean(most) && length > most);
    const isNothing = !this.#input.value.trim() && (this.#editing || this.#attachments.isEmpty);
    document.getElementById("send").disabled = isNothing || (Boolean(most) && length > most);
  }

  #pressed(event) {
    if (event.isComposing || event.keyCode === 229) return;
    if (!this.#mentions.hidden && this.#pressedInList(event)) return;
    if (this.#emoji.pressed(event)) return;
    if (event.key === "Enter" && !event.shiftKey && !event.ctrlKey && !event.altKey) {
      event.preventDefault();
      this.#submit();
    } else if (event.key === "Escape" && (this.#editing || this.#replyTo)) {
      event.preventDefault();
      this.cancel();
    } else if (event.key === "ArrowUp" && !this.#input.value && !this.#editing) {
      event.preventDefault();
      this.edit(this.#conversation.lastOwn());
    }
  }

  // --- mentions

  #mentionBeingTyped() {
    const before = this.#input.value.slice(0, this.#input.selectionStart);
    return /(?:^|[^A-Za-z0-9_])@([^\s@]{0,32})$/u.exec(before)?.[1] ?? null;
  }

  #suggest(query) {
    const wanted = query?.toLowerCase();
    this.#suggested =
      query === null
        ? []
        : this.#room.people.members
            .filter((member) => member.user_id !== this.#room.me.id)
            .filter((member) =>
              [member.username, member.display_name].some((name) => name.toLowerCase().includes(wanted)),
            )
            .slice(0, MOST_SUGGESTIONS);
    this.#picked = 0;
    this.#mentions.hidden = !this.#suggested.length;
    this.#drawSuggestions();
  }

  #drawSuggestions() {
    this.#mentions.replaceChildren(
      ...this.#suggested.map((member, index) =>
        el(
          "li",
          {
            role: "option",
            "aria-selected": String(index === this.#picked),
            id: `mention-${index}`,
            data: { name: member.username },
          },
          avatar({ id: member.user_id, name: member.display_name, url: member.avatar_url }),
          member.display_name,
          el("span", { class: "muted" }, `@${member.username}`),
        ),
      ),
    );
    if (this.#suggested.length) this.#input.setAttribute("aria-activedescendant", `mention-${this.#picked}`);
    else this.#input.removeAttribute("aria-activedescendant");
  }

  #pressedInList(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      this.#picked = (this.#picked + step + this.#suggested.length) % this.#suggested.length;
      this.#drawSuggestions();
    } else if (event.key === "Enter" || event.key === "Tab") this.#take(this.#suggested[this.#picked].username);
    else if (event.key === "Escape") this.#suggest(null);
    else return false;
    event.preventDefault();
    return true;
  }

  #take(name) {
    if (!name) return;
    const typed = this.#mentionBeingTyped() ?? "";
    const at = this.#input.selectionStart;
    this.#input.setRangeText(`@${name} `, at - typed.length - 1, at, "end");
    this.#suggest(null);
    this.#typed();
    this.focus();
  }
}
