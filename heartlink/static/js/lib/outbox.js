import { Emitter } from "./emitter.js";

const MOST_SETTLED = 1000;

/**
 * What was written and is not yet acknowledged, kept across reloads, one key for each entry.
 *
 * Each entry belongs to the tab that wrote it; a tab that finds an entry whose owner is gone (its Web Lock is free)
 * adopts it. Should two tabs ever send the same entry, the server stores it once: its client_id is the key.
 *
 * Entry: {client_id, room_id, content, message_type, reply_to, created_at (epoch ms), owner, attempts,
 *         state: "queued" | "sent" | "failed", error: {code, message, fix} | null};
 * one with a `file` {name, size, mime, …} also has {upload_id, is_stored}: its bytes are kept by Blobs, and Uploads carries it.
 * Events `change` (null) after anything changed, here or in another tab; `removed` (entry) before it, when one is gone.
 */
export class Outbox extends Emitter {
  #prefix;
  #storage;
  #entries = new Map();
  #onStorage = null;
  #settled = new Set();

  /**
   * @param {object} options
   * @param {string} options.scope whose outbox: server, user and room in one string
   * @param {Storage} options.storage such as localStorage
   * @param {string} options.tabId see `claimTab`
   */
  constructor({ scope, storage, tabId }) {
    super();
    this.#prefix = `heartlink:outbox:${scope}:`;
    this.#storage = storage;
    this.tabId = tabId;
    this.#load();
    if (globalThis.addEventListener && storage === globalThis.localStorage) {
      this.#onStorage = (event) => event.key?.startsWith(this.#prefix) && this.#reload(event.key, event.newValue);
      addEventListener("storage", this.#onStorage);
    }
  }

  /** All entries, oldest first. */
  get entries() {
    return [...this.#entries.values()].sort((a, b) => a.created_at - b.created_at || a.order - b.order);
  }

  /** The oldest entry this tab has to send. */
  get oldest() {
    return this.entries.find((entry) => this.#isToBeSent(entry)) ?? null;
  }

  /** The oldest words among them: no later ones overtake them. */
  get next() {
    return this.entries.find((entry) => !entry.file && this.#isToBeSent(entry)) ?? null;
  }

  #isToBeSent(entry) {
    return entry.owner === this.tabId && entry.state !== "failed" && !entry.is_stored;
  }

  get(clientId) {
    return this.#entries.get(clientId) ?? null;
  }

  add(message) {
    const entry = {
      ...message,
      client_id: message.client_id ?? newId(),
      created_at: Date.now(),
      order: this.#entries.size,
      owner: this.tabId,
      attempts: 0,
      state: "queued",
      error: null,
    };
    this.#put(entry);
    return entry;
  }

  update(clientId, changes) {
    const entry = this.#entries.get(clientId);
    if (entry) this.#put({ ...entry, ...changes });
  }

  /** Given up, or acknowledged (isStored): gone for good. @returns {boolean} whether it was here */
  remove(clientId, { isStored = false } = {}) {
    this.#settled.add(clientId);
    if (this.#settled.size > MOST_SETTLED) this.#settled.delete(this.#settled.values().next().value);
    if (!this.#forget(clientId, isStored)) return false;
    this.#storage.removeItem(this.#prefix + clientId);
    this.emit("change", null);
    return true;
  }

  #forget(clientId, isStored = false) {
    const entry = this.#entries.get(clientId);
    if (!entry) return false;
    this.#entries.delete(clientId);
    this.emit("removed", isStored ? { ...entry, is_stored: true } : entry);
    return true;
  }

  /** Words that were handed to a connection that broke wait again. */
  requeue() {
    for (const entry of this.entries) {
      if (!entry.file && entry.owner === this.tabId && entry.state === "sent")
        this.update(entry.client_id, { state: "queued" });
    }
  }

  /** Takes over what closed tabs left behind. */
  async adopt() {
    const owners = new Set(this.entries.map((entry) => entry.owner).filter((owner) => owner !== this.tabId));
    for (const owner of owners) await ifTabIsGone(owner, () => this.#adoptFrom(owner));
  }

  #adoptFrom(owner) {
    this.#load();
    for (const entry of this.entries) {
      if (entry.owner !== owner) continue;
      const state = entry.state === "sent" ? "queued" : entry.state;
      this.#put({ ...entry, owner: this.tabId, state });
    }
  }

  dispose() {
    if (this.#onStorage) removeEventListener("storage", this.#onStorage);
  }

  #put(entry) {
    this.#entries.set(entry.client_id, entry);
    try {
      this.#storage.setItem(this.#prefix + entry.client_id, JSON.stringify(entry));
    } catch {
      // A full storage: the entry lives as long as this page does, and is still sent.
      this.emit("not_kept", entry);
    }
    this.emit("change", null);
  }

  #load() {
    for (let index = 0; index < this.#storage.length; index += 1) {
      const key = this.#storage.key(index);
      if (key?.startsWith(this.#prefix)) this.#read(this.#storage.getItem(key));
    }
  }

  #read(text) {
    try {
      const entry = JSON.parse(text);
      // What another tab noted before it was acknowledged may be heard of afterwards.
      if (typeof entry?.client_id === "string" && !this.#settled.has(entry.client_id))
        this.#entries.set(entry.client_id, entry);
    } catch {
      // Somebody else's text under our key: not ours to send.
    }
  }

  #reload(key, text) {
    if (text === null) this.#forget(key.slice(this.#prefix.length));
    else this.#read(text);
    this.emit("change", null);
  }
}

/** The rooms under a scope's prefix that have something waiting. */
export function roomsWithEntries(storage, scopePrefix) {
  const prefix = `heartlink:outbox:${scopePrefix}`;
  const rooms = new Set();
  for (let index = 0; index < storage.length; index += 1) {
    const key = storage.key(index);
    if (key?.startsWith(prefix)) rooms.add(key.slice(prefix.length, key.lastIndexOf(":")));
  }
  return rooms;
}

/** Whether any room's outbox has an entry with this client_id. */
export function hasEntry(storage, clientId) {
  for (let index = 0; index < storage.length; index += 1) {
    if (storage.key(index)?.endsWith(`:${clientId}`)) return true;
  }
  return false;
}

/** An id no other client makes: 128 random bits. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Holds a lock in this tab's name for as long as the tab lives; others see by it that the owner is alive. */
export function claimTab() {
  const tabId = newId();
  globalThis.navigator?.locks?.request(lockName(tabId), () => new Promise(() => {})).catch(() => {});
  return tabId;
}

/** Without Web Locks (a page that is not a secure context) every foreign entry is adopted: client_ids keep it from doubling. */
async function ifTabIsGone(tabId, act) {
  const locks = globalThis.navigator?.locks;
  if (!locks) act();
  else await locks.request(lockName(tabId), { ifAvailable: true }, async (lock) => lock && act());
}

function lockName(tabId) {
  return `heartlink-tab:${tabId}`;
}

/** Where there is no localStorage: the same interface, for as long as the page lives. */
export class MemoryStorage {
  #items = new Map();
  get length() {
    return this.#items.size;
  }
  key(index) {
    return [...this.#items.keys()][index] ?? null;
  }
  getItem(key) {
    return this.#items.get(key) ?? null;
  }
  setItem(key, value) {
    this.#items.set(key, String(value));
  }
  removeItem(key) {
    this.#items.delete(key);
  }
}
