import { Emitter } from "./emitter.js";
import { HeartLinkError } from "./errors.js";
import { Questions } from "./questions.js";
import { Rights } from "./rights.js";
import { ReconnectingSocket } from "./socket.js";

const CHANGES = new Set(["role_updated", "menu_access_changed", "permission_changed"]);

/**
 * One user's permission stream (PROTOCOL 4): rights, menus and notifications as they change, kept right through lost
 * connections, restarts and reloads.
 *
 * Events (`permissions.on(name, listener)`; detail in brackets):
 * - `state` {name, retryAt?, error?}: "connecting" | "catching_up" | "live" | "waiting" | "stopped"
 * - `rights` null: whatever is drawn from `rights` is to be drawn anew, also when a right came to its end by the clock
 * - `snapshot` {reason}: all of it was read anew; reason is why the missed changes could not be told, or null
 * - `changed` {version, at, action, granted, revoked, because, roles, menus}: one committed change
 * - `roles` {old, new}; `menus` {added, removed}: the parts of it that concern them
 * - `notification` {kind, …}; `system` {type, message, priority, …}; `cache` {cacheKeys}
 * - `revoked` (frame): one may no longer listen here; `gap` {expected, got}; `beat` {kind, ms?}; `frame` (every frame)
 */
export class PermissionStream extends Emitter {
  #socket;
  #questions;
  #storage;
  #key;
  #renew;
  #clockAheadMs = 0;
  #goalVersion = 0;
  #snapshotReason = null;
  #farewell = null;
  #endTimer = null;

  /** Made by `HeartLink.permissions`, which knows the addresses and who listens. */
  constructor({ path, rest, storage, key, address, renew, pingSeconds, backoff }) {
    super();
    this.rights = new Rights();
    this.state = { name: "stopped", error: null };
    /** {user_id, username, groups, features} of the greeting */
    this.identity = null;
    this.#storage = storage;
    this.#key = `heartlink:rights:${key}`;
    this.#renew = renew;
    this.rights.restore(this.#read());
    this.#socket = new ReconnectingSocket({
      address: () => address(path, this.rights.query),
      explain: () => rest.explainSocket(path),
      renew,
      pingSeconds,
      backoff,
    });
    this.#questions = new Questions((frame) => this.state.name === "live" && this.#socket.send(frame));
    this.#socket.on("state", (state) => this.#followSocket(state));
    this.#socket.on("down", () => this.rights.interrupt());
    this.#socket.on("frame", (frame) => this.#receive(frame));
    this.#socket.on("pong", ({ ms }) => this.emit("beat", { kind: "pong", ms }));
  }

  get roles() {
    return this.rights.roles;
  }
  get permissions() {
    return this.rights.permissions;
  }
  get menus() {
    return this.rights.menus;
  }
  /** The latest changes, newest first. */
  get changes() {
    return this.rights.changes;
  }
  /** The server's time as far as it is known here, epoch ms: what `expires_at` is counted against. */
  get now() {
    return Date.now() + this.#clockAheadMs;
  }

  /** Connects. Never throws: what happens is told by `state`. */
  open() {
    if (this.state.name === "stopped") this.#socket.open();
    this.#awaitEnd();
  }

  close() {
    clearTimeout(this.#endTimer);
    this.#socket.close();
  }

  /** The network is back, or somebody looks at the page again. */
  wake() {
    this.#socket.retryNow();
  }

  // --- questions

  /**
   * Whether the user may, from what is known here and now. A hint for drawing: the server decides.
   * @param {string} resource @param {string} action @param {string} [scope] "*" or "room:<id>"
   */
  allows(resource, action, scope = "*") {
    return this.rights.allows(`${resource}.${action}`, scope, this.now);
  }

  /**
   * Asks the server.
   * @param {{minVersion?: number, timeoutMs?: number}} [options] minVersion: answer of a policy at least as new
   * @returns {Promise<{has_permission: boolean, version: number, decision_id: string}>}
   * @throws {HeartLinkError} conflict, no_answer, …
   */
  check(resource, action, scope = "*", { minVersion, timeoutMs } = {}) {
    const frame = { type: "permission_check", resource, action, scope, ...least(minVersion) };
    return this.#questions.ask(frame, timeoutMs);
  }

  /**
   * @param {{resource: string, action: string, scope?: string}[]} checks all answered of one version
   * @returns {Promise<{results: object[], version: number}>} in the order of `checks`
   */
  checkBatch(checks, { minVersion, timeoutMs } = {}) {
    return this.#questions.ask({ type: "permission_check_batch", checks, ...least(minVersion) }, timeoutMs);
  }

  /**
   * Why: of a permission, or of an answer that was given before.
   * @param {{resource: string, action: string, scope?: string} | {decision_id: string}} subject
   * @returns {Promise<{allowed: boolean, because: object[], needs: object[], who_can_grant: object[]}>}
   */
  explain(subject, { timeoutMs } = {}) {
    return this.#questions.ask({ type: "explain", ...subject }, timeoutMs);
  }

  /** Hears only these types of notifications; changes of rights are always told. */
  subscribe(types) {
    return this.#questions.ask({ type: "subscribe_notifications", types });
  }

  unsubscribe(types) {
    return this.#questions.ask({ type: "unsubscribe_notifications", ...(types ? { types } : {}) });
  }

  // --- connection

  #setState(state) {
    this.state = state;
    this.emit("state", state);
  }

  #followSocket(state) {
    if (state.name === "open") return;
    if (state.name !== "stopped") {
      this.#setState(state);
      return;
    }
    const error = this.#farewell ?? state.error;
    this.#questions.abandon(error ?? new HeartLinkError("closed", "The connection was closed."));
    this.#setState({ ...state, error });
  }

  #receive(frame) {
    this.emit("frame", frame);
    if (this.#questions.settle(frame)) return;
    if (CHANGES.has(frame.type)) this.#take(frame);
    else this.#hear(frame);
  }

  #hear(frame) {
    if (frame.type === "connection_confirmed") this.#greet(frame);
    else if (frame.type === "permission_snapshot") this.#replace(frame);
    else if (frame.type === "notification") this.emit("notification", frame.data);
    else if (frame.type === "system_notification") this.emit("system", frame.data);
    else if (frame.type === "cache_invalidation") this.emit("cache", frame.data);
    else if (frame.type === "heartbeat") this.emit("beat", { kind: "heartbeat" });
    else if (frame.type === "auth_expiring") this.#renewAuthentication();
    else if (frame.type === "access_revoked") {
      this.#farewell = new HeartLinkError("forbidden", frame.because || "You may no longer listen here.");
      this.emit("revoked", frame);
    }
  }

  #greet(frame) {
    this.#farewell = null;
    this.identity = frame;
    this.#clockAheadMs = -Infinity;
    this.#compareClocks(frame.server_time);
    this.#socket.heartbeatSeconds = frame.heartbeat_interval ?? 30;
    this.#goalVersion = frame.version;
    this.#snapshotReason = frame.resume_reason ?? null;
    this.emit("beat", { kind: "greeting" });
    const isFollowedByChanges = frame.resume === "changes";
    if (isFollowedByChanges && this.rights.version >= frame.version) this.#goLive();
    else this.#setState({ name: "catching_up" });
  }

  #replace(frame) {
    this.rights.replace(frame);
    this.#keep();
    this.emit("snapshot", { reason: this.#snapshotReason });
    this.#changed();
    this.#goLive();
  }

  #take(frame) {
    this.#compareClocks(frame.timestamp);
    const change = this.rights.take(frame);
    if (change === "gap") {
      this.emit("gap", { expected: this.rights.version, got: frame.prev });
      // A hole in what was missed is not closed by asking for the same again.
      if (this.state.name === "catching_up") this.rights.forget();
      this.#socket.restart("gap");
    }
    if (typeof change === "string") return;
    this.#keep();
    if (change.roles) this.emit("roles", change.roles);
    if (change.menus) this.emit("menus", change.menus);
    this.emit("changed", change);
    this.#changed();
    this.emit("beat", { kind: "message" });
    if (this.state.name === "catching_up" && this.rights.version >= this.#goalVersion) this.#goLive();
  }

  /** Every time that is told is older when it is heard: the comparison that favours the server's clock most is the truest. */
  #compareClocks(time) {
    this.#clockAheadMs = Math.max(this.#clockAheadMs, Date.parse(time) - Date.now());
  }

  #goLive() {
    this.#setState({ name: "live" });
    this.#questions.repeat();
  }

  #changed() {
    this.emit("rights", null);
    this.#awaitEnd();
  }

  /** A right that ends is over at its second, whether or not the server can tell it in that moment. */
  #awaitEnd() {
    clearTimeout(this.#endTimer);
    const ends = this.permissions.map((entry) =>
      entry.expires_at ? Date.parse(entry.expires_at) - this.now : Infinity,
    );
    const next = Math.min(...ends.filter((waitMs) => waitMs > 0));
    if (next < 2 ** 31) this.#endTimer = setTimeout(() => this.#changed(), next + 1);
  }

  async #renewAuthentication() {
    const token = await this.#renew().catch(() => null);
    if (token) this.#socket.send({ type: "reauth", token });
  }

  #read() {
    try {
      return JSON.parse(this.#storage.getItem(this.#key));
    } catch {
      return null;
    }
  }

  #keep() {
    try {
      this.#storage.setItem(this.#key, JSON.stringify(this.rights.record));
    } catch {
      // A full storage: the next page begins with a snapshot.
    }
  }
}

function least(minVersion) {
  return minVersion === undefined ? {} : { min_version: minVersion };
}
