const SEND_AFTER_MS = 400;

/** How far the user has read: only rises, is told to the server soon, and again after a lost connection. */
export class ReadCursor {
  #wanted = 0;
  #sent = 0;
  #timer = null;
  #send;
  #known;

  /**
   * @param {object} options
   * @param {(upTo: number) => boolean} options.send false when the connection is not open
   * @param {() => number} options.known what the server is known to have
   */
  constructor({ send, known }) {
    this.#send = send;
    this.#known = known;
  }

  raise(upTo) {
    if (upTo <= this.#wanted) return;
    this.#wanted = upTo;
    this.#timer ??= setTimeout(() => this.tell(), SEND_AFTER_MS);
  }

  /** Another device of the same user has read further. */
  follow(upTo) {
    this.#wanted = Math.max(this.#wanted, upTo);
  }

  tell() {
    this.stop();
    if (this.#wanted <= Math.max(this.#sent, this.#known())) return;
    if (this.#send(this.#wanted)) this.#sent = this.#wanted;
  }

  /** The connection is gone: what was sent may not have arrived. */
  forget() {
    this.#sent = 0;
  }

  /** The history is another one: its numbers begin anew. */
  reset() {
    this.#wanted = this.#sent = 0;
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = null;
  }
}
