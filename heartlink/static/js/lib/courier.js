import { Outbox, roomsWithEntries } from "./outbox.js";
import { Uploads } from "./uploads.js";

/**
 * Delivers, over REST, what was written in rooms that no tab has open any more: somebody wrote while the server was
 * away, and went on to another page. The client_id keeps it from being stored twice, whoever else sends it.
 */
export class Courier {
  #rest;
  #blobs;
  #storage;
  #scope;
  #tabId;
  #isUnderWay = false;

  /**
   * @param {object} options
   * @param {import("./rest.js").Rest} options.rest
   * @param {import("./blobs.js").Blobs} options.blobs
   * @param {Storage} options.storage
   * @param {(roomId: string) => string} options.scope whose outbox a room's is, see Outbox
   * @param {string} options.tabId see `claimTab`
   */
  constructor({ rest, blobs, storage, scope, tabId }) {
    this.#rest = rest;
    this.#blobs = blobs;
    this.#storage = storage;
    this.#scope = scope;
    this.#tabId = tabId;
  }

  /**
   * @param {string | null} exceptRoomId the room that is open here: it sends its own
   * @returns {Promise<number>} how many were delivered
   */
  async deliver(exceptRoomId) {
    if (this.#isUnderWay) return 0;
    this.#isUnderWay = true;
    let delivered = 0;
    try {
      for (const roomId of roomsWithEntries(this.#storage, this.#scope(""))) {
        if (roomId !== exceptRoomId) delivered += await this.#deliverRoom(roomId);
      }
    } finally {
      this.#isUnderWay = false;
    }
    return delivered;
  }

  async #deliverRoom(roomId) {
    const outbox = new Outbox({ scope: this.#scope(roomId), storage: this.#storage, tabId: this.#tabId });
    const uploads = new Uploads({ outbox, rest: this.#rest, blobs: this.#blobs, roomId });
    let delivered = 0;
    try {
      await outbox.adopt();
      for (let next = outbox.oldest; next; next = outbox.oldest) {
        const isSettled = next.file ? await uploads.deliver(next) : await this.#deliverWords(outbox, roomId, next);
        if (!isSettled) break;
        delivered += 1;
      }
      uploads.removeStored();
      return delivered;
    } finally {
      uploads.stop();
      outbox.dispose();
    }
  }

  /** @returns {Promise<boolean>} whether to go on: after a temporary failure nothing may overtake */
  async #deliverWords(outbox, roomId, { client_id, content, message_type, reply_to }) {
    const message = { client_id, content, message_type, ...(reply_to ? { reply_to: reply_to.id } : {}) };
    try {
      await this.#rest.postMessage(roomId, message);
      outbox.remove(client_id);
    } catch (error) {
      if (error.isTemporary || error.status === 401) return false;
      outbox.update(client_id, {
        state: "failed",
        error: { code: error.code, message: error.message, fix: error.fix },
      });
    }
    return true;
  }
}
