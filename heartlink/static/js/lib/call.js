import { Emitter } from "./emitter.js";
import { HeartLinkError } from "./errors.js";
import { PeerLink } from "./peer.js";

const ANSWER_WITHIN_MS = 10000;
const CONNECT_WITHIN_MS = 30000;
const RATE_PAUSE_MS = 500;
const NOTHING_ON = { audio: false, video: false, screen: false };

/**
 * Calls in one room: what rings, and the one this page is in. No DOM: tracks come from whoever draws.
 *
 *     const calls = new Calls(room);
 *     calls.on("ringing", (ring) => …);            // {call_id, user_id, username, media, message, ring_seconds} or null
 *     const call = await calls.invite({ media: "video" });   // or calls.answer(), calls.decline()
 *     call.setTrack("audio", track);
 *
 * Events: `ringing` (ring | null, with `why` on the way out: the last status frame), `call` (Call | null).
 */
export class Calls extends Emitter {
  #room;
  #PeerConnection;
  #asked = new Map();
  #count = 0;
  #wasLost = false;

  /** @param {import("./room.js").Room} room @param {{PeerConnection?: typeof RTCPeerConnection}} [options] */
  constructor(room, { PeerConnection = globalThis.RTCPeerConnection } = {}) {
    super();
    this.#room = room;
    this.#PeerConnection = PeerConnection;
    this.ringing = null;
    this.current = null;
    room.on("frame", (frame) => this.#receive(frame));
    room.on("state", ({ name }) => this.#follow(name));
    room.on("revoked", () => this.#drop("revoked"));
    room.on("ended", () => this.#drop("room_ended"));
  }

  /** Whether this browser can make calls at all. */
  get isPossible() {
    return Boolean(this.#PeerConnection);
  }

  /**
   * Rings for the others in the room.
   * @param {{media?: "video" | "audio", message?: string}} [options]
   * @returns {Promise<Call>}
   * @throws {HeartLinkError} conflict (a call is in this room, or one is in another one), forbidden, not_saved, …
   */
  async invite({ media = "video", message = "" } = {}) {
    this.#mustBeFree();
    const call = this.#begin({ media, isCaller: true, peer: null });
    try {
      const created = await this.#ask({ type: "video_call_invite", media, ...(message ? { message } : {}) });
      call.id = created.call_id;
      if (call.isOver) this.#tell(call, "ended");
      else call.toState("calling");
    } catch (error) {
      this.#end(call, { reason: "refused" });
      throw error;
    }
    return call;
  }

  /** Answers what rings. @returns {Promise<Call>} @throws {HeartLinkError} conflict: somebody else was first, or it is over */
  async answer() {
    const ring = this.ringing;
    if (!ring) throw new HeartLinkError("not_found", "Nothing rings.");
    this.#mustBeFree();
    this.#stopRinging(null);
    const peer = { id: ring.user_id, username: ring.username };
    return this.#takePlace(this.#begin({ id: ring.call_id, media: ring.media, isCaller: false, peer }));
  }

  async #takePlace(call) {
    const asked = this.#ask({ type: "video_call_status", call_id: call.id, status: "joined" });
    // The other one's offer may come before the answer to this.
    call.open();
    try {
      await asked;
    } catch (error) {
      this.#end(call, { reason: "refused" });
      throw error;
    }
    return call;
  }

  /**
   * Takes one's place in a call again that another page of the same user was in, or this one before it crashed.
   * @param {{id: string, media: string, isCaller: boolean, peer: {id: string, username: string}}} place `call.place` of then
   * @returns {Promise<Call>} @throws {HeartLinkError} conflict, not_found: it is over
   */
  async resume({ id, media, isCaller, peer }) {
    this.#mustBeFree();
    const call = this.#begin({ id, media, isCaller, peer });
    return this.#takePlace(call);
  }

  decline() {
    const ring = this.ringing;
    if (!ring) return;
    this.#room.tell({ type: "video_call_status", call_id: ring.call_id, status: "declined" });
    this.#stopRinging(null);
  }

  #mustBeFree() {
    if (this.current) throw new HeartLinkError("conflict", "You are in a call.", { fix: "End it first." });
    if (!this.isPossible) throw new HeartLinkError("unsupported", "This browser cannot make calls.");
  }

  #begin(what) {
    const call = new Call({
      ...what,
      PeerConnection: this.#PeerConnection,
      iceServers: this.#room.iceServers,
      signal: (kind, data) => this.#signal(call, kind, data),
      hangUp: () => this.#hangUp(call),
    });
    this.current = call;
    this.emit("call", call);
    return call;
  }

  #hangUp(call) {
    this.#tell(call, "ended");
    this.#end(call, { reason: call.state.name === "calling" ? "cancelled" : "hung_up" });
  }

  #tell(call, status) {
    if (call.id) this.#room.tell({ type: "video_call_status", call_id: call.id, status });
  }

  #end(call, how) {
    call.over(how);
    if (this.current !== call) return;
    this.current = null;
    this.emit("call", null);
  }

  #drop(reason) {
    if (this.current) this.#end(this.current, { reason });
    this.#stopRinging({ reason });
  }

  #stopRinging(why) {
    if (!this.ringing) return;
    const ring = this.ringing;
    this.ringing = null;
    this.emit("ringing", null);
    if (why) this.emit("rung", { ring, why });
  }

  // --- questions and answers

  #ask(frame) {
    const ref = `call-${(this.#count += 1)}`;
    return new Promise((resolve, reject) => {
      const giveUp = (error) => {
        clearTimeout(timer);
        this.#asked.delete(ref);
        reject(error);
      };
      const noAnswer = () =>
        giveUp(new HeartLinkError("no_answer", "The server did not answer.", { fix: "Try again." }));
      const timer = setTimeout(noAnswer, ANSWER_WITHIN_MS);
      this.#asked.set(ref, { frame, giveUp, settle: (answer) => (clearTimeout(timer), resolve(answer)) });
      if (!this.#room.tell({ ...frame, ref }))
        giveUp(
          new HeartLinkError("closed", "There is no connection at the moment.", { fix: "Try again in a moment." }),
        );
    });
  }

  #answered(frame) {
    const asked = this.#asked.get(frame.ref);
    this.#asked.delete(frame.ref);
    if (frame.type === "error") asked.giveUp(HeartLinkError.fromFrame(frame));
    else asked.settle(frame);
  }

  /** Signals are not waited for, but sent again when there were too many at once. */
  #signal(call, kind, data) {
    if (!call.peer || call.isOver) return;
    const frame = { type: "call_signal", call_id: call.id, to: call.peer.id, kind, data };
    this.#ask(frame).catch((error) => {
      if (error.code !== "rate_limited" || call.isOver) return;
      setTimeout(() => this.#signal(call, kind, data), (error.retryAfterSeconds ?? 0) * 1000 + RATE_PAUSE_MS);
    });
  }

  // --- what arrives

  #receive(frame) {
    if (frame.ref && this.#asked.has(frame.ref)) this.#answered(frame);
    else if (frame.type === "video_call_invite") this.#ring(frame);
    else if (frame.type === "video_call_status") this.#hearStatus(frame);
    else if (frame.type === "call_signal" && frame.call_id === this.current?.id) this.current.hear(frame);
  }

  #ring(frame) {
    if (frame.user_id === this.#room.me.id || frame.call_id === this.current?.id) return;
    this.ringing = frame;
    this.emit("ringing", frame);
  }

  #hearStatus(frame) {
    const isOver = frame.status === "ended" || frame.status === "expired";
    const isMine = frame.user_id === this.#room.me.id;
    if (frame.call_id === this.ringing?.call_id) {
      const isTaken = frame.status === "joined" && frame.user_id !== this.ringing.user_id;
      if (isOver || isTaken || (frame.status === "declined" && isMine)) this.#stopRinging(frame);
    }
    const call = this.current;
    if (!call?.id || frame.call_id !== call.id) return;
    if (isOver) this.#end(call, frame);
    else if (frame.status === "joined" && isMine) this.#end(call, { reason: "moved" });
    else call.hearStatus(frame);
  }

  /** The connection to the server is back: so is one's place in the call, if it still runs. */
  async #follow(name) {
    if (name === "waiting" || name === "stopped") this.#wasLost = true;
    if (name === "stopped" && this.current) this.#end(this.current, { reason: "lost" });
    if (name === "waiting") this.#stopRinging(null);
    if (name !== "live" || !this.#wasLost) return;
    this.#wasLost = false;
    const call = this.current;
    if (!call?.id) return;
    try {
      await this.#ask({ type: "video_call_status", call_id: call.id, status: "joined" });
      call.resync();
    } catch (error) {
      if (!error.isTemporary) this.#end(call, { reason: "lost" });
    }
  }
}

/**
 * One call, from the first ring to its end.
 *
 * `state` is {name, reason?}: "starting" | "calling" (it rings there) | "connecting" | "connected" | "reconnecting" | "over".
 * Events: `state`, `peer` (the other one's {audio, video, screen} changed), `stream` MediaStream, `status` (frames that change nothing
 * here: `busy`, `declined` in a group).
 */
export class Call extends Emitter {
  #link = null;
  #PeerConnection;
  #iceServers;
  #signal;
  #hangUp;
  #tracks = { audio: null, video: null };
  #deadline = null;
  #isPeerAway = false;

  /** Made by `Calls`. */
  constructor({ id = null, media, isCaller, peer, PeerConnection, iceServers, signal, hangUp }) {
    super();
    this.id = id;
    this.media = media;
    this.isCaller = isCaller;
    /** {id, username} of the other one; null until somebody has answered */
    this.peer = peer;
    /** What the other one sends */
    this.remote = { ...NOTHING_ON };
    /** Whether it said so; clients of others may not */
    this.isRemoteKnown = false;
    /** What is sent from here */
    this.local = { ...NOTHING_ON };
    this.stream = null;
    /** epoch ms of the answer */
    this.answeredAt = null;
    this.state = { name: "starting" };
    this.#PeerConnection = PeerConnection;
    this.#iceServers = iceServers;
    this.#signal = signal;
    this.#hangUp = hangUp;
  }

  get isOver() {
    return this.state.name === "over";
  }

  /** What `Calls.resume` takes; null before somebody has answered. */
  get place() {
    const { id, media, isCaller, peer } = this;
    return peer ? { id, media, isCaller, peer } : null;
  }

  hangUp() {
    if (!this.isOver) this.#hangUp();
  }

  /** @param {"audio" | "video"} kind @param {MediaStreamTrack | null} track what is sent from now on */
  async setTrack(kind, track) {
    this.#tracks[kind] = track;
    await this.#link?.setTrack(kind, track);
  }

  /** Says what is sent, for the other one to see. @param {{audio?: boolean, video?: boolean, screen?: boolean}} changes */
  announce(changes) {
    this.local = { ...this.local, ...changes };
    this.#tellState();
  }

  /** The network has changed. */
  networkChanged() {
    this.#link?.restart();
  }

  stats() {
    return this.#link ? this.#link.stats() : Promise.resolve(new Map());
  }

  // --- called by Calls

  toState(name, more = {}) {
    if (this.isOver || (name === this.state.name && name !== "over")) return;
    // Somebody may have answered before the news that it rings had arrived.
    if (name === "calling" && this.state.name !== "starting") return;
    this.state = { name, ...more };
    this.emit("state", this.state);
  }

  /** Both are in it. */
  open() {
    this.answeredAt = Date.now();
    this.#link = new PeerLink({
      PeerConnection: this.#PeerConnection,
      iceServers: this.#iceServers,
      isCaller: this.isCaller,
      send: (kind, data) => this.#signal(kind, data),
    });
    this.#link.on("stream", (stream) => {
      this.stream = stream;
      this.emit("stream", stream);
    });
    this.#link.on("state", (state) => this.#follow(state));
    for (const [kind, track] of Object.entries(this.#tracks)) this.#link.setTrack(kind, track);
    this.toState("connecting");
    this.#awaitConnection();
    this.#link.open();
    this.#tellState();
  }

  over(how) {
    clearTimeout(this.#deadline);
    this.toState("over", how);
    this.#link?.close();
    this.#link = null;
  }

  resync() {
    this.#tellState();
    this.#link?.resync();
  }

  hear({ from, kind, data }) {
    if (from !== this.peer?.id || !this.#link) return;
    if (kind === "state") {
      this.remote = { audio: Boolean(data?.audio), video: Boolean(data?.video), screen: Boolean(data?.screen) };
      this.isRemoteKnown = true;
      this.emit("peer", this.remote);
    }
    this.#link.hear(kind, data);
  }

  hearStatus(frame) {
    if (frame.status === "joined" && !this.peer) {
      this.peer = { id: frame.user_id, username: frame.username };
      this.open();
    } else if (frame.user_id === this.peer?.id && frame.status === "joined") {
      this.#isPeerAway = false;
      this.resync();
      this.#follow(this.#link?.connectionState);
    } else if (frame.user_id === this.peer?.id && frame.status === "reconnecting") {
      this.#isPeerAway = true;
      this.toState("reconnecting");
    } else this.emit("status", frame);
  }

  #tellState() {
    if (this.#link) this.#signal("state", { ...this.local, session: this.#link.session });
  }

  #follow(state) {
    if (state === "connected") {
      clearTimeout(this.#deadline);
      this.#deadline = null;
      if (!this.#isPeerAway) this.toState("connected");
    } else if (state === "disconnected" || state === "failed") {
      this.toState(this.state.name === "connecting" ? "connecting" : "reconnecting");
      this.#awaitConnection();
    }
  }

  /** Two networks that do not reach each other would wait for ever. */
  #awaitConnection() {
    this.#deadline ??= setTimeout(() => {
      this.hangUpBecause("unreachable");
    }, CONNECT_WITHIN_MS);
  }

  hangUpBecause(reason) {
    if (this.isOver) return;
    const hangUp = this.#hangUp;
    this.toState("over", { reason });
    hangUp();
  }
}
