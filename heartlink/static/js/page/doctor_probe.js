/** Requests and sockets with a time limit, as the checks need them: nothing here is tried again by itself. */

const MOST_PATIENCE_SECONDS = 60;
const asked = Number(new URLSearchParams(location.search).get("patience"));
/** How long anything may take that is asked for; `?patience=` says so in seconds, for a very slow way. */
export const PATIENCE_MS = 1000 * (asked > 0 ? Math.min(asked, MOST_PATIENCE_SECONDS) : 4);
const SUBPROTOCOL = "heartlink.v1";
const SHOWN_CHARS = 200;

/** Why something did not come: `kind` is "timeout", "closed" (with `code` and `reason`) or "unreachable". */
export class ProbeFailure extends Error {
  constructor(kind, more = {}) {
    super(kind);
    this.kind = kind;
    Object.assign(this, more);
  }
}

/**
 * A GET as this page makes it.
 * @returns {Promise<{status: number, server: string, json: any, text: string, ms: number}>} json: null when it is none
 * @throws {ProbeFailure} unreachable, timeout
 */
export async function ask(path, patienceMs = PATIENCE_MS) {
  const begun = performance.now();
  try {
    const response = await fetch(path, {
      cache: "no-store",
      headers: { Accept: "application/json" },
      signal: AbortSignal.timeout(patienceMs),
    });
    const text = await response.text();
    return {
      status: response.status,
      server: response.headers.get("Server") ?? "",
      json: parsed(text),
      text: text.slice(0, SHOWN_CHARS),
      ms: performance.now() - begun,
    };
  } catch (error) {
    throw new ProbeFailure(error?.name === "TimeoutError" ? "timeout" : "unreachable");
  }
}

export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** The address of a socket of this site. */
export function socketUrl(path) {
  const url = new URL(path, location.origin);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

/** One socket that is opened once; what comes is kept until somebody asks for it. */
export class Probe {
  #socket;
  #waiting = [];
  #end = null;
  frames = [];
  /** {code, reason, ms} once it is closed; ms counts from when it opened */
  closed = null;

  /**
   * @returns {Promise<Probe>} once it is open
   * @throws {ProbeFailure} timeout, closed
   */
  static async open(path, { protocols = [SUBPROTOCOL], patienceMs = PATIENCE_MS } = {}) {
    const probe = new Probe();
    await probe.#open(socketUrl(path), protocols, patienceMs);
    return probe;
  }

  #open(url, protocols, patienceMs) {
    const begun = performance.now();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.close();
        reject(new ProbeFailure("timeout"));
      }, patienceMs);
      const socket = (this.#socket = new WebSocket(url, protocols));
      socket.onopen = () => {
        clearTimeout(timer);
        this.openMs = performance.now() - begun;
        this.openedAt = performance.now();
        resolve();
      };
      socket.onmessage = ({ data }) => this.#heard(data);
      socket.onclose = ({ code, reason }) => {
        clearTimeout(timer);
        this.closed = { code, reason, ms: performance.now() - (this.openedAt ?? begun) };
        reject(new ProbeFailure("closed", { code, reason }));
        this.#ended();
      };
    });
  }

  get protocol() {
    return this.#socket.protocol;
  }

  get isOpen() {
    return this.#socket.readyState === 1;
  }

  send(frame) {
    this.#socket.send(JSON.stringify(frame));
  }

  close() {
    try {
      this.#socket.close(1000);
    } catch {
      // It was never open.
    }
  }

  /**
   * The next frame that fits, of those that came already or are still to come.
   * @param {(frame: object) => boolean} fits
   * @throws {ProbeFailure} timeout, closed
   */
  next(fits, patienceMs = PATIENCE_MS) {
    const at = this.frames.findIndex(fits);
    if (at >= 0) return Promise.resolve(this.frames.splice(at, 1)[0]);
    if (this.closed) return Promise.reject(new ProbeFailure("closed", this.closed));
    return new Promise((resolve, reject) => {
      const entry = { fits, resolve, reject };
      entry.timer = setTimeout(() => {
        this.#waiting = this.#waiting.filter((other) => other !== entry);
        reject(new ProbeFailure("timeout"));
      }, patienceMs);
      this.#waiting.push(entry);
    });
  }

  /** Resolves when it is closed, by whomever. */
  untilClosed() {
    return this.closed ? Promise.resolve() : new Promise((resolve) => (this.#end = resolve));
  }

  #heard(text) {
    const frame = parsed(text);
    if (frame === null || typeof frame !== "object") return;
    const at = this.#waiting.findIndex(({ fits }) => fits(frame));
    if (at < 0) {
      this.frames.push(frame);
      return;
    }
    const [{ resolve, timer }] = this.#waiting.splice(at, 1);
    clearTimeout(timer);
    resolve(frame);
  }

  #ended() {
    for (const { reject, timer } of this.#waiting.splice(0)) {
      clearTimeout(timer);
      reject(new ProbeFailure("closed", this.closed));
    }
    this.#end?.();
  }
}

export const isOfType = (type) => (frame) => frame.type === type;
