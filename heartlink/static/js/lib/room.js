import { Backoff } from "./backoff.js";
import { ReadCursor } from "./cursor.js";
import { Emitter } from "./emitter.js";
import { HeartLinkError } from "./errors.js";
import { Outbox } from "./outbox.js";
import { People } from "./people.js";
import { Position } from "./position.js";
import { Sender } from "./sender.js";
import { ReconnectingSocket } from "./socket.js";
import { Timeline } from "./timeline.js";
import { Uploads } from "./uploads.js";

const PAGE_SIZE = 50;
const LARGEST_PAGE = 200;
const MOST_PAGES_FOR_ONE_JUMP = 50;
const TYPING_EVERY_MS = 3000;
/** Frame type -> what the room does with it; filled inside the class, where its private parts are in reach. */
let FRAMES = {};

/**
 * One room, live: its history, its people and its outbox, kept right through lost connections, reloads and restarts.
 *
 * Events (`room.on(name, listener)`; detail in brackets):
 * - `state` {name, retryAt?, error?}: "connecting" | "catching_up" | "live" | "waiting" | "stopped"
 * - `history` null: the timeline was replaced; `message` M: a new one at the end; `change` {message, change}: one in a new form;
 *   `beyond` M: a new one while an older part of the history is shown
 * - `outbox` null; `upload` {client_id, sent_bytes, total_bytes, error}: one of its files; `people` null: members, presence, read marks or typing changed
 * - `room` {…}, `capabilities` [..]: what may be drawn changed; `beat` {kind, ms?}: the server gave a sign of life
 * - `refused` HeartLinkError: the server refused something no outbox entry stands for
 * - `ended` / `revoked` (frame): what the room's last frame said; `gap` {expected, got}; `frame` (every frame, as received)
 */
export class Room extends Emitter {
  #rest;
  #renew;
  #socket;
  #sender;
  #storage;
  #scope;
  #position = new Position();
  #cursor;
  #generation = 0;
  #farewell = null;
  #typingSentAt = 0;
  #olderPage = null;
  #newerPage = null;

  /** Made by `HeartLink.room`, which knows the addresses and who speaks. */
  constructor({ id, me, rest, storage, blobs, scope, tabId, address, renew, pingSeconds, backoff }) {
    super();
    this.id = id;
    /** {id, username, display_name, …} of the one who speaks */
    this.me = me;
    /** R of PROTOCOL 5 as far as known: name, kind, status, members_count, … */
    this.info = { id, name: "", kind: "group", status: "active" };
    this.capabilities = new Set();
    this.limits = {};
    /** STUN and TURN servers for calls, as RTCPeerConnection takes them */
    this.iceServers = [];
    this.timeline = new Timeline();
    this.people = new People(() => this.emit("people", null));
    this.state = { name: "stopped", error: null };
    this.#rest = rest;
    this.#renew = renew;
    this.#storage = storage;
    this.#scope = scope;
    this.outbox = new Outbox({ scope, storage, tabId });
    this.outbox.on("change", () => this.emit("outbox", null));
    this.uploads = new Uploads({ outbox: this.outbox, rest, blobs, roomId: id, renew, backoff });
    this.uploads.on("progress", (progress) => this.emit("upload", progress));
    this.uploads.on("turn", () => this.#sender.pump());
    this.#socket = new ReconnectingSocket({
      address: () => address(id, this.#position.query),
      explain: () => rest.explainSocket(`/ws/chat/${encodeURIComponent(id)}/`),
      renew,
      pingSeconds,
      backoff,
    });
    this.#sender = new Sender({
      outbox: this.outbox,
      send: (frame) => this.#socket.send(frame),
      noAnswer: () => this.#socket.restart("no_answer"),
      holdBackMs: (entry) => this.uploads.holdsBackMs(entry),
    });
    this.#cursor = new ReadCursor({
      send: (upTo) => this.#socket.send({ type: "read_status", up_to: upTo }),
      known: () => this.people.get(this.me.id)?.read_up_to ?? 0,
    });
    this.#socket.on("state", (state) => this.#followSocket(state));
    this.#socket.on("down", ({ code }) => this.#lost(code));
    this.#socket.on("frame", (frame) => this.#receive(frame));
    this.#socket.on("pong", ({ ms }) => this.emit("beat", { kind: "pong", ms }));
  }

  /** What is known of the room before it is open: {room, members, capabilities}, as in a greeting. */
  know({ room = {}, members = [], capabilities = [] }) {
    this.info = { ...this.info, ...room };
    this.capabilities = new Set(capabilities);
    this.people.replace(members);
  }

  /** Loads the newest page of history, then connects. Never throws: what happens is told by `state`. */
  async open() {
    if (this.state.name !== "stopped") return;
    const generation = ++this.#generation;
    this.#setState({ name: "connecting" });
    if (!this.#position.isKnown) await this.#loadNewest(generation).catch(() => {});
    if (generation === this.#generation) this.#socket.open();
  }

  close() {
    this.#generation += 1;
    this.#socket.close();
    this.#sender.stop();
    this.uploads.stop();
    this.people.nobodyTypes();
    this.#cursor.stop();
    this.outbox.dispose();
  }

  /** The network is back, or somebody looks at the page again. */
  wake() {
    this.#socket.retryNow();
  }

  can(capability) {
    return this.capabilities.has(capability);
  }

  // --- what the user does

  /**
   * Puts a message into the outbox; it is sent as soon as that is possible and leaves the outbox when it is stored.
   * @param {string} content
   * @param {{replyTo?: object, messageType?: string}} [more] replyTo: the message M that is answered
   * @returns {object} the outbox entry
   * @throws {HeartLinkError} too_large, invalid_parameters
   */
  send(content, { replyTo = null, messageType = "text" } = {}) {
    if (!content.trim())
      throw new HeartLinkError("invalid_parameters", "The message is empty.", { fix: "Write something." });
    this.#checkLength(content);
    const entry = this.outbox.add({ room_id: this.id, content, message_type: messageType, reply_to: quoted(replyTo) });
    this.#typingSentAt = 0;
    this.#sender.pump();
    return entry;
  }

  /**
   * Puts a file into the outbox, with words of its own where it has some; it is sent as soon as that is possible.
   * @param {Blob} blob a File, or a Blob with `about.name`
   * @param {object} [about] name, caption, replyTo (M), kind ("voice": a recording), duration (s), waveform (up to 64 of 0–100), width, height
   * @returns {object} the outbox entry; `upload` tells how far it is, `retry` and `discard` take its client_id
   * @throws {HeartLinkError} too_large
   */
  sendFile(blob, { name = blob.name ?? "file", caption = "", replyTo = null, kind = null, ...more } = {}) {
    this.#checkLength(caption);
    const most = this.limits.upload_bytes;
    if (most && blob.size > most) {
      throw new HeartLinkError("too_large", "The file is too large.", { fix: `Stay within ${most} bytes.` });
    }
    return this.uploads.add(blob, {
      room_id: this.id,
      content: caption,
      message_type: kind ?? ["image", "video"].find((type) => blob.type.startsWith(`${type}/`)) ?? "file",
      reply_to: quoted(replyTo),
      kind,
      file: { name, size: blob.size, mime: blob.type, ...more },
    });
  }

  #checkLength(words) {
    const most = this.limits.message_chars;
    if (most && [...words].length > most) {
      throw new HeartLinkError("too_large", "The message is too long.", { fix: `Stay within ${most} characters.` });
    }
  }

  /** Tries a failed entry once more. */
  retry(clientId) {
    const entry = this.outbox.get(clientId);
    if (!entry) return;
    this.outbox.update(clientId, { state: "queued", error: null, attempts: 0, owner: this.outbox.tabId });
    this.#sender.pump();
  }

  discard(clientId) {
    const entry = this.outbox.get(clientId);
    if (entry?.file) this.uploads.discard(entry);
    else this.outbox.remove(clientId);
  }

  /** "stored" or "read" for one's own message. */
  statusOf(message) {
    return message.is_read || this.people.readersOf(message.id, this.me.id).length ? "read" : "stored";
  }

  edit = (id, content) => this.#change(this.#rest.editMessage(this.id, id, content), "edited");
  delete = (id) => this.#change(this.#rest.deleteMessage(this.id, id), "deleted");
  listened = (id) => this.#change(this.#rest.listened(this.id, id), "listened");
  react = (id, emoji, on) => this.#change(this.#rest.react(this.id, id, emoji, on), "reactions");

  /** Call at each key press: says so at most every few seconds. */
  typing(what = "text") {
    const now = Date.now();
    if (now - this.#typingSentAt < TYPING_EVERY_MS) return;
    if (this.#socket.send({ type: "typing", is_typing: true, what })) this.#typingSentAt = now;
  }

  stopTyping() {
    if (!this.#typingSentAt) return;
    this.#typingSentAt = 0;
    this.#socket.send({ type: "typing", is_typing: false });
  }

  /** Everything up to this message was seen. Sent soon, and again after a lost connection. */
  markRead(upTo) {
    this.#cursor.raise(upTo);
  }

  /** @param {"online" | "busy" | "away" | "offline"} status */
  setStatus(status) {
    this.#socket.send({ type: "online_status", status });
  }

  /** Hands a frame to the open connection as it is: calls are made of these. @returns {boolean} whether there was one */
  tell(frame) {
    return this.#socket.send(frame);
  }

  /** What was typed and not sent, kept for this room. */
  get draft() {
    return this.#storage.getItem(`heartlink:draft:${this.#scope}`) ?? "";
  }
  set draft(text) {
    const key = `heartlink:draft:${this.#scope}`;
    try {
      if (text) this.#storage.setItem(key, text);
      else this.#storage.removeItem(key);
    } catch {
      // A full storage: the draft lives in the input field alone.
    }
  }

  // --- history

  /** @returns {Promise<object[]>} the messages right before the oldest loaded one, oldest first */
  loadOlder(limit = PAGE_SIZE) {
    if (!this.timeline.hasMore) return Promise.resolve([]);
    this.#olderPage ??= this.#fetchOlder(limit).finally(() => (this.#olderPage = null));
    return this.#olderPage;
  }

  /** Loads back until the message is here. @returns {Promise<boolean>} false when it cannot be reached */
  async loadUntil(id) {
    for (let page = 0; page < MOST_PAGES_FOR_ONE_JUMP && !this.timeline.has(id); page += 1) {
      if (!this.timeline.hasMore || id > (this.timeline.newestId ?? 0)) return false;
      await this.loadOlder(LARGEST_PAGE);
    }
    return this.timeline.has(id);
  }

  /** @returns {Promise<object[]>} the messages right after the newest shown one, where an older part is shown */
  loadNewer(limit = PAGE_SIZE) {
    if (!this.timeline.hasNewer) return Promise.resolve([]);
    this.#newerPage ??= this.#fetchNewer(limit).finally(() => (this.#newerPage = null));
    return this.#newerPage;
  }

  /** Shows the history around a message instead of the newest. @returns {Promise<boolean>} false: there is no such message */
  async showAround(id) {
    const [older, newer] = await Promise.all([
      this.#rest.messages(this.id, { before: id + 1, limit: PAGE_SIZE }),
      this.#rest.messages(this.id, { after: id, limit: PAGE_SIZE }),
    ]);
    if (older.messages.at(-1)?.id !== id) return false;
    this.timeline.show([...older.messages, ...newer.messages], older.has_more, newer.has_more);
    this.emit("history", null);
    return true;
  }

  /** Back to the newest messages. */
  async showLatest() {
    if (this.timeline.hasNewer) await this.#loadNewest(this.#generation);
    // What was said while they were on their way.
    while (this.timeline.hasNewer) if ((await this.loadNewer()).length) this.emit("history", null);
  }

  /** @returns {Promise<object>} {messages, has_more, searched_to}: messages found by words, newest first */
  search = (words, page) => this.#rest.search(this.id, words, page);

  async #fetchNewer(limit) {
    const after = this.timeline.newestId;
    const page = await this.#rest.messages(this.id, { after, limit });
    if (after !== this.timeline.newestId) return [];
    return this.timeline.append(page.messages, page.has_more);
  }

  async #fetchOlder(limit) {
    const before = this.timeline.oldestId;
    const page = await this.#rest.messages(this.id, { before, limit });
    if (before !== this.timeline.oldestId) return [];
    return this.timeline.prepend(page.messages, page.has_more);
  }

  async #loadNewest(generation) {
    const page = await this.#rest.messages(this.id, { limit: PAGE_SIZE });
    if (generation !== this.#generation) return;
    this.timeline.replace(page.messages, page.has_more);
    if (!this.#position.isKnown) this.#position.begin(page.last_seq, page.epoch);
    this.#acknowledgeAll(page.messages);
    this.emit("history", null);
  }

  /** The server cannot replay what was missed: read it anew, as often as it takes while this connection lasts. */
  async #reload() {
    const generation = this.#generation;
    const backoff = new Backoff();
    while (generation === this.#generation) {
      try {
        await this.#loadNewest(generation);
        if (generation !== this.#generation) return;
        this.#position.read();
        this.#goLive();
        return;
      } catch (error) {
        if (!error.isTemporary) return this.emit("refused", error);
        await new Promise((resolve) => setTimeout(resolve, backoff.next()));
      }
    }
  }

  async #change(request, change) {
    const message = await request;
    if (message?.id && this.timeline.apply(message) === "changed") this.emit("change", { message, change });
    return message;
  }

  // --- connection

  #setState(state) {
    this.state = state;
    this.emit("state", state);
  }

  #followSocket(state) {
    if (state.name === "open") return;
    if (state.name === "stopped") this.#setState({ ...state, error: this.#farewell ?? state.error });
    else this.#setState(state);
  }

  #lost(code) {
    this.#generation += 1;
    this.#position.interrupt();
    if (code === 1009) this.#sender.refuseInFlight("too_large", "The message is larger than the server takes.");
    this.#sender.stop();
    this.uploads.pause();
    this.#cursor.forget();
    this.#typingSentAt = 0;
    this.people.nobodyTypes();
  }

  #goLive() {
    this.#setState({ name: "live" });
    this.#sender.start();
    this.uploads.start();
    this.#cursor.tell();
  }

  #acknowledgeAll(messages) {
    for (const message of messages)
      if (message.is_own && message.client_id) this.#sender.acknowledge(message.client_id);
  }

  // --- what arrives

  #receive(frame) {
    this.emit("frame", frame);
    FRAMES[frame.type]?.(this, frame);
  }

  #greet(frame) {
    this.#farewell = null;
    this.#setState({ name: "catching_up" });
    this.#socket.heartbeatSeconds = frame.heartbeat_interval ?? 30;
    this.me = { ...this.me, ...frame.user_profile };
    this.info = { ...this.info, ...frame.room };
    this.limits = frame.limits ?? {};
    this.iceServers = frame.ice_servers ?? [];
    this.people.replace(frame.members ?? []);
    this.#setCapabilities(frame.capabilities ?? []);
    this.emit("room", this.info);
    this.emit("beat", { kind: "greeting" });
    const following = this.#position.greet(frame);
    if (following === "replay") return;
    if (following === "other_history") {
      this.timeline.clear();
      this.#cursor.reset();
    }
    this.#reload();
  }

  #caughtUp(frame) {
    const held = this.#position.caughtUp(frame.last_seq);
    this.#goLive();
    for (const one of held) this.#take(one);
  }

  #take(frame) {
    const verdict = this.#position.take(frame);
    if (verdict === "apply") this.#apply(frame);
    if (verdict !== "gap") return;
    this.emit("gap", { expected: this.#position.expected, got: frame.message.rev });
    this.#socket.restart("gap");
  }

  #apply({ message, change = "edited" }) {
    const result = this.timeline.apply(message);
    if (message.is_own && message.client_id) this.#sender.acknowledge(message.client_id);
    this.people.stoppedTyping(message.sender_id);
    if (result === "added") this.emit("message", message);
    else if (result === "changed") this.emit("change", { message, change });
    else if (result === "beyond") this.emit("beyond", message);
    this.emit("beat", { kind: "message", isOwn: message.is_own });
  }

  #read(frame) {
    const rose = this.people.read(frame.user_id, frame.up_to);
    if (rose && frame.user_id === this.me.id) this.#cursor.follow(frame.up_to);
  }

  #setCapabilities(capabilities) {
    this.capabilities = new Set(capabilities);
    this.emit("capabilities", capabilities);
  }

  #mergeRoom(room) {
    this.info = { ...this.info, ...room };
    if (room.members) this.people.replace(room.members);
    this.emit("room", this.info);
  }

  /** Reads the room over REST: members with their roles, the owner, the access of guests. */
  async refresh() {
    const room = await this.#rest.room(this.id);
    this.#mergeRoom(room);
    if (room.capabilities) this.#setCapabilities(room.capabilities);
    return room;
  }

  async #renewAuthentication() {
    const token = await this.#renew().catch(() => null);
    if (token) this.#socket.send({ type: "reauth", token });
  }

  #refuse(frame) {
    if (frame.ref?.startsWith("call-")) return;
    const error = HeartLinkError.fromFrame(frame);
    if (frame.client_id && this.outbox.get(frame.client_id)) this.#sender.refuse(frame.client_id, error);
    else this.emit("refused", error);
  }

  #remember(event, frame) {
    const because = Array.isArray(frame.because) ? frame.because.join(" ") : (frame.because ?? frame.message ?? "");
    const code = event === "ended" ? "ended" : "forbidden";
    this.#farewell = new HeartLinkError(
      code,
      because || (event === "ended" ? "This room was ended." : "You may no longer be here."),
    );
    if (event === "ended") this.#mergeRoom({ status: "ended" });
    this.emit(event, frame);
  }

  static {
    FRAMES = {
      connection_established: (room, frame) => room.#greet(frame),
      caught_up: (room, frame) => room.#caughtUp(frame),
      chat_message: (room, frame) => room.#take(frame),
      message_updated: (room, frame) => room.#take(frame),
      error: (room, frame) => room.#refuse(frame),
      heartbeat: (room) => room.emit("beat", { kind: "heartbeat" }),
      read_status_update: (room, frame) => room.#read(frame),
      user_typing: (room, frame) => {
        if (frame.user_id === room.me.id) return;
        if (frame.is_typing) room.people.isTyping(frame.user_id, frame.username, frame.what);
        else room.people.stoppedTyping(frame.user_id);
      },
      user_joined: (room, frame) => room.people.update(frame.user_id, { status: "online" }),
      user_left: (room, frame) => {
        room.people.stoppedTyping(frame.user_id);
        room.people.update(frame.user_id, { status: "offline", last_seen: frame.last_seen });
      },
      presence: (room, frame) =>
        room.people.update(frame.user_id, { status: frame.status, last_seen: frame.last_seen }),
      member_added: (room, frame) => room.people.add(frame.member),
      member_removed: (room, frame) => room.people.remove(frame.user_id ?? frame.member?.user_id),
      room_updated: (room, frame) => room.#mergeRoom(frame.room ?? {}),
      auth_expiring: (room) => room.#renewAuthentication(),
      capabilities_changed: (room, frame) => room.#setCapabilities(frame.capabilities),
      access_revoked: (room, frame) => room.#remember("revoked", frame),
      room_ended: (room, frame) => room.#remember("ended", frame),
      // Calls (video_call_invite, call_created, video_call_status, call_signal) are heard through `frame` by `Calls`.
    };
  }
}

const quoted = (message) =>
  message && { id: message.id, sender: message.sender, excerpt: message.content.slice(0, 120) };
