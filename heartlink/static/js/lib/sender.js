import { Backoff } from "./backoff.js";
import { HeartLinkError } from "./errors.js";

const ANSWER_TIMEOUT_MS = 10000;
const ADOPT_EVERY_MS = 15000;
/** Sent again by itself after one of these; any other refusal is final until the user says otherwise. */
const SEND_AGAIN = new Set(["not_saved", "rate_limited", "internal_error"]);
const MOST_INTERNAL_ERRORS = 5;

/**
 * Carries the outbox to the server, one entry at a time, so that nothing overtakes an older message;
 * an entry leaves only when the server's own copy has come back (PROTOCOL 3.2).
 */
export class Sender {
  #outbox;
  #send;
  #noAnswer;
  #holdBackMs;
  #isLive = false;
  #inFlight = null;
  #timer = null;
  #notBefore = 0;
  #adoptTimer = null;
  #backoff;

  /**
   * @param {object} options
   * @param {import("./outbox.js").Outbox} options.outbox
   * @param {(frame: object) => boolean} options.send false when the connection is not open
   * @param {() => void} options.noAnswer called when an acknowledgement is overdue
   * @param {(entry: object) => number} [options.holdBackMs] how long something else that was written before goes first
   * @param {object} [options.backoff] see Backoff
   */
  constructor({ outbox, send, noAnswer, holdBackMs = () => 0, backoff = {} }) {
    this.#outbox = outbox;
    this.#send = send;
    this.#noAnswer = noAnswer;
    this.#holdBackMs = holdBackMs;
    this.#backoff = new Backoff(backoff);
  }

  /** The room is caught up: what the server already has was seen in the replay, the rest may go. */
  async start() {
    this.stop();
    this.#isLive = true;
    this.#adoptTimer = setInterval(() => this.#adopt(), ADOPT_EVERY_MS);
    await this.#adopt();
  }

  stop() {
    this.#isLive = false;
    this.#inFlight = null;
    this.#notBefore = 0;
    clearTimeout(this.#timer);
    clearInterval(this.#adoptTimer);
    this.#outbox.requeue();
  }

  async #adopt() {
    await this.#outbox.adopt();
    this.pump();
  }

  pump() {
    if (!this.#isLive || this.#inFlight || Date.now() < this.#notBefore) return;
    const entry = this.#outbox.next;
    if (!entry) return;
    clearTimeout(this.#timer);
    const heldMs = this.#holdBackMs(entry);
    if (heldMs > 0) {
      this.#timer = setTimeout(() => this.pump(), heldMs);
      return;
    }
    const frame = {
      type: "message",
      content: entry.content,
      message_type: entry.message_type,
      client_id: entry.client_id,
    };
    if (entry.reply_to) frame.reply_to = entry.reply_to.id;
    this.#inFlight = entry.client_id;
    this.#outbox.update(entry.client_id, { state: "sent", attempts: entry.attempts + 1 });
    if (!this.#send(frame)) this.#settle(() => this.#outbox.update(entry.client_id, { state: "queued" }));
    else this.#timer = setTimeout(() => this.#noAnswer(), ANSWER_TIMEOUT_MS);
  }

  /** Our own copy arrived, live, in a replay, or as a duplicate. */
  acknowledge(clientId) {
    this.#outbox.remove(clientId, { isStored: true });
    if (this.#inFlight !== clientId) return;
    this.#backoff.reset();
    this.#settle();
    this.pump();
  }

  /** @param {HeartLinkError} error the server's refusal of one entry */
  refuse(clientId, error) {
    const entry = this.#outbox.get(clientId);
    if (!entry) return;
    const isFinal =
      !SEND_AGAIN.has(error.code) || (error.code === "internal_error" && entry.attempts >= MOST_INTERNAL_ERRORS);
    const reason = { code: error.code, message: error.message, fix: error.fix };
    this.#outbox.update(clientId, { state: isFinal ? "failed" : "queued", error: reason });
    if (this.#inFlight !== clientId) return;
    this.#settle();
    if (isFinal) this.pump();
    else this.#wait(Math.max(this.#backoff.next(), (error.retryAfterSeconds ?? 0) * 1000));
  }

  #wait(delayMs) {
    this.#notBefore = Date.now() + delayMs;
    this.#timer = setTimeout(() => {
      this.#notBefore = 0;
      this.pump();
    }, delayMs);
  }

  /** The connection was closed over the frame's size: only what was in flight can have been it. */
  refuseInFlight(code, message) {
    if (this.#inFlight) this.refuse(this.#inFlight, new HeartLinkError(code, message));
  }

  #settle(act = () => {}) {
    clearTimeout(this.#timer);
    this.#inFlight = null;
    act();
  }
}
