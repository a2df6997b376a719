/**
 * How far this client has followed a room's numbered changes (PROTOCOL 3.2): live ones come without holes, a replay
 * has each changed message once, in its last form. A hole is never guessed over. Pure: knows no connection.
 */
export class Position {
  #seq = null;
  #epoch = null;
  #replay = null;
  /** Whether the history up to `#seq` is here: not between a greeting that sends us to read it and the end of reading. */
  #isRead = true;

  get isKnown() {
    return this.#seq !== null;
  }

  /** What a new connection says in order to resume; nothing at first. */
  get query() {
    return this.isKnown ? { since: this.#seq, epoch: this.#epoch } : {};
  }

  /** The number the next live change must have. */
  get expected() {
    return this.#seq + 1;
  }

  /** From a page of history: what it holds is known up to `seq`. */
  begin(seq, epoch) {
    this.#seq = seq;
    this.#epoch = epoch;
    this.#isRead = true;
  }

  /** The history that a greeting sent us to read was read. */
  read() {
    this.#isRead = true;
  }

  /**
   * A greeting arrived.
   * @returns {"replay" | "reload" | "other_history"} what follows: the missed changes; nothing, read the history anew;
   *          or nothing, and what was read before is of a history that no longer is
   */
  greet(frame) {
    if (frame.resume === "changes") {
      this.#replay = { upTo: frame.last_seq, held: [] };
      return "replay";
    }
    const isKnownHistory = this.#epoch === null || frame.epoch === this.#epoch;
    const isOther = !isKnownHistory || (this.isKnown && frame.resume_reason === "ahead_of_server");
    this.begin(frame.last_seq, frame.epoch);
    this.#isRead = false;
    return isOther ? "other_history" : "reload";
  }

  /**
   * A message or a change of one arrived.
   * @returns {"apply" | "hold" | "gap"} hold: a live one amid the replay, given back by `caughtUp`
   */
  take(frame) {
    if (frame.duplicate) return "apply";
    const { rev } = frame.message;
    if (this.#replay && rev > this.#replay.upTo) {
      this.#replay.held.push(frame);
      return "hold";
    }
    if (!this.#replay && rev > this.expected) return "gap";
    this.#seq = Math.max(this.#seq, rev);
    return "apply";
  }

  /** The replay is over. @returns {object[]} the live frames that came amid it */
  caughtUp(lastSeq) {
    const held = this.#replay?.held ?? [];
    this.#replay = null;
    this.#seq = Math.max(this.#seq, lastSeq);
    return held;
  }

  /** The connection is gone, and with it a replay that was under way, or the place behind a history not yet read. */
  interrupt() {
    this.#replay = null;
    if (!this.#isRead) this.#seq = null;
  }
}
