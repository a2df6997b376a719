import { Backoff } from "./backoff.js";
import { HeartLinkError } from "./errors.js";

const PATH = "/api/uploads/";
/** What a crash of the server costs at most is the chunk that was on its way: a quick line gets larger ones. */
const FIRST_CHUNK_BYTES = 2 ** 20;
const SMALLEST_CHUNK_BYTES = 2 ** 18;
const LARGEST_CHUNK_BYTES = 2 ** 24;
const QUICK_MS = 2000;
const SLOW_MS = 15000;
/** The server forgot an upload (its time was over, its data folder was replaced): begun anew this often, then given up. */
const MOST_BEGINNINGS = 4;
/** Errors inside the server, conflicts: as many in a row, and it is no accident. */
const MOST_STUMBLES = 8;
const HEADERS = { "Tus-Resumable": "1.0.0" };

/**
 * One file on its way by tus 1.0: in chunks, from where the server is, as often as it takes. The server decides what
 * has arrived (HEAD); a lost connection, a restart of the server or a reload of the page cost only what was not yet there.
 */
export class Upload {
  #rest;
  #blob;
  #metadata;
  #id;
  #chunkBytes = FIRST_CHUNK_BYTES;
  #mostChunkBytes = LARGEST_CHUNK_BYTES;
  #backoff;
  #renew;
  #mayFinish;
  #onProgress;
  #onBegun;
  #onWait;
  #ending = new AbortController();
  #wakeUp = () => {};
  #beginnings = 0;
  #stumbles = 0;
  #isRenewed = false;
  /** Bytes that the server has, or that are on the way to it. */
  sentBytes = 0;
  #isHandedOver = false;
  #isCancelled = false;

  /**
   * @param {object} options
   * @param {import("./rest.js").Rest} options.rest
   * @param {Blob} options.blob
   * @param {Record<string, string>} options.metadata room, filename, client_id, content, … (null and "" are left out)
   * @param {string | null} [options.id] of an upload that was begun before
   * @param {() => Promise<void>} [options.mayFinish] awaited before the last bytes go: they post the message
   * @param {(sentBytes: number) => void} [options.onProgress]
   * @param {(id: string | null) => void} [options.onBegun] the id to keep for later; null: it is of no more use
   * @param {(error: HeartLinkError) => void} [options.onWait] why it has to wait now, before it tries again by itself
   * @param {() => Promise<unknown>} [options.renew] asked once for another token
   * @param {object} [options.backoff] see Backoff
   */
  constructor({ rest, blob, metadata, id = null, backoff = {}, ...hooks }) {
    this.#rest = rest;
    this.#blob = blob;
    this.#metadata = metadata;
    this.#id = id;
    this.#backoff = new Backoff(backoff);
    this.#mayFinish = hooks.mayFinish ?? (async () => {});
    this.#onProgress = hooks.onProgress ?? (() => {});
    this.#onBegun = hooks.onBegun ?? (() => {});
    this.#onWait = hooks.onWait ?? (() => {});
    this.#renew = hooks.renew ?? null;
  }

  get totalBytes() {
    return this.#blob.size;
  }

  /**
   * @returns {Promise<number | null>} the id of the message that shows the file, where the server told it
   * @throws {HeartLinkError} a refusal that trying again does not change; `closed` after `stop` or `cancel`
   */
  async run() {
    for (;;) {
      try {
        const place = this.#id === null ? await this.#begin() : await this.#ask();
        return await this.#sendFrom(place);
      } catch (error) {
        await this.#recover(error);
      }
    }
  }

  /** The server is there again: do not wait any longer. */
  wake() {
    this.#wakeUp();
  }

  /** Leaves what has arrived where it is: it can be gone on with. */
  stop() {
    this.#ending.abort();
    this.#wakeUp();
  }

  /**
   * Also on the server, unless everything is there already: then the message is about to be, and can be deleted; or it
   * is there (isStored) before the upload is answered.
   */
  async cancel({ isStored = false } = {}) {
    this.#isCancelled = true;
    if (isStored || this.#isHandedOver) return;
    const id = this.#id;
    this.stop();
    if (id !== null) await removeUpload(this.#rest, id);
  }

  // --- the four requests

  async #begin() {
    this.#beginnings += 1;
    if (!this.#blob.size) await this.#waitForTurn();
    const headers = { "Upload-Length": String(this.#blob.size), "Upload-Metadata": encodeMetadata(this.#metadata) };
    const answer = await this.#request("POST", PATH, headers);
    if (answer.status !== 201) throw refusal(answer);
    const id = (answer.header("Location") ?? "").split("?")[0].replace(/\/+$/, "").split("/").at(-1);
    if (!id) throw new HeartLinkError("unexpected_answer", "The server did not say where to send the file.");
    this.#id = decodeURIComponent(id);
    this.#onBegun(this.#id);
    return placeOf(answer, 0);
  }

  async #ask() {
    const answer = await this.#request("HEAD", this.#path);
    if (answer.status >= 300) throw refusal(answer);
    return placeOf(answer, null);
  }

  async #sendFrom({ offset, messageId }) {
    this.#tell(offset);
    let place = { offset, messageId };
    while (place.messageId === null && !(place.offset === this.#blob.size && this.#isHandedOver)) {
      const end = Math.min(place.offset + this.#chunkBytes, this.#blob.size);
      if (end === this.#blob.size) await this.#waitForTurn();
      place = await this.#sendChunk(place.offset, end);
      this.#tell(place.offset);
      this.#backoff.reset();
      this.#stumbles = 0;
    }
    this.#tell(this.#blob.size);
    return place.messageId;
  }

  async #sendChunk(start, end) {
    const body = this.#blob.slice(start, end);
    const headers = { "Upload-Offset": String(start), "Content-Type": "application/offset+octet-stream" };
    const isLast = end === this.#blob.size;
    const onProgress = (sentBytes) => {
      this.#isHandedOver = isLast && sentBytes >= end - start;
      this.#tell(start + Math.min(sentBytes, end - start));
    };
    this.#isHandedOver = false;
    const begunAt = Date.now();
    const answer = await this.#request("PATCH", this.#path, headers, { body, onProgress });
    if (answer.status === 413 && !answer.body?.error && end - start > SMALLEST_CHUNK_BYTES) {
      // Not the server's own words: a proxy before it takes no more at once.
      this.#mostChunkBytes = Math.max(SMALLEST_CHUNK_BYTES, (end - start) >> 1);
      this.#fitChunks(0);
      return { offset: start, messageId: null };
    }
    if (answer.status >= 300) throw refusal(answer);
    this.#fitChunks(Date.now() - begunAt);
    const place = placeOf(answer, end);
    if (place.offset <= start && end > start) throw new HeartLinkError("no_answer", "Nothing of it arrived.");
    this.#isHandedOver = isLast;
    return place;
  }

  #fitChunks(lastMs) {
    const wanted = this.#chunkBytes * (lastMs < QUICK_MS ? 2 : lastMs > SLOW_MS ? 0.5 : 1);
    this.#chunkBytes = Math.min(this.#mostChunkBytes, Math.max(SMALLEST_CHUNK_BYTES, wanted));
  }

  #request(method, path, headers = {}, more = {}) {
    return this.#rest.transfer(method, path, {
      headers: { ...HEADERS, ...headers },
      signal: this.#ending.signal,
      ...more,
    });
  }

  get #path() {
    return PATH + encodeURIComponent(this.#id);
  }

  // --- what goes wrong

  /** Returns when it may be tried again; throws what no trying changes. */
  async #recover(error) {
    if (this.#ending.signal.aborted || this.#isCancelled) throw closed();
    this.#isHandedOver = false;
    if (error.status === 401 && this.#renew && !this.#isRenewed) {
      this.#isRenewed = true;
      if (await this.#renew().catch(() => null)) return;
    }
    if (error.isForgotten && this.#id !== null && this.#beginnings < MOST_BEGINNINGS) {
      this.#id = null;
      this.#onBegun(null);
      return;
    }
    const isInTheWay = IN_THE_WAY.has(error.status);
    if (!error.isTemporary && !isInTheWay) throw error;
    if ((isInTheWay || error.code === "internal_error") && ++this.#stumbles >= MOST_STUMBLES) throw error;
    if (error.code === "unreachable" && !(await isReadable(this.#blob))) throw unreadable();
    this.#onWait(error);
    await this.#wait(Math.max(this.#backoff.next(), (error.retryAfterSeconds ?? 0) * 1000));
  }

  #wait(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wakeUp = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async #waitForTurn() {
    const { signal } = this.#ending;
    const ended = new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    if (!signal.aborted) await Promise.race([this.#mayFinish(), ended]);
    if (signal.aborted) throw closed();
  }

  #tell(sentBytes) {
    this.sentBytes = sentBytes;
    this.#onProgress(sentBytes);
  }
}

/** Conflict, locked: an older connection has the upload still, or had more than we thought. */
const IN_THE_WAY = new Set([409, 423]);

/** Tells the server that the rest will not come; where that fails, its time ends by itself. */
export async function removeUpload(rest, id) {
  await rest.transfer("DELETE", PATH + encodeURIComponent(id), { headers: HEADERS }).catch(() => {});
}

/** Keys with base64 of their values' UTF-8 (tus 1.0, Creation). */
export function encodeMetadata(metadata) {
  return Object.entries(metadata)
    .filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([key, value]) => `${key} ${base64(String(value))}`)
    .join(",");
}

function base64(text) {
  let binary = "";
  for (const byte of new TextEncoder().encode(text)) binary += String.fromCharCode(byte);
  return btoa(binary);
}

function placeOf(answer, otherwise) {
  const offset = Number.parseInt(answer.header("Upload-Offset") ?? "", 10);
  const messageId = Number.parseInt(answer.header("HeartLink-Message-Id") ?? "", 10);
  if (Number.isNaN(offset) && otherwise === null)
    throw new HeartLinkError("unexpected_answer", "The server did not say how much has arrived.");
  return {
    offset: Number.isNaN(offset) ? otherwise : offset,
    messageId: Number.isNaN(messageId) ? null : messageId,
  };
}

/** What a HEAD refuses comes without a reason: the POST that begins anew is told it. */
function refusal(answer) {
  const retryAfterSeconds = Number(answer.header("Retry-After")) || null;
  const error = HeartLinkError.fromBody(answer.body, answer.status, retryAfterSeconds);
  const isAnswered = Boolean(answer.body?.error);
  error.isForgotten = answer.status === 404 || answer.status === 410 || (!isAnswered && answer.status === 403);
  return error;
}

async function isReadable(blob) {
  try {
    await blob.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

const closed = () => new HeartLinkError("closed", "The transfer was ended.");
const unreadable = () =>
  new HeartLinkError("file_unreadable", "The file can no longer be read.", { fix: "Attach it once more." });
