const DATABASE = "heartlink";
const STORE = "files";
const FORGET_AFTER_MS = 24 * 3600 * 1000;

/**
 * The files of an outbox, by client_id, kept across reloads in IndexedDB: localStorage holds their entries, not their bytes.
 * Where that fails (no room, a private window) they live as long as the page does.
 */
export class Blobs {
  #held = new Map();
  #database = null;
  #isDurable;

  /** @param {{isDurable?: boolean}} [options] false: in memory alone, as the outbox that goes with it */
  constructor({ isDurable = true } = {}) {
    this.#isDurable = isDurable && Boolean(globalThis.indexedDB);
  }

  /** @returns {Promise<boolean>} whether it outlives this page */
  async put(clientId, blob) {
    this.#held.set(clientId, blob);
    return this.#inStore("readwrite", (store) => store.put({ client_id: clientId, blob, kept_at: Date.now() })).then(
      () => this.#isDurable,
      () => false,
    );
  }

  /** @returns {Promise<Blob | null>} */
  async get(clientId) {
    if (this.#held.has(clientId)) return this.#held.get(clientId);
    const record = await this.#inStore("readonly", (store) => store.get(clientId)).catch(() => null);
    if (record?.blob) this.#held.set(clientId, record.blob);
    return record?.blob ?? null;
  }

  async remove(clientId) {
    this.#held.delete(clientId);
    await this.#inStore("readwrite", (store) => store.delete(clientId)).catch(() => {});
  }

  /** Forgets files whose entry is gone: somebody cleared the one storage and not the other. */
  async sweep(isWanted) {
    const before = Date.now() - FORGET_AFTER_MS;
    await this.#inStore("readwrite", (store) => {
      const reading = store.openCursor();
      reading.addEventListener("success", () => {
        const cursor = reading.result;
        if (!cursor) return;
        if (cursor.value.kept_at < before && !isWanted(cursor.value.client_id)) cursor.delete();
        cursor.continue();
      });
      return reading;
    }).catch(() => {});
  }

  /** @returns {Promise<any>} the request's result, once its transaction is complete */
  async #inStore(mode, act) {
    if (!this.#isDurable) return null;
    this.#database ??= open();
    const transaction = (await this.#database).transaction(STORE, mode);
    const request = act(transaction.objectStore(STORE));
    return new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = transaction.onerror = () => reject(transaction.error ?? request.error);
    });
  }
}

function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "client_id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = request.onblocked = () => reject(request.error);
  });
}
