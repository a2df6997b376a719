import { Emitter } from "./emitter.js";
import { HeartLinkError } from "./errors.js";
import { newId } from "./outbox.js";
import { removeUpload, Upload } from "./upload.js";

/** Small files do not wait for large ones: each kind has its own lane, and keeps its order in it. */
const LARGE_BYTES = 8 * 2 ** 20;
/** Words that follow a file as small as this let it go first, for as long as this. */
const GOES_FIRST_BYTES = 2 ** 20;
const GOES_FIRST_MS = 3000;
/** The server's copy of the message normally comes before the answer to the upload. */
const COPY_WITHIN_MS = 5000;

/**
 * Carries the files of a room's outbox to the server, as Sender does the words. A file never overtakes words that were
 * written before it; words overtake a file that takes its time.
 *
 * Event `progress` {client_id, sent_bytes, total_bytes, error}: error says why it waits, null while it moves.
 * Event `turn` null: words that let a file go first need not wait any longer.
 */
export class Uploads extends Emitter {
  #outbox;
  #rest;
  #blobs;
  #roomId;
  #renew;
  #backoff;
  #running = new Map();
  #liveSince = null;
  #subscriptions;

  /**
   * @param {object} options
   * @param {import("./outbox.js").Outbox} options.outbox
   * @param {import("./rest.js").Rest} options.rest
   * @param {import("./blobs.js").Blobs} options.blobs
   * @param {string} options.roomId
   * @param {() => Promise<unknown>} [options.renew] see Upload
   * @param {object} [options.backoff] see Backoff
   */
  constructor({ outbox, rest, blobs, roomId, renew, backoff }) {
    super();
    this.#outbox = outbox;
    this.#rest = rest;
    this.#blobs = blobs;
    this.#roomId = roomId;
    this.#renew = renew;
    this.#backoff = backoff;
    this.#subscriptions = [
      outbox.on("change", () => this.pump()),
      outbox.on("removed", (entry) => entry.file && this.#forget(entry)),
    ];
  }

  /** Puts a file into the outbox. @returns {object} its entry */
  add(blob, entry) {
    const clientId = newId();
    this.#blobs.put(clientId, blob);
    return this.#outbox.add({ ...entry, client_id: clientId, upload_id: null, is_stored: false });
  }

  /** The file behind an entry, for a preview. @returns {Promise<Blob | null>} */
  blobOf = (clientId) => this.#blobs.get(clientId);

  /** @returns {{client_id: string, sent_bytes: number, total_bytes: number, error: object | null} | null} null: not under way here */
  progressOf(clientId) {
    return this.#running.get(clientId)?.progress ?? null;
  }

  /** The room is live: what waits may go, what was interrupted need not wait out its time. */
  start() {
    this.#liveSince = Date.now();
    this.removeStored();
    for (const { upload } of this.#running.values()) upload.wake();
    this.pump();
  }

  /** Those whose message is stored, and known: the history was read. */
  removeStored() {
    for (const entry of this.#outbox.entries) if (entry.is_stored) this.#outbox.remove(entry.client_id);
  }

  /** The connection is lost: nothing new is begun; what is under way looks after itself. */
  pause() {
    this.#liveSince = null;
  }

  /** The room is left. */
  stop() {
    this.pause();
    for (const end of this.#subscriptions) end();
    for (const { upload } of this.#running.values()) upload.stop();
  }

  /** How long these words have to let an earlier file go first. @returns {number} milliseconds, 0: not at all */
  holdsBackMs(words) {
    const now = Date.now();
    const first = this.#mine().find(
      ({ file, created_at }) => file.size <= GOES_FIRST_BYTES && created_at <= words.created_at,
    );
    if (!first || this.#liveSince === null) return 0;
    return Math.max(0, Math.max(this.#liveSince, first.created_at) + GOES_FIRST_MS - now);
  }

  /** My files that still have to go, oldest first. */
  #mine() {
    return this.#outbox.entries.filter(
      (entry) => entry.file && entry.owner === this.#outbox.tabId && entry.state !== "failed" && !entry.is_stored,
    );
  }

  pump() {
    if (this.#liveSince === null) return;
    const waiting = this.#mine();
    for (const lane of [(entry) => entry.file.size <= LARGE_BYTES, (entry) => entry.file.size > LARGE_BYTES]) {
      const next = waiting.find(lane);
      if (next && !this.#running.has(next.client_id)) this.deliver(next);
    }
  }

  /**
   * Carries one entry, however often it takes.
   * @returns {Promise<boolean>} whether it is settled: stored or refused; not when it was stopped, or nobody is signed in
   */
  async deliver(entry) {
    const clientId = entry.client_id;
    const progress = { client_id: clientId, sent_bytes: 0, total_bytes: entry.file.size, error: null };
    const running = { progress, upload: { wake() {}, stop() {}, cancel() {} } };
    this.#running.set(clientId, running);
    try {
      const blob = await this.#blobs.get(clientId);
      if (!blob) throw lost();
      if (!this.#outbox.get(clientId)) return true;
      running.upload = this.#upload(entry, blob, progress);
      this.#outbox.update(clientId, { state: "sent", attempts: entry.attempts + 1, error: null });
      const messageId = await running.upload.run();
      this.#stored(clientId, messageId);
      return true;
    } catch (error) {
      return this.#ended(clientId, error);
    } finally {
      this.#running.delete(clientId);
      this.emit("turn", null);
      this.pump();
    }
  }

  #upload(entry, blob, progress) {
    const { client_id: clientId, file } = entry;
    const tell = (changes) => {
      Object.assign(progress, changes);
      this.emit("progress", progress);
    };
    return new Upload({
      rest: this.#rest,
      blob,
      id: entry.upload_id,
      renew: this.#renew,
      backoff: this.#backoff,
      metadata: {
        room: this.#roomId,
        filename: file.name,
        client_id: clientId,
        content: entry.content,
        reply_to: entry.reply_to?.id,
        kind: entry.kind,
        duration: file.duration,
        waveform: file.waveform && JSON.stringify(file.waveform),
      },
      mayFinish: () => this.#afterEarlierWords(entry),
      onBegun: (id) => this.#outbox.update(clientId, { upload_id: id }),
      onProgress: (sentBytes) => tell({ sent_bytes: sentBytes, error: null }),
      onWait: ({ code, message, fix }) => tell({ error: { code, message, fix } }),
    });
  }

  #afterEarlierWords(entry) {
    const isFirst = () =>
      !this.#outbox.entries.some(
        (other) =>
          !other.file &&
          other.owner === this.#outbox.tabId &&
          other.state !== "failed" &&
          other.created_at < entry.created_at,
      );
    if (isFirst()) return Promise.resolve();
    return new Promise((resolve) => {
      const end = this.#outbox.on("change", () => {
        if (!isFirst()) return;
        end();
        resolve();
      });
    });
  }

  #stored(clientId, messageId) {
    this.#outbox.update(clientId, { is_stored: true, message_id: messageId });
    setTimeout(() => this.#liveSince !== null && this.#outbox.remove(clientId), COPY_WITHIN_MS);
  }

  #ended(clientId, error) {
    if (!this.#outbox.get(clientId)) return true;
    if (error.code === "closed" || error.status === 401) {
      this.#outbox.update(clientId, { state: "queued" });
      if (error.status === 401) this.pause();
      return false;
    }
    const { code, message, fix = "" } = error instanceof HeartLinkError ? error : broken();
    this.#outbox.update(clientId, { state: "failed", error: { code, message, fix } });
    return true;
  }

  /** Discarded, here or in another tab, or acknowledged by its message: nobody needs the file any more. */
  #forget({ client_id: clientId, is_stored: isStored }) {
    this.#running.get(clientId)?.upload.cancel({ isStored });
    this.#blobs.remove(clientId);
  }

  /** Gives up a file: what has arrived of it goes too. */
  discard(entry) {
    const isRunning = this.#running.has(entry.client_id);
    this.#outbox.remove(entry.client_id);
    if (!isRunning && entry.upload_id) removeUpload(this.#rest, entry.upload_id);
  }
}

const lost = () => new HeartLinkError("file_lost", "The file is no longer here.", { fix: "Attach it once more." });
const broken = () => new HeartLinkError("internal_error", "The file could not be sent.");
