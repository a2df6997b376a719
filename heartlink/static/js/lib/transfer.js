import { HeartLinkError } from "./errors.js";

/** Nothing moved for this long: the connection is dead, though nobody said so. */
const QUIET_MS = 30000;
/** All is sent; the server may still have to look into what it was given. */
const ANSWER_MS = 120000;

/**
 * One HTTP request whose way up can be watched: by XMLHttpRequest where there is one (fetch tells nothing of progress), else by fetch.
 *
 * @param {object} request
 * @param {string} request.method
 * @param {string} request.url
 * @param {Record<string, string>} request.headers
 * @param {Blob | null} [request.body]
 * @param {(sentBytes: number) => void} [request.onProgress]
 * @param {AbortSignal} [request.signal]
 * @returns {Promise<{status: number, header: (name: string) => string | null, body: any}>} whatever the status; body: JSON or null
 * @throws {HeartLinkError} unreachable; closed when `signal` ended it
 */
export function transfer(request) {
  return globalThis.XMLHttpRequest ? transferWatched(request) : transferBlind(request);
}

function transferWatched({ method, url, headers, body = null, onProgress = () => {}, signal }) {
  return new Promise((resolve, reject) => {
    const http = new XMLHttpRequest();
    let timer = null;
    const give = (act, value) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
      act(value);
    };
    const stop = () => {
      give(reject, closed());
      http.abort();
    };
    const lose = () => give(reject, HeartLinkError.unreachable());
    const expectWithin = (ms) => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        lose();
        http.abort();
      }, ms);
    };
    if (signal?.aborted) return give(reject, closed());
    signal?.addEventListener("abort", stop);
    http.open(method, url);
    for (const [name, value] of Object.entries(headers)) http.setRequestHeader(name, value);
    http.upload.onprogress = (event) => {
      expectWithin(QUIET_MS);
      onProgress(event.loaded);
    };
    http.upload.onload = () => expectWithin(ANSWER_MS);
    http.onerror = http.ontimeout = lose;
    http.onload = () =>
      give(resolve, {
        status: http.status,
        header: (name) => http.getResponseHeader(name),
        body: parsed(http.responseText),
      });
    expectWithin(body ? QUIET_MS : ANSWER_MS);
    http.send(body);
  });
}

async function transferBlind({ method, url, headers, body = null, onProgress = () => {}, signal }) {
  const limit = AbortSignal.timeout(QUIET_MS + ANSWER_MS);
  try {
    const answer = await fetch(url, {
      method,
      headers,
      body,
      cache: "no-store",
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    onProgress(body?.size ?? 0);
    return {
      status: answer.status,
      header: (name) => answer.headers.get(name),
      body: parsed(await answer.text()),
    };
  } catch {
    throw signal?.aborted ? closed() : HeartLinkError.unreachable();
  }
}

const closed = () => new HeartLinkError("closed", "The transfer was ended.");

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
