import { HeartLinkError } from "./errors.js";
import { transfer } from "./transfer.js";

const REQUEST_TIMEOUT_MS = 15000;

/** HeartLink's REST interface (PROTOCOL 5). Each method answers with the body's JSON or throws a HeartLinkError. */
export class Rest {
  #base;
  #getToken;
  #getCsrfToken;

  /**
   * @param {object} options
   * @param {string} options.base the server's address without a trailing slash; "" is the page's own origin
   * @param {null | (() => string | Promise<string>)} options.getToken gives a bearer token; null uses the session cookie
   * @param {() => string} options.getCsrfToken the value of the cookie `csrftoken`, needed with the session cookie
   */
  constructor({ base, getToken, getCsrfToken }) {
    this.#base = base;
    this.#getToken = getToken;
    this.#getCsrfToken = getCsrfToken;
  }

  async #headers(isUnsafe) {
    const headers = { Accept: "application/json" };
    if (this.#getToken) headers.Authorization = `Bearer ${await this.#getToken()}`;
    else if (isUnsafe) headers["X-CSRFToken"] = this.#getCsrfToken();
    return headers;
  }

  /**
   * @param {string} method
   * @param {string} path beginning with a slash
   * @param {object} [body] sent as JSON
   * @returns {Promise<any>} the answer's JSON, null for 204
   */
  async request(method, path, body) {
    const isUnsafe = method !== "GET";
    const headers = await this.#headers(isUnsafe);
    if (isUnsafe && body !== undefined) headers["Content-Type"] = "application/json";
    const response = await this.#fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    if (response.status === 204) return null;
    const answer = await response.json().catch(() => null);
    if (!response.ok) {
      const retryAfter = Number(response.headers.get("Retry-After")) || null;
      throw HeartLinkError.fromBody(answer, response.status, retryAfter);
    }
    return answer;
  }

  async #fetch(path, options) {
    try {
      return await fetch(this.#base + path, {
        ...options,
        credentials: this.#getToken ? "omit" : "same-origin",
        cache: "no-store",
        signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
      });
    } catch {
      throw HeartLinkError.unreachable();
    }
  }

  /**
   * One request whose body is no JSON, see `transfer`: its answer whatever the status, with its headers.
   * @param {string} method
   * @param {string} path beginning with a slash
   * @param {{headers?: object, body?: Blob, onProgress?: (sentBytes: number) => void, signal?: AbortSignal}} [more]
   */
  async transfer(method, path, { headers = {}, ...more } = {}) {
    const own = await this.#headers(method !== "HEAD");
    return transfer({ method, url: this.#base + path, headers: { ...own, ...headers }, ...more });
  }

  /** Asks a socket's own address why it refuses (PROTOCOL 2.2): {would, error}; null when the answer is not HeartLink's. */
  async explainSocket(path) {
    const response = await this.#fetch(path, { method: "GET", headers: await this.#headers(false) });
    const answer = await response.json().catch(() => null);
    if (response.status === 426 && answer?.websocket) return answer;
    return answer?.error ? { would: response.status, error: answer.error } : null;
  }

  // --- account
  register(username, password, display_name) {
    return this.request("POST", "/api/auth/register", {
      username,
      password,
      ...(display_name ? { display_name } : {}),
    });
  }
  login = (username, password) => this.request("POST", "/api/auth/login", { username, password });
  refresh = () => this.request("POST", "/api/auth/refresh", {});
  logout = () => this.request("POST", "/api/auth/logout", {});
  changePassword = (old_password, new_password) =>
    this.request("POST", "/api/auth/password", { old_password, new_password });
  me = () => this.request("GET", "/api/me");
  updateMe = (changes) => this.request("PATCH", "/api/me", changes);
  findUsers = (query, limit = 20) => this.request("GET", `/api/users?q=${encodeURIComponent(query)}&limit=${limit}`);
  ticket = () => this.request("POST", "/api/ws-ticket", {});

  // --- rooms
  rooms = () => this.request("GET", "/api/rooms");
  publicRooms = () => this.request("GET", "/api/rooms?public=1");
  createRoom = (room) => this.request("POST", "/api/rooms", room);
  room = (roomId) => this.request("GET", roomPath(roomId));
  updateRoom = (roomId, changes) => this.request("PATCH", roomPath(roomId), changes);
  endRoom = (roomId) => this.request("DELETE", roomPath(roomId));
  join = (roomId) => this.request("POST", roomPath(roomId, "members"), {});
  addMember = (roomId, username, role) =>
    this.request("POST", roomPath(roomId, "members"), { username, ...(role ? { role } : {}) });
  setRole = (roomId, userId, role) => this.request("PATCH", roomPath(roomId, "members", userId), { role });
  removeMember = (roomId, userId) => this.request("DELETE", roomPath(roomId, "members", userId));
  /** @param {{expires_in?: number, why?: string}} [limits] seconds; without them until it is lifted */
  mute = (roomId, userId, limits = {}) => this.request("PUT", roomPath(roomId, "mutes", userId), limits);
  unmute = (roomId, userId) => this.request("DELETE", roomPath(roomId, "mutes", userId));
  /** Also ends the membership. @param {{expires_in?: number, why?: string}} [limits] as of `mute` */
  ban = (roomId, userId, limits = {}) => this.request("PUT", roomPath(roomId, "bans", userId), limits);
  unban = (roomId, userId) => this.request("DELETE", roomPath(roomId, "bans", userId));
  /** Who is muted or banned now: {restrictions: [{user_id, username, display_name, kind, expires_at}]}. */
  restrictions = (roomId) => this.request("GET", roomPath(roomId, "restrictions"));
  invites = (roomId) => this.request("GET", roomPath(roomId, "invites"));
  createInvite = (roomId, limits = {}) => this.request("POST", roomPath(roomId, "invites"), limits);
  invite = (code) => this.request("GET", `/api/invites/${encodeURIComponent(code)}`);
  acceptInvite = (code) => this.request("POST", `/api/invites/${encodeURIComponent(code)}`, {});
  revokeInvite = (code) => this.request("DELETE", `/api/invites/${encodeURIComponent(code)}`);

  // --- messages
  /** @param {{before?: number, after?: number, limit?: number}} [page] bounds are exclusive message ids */
  messages(roomId, { before, after, limit = 50 } = {}) {
    const query = new URLSearchParams({ limit: String(limit) });
    if (before !== undefined) query.set("before", String(before));
    if (after !== undefined) query.set("after", String(after));
    return this.request("GET", `${roomPath(roomId, "messages")}?${query}`);
  }
  postMessage = (roomId, message) => this.request("POST", roomPath(roomId, "messages"), message);
  editMessage = (roomId, id, content) => this.request("PATCH", roomPath(roomId, "messages", id), { content });
  deleteMessage = (roomId, id) => this.request("DELETE", roomPath(roomId, "messages", id));
  /** Says that one has listened to somebody's voice message. */
  listened = (roomId, id) => this.request("PUT", roomPath(roomId, "messages", id, "listened"), {});
  /** @param {{before?: number, limit?: number}} [page] before: the `searched_to` of the answer to go on from */
  search(roomId, words, { before, limit = 20 } = {}) {
    const query = new URLSearchParams({ q: words, limit: String(limit) });
    if (before !== undefined) query.set("before", String(before));
    return this.request("GET", `${roomPath(roomId, "search")}?${query}`);
  }
  react = (roomId, id, emoji, on) =>
    this.request(on ? "PUT" : "DELETE", roomPath(roomId, "messages", id, "reactions", emoji));

  // --- rights
  myPermissions = () => this.request("GET", "/api/permissions/me");
  /** @param {object} subject {resource, action, scope?, user_id?} or {decision_id} */
  explain = (subject) => this.request("POST", "/api/permissions/explain", subject);
  /** Tells those who could grant it that one asks for it. */
  requestAccess = (permission, scope = "*", message = "") =>
    this.request("POST", "/api/access-requests", { permission, scope, message });
  /** What changes would mean, as the calls that would make them: [{method, path, body}]. */
  preview = (changes) => this.request("POST", "/api/permissions/preview", { changes });

  // --- files
  /**
   * Sends a file in one request, without outbox and without resuming; `room.sendFile` has both.
   * @param {string} roomId
   * @param {Blob} blob
   * @param {{name?: string, client_id?: string, content?: string, kind?: "voice", duration?: number, waveform?: number[]}} [about]
   * @returns {Promise<object>} M, the message that shows it
   */
  async postFile(roomId, blob, about = {}) {
    const query = new URLSearchParams({ name: blob.name ?? "file" });
    for (const [name, value] of Object.entries(about))
      query.set(name, Array.isArray(value) ? JSON.stringify(value) : value);
    const headers = { "Content-Type": blob.type || "application/octet-stream" };
    const answer = await this.transfer("POST", `${roomPath(roomId, "files")}?${query}`, { headers, body: blob });
    if (answer.status < 300) return answer.body;
    throw HeartLinkError.fromBody(answer.body, answer.status, Number(answer.header("Retry-After")) || null);
  }
}

/** Room ids may be any run of non-slash characters, so every part is encoded. */
function roomPath(...parts) {
  return `/api/rooms/${parts.map((part) => encodeURIComponent(String(part))).join("/")}`;
}
