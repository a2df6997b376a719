import { Backoff } from "./backoff.js";
import { Emitter } from "./emitter.js";
import { HeartLinkError } from "./errors.js";

const SUBPROTOCOL = "heartlink.v1";
const WATCH_EVERY_MS = 2000;
const PROBE_TIMEOUT_MS = 5000;
/** A server that is there greets at once. */
const GREETING_TIMEOUT_MS = 6000;
const GREETINGS = new Set(["connection_established", "connection_confirmed"]);
/** Shorter than what browsers wait for an address that swallows everything. */
const CONNECT_TIMEOUT_MS = 10000;
/** What a heartbeat may be late before the silence counts. */
const GRACE_MS = 3000;
/** A connection that lived this long was a good one: the next wait starts small again. */
const GOOD_LIFE_MS = 4000;
const TOO_MANY_WAIT_MS = 30000;

/**
 * One socket address that is kept open: back-off with jitter, close-code bands (PROTOCOL 2.3), watchdog,
 * and an explanation through the address itself when the server refuses at the door (PROTOCOL 2.2).
 *
 * Events: `frame` (a parsed frame), `open`, `down` (a connection was lost), `pong` {ms}, and `state`, one of
 * - {name: "connecting"}
 * - {name: "open"}
 * - {name: "waiting", retryAt: epoch ms, error: HeartLinkError | null}   it comes back by itself
 * - {name: "stopped", error: HeartLinkError | null}                        it does not, until `open()` is called again
 */
export class ReconnectingSocket extends Emitter {
  #socket = null;
  #timer = null;
  #watch = null;
  #generation = 0;
  #heardAt = 0;
  #isGreeted = false;
  #openedAt = 0;
  #probeSentAt = 0;
  #announcedWaitMs = null;
  #hasFreshCredentials = false;

  /**
   * @param {object} options
   * @param {() => Promise<{url: string, protocols: string[]}>} options.address asked before every try
   * @param {() => Promise<{would: number, error: object | null} | null>} options.explain asks the address for its reason
   * @param {() => Promise<any>} [options.renew] new credentials after 401/4401; nothing when there are none
   * @param {object} [options.backoff] see Backoff
   * @param {number} [options.pingSeconds] also measure the way there and back this often; 0 does not
   */
  constructor({ address, explain, renew = async () => null, backoff = {}, pingSeconds = 0 }) {
    super();
    this.address = address;
    this.explain = explain;
    this.renew = renew;
    this.backoff = new Backoff(backoff);
    this.pingSeconds = pingSeconds;
    this.heartbeatSeconds = 30;
    this.state = { name: "stopped", error: null };
  }

  open() {
    if (this.state.name !== "stopped") return;
    this.backoff.reset();
    this.#connect();
  }

  /** Ends it for good, as the user's own wish. */
  close() {
    this.#drop(1000, "closed");
    this.#setState({ name: "stopped", error: null });
  }

  /** Gives up the present connection and comes back at once: after a hole in the numbers or an answer that never came. */
  restart(reason) {
    if (this.state.name === "stopped") return;
    this.#drop(4000, reason);
    this.emit("down", { code: 0, reason });
    this.#waitAndRetry(null);
  }

  /** Does not wait any longer, for instance because the network came back or the page is looked at again. */
  retryNow() {
    if (this.state.name === "waiting") this.#connect();
    else if (this.state.name === "open") this.probe();
  }

  /** Asks for a sign of life; silence within a few seconds counts as a lost connection. */
  probe() {
    if (this.state.name !== "open" || this.#probeSentAt) return;
    this.#probeSentAt = Date.now();
    this.send({ type: "ping", timestamp: this.#probeSentAt });
  }

  /** @returns {boolean} whether the frame was handed to an open connection */
  send(frame) {
    if (this.#socket?.readyState !== 1) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  #setState(state) {
    this.state = state;
    this.emit("state", state);
  }

  async #connect() {
    clearTimeout(this.#timer);
    const generation = ++this.#generation;
    this.#setState({ name: "connecting" });
    let socket;
    try {
      const { url, protocols } = await this.address();
      if (generation !== this.#generation) return;
      socket = new WebSocket(url, [SUBPROTOCOL, ...protocols]);
    } catch (error) {
      if (generation === this.#generation) this.#afterRefusal(error);
      return;
    }
    this.#socket = socket;
    this.#timer = setTimeout(() => this.restart("no_connection"), CONNECT_TIMEOUT_MS);
    socket.onopen = () => this.#opened();
    socket.onmessage = (event) => this.#heard(event.data);
    socket.onclose = (event) => generation === this.#generation && this.#closed(event);
  }

  #opened() {
    clearTimeout(this.#timer);
    this.#openedAt = this.#heardAt = Date.now();
    this.#probeSentAt = 0;
    this.#isGreeted = false;
    this.#hasFreshCredentials = false;
    this.#announcedWaitMs = null;
    this.#watch = setInterval(() => this.#look(), WATCH_EVERY_MS);
    this.#setState({ name: "open" });
    this.emit("open", null);
  }

  #heard(text) {
    this.#heardAt = Date.now();
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      this.restart("invalid_json");
      return;
    }
    this.#isGreeted ||= GREETINGS.has(frame.type);
    if (frame.type === "going_away") this.#announcedWaitMs = frame.reconnect_in_ms ?? null;
    if (frame.type === "heartbeat") this.send({ type: "heartbeat_ack" });
    if (frame.type === "pong" && this.#probeSentAt) {
      this.emit("pong", { ms: Date.now() - this.#probeSentAt });
      this.#probeSentAt = 0;
    }
    this.emit("frame", frame);
  }

  #look() {
    const now = Date.now();
    if (!this.#isGreeted && now - this.#openedAt > GREETING_TIMEOUT_MS) this.restart("no_greeting");
    else if (now - this.#heardAt > 2 * this.heartbeatSeconds * 1000 + GRACE_MS) this.restart("heartbeat_missed");
    else if (this.#probeSentAt && now - this.#probeSentAt > PROBE_TIMEOUT_MS) this.restart("no_pong");
    else if (this.pingSeconds && now - this.#heardAt >= this.pingSeconds * 1000) this.probe();
  }

  #drop(code, reason) {
    this.#generation += 1;
    clearTimeout(this.#timer);
    clearInterval(this.#watch);
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    try {
      socket.close(code, reason);
    } catch {
      // It was never open: there is nothing to close.
    }
  }

  async #closed({ code, reason }) {
    const wasOpen = this.state.name === "open";
    this.#drop(1000, "");
    const generation = this.#generation;
    if (wasOpen) {
      this.emit("down", { code, reason });
      if (Date.now() - this.#openedAt >= GOOD_LIFE_MS) this.backoff.reset();
      this.#afterClose(code, reason);
      return;
    }
    const answer = await this.explain().catch(() => undefined);
    if (generation !== this.#generation) return;
    if (answer === undefined) this.#waitAndRetry(HeartLinkError.unreachable());
    else if (!answer || answer.would === 101 || !answer.error) this.#waitAndRetry(null);
    else this.#afterRefusal(HeartLinkError.fromBody(answer, answer.would, answer.error.retry_after ?? null));
  }

  #afterClose(code, reason) {
    const error = new HeartLinkError(reason || "closed", CLOSE_SENTENCES[code] ?? "The connection was closed.", {
      status: code,
    });
    if (code === 1000) this.#setState({ name: "stopped", error: null });
    else if (code === 4429) this.#waitAndRetry(error, TOO_MANY_WAIT_MS);
    else if (code === 4401) this.#renewOrStop(error);
    else if (code >= 4400 && code < 4500) this.#setState({ name: "stopped", error });
    else this.#waitAndRetry(code === 1006 ? null : error, this.#announcedWaitMs);
  }

  #afterRefusal(error) {
    if (!(error instanceof HeartLinkError)) error = HeartLinkError.unreachable();
    if (error.status === 401) this.#renewOrStop(error);
    else if (error.isTemporary) this.#waitAndRetry(error, error.retryAfterSeconds && error.retryAfterSeconds * 1000);
    else this.#setState({ name: "stopped", error });
  }

  async #renewOrStop(error) {
    const generation = this.#generation;
    const renewed = !this.#hasFreshCredentials && Boolean(await this.renew().catch(() => null));
    if (generation !== this.#generation) return;
    this.#hasFreshCredentials = renewed;
    if (renewed) this.#waitAndRetry(error);
    else this.#setState({ name: "stopped", error });
  }

  #waitAndRetry(error, waitMs = null) {
    const delayMs = waitMs ?? this.backoff.next();
    this.#setState({ name: "waiting", retryAt: Date.now() + delayMs, error });
    this.#timer = setTimeout(() => this.#connect(), delayMs);
  }
}

const CLOSE_SENTENCES = {
  1001: "The server is going away.",
  1009: "A frame was larger than the server takes.",
  1012: "The server is restarting.",
  4000: "The connection was too slow; nothing is lost.",
  4001: "The server heard nothing for too long.",
  4002: "Something went wrong inside the server.",
  4401: "You are signed out.",
  4403: "You may no longer be here.",
  4404: "This room does not exist.",
  4410: "This room was ended.",
  4429: "Too many messages in a short time.",
};
