/** The search panel: finds words in the conversation, goes on to older messages by itself, and jumps to what was found. */
import { placesOf, wordsOf } from "./marks.js";
import { avatar, el, explain, icon, shortTime, exactTime, t } from "./ui.js";

const TYPED_MS = 220;
const HITS_AT_ONCE = 20;
const CHARS_BEFORE = 36;
const CHARS_SHOWN = 200;
const RETRY_MS = 700;
const NARROW = matchMedia("(max-width: 1099px)");

export class SearchPanel {
  #room;
  #conversation;
  #chat = document.getElementById("chat");
  #side = document.getElementById("search-side");
  #button = document.getElementById("open-search");
  #input = document.getElementById("search-input");
  #state = document.getElementById("search-state");
  #hits = document.getElementById("search-hits");
  #more = document.getElementById("search-more");
  #query = "";
  #searchedTo = null;
  #wanted = 0;
  #run = null;
  #isCutOff = false;
  #timer = null;

  /**
   * @param {import("../lib/room.js").Room} room
   * @param {import("./conversation.js").Conversation} conversation
   */
  constructor(room, conversation) {
    this.#room = room;
    this.#conversation = conversation;
    this.#button.addEventListener("click", () => (this.#side.hidden ? this.open() : this.close()));
    document.getElementById("close-search").addEventListener("click", () => this.close());
    this.#input.addEventListener("input", (event) => !event.isComposing && this.#typed());
    this.#input.addEventListener("compositionend", () => this.#typed());
    this.#side.addEventListener("keydown", (event) => this.#pressed(event));
    this.#hits.addEventListener("click", (event) => this.#chosen(event.target.closest(".search-hit")));
    this.#more.addEventListener("click", () => this.#goOn());
    addEventListener("keydown", (event) => this.#shortcut(event));
    room.on("change", ({ message }) => this.#changed(message));
  }

  open() {
    this.#side.hidden = false;
    this.#chat.classList.add("searching");
    this.#button.setAttribute("aria-expanded", "true");
    this.#input.focus();
    this.#input.select();
    if (this.#isCutOff) this.#goOn();
  }

  close() {
    const hadFocus = this.#side.contains(document.activeElement);
    this.#isCutOff = this.#run !== null;
    this.#run = null;
    this.#side.hidden = true;
    this.#chat.classList.remove("searching");
    this.#button.setAttribute("aria-expanded", "false");
    if (hadFocus) this.#button.focus();
  }

  /** `/` where nothing is being written; Ctrl or ⌘ and F inside the panel, where the page's own search would find less. */
  #shortcut(event) {
    if (event.isComposing || document.querySelector("dialog[open], [popover]:popover-open")) return;
    const isFind = event.key.toLowerCase() === "f" && (event.ctrlKey || event.metaKey) && !event.altKey;
    const isSlash = event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey;
    const isInside = this.#side.contains(document.activeElement);
    const isWriting = document.activeElement?.matches("input, textarea, select, [contenteditable]");
    if (!(isFind && isInside) && !(isSlash && !isWriting)) return;
    event.preventDefault();
    this.open();
  }

  #pressed(event) {
    if (event.isComposing || event.keyCode === 229) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      this.close();
    } else if (step) this.#walk(event, step);
    else if (event.key === "Enter" && event.target === this.#input) {
      event.preventDefault();
      if (this.#input.value.trim() === this.#query) this.#hits.querySelector(".search-hit")?.click();
      else this.#typed(0);
    }
  }

  #walk(event, step) {
    const places = [this.#input, ...this.#hits.querySelectorAll(".search-hit"), this.#more].filter((one) => !one.hidden);
    const at = places.indexOf(document.activeElement);
    if (at < 0) return;
    event.preventDefault();
    places[Math.min(places.length - 1, Math.max(0, at + step))].focus();
  }

  #typed(delayMs = TYPED_MS) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#begin(), delayMs);
  }

  // --- looking

  #begin() {
    const query = this.#input.value.trim();
    if (query === this.#query) return;
    this.#query = query;
    this.#searchedTo = undefined;
    this.#wanted = 0;
    this.#hits.replaceChildren();
    this.#run = null;
    this.#isCutOff = false;
    if (query) this.#goOn();
    else this.#tell("");
  }

  #goOn() {
    this.#isCutOff = false;
    this.#wanted = this.#hits.childElementCount + HITS_AT_ONCE;
    this.#look((this.#run = { query: this.#query }));
  }

  /** One request after the other until enough was found or there is nothing older; another run takes its place. */
  async #look(run) {
    this.#more.hidden = true;
    this.#tell(t("Searching…"), { isBusy: true });
    while (this.#run === run) {
      try {
        const limit = Math.max(1, this.#wanted - this.#hits.childElementCount);
        const page = await this.#room.search(run.query, { before: this.#searchedTo, limit });
        if (this.#run !== run) return;
        this.#searchedTo = page.searched_to;
        this.#hits.append(...page.messages.map((message) => this.#draw(message, wordsOf(run.query))));
        const isEnough = this.#hits.childElementCount >= this.#wanted;
        if (!page.has_more || isEnough) return this.#finish(run, page.has_more);
        this.#tell(t("Searching older messages…"), { isBusy: true });
      } catch (error) {
        if (this.#run !== run) return;
        if (error.code !== "rate_limited" && error.code !== "busy") return this.#fail(error);
        await new Promise((resolve) => setTimeout(resolve, (error.retryAfterSeconds ?? 0) * 1000 || RETRY_MS));
      }
    }
  }

  #finish(run, hasMore) {
    this.#run = null;
    const count = this.#hits.childElementCount;
    this.#more.hidden = !hasMore;
    this.#more.textContent = t("Show older ones");
    if (!count) this.#tell(t("Nothing was found for “{words}”.", { words: run.query }));
    else if (count === 1) this.#tell(t("one message"));
    else this.#tell(hasMore ? t("the newest {count} messages", { count }) : t("{count} messages", { count }));
  }

  #fail(error) {
    this.#run = null;
    const { sentence, fix } = explain(error);
    this.#tell(`${sentence} ${fix}`, { isError: true });
    this.#more.hidden = false;
    this.#more.textContent = t("Try again");
  }

  #tell(words, { isBusy = false, isError = false } = {}) {
    this.#state.textContent = words;
    this.#state.classList.toggle("busy", isBusy);
    this.#state.classList.toggle("error", isError);
    this.#side.setAttribute("aria-busy", String(isBusy));
  }

  // --- what was found

  #draw(message, words) {
    const at = new Date(message.created_at);
    const name = message.is_own ? t("You") : message.sender_name || message.sender;
    const lines = [message.content && excerpt(message.content, words)];
    if (message.file)
      lines.push(el("span", { class: "search-file" }, icon("file"), el("span", {}, ...marked(message.file.name, words))));
    return el(
      "li",
      { data: { id: message.id } },
      el(
        "button",
        { type: "button", class: "search-hit", data: { id: message.id } },
        avatar({ id: message.sender_id, name: message.sender_name || message.sender, url: message.sender_avatar }),
        el("b", {}, name),
        el("time", { datetime: message.created_at, title: exactTime(at) }, shortTime(at)),
        el("span", { class: "search-words" }, ...lines),
      ),
    );
  }

  /** What is deleted is no result any more. */
  #changed(message) {
    if (message.deleted) this.#hits.querySelector(`li[data-id="${message.id}"]`)?.remove();
  }

  async #chosen(hit) {
    if (!hit) return;
    for (const other of this.#hits.querySelectorAll("[aria-current]")) other.removeAttribute("aria-current");
    hit.setAttribute("aria-current", "true");
    if (NARROW.matches) this.close();
    await this.#conversation.jumpTo(Number(hit.dataset.id));
  }
}

/** The part of a text in which the first of the words stands. */
function excerpt(content, words) {
  const text = content.replace(/\s+/gu, " ");
  const first = placesOf(text, words)[0]?.[0] ?? 0;
  const start = first > CHARS_BEFORE * 1.5 ? wholeFrom(text, first - CHARS_BEFORE) : 0;
  const end = wholeFrom(text, Math.min(text.length, start + CHARS_SHOWN));
  const shown = text.slice(start, end);
  return el("span", {}, start ? "…" : "", ...marked(shown, words), end < text.length ? "…" : "");
}

/** Never between the two halves of a character. */
function wholeFrom(text, at) {
  return /[\udc00-\udfff]/.test(text[at] ?? "") ? at + 1 : at;
}

function marked(text, words) {
  const nodes = [];
  let end = 0;
  for (const [start, stop] of placesOf(text, words)) {
    nodes.push(text.slice(end, start), el("mark", {}, text.slice(start, stop)));
    end = stop;
  }
  nodes.push(text.slice(end));
  return nodes.filter((node) => node !== "");
}
