/** The list of messages: keeps the place while older ones load above, and follows the newest. */
import { drawMessage, drawPending, statusMark } from "./message.js";
import { drawProgress } from "./pending.js";
import { MessageTools } from "./tools.js";
import { t, toastError } from "./ui.js";

const AT_END_PX = 60;
const MOST_ROWS = 800;
const ROWS_KEPT = 300;
const LOAD_OLDER_WITHIN_PX = 700;
const FAR_IDS = 200;

export class Conversation {
  #room;
  #actions;
  #rows = new Map();
  #pendingRows = new Map();
  #frame = document.getElementById("messages");
  #stored = document.getElementById("stored");
  #pending = document.getElementById("pending");
  #edge = document.getElementById("history-edge");
  #toLatest = document.getElementById("to-latest");
  #tools;
  #firstUnreadId = null;
  #unseen = 0;
  #isFollowing = true;
  #hasBeenPlaced = false;
  #isLoading = false;

  /**
   * @param {import("../lib/room.js").Room} room
   * @param {{reply: Function, edit: Function, remove: Function, pick: Function, seen: Function}} actions what the toolbar calls
   */
  constructor(room, actions) {
    this.#room = room;
    this.#actions = actions;
    this.#tools = new MessageTools(room, this, { ...actions, jump: (id) => this.jumpTo(id) });
    room.on("history", () => this.#drawAll());
    room.on("message", (message) => this.#arrived(message));
    room.on("beyond", (message) => this.#arrivedBeyond(message));
    room.on("change", ({ message }) => this.#changed(message));
    room.on("outbox", () => this.#drawPending());
    room.on("upload", (progress) => this.#drawProgress(progress));
    room.on("people", () => this.#drawStatuses());
    this.#frame.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#toLatest.addEventListener("click", () => this.toLatest());
    new ResizeObserver(() => this.#isFollowing && this.#toEnd()).observe(this.#frame);
    document.addEventListener("visibilitychange", () => this.#look());
    addEventListener("focus", () => this.#look());
    this.#drawPending();
  }

  get isLookedAt() {
    return !document.hidden && document.hasFocus();
  }

  // --- drawing

  #around(message, previous) {
    return {
      previous,
      isFirstUnread: message.id !== undefined && message.id === this.#firstUnreadId,
      status: message.is_own ? this.#room.statusOf(message) : null,
      quoted: message.reply_to ? this.#room.timeline.get(message.reply_to.id) : null,
      room: this.#room,
      me: this.#room.me,
    };
  }

  #draw(message) {
    const row = drawMessage(message, this.#around(message, this.#room.timeline.neighbour(message.id, -1)));
    this.#rows.set(message.id, row);
    return row;
  }

  #redraw(message) {
    const old = message && this.#rows.get(message.id);
    if (!old) return;
    const focused = old.contains(document.activeElement);
    this.#tools.leave(old);
    const row = this.#draw(message);
    old.replaceWith(row);
    if (focused) row.querySelector(".message").focus({ preventScroll: true });
  }

  #drawAll() {
    this.#tools.leave(this.#stored);
    this.#frame.setAttribute("aria-busy", "true");
    this.#rows.clear();
    const messages = this.#room.timeline.messages;
    if (!this.#hasBeenPlaced) this.#firstUnreadId = this.#findFirstUnread(messages);
    this.#stored.replaceChildren(...messages.map((message) => this.#draw(message)));
    this.#drawEdge();
    this.#drawPending();
    const mark = this.#stored.querySelector(".unread-mark");
    if (mark && !this.#hasBeenPlaced) this.#placeAt(mark);
    else if (this.#isFollowing) this.#toEnd();
    this.#hasBeenPlaced = true;
    requestAnimationFrame(() => this.#frame.setAttribute("aria-busy", "false"));
    this.#look();
  }

  #findFirstUnread(messages) {
    const readUpTo = this.#actions.readUpTo();
    if (!readUpTo && !this.#actions.hasUnread()) return null;
    return messages.find((message) => message.id > readUpTo && !message.is_own)?.id ?? null;
  }

  #placeAt(mark) {
    this.#toEnd();
    const top = mark.offsetTop - this.#frame.offsetTop - 80;
    if (top < this.#frame.scrollTop) {
      this.#frame.scrollTop = Math.max(0, top);
      this.#isFollowing = this.#isAtEnd();
    }
  }

  #arrived(message) {
    const isSeen = this.isLookedAt && this.#isFollowing;
    if (!isSeen && !message.is_own && this.#firstUnreadId === null) this.#firstUnreadId = message.id;
    if (message.is_own) this.#firstUnreadId = null;
    const after = this.#room.timeline.neighbour(message.id, 1);
    const row = this.#draw(message);
    this.#stored.insertBefore(row, after ? this.#rows.get(after.id) : null);
    if (after) this.#redraw(after);
    if (message.client_id) this.#dropPending(message.client_id);
    if (!this.#isFollowing && !message.is_own) this.#unseen += 1;
    if (this.#isFollowing && this.#rows.size > MOST_ROWS) this.#forgetOldest();
    this.#drawEdge();
    this.#afterGrowth();
    this.#actions.arrived(message, isSeen);
    this.#look();
  }

  /** Somebody spoke while an older part of the history is looked at. */
  #arrivedBeyond(message) {
    if (!message.is_own) this.#unseen += 1;
    this.#drawToLatest();
    this.#actions.arrived(message, false);
  }

  /** A page that stays open for days does not grow for days. */
  #forgetOldest() {
    for (const id of this.#room.timeline.trim(ROWS_KEPT)) {
      this.#rows.get(id)?.remove();
      this.#rows.delete(id);
    }
  }

  #changed(message) {
    const distance = this.#frame.scrollHeight - this.#frame.scrollTop;
    this.#redraw(message);
    for (const quoting of this.#room.timeline.quoting(message.id)) this.#redraw(quoting);
    if (this.#isFollowing) this.#toEnd();
    else if (this.#isAbove(message.id)) this.#frame.scrollTop = this.#frame.scrollHeight - distance;
  }

  #isAbove(id) {
    const row = this.#rows.get(id);
    return row && row.getBoundingClientRect().bottom < this.#frame.getBoundingClientRect().top;
  }

  /** Only the words behind one's own messages change when somebody reads; above one that was read all were. */
  #drawStatuses() {
    for (const message of this.#room.timeline.messages.reverse()) {
      const old = message.is_own && this.#rows.get(message.id)?.querySelector(".status");
      if (!old) continue;
      if (old.dataset.status === "read") return;
      const status = this.#room.statusOf(message);
      if (old.dataset.status !== status) old.replaceWith(statusMark(status));
    }
  }

  #drawPending() {
    const entries = this.#room.outbox.entries;
    const wanted = new Set(entries.map((entry) => entry.client_id));
    for (const clientId of [...this.#pendingRows.keys()]) if (!wanted.has(clientId)) this.#dropPending(clientId);
    for (const entry of entries) {
      const old = this.#pendingRows.get(entry.client_id);
      const version = versionOf(entry);
      if (old?.version === version) continue;
      const row = drawPending(entry, this.#around(entry, null));
      if (old) this.#replacePending(old.row, row);
      else this.#pending.append(row);
      this.#pendingRows.set(entry.client_id, { row, version });
      if (!old && entry.owner === this.#room.outbox.tabId) this.#isFollowing = true;
    }
    this.#afterGrowth();
  }

  #replacePending(old, row) {
    const hadFocus = old.contains(document.activeElement);
    old.replaceWith(row);
    if (hadFocus) (row.querySelector("button") ?? row.querySelector(".message")).focus({ preventScroll: true });
  }

  #drawProgress(progress) {
    const pending = this.#pendingRows.get(progress.client_id);
    const entry = pending && this.#room.outbox.get(progress.client_id);
    if (entry) drawProgress(pending.row, progress, entry);
  }

  #dropPending(clientId) {
    this.#pendingRows.get(clientId)?.row.remove();
    this.#pendingRows.delete(clientId);
  }

  #drawEdge() {
    const { timeline } = this.#room;
    if (timeline.hasMore) this.#edge.textContent = this.#isLoading ? t("Loading older messages…") : "";
    else
      this.#edge.textContent = timeline.size
        ? t("This is where the conversation begins.")
        : t("Nobody has said anything yet. Say hello!");
  }

  // --- the place

  #isAtEnd() {
    if (this.#room.timeline.hasNewer) return false;
    return this.#distanceToEnd() < AT_END_PX;
  }

  #distanceToEnd() {
    return this.#frame.scrollHeight - this.#frame.scrollTop - this.#frame.clientHeight;
  }

  #toEnd() {
    this.#frame.scrollTop = this.#frame.scrollHeight;
  }

  #afterGrowth() {
    if (this.#isFollowing) this.#toEnd();
    this.#drawToLatest();
  }

  async toLatest() {
    this.#isFollowing = true;
    this.#unseen = 0;
    if (this.#room.timeline.hasNewer) await this.#room.showLatest().catch(toastError);
    this.#isFollowing = !this.#room.timeline.hasNewer;
    this.#afterGrowth();
    this.#look();
  }

  #scrolled() {
    this.#isFollowing = this.#isAtEnd();
    if (this.#isFollowing) this.#unseen = 0;
    this.#drawToLatest();
    this.#look();
    if (this.#frame.scrollTop < LOAD_OLDER_WITHIN_PX) this.loadOlder();
    if (this.#room.timeline.hasNewer && this.#distanceToEnd() < LOAD_OLDER_WITHIN_PX) this.loadNewer();
  }

  #drawToLatest() {
    this.#toLatest.hidden = this.#isFollowing || this.#isAtEnd();
    document.getElementById("to-latest-count").textContent = this.#unseen
      ? t("{count} new", { count: this.#unseen })
      : "";
  }

  /** One more page of history, drawn above what is there. */
  async loadOlder() {
    if (this.#isLoading || !this.#room.timeline.hasMore) return;
    this.#isLoading = true;
    this.#drawEdge();
    try {
      this.#drawOlder(await this.#room.loadOlder());
    } catch (error) {
      toastError(error);
    } finally {
      this.#isLoading = false;
      this.#drawEdge();
    }
  }

  /** One more page of what came after the part that is shown. */
  async loadNewer() {
    try {
      this.#drawNewer(await this.#room.loadNewer());
    } catch (error) {
      toastError(error);
    }
  }

  #drawNewer(messages) {
    const missing = messages.filter((message) => !this.#rows.has(message.id));
    if (!missing.length) return;
    this.#frame.setAttribute("aria-busy", "true");
    this.#stored.append(...missing.map((message) => this.#draw(message)));
    this.#drawToLatest();
    requestAnimationFrame(() => this.#frame.setAttribute("aria-busy", "false"));
  }

  /** Grows upward; what is on the screen stays where it is. */
  #drawOlder(messages) {
    const missing = messages.filter((message) => !this.#rows.has(message.id));
    if (!missing.length) return;
    this.#frame.setAttribute("aria-busy", "true");
    const next = this.#room.timeline.neighbour(missing.at(-1).id, 1);
    const anchorId = this.#firstVisibleId();
    const before = this.#bottomOf(anchorId);
    this.#stored.prepend(...missing.map((message) => this.#draw(message)));
    // The one that was the oldest may now belong to the group above it, and be less tall.
    if (next) this.#redraw(next);
    this.#frame.scrollTop += this.#bottomOf(anchorId) - before;
    requestAnimationFrame(() => this.#frame.setAttribute("aria-busy", "false"));
  }

  #firstVisibleId() {
    const top = this.#frame.getBoundingClientRect().top;
    return this.#room.timeline.messages.find(({ id }) => this.#rows.has(id) && this.#bottomOf(id) > top)?.id;
  }

  #bottomOf(id) {
    return (this.#rows.get(id) ?? this.#pending).getBoundingClientRect().bottom;
  }

  /** @returns {Promise<boolean>} whether the message is there */
  async jumpTo(id) {
    try {
      if (!(await this.#bringHere(id))) return false;
    } catch (error) {
      toastError(error);
      return false;
    }
    const article = this.#rows.get(id).querySelector(".message");
    this.#isFollowing = false;
    article.scrollIntoView({ block: "center" });
    article.focus({ preventScroll: true });
    article.classList.add("flash");
    setTimeout(() => article.classList.remove("flash"), 1600);
    this.#drawToLatest();
    return true;
  }

  /** What is far from what is loaded is shown with its own surroundings: nobody needs all that lies between. */
  async #bringHere(id) {
    const { timeline } = this.#room;
    if (timeline.has(id)) return true;
    this.#isFollowing = false;
    const isNear = id < timeline.oldestId && timeline.oldestId - id < FAR_IDS;
    if (!isNear) return this.#room.showAround(id);
    const isHere = await this.#room.loadUntil(id);
    this.#drawOlder(timeline.messages);
    this.#drawEdge();
    return isHere;
  }

  /** What is on the screen while somebody looks at it counts as read. */
  #look() {
    if (!this.isLookedAt || !this.#hasBeenPlaced) return;
    const bottom = this.#frame.getBoundingClientRect().bottom;
    const messages = this.#room.timeline.messages;
    for (let index = messages.length - 1; index >= 0; index -= 1) {
      const row = this.#rows.get(messages[index].id);
      if (row && row.getBoundingClientRect().top < bottom - 10) {
        this.#actions.seen(messages[index]);
        return;
      }
    }
  }

  /** The drawn message with this id. */
  articleOf(id) {
    return this.#rows.get(id)?.querySelector(".message") ?? null;
  }

  /** The last message of one's own that can be edited. */
  lastOwn() {
    return (
      this.#room.timeline.messages.findLast(
        (message) => message.is_own && !message.deleted && message.message_type === "text",
      ) ?? null
    );
  }
}

/** What of an outbox entry is drawn. */
function versionOf({ state, error, content, file, reply_to, owner }) {
  return JSON.stringify([state, error, content, file, reply_to, owner]);
}
