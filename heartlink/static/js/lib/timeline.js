/**
 * The part of a room's history that is loaded: messages by id, each in its newest form (the higher `rev` wins).
 * Pure: it knows neither network nor page.
 */
export class Timeline {
  #byId = new Map();
  #ids = [];
  #newestHeardOf = 0;
  /** Whether the server holds older messages than the oldest one here. */
  hasMore = false;
  /** Whether it holds newer ones than the newest here: an older part of the history is shown. */
  hasNewer = false;

  get size() {
    return this.#ids.length;
  }
  get oldestId() {
    return this.#ids[0] ?? null;
  }
  get newestId() {
    return this.#ids.at(-1) ?? null;
  }
  get messages() {
    return this.#ids.map((id) => this.#byId.get(id));
  }

  get(id) {
    return this.#byId.get(id) ?? null;
  }

  has(id) {
    return this.#byId.has(id);
  }

  /** The message right before or after the given one, as loaded. */
  neighbour(id, step) {
    return this.#byId.get(this.#ids[this.#position(id) + step]) ?? null;
  }

  /** The loaded messages that quote the given one. */
  quoting(id) {
    return this.messages.filter((message) => message.reply_to?.id === id);
  }

  /**
   * @returns {"added" | "changed" | "ignored" | "beyond"} ignored: already known in this or a newer form, or older than
   *          what is loaded; beyond: newer than the part that is shown
   */
  apply(message) {
    const known = this.#byId.get(message.id);
    if (known) {
      if (message.rev < known.rev) return "ignored";
      const isSame = message.rev === known.rev && message.is_read === known.is_read;
      this.#byId.set(message.id, message);
      return isSame ? "ignored" : "changed";
    }
    this.#newestHeardOf = Math.max(this.#newestHeardOf, message.id);
    if (this.hasMore && this.#ids.length && message.id < this.#ids[0]) return "ignored";
    if (this.hasNewer && message.id > this.newestId) return "beyond";
    this.#insert(message);
    return "added";
  }

  /** An older page. @returns {object[]} those that were not here yet, oldest first */
  prepend(messages, hasMore) {
    this.hasMore = false;
    const added = messages.filter((message) => this.apply(message) === "added");
    this.hasMore = hasMore;
    return added;
  }

  /** A newer page. @returns {object[]} those that were not here yet, oldest first */
  append(messages, hasNewer) {
    this.hasNewer = false;
    const added = messages.filter((message) => this.apply(message) === "added");
    if (!messages.length) this.#newestHeardOf = 0;
    this.#judgeNewer(hasNewer);
    return added;
  }

  /** Shows another part of the history instead: consecutive messages, oldest first. */
  show(messages, hasMore, hasNewer) {
    this.#begin(messages, hasMore, !hasNewer);
    this.#judgeNewer(hasNewer);
  }

  #judgeNewer(hasNewer) {
    // What arrived while its page was on its way is not in it.
    this.hasNewer = hasNewer || this.#newestHeardOf > (this.newestId ?? 0);
  }

  /** Starts anew from the newest page; keeps what arrived live while that page was on its way. */
  replace(messages, hasMore) {
    this.#begin(messages, hasMore, true);
    this.#judgeNewer(false);
  }

  #begin(messages, hasMore, reachesEnd) {
    const newest = messages.at(-1)?.id ?? 0;
    const isWhole = reachesEnd && !this.hasNewer;
    const arrivedMeanwhile = isWhole ? this.messages.filter((message) => message.id > newest) : [];
    const known = this.#byId;
    this.#byId = new Map();
    this.#ids = [];
    this.hasMore = hasMore;
    for (const message of [...messages, ...arrivedMeanwhile]) {
      const live = known.get(message.id);
      this.#insert(live && live.rev > message.rev ? live : message);
    }
  }

  /** Forgets the oldest but `keep`; they can be loaded again. @returns {number[]} the ids that are gone */
  trim(keep) {
    const gone = this.#ids.splice(0, Math.max(0, this.#ids.length - keep));
    for (const id of gone) this.#byId.delete(id);
    if (gone.length) this.hasMore = true;
    return gone;
  }

  clear() {
    this.#byId.clear();
    this.#ids = [];
    this.#newestHeardOf = 0;
    this.hasMore = this.hasNewer = false;
  }

  #insert(message) {
    this.#byId.set(message.id, message);
    const position = this.#position(message.id);
    if (position === this.#ids.length) this.#ids.push(message.id);
    else this.#ids.splice(position, 0, message.id);
  }

  /** Where the id is, or would be. */
  #position(id) {
    let low = 0;
    let high = this.#ids.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#ids[middle] < id) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
