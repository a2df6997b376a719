/** What one does with a message: one toolbar for all, so that the keyboard meets it only where it is needed. */
import { el, iconButton, t } from "./ui.js";

const QUICK_REACTIONS = ["👍", "❤️", "😂"];
const ROOM_ABOVE_PX = 30;

export class MessageTools {
  #room;
  #conversation;
  #actions;
  #frame = document.getElementById("messages");
  #toolbar = null;

  /**
   * @param {import("../lib/room.js").Room} room
   * @param {import("./conversation.js").Conversation} conversation
   * @param {{reply: Function, edit: Function, remove: Function, react: Function, pick: Function, jump: Function}} actions
   */
  constructor(room, conversation, actions) {
    this.#room = room;
    this.#conversation = conversation;
    this.#actions = actions;
    room.on("capabilities", () => this.#hide());
    this.#frame.addEventListener("click", (event) => this.#clicked(event));
    this.#frame.addEventListener("keydown", (event) => this.#pressed(event));
    this.#frame.addEventListener("focusin", (event) => this.#show(event.target.closest(".message")));
    this.#frame.addEventListener("pointerover", (event) => {
      if (event.pointerType === "mouse") this.#show(event.target.closest(".message"));
    });
    this.#frame.addEventListener("pointerleave", () => {
      if (!this.#frame.contains(document.activeElement)) this.#hide();
    });
  }

  /** The part of the page is about to be drawn anew. */
  leave(element) {
    if (this.#toolbar && element.contains(this.#toolbar)) this.#hide();
  }

  #messageOf(article) {
    return article && this.#room.timeline.get(Number(article.dataset.id));
  }

  #mayWrite() {
    return this.#room.can("chat.send") && this.#room.info.status !== "ended";
  }

  #mayChange(message) {
    return (message.is_own && this.#mayWrite()) || this.#room.can("chat.moderate");
  }

  #show(article) {
    const message = this.#messageOf(article);
    if (!message || message.deleted || this.#toolbar?.parentElement === article) return;
    this.#hide();
    this.#nameReaders(article, message);
    const buttons = this.#buttons(message);
    if (!buttons.length) return;
    const more = { class: "toolbar", role: "toolbar", "aria-label": t("Message actions"), "aria-live": "off" };
    this.#toolbar = el("div", more, ...buttons);
    const isAtTop = article.getBoundingClientRect().top - this.#frame.getBoundingClientRect().top < ROOM_ABOVE_PX;
    this.#toolbar.classList.toggle("low", isAtTop);
    article.append(this.#toolbar);
  }

  #buttons(message) {
    const buttons = [];
    if (this.#mayWrite()) {
      buttons.push(...QUICK_REACTIONS.map(quickReaction));
      buttons.push(iconButton("smile", t("React"), (event) => this.#actions.pick(event.currentTarget, message)));
      buttons.push(iconButton("reply", t("Reply"), () => this.#actions.reply(message)));
    }
    if (!this.#mayChange(message)) return buttons;
    if (message.message_type === "text") buttons.push(iconButton("edit", t("Edit"), () => this.#actions.edit(message)));
    buttons.push(iconButton("trash", t("Delete"), () => this.#actions.remove(message)));
    return buttons;
  }

  /** Who has read one's own message, for whoever points at its mark. */
  #nameReaders(article, message) {
    const mark = message.is_own && article.querySelector(".status");
    if (!mark) return;
    const names = this.#room.people.readersOf(message.id, this.#room.me.id).map((member) => member.display_name);
    mark.title = names.length ? t("Read by {names}", { names: names.join(", ") }) : "";
  }

  #hide() {
    this.#toolbar?.remove();
    this.#toolbar = null;
  }

  #clicked(event) {
    const data = (name) => event.target.closest(`[data-${name}]`)?.dataset[name];
    const article = event.target.closest(".message");
    if (data("retry")) this.#room.retry(data("retry"));
    else if (data("discard")) this.#room.discard(data("discard"));
    else if (data("jump")) this.#actions.jump(Number(data("jump")));
    else if (data("react")) this.#actions.react(this.#messageOf(article), data("react"));
    else if (article && !event.target.closest("a, button") && getSelection().isCollapsed) this.#show(article);
  }

  /** Up and down walk through the messages; r, e and Delete act on the one that has the focus. */
  #pressed(event) {
    if (event.key === "Escape" && event.target.closest(".toolbar")) event.target.closest(".message").focus();
    const article = event.target === this.#frame ? null : event.target.closest(".message");
    if (event.target !== this.#frame && event.target !== article) return;
    const message = this.#messageOf(article);
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (step) this.#walk(event, message, step);
    else if (message && !(event.ctrlKey || event.metaKey || event.altKey)) this.#actByKey(event, message);
  }

  #walk(event, message, step) {
    const { timeline } = this.#room;
    const next = message ? timeline.neighbour(message.id, step) : timeline.messages.at(-1);
    if (!next) return;
    event.preventDefault();
    this.#conversation.articleOf(next.id)?.focus();
  }

  #actByKey(event, message) {
    const act = { r: "reply", e: "edit", Delete: "remove" }[event.key];
    const isAllowed = act === "reply" ? this.#mayWrite() : this.#mayChange(message);
    if (!act || !isAllowed || message.deleted) return;
    event.preventDefault();
    this.#actions[act](message);
  }
}

function quickReaction(emoji) {
  const label = t("React with {emoji}", { emoji });
  return el(
    "button",
    { type: "button", class: "icon-button quick", "aria-label": label, data: { react: emoji } },
    emoji,
  );
}
