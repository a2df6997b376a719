/**
 * HeartLink's client library: a plain ES module without a DOM, importable by any page. See docs/client.md.
 *
 *     import { HeartLink } from "https://chat.example/static/js/heartlink.js";
 *     const link = new HeartLink({ base: "https://chat.example", getToken: () => token });
 *     const room = await link.room("lobby");
 *     room.on("message", (message) => console.log(message.sender, message.content));
 *     await room.open();
 *     room.send("hello");
 */
import { Blobs } from "./lib/blobs.js";
import { Courier } from "./lib/courier.js";
import { claimTab, hasEntry, MemoryStorage } from "./lib/outbox.js";
import { PermissionStream } from "./lib/permissions.js";
import { Rest } from "./lib/rest.js";
import { Room } from "./lib/room.js";

export { Backoff } from "./lib/backoff.js";
export { Calls } from "./lib/call.js";
export { Emitter } from "./lib/emitter.js";
export { HeartLinkError } from "./lib/errors.js";
export { MemoryStorage, Outbox } from "./lib/outbox.js";
export { PermissionStream } from "./lib/permissions.js";
export { Rest } from "./lib/rest.js";
export { menuTree, Rights } from "./lib/rights.js";
export { Room } from "./lib/room.js";
export { ReconnectingSocket } from "./lib/socket.js";
export { Timeline } from "./lib/timeline.js";
export { Upload } from "./lib/upload.js";

/** One server, seen by one user. */
export class HeartLink {
  #base;
  #getToken;
  #renewToken;
  #socketAuth;
  #storage;
  #blobs;
  #tabId = null;
  #courier = null;
  #me;
  #options;

  /**
   * @param {object} [options]
   * @param {string} [options.base] the server, e.g. "https://chat.example"; left out: the page's own origin, with its cookie
   * @param {string | (() => string | Promise<string>)} [options.token] a JWT or a function that gives one; needed from another origin
   * @param {string | (() => string | Promise<string>)} [options.getToken] the same, under its other name
   * @param {() => Promise<string | null>} [options.renewToken] asked for another token when one was refused or is about to end;
   *        by default `getToken` is asked again, or with the cookie `POST /api/auth/refresh`
   * @param {"cookie" | "ticket" | "subprotocol"} [options.socketAuth] how a socket says who it is: the session cookie (the default
   *        without a token), a one-use ticket (the default with one: the token itself never stands in an address), or `bearer.<JWT>`
   * @param {() => string} [options.getCsrfToken] with the cookie: the value of the cookie `csrftoken`
   * @param {object} [options.user] {id, username, display_name} if already known: saves one request
   * @param {Storage} [options.storage] where outbox and drafts are kept; localStorage where there is one
   * @param {number} [options.pingSeconds] measure the way there and back this often while nothing else is heard; 0: never
   * @param {{firstMs?: number, mostMs?: number}} [options.backoff] bounds of the wait between two tries
   */
  constructor(options = {}) {
    const token = options.getToken ?? options.token ?? null;
    this.#base = (options.base ?? "").replace(/\/+$/, "");
    this.#getToken = token === null ? null : typeof token === "function" ? token : () => token;
    this.#renewToken = options.renewToken;
    this.#socketAuth = options.socketAuth ?? (this.#getToken ? "ticket" : "cookie");
    this.#storage = options.storage ?? availableStorage();
    this.#blobs = new Blobs({ isDurable: !(this.#storage instanceof MemoryStorage) });
    this.#me = options.user ?? null;
    this.#options = options;
    this.rest = new Rest({
      base: this.#base,
      getToken: this.#getToken,
      getCsrfToken: options.getCsrfToken ?? cookieCsrfToken,
    });
  }

  /** @returns {Promise<object>} U of PROTOCOL 5: the one who is signed in */
  async me() {
    this.#me ??= await this.rest.me();
    return this.#me;
  }

  /**
   * @param {string} roomId
   * @returns {Promise<Room>} not yet open: subscribe to its events, then call `open()`
   * @throws {HeartLinkError} unauthenticated, unreachable
   */
  async room(roomId) {
    const me = await this.me();
    if (this.#tabId === null) this.#claimTab();
    return new Room({
      id: roomId,
      me,
      rest: this.rest,
      storage: this.#storage,
      blobs: this.#blobs,
      scope: this.#scope(me, roomId),
      tabId: this.#tabId,
      address: (id, query) => this.#socketAddress(`/ws/chat/${encodeURIComponent(id)}/`, query),
      renew: () => this.#renew(),
      pingSeconds: this.#options.pingSeconds ?? 0,
      backoff: this.#options.backoff,
    });
  }

  /**
   * Delivers what was written in rooms that no tab has open any more; call it now and then while the server answers.
   * @param {string | null} [exceptRoomId] the room that is open here
   * @returns {Promise<number>} how many messages were delivered
   */
  async deliverLeftBehind(exceptRoomId = null) {
    const me = await this.me();
    if (this.#tabId === null) this.#claimTab();
    const scope = (roomId) => this.#scope(me, roomId);
    const { rest } = this;
    this.#courier ??= new Courier({ rest, blobs: this.#blobs, storage: this.#storage, scope, tabId: this.#tabId });
    return this.#courier.deliver(exceptRoomId);
  }

  /** Files whose entry is gone need not be kept. */
  #claimTab() {
    this.#tabId = claimTab();
    this.#blobs.sweep((clientId) => hasEntry(this.#storage, clientId));
  }

  #scope(me, roomId) {
    return `${this.#base}|${me.id}|${roomId}`;
  }

  /**
   * A permission stream: what a user may, their menus and notifications, live.
   * @param {{userId?: string, anonymous?: boolean, pingSeconds?: number}} [options] userId: somebody else's, for those
   *        who hold `permissions.watch`; anonymous: what is allowed without an account
   * @returns {Promise<PermissionStream>} not yet open: subscribe to its events, then call `open()`
   * @throws {HeartLinkError} unauthenticated, unreachable
   */
  async permissions({ userId = null, anonymous = false, pingSeconds = this.#options.pingSeconds ?? 0 } = {}) {
    const whose = anonymous ? "anonymous" : (userId ?? (await this.me()).id);
    return new PermissionStream({
      path: `/ws/permissions/${encodeURIComponent(whose)}/`,
      rest: this.rest,
      storage: this.#storage,
      key: `${this.#base}|${whose}`,
      address: (path, query) => this.#socketAddress(path, query),
      renew: () => this.#renew(),
      pingSeconds,
      backoff: this.#options.backoff,
    });
  }

  async #renew() {
    if (this.#renewToken) return this.#renewToken();
    return this.#getToken ? this.#getToken() : (await this.rest.refresh()).token;
  }

  async #socketAddress(path, query) {
    const url = new URL((this.#base || globalThis.location?.origin) + path);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, String(value));
    if (this.#socketAuth === "ticket") url.searchParams.set("token", (await this.rest.ticket()).ticket);
    const protocols = this.#socketAuth === "subprotocol" ? [`bearer.${await this.#getToken()}`] : [];
    return { url: url.href, protocols };
  }
}

function availableStorage() {
  try {
    globalThis.localStorage.getItem("heartlink");
    return globalThis.localStorage;
  } catch {
    return new MemoryStorage();
  }
}

function cookieCsrfToken() {
  const cookies = globalThis.document?.cookie ?? "";
  const value = cookies.split("; ").find((cookie) => cookie.startsWith("csrftoken="));
  return value ? decodeURIComponent(value.slice("csrftoken=".length)) : "";
}
