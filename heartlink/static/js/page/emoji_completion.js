/** `:smi` in the composer offers what it may become; `:smile:` becomes it. Chinese names count as well: `:笑`. */
import { loadEmoji, rememberEmoji, toned } from "./emoji_data.js";
import { el, t } from "./ui.js";

const MOST = 8;
/** A colon within a word, a time or an address begins nothing. Two letters, or one Chinese character, begin something. */
const BEGUN = /(?:^|[^\p{L}\p{N}_:/])[:]((?:[\p{Script=Han}][\p{L}\p{N}]{0,15})|(?:[A-Za-z0-9+-][\w+-]{1,31}))$/u;
const CLOSED = /(?:^|[^\p{L}\p{N}_:/])[:]([\p{L}\p{N}_+-]{1,40})[:]$/u;

export class EmojiCompletion {
  #input;
  #list;
  #changed;
  #found = [];
  #picked = 0;
  #typed = "";
  #dismissed = null;

  /**
   * @param {HTMLTextAreaElement} input
   * @param {HTMLElement} list an empty listbox
   * @param {() => void} changed called after the input was changed here
   */
  constructor(input, list, changed) {
    this.#input = input;
    this.#list = list;
    this.#changed = changed;
    list.addEventListener("pointerdown", (event) => event.preventDefault());
    list.addEventListener("click", (event) => {
      const option = event.target.closest("li");
      if (option) this.#take(Number(option.dataset.index));
    });
    input.addEventListener("input", (event) => !event.isComposing && this.#look(event.data));
    input.addEventListener("compositionend", () => this.#look(null));
    input.addEventListener("blur", () => this.#show([]));
  }

  /** @returns {boolean} whether the key was meant for the list */
  pressed(event) {
    if (this.#list.hidden) return false;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      this.#picked = (this.#picked + step + this.#found.length) % this.#found.length;
      this.#mark();
    } else if ((event.key === "Enter" && !event.shiftKey) || event.key === "Tab") this.#take(this.#picked);
    else if (event.key === "Escape") {
      this.#dismissed = this.#beginning;
      this.#show([]);
    } else return false;
    event.preventDefault();
    return true;
  }

  get #before() {
    const { selectionStart, selectionEnd, value } = this.#input;
    return selectionStart === selectionEnd ? value.slice(0, selectionStart) : "";
  }

  /** Where the colon stands that something was typed behind; -1 where there is none. */
  get #beginning() {
    const typed = BEGUN.exec(this.#before)?.[1];
    return typed === undefined ? -1 : this.#input.selectionStart - typed.length - 1;
  }

  async #look(justTyped) {
    const closed = justTyped === ":" ? CLOSED.exec(this.#before)?.[1] : undefined;
    const typed = BEGUN.exec(this.#before)?.[1];
    if (closed === undefined && typed === undefined) {
      this.#dismissed = null;
      return this.#show([]);
    }
    const text = this.#before;
    const data = await loadEmoji().catch(() => null);
    if (!data || text !== this.#before || document.activeElement !== this.#input) return this.#show([]);
    if (closed !== undefined) this.#replaceClosed(data.coded(closed), closed);
    else if (this.#dismissed !== this.#beginning) {
      this.#typed = typed;
      this.#show(data.complete(typed, MOST));
    }
  }

  #replaceClosed(entry, code) {
    this.#show([]);
    if (entry) this.#replace(code.length + 2, toned(entry));
  }

  #take(index) {
    const entry = this.#found[index];
    if (!entry) return;
    const length = this.#typed.length + 1;
    this.#show([]);
    this.#replace(length, `${toned(entry)} `);
  }

  #replace(length, text) {
    const at = this.#input.selectionStart;
    this.#input.setRangeText(text, at - length, at, "end");
    rememberEmoji(text.trim());
    this.#changed();
  }

  #show(found) {
    this.#found = found;
    this.#picked = 0;
    this.#list.hidden = !found.length;
    this.#list.replaceChildren(
      ...found.map((entry, index) =>
        el(
          "li",
          { role: "option", id: `emoji-option-${index}`, data: { index } },
          el("span", { class: "emoji-option", "aria-hidden": "true" }, toned(entry)),
          el("span", {}, entry.label),
          entry.codes.length ? el("span", { class: "muted" }, `:${entry.codes[0]}:`) : null,
        ),
      ),
    );
    this.#mark();
  }

  #mark() {
    for (const [index, option] of [...this.#list.children].entries())
      option.setAttribute("aria-selected", String(index === this.#picked));
    const option = this.#list.children[this.#picked];
    option?.scrollIntoView({ block: "nearest" });
    if (option) this.#input.setAttribute("aria-activedescendant", option.id);
    else if (this.#input.getAttribute("aria-activedescendant")?.startsWith("emoji-"))
      this.#input.removeAttribute("aria-activedescendant");
  }
}
