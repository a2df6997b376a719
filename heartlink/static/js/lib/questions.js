import { HeartLinkError } from "./errors.js";

const ANSWER_TIMEOUT_MS = 10000;
const MOST_OPEN = 1000;

/**
 * Questions on a socket that may be lost before the answer comes: each is asked again on the next connection, until
 * its time is over. Asking twice does no harm.
 */
export class Questions {
  #send;
  #open = new Map();
  #count = 0;

  /** @param {(frame: object) => boolean} send false when the connection is not open */
  constructor(send) {
    this.#send = send;
  }

  /**
   * @param {object} frame without `request_id`
   * @param {number} [timeoutMs]
   * @returns {Promise<object>} the frame that answers
   * @throws {HeartLinkError} the server's refusal; "no_answer", "busy"
   */
  ask(frame, timeoutMs = ANSWER_TIMEOUT_MS) {
    if (this.#open.size >= MOST_OPEN) {
      const fix = "Wait for answers, or ask many at once with checkBatch().";
      return Promise.reject(new HeartLinkError("busy", "Too many questions are waiting for their answers.", { fix }));
    }
    const id = `q${(this.#count += 1)}`;
    const question = { ...frame, request_id: id, ref: id };
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#open.delete(id);
        reject(new HeartLinkError("no_answer", "The server did not answer.", { fix: "Try again in a moment." }));
      }, timeoutMs);
      this.#open.set(id, { question, resolve, reject, timer });
      this.#send(question);
    });
  }

  /** A new connection is greeted: what is not answered yet is asked again. */
  repeat() {
    for (const { question } of this.#open.values()) this.#send(question);
  }

  /** @returns {boolean} whether this frame answers a question */
  settle(frame) {
    const id = frame.ref ?? frame.request_id;
    const asked = this.#open.get(id);
    if (!asked) return false;
    this.#open.delete(id);
    clearTimeout(asked.timer);
    if (frame.type === "error") asked.reject(HeartLinkError.fromFrame(frame));
    else asked.resolve(frame);
    return true;
  }

  /** The connection will not come back: nothing more is answered. */
  abandon(error) {
    for (const { reject, timer } of this.#open.values()) {
      clearTimeout(timer);
      reject(error);
    }
    this.#open.clear();
  }
}
