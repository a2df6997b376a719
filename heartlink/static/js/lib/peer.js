import { Emitter } from "./emitter.js";

const KINDS = ["audio", "video"];
const DISCONNECTED_PATIENCE_MS = 2500;

/**
 * The media connection of one call: an RTCPeerConnection that is kept right through changed networks, offers that
 * cross each other, and another page of the peer taking its place. No DOM.
 *
 * One audio and one video line are always there, both ways: muting, another camera and sharing the screen only change
 * what is sent over them, without a new negotiation. The caller makes the first offer; where two offers cross, the
 * callee gives way ("perfect negotiation"). Every description names the *session* it belongs to, one for each
 * RTCPeerConnection, so that what was meant for an earlier one is not mistaken for news.
 *
 * Events: `state` (the connectionState of RTCPeerConnection), `stream` MediaStream: what the peer sends.
 */
export class PeerLink extends Emitter {
  #PeerConnection;
  #iceServers;
  #isCaller;
  #send;
  #pc = null;
  #session = "";
  #remoteSession = null;
  #tracks = { audio: null, video: null };
  #stream = null;
  #isOffering = false;
  #ignoresOffer = false;
  #queue = Promise.resolve();
  #patience = null;

  /**
   * @param {object} options
   * @param {typeof RTCPeerConnection} options.PeerConnection
   * @param {object[]} options.iceServers as the greeting told them
   * @param {boolean} options.isCaller
   * @param {(kind: "offer" | "answer" | "candidate", data: object) => void} options.send
   */
  constructor({ PeerConnection, iceServers, isCaller, send }) {
    super();
    this.#PeerConnection = PeerConnection;
    this.#iceServers = iceServers;
    this.#isCaller = isCaller;
    this.#send = send;
  }

  /** What stands in a `state` signal, so that the peer knows which connection speaks. */
  get session() {
    return this.#session;
  }

  get connectionState() {
    return this.#pc?.connectionState ?? "new";
  }

  /** Begins; call once the peer has joined. */
  open() {
    this.#make();
    if (this.#isCaller) this.#offerLines();
  }

  close() {
    clearTimeout(this.#patience);
    this.#pc?.close();
    this.#pc = null;
  }

  /** What is sent from now on; null: nothing. @param {"audio" | "video"} kind @param {MediaStreamTrack | null} track */
  async setTrack(kind, track) {
    this.#tracks[kind] = track;
    await this.#senderOf(kind)?.replaceTrack(track);
  }

  /** A signal from the peer; they are taken one after the other. */
  hear(kind, data) {
    this.#queue = this.#queue
      .then(() => this.#pc && this.#take(kind, data))
      .catch((error) => {
        // What cannot be used is left: the next offer begins anew.
        if (this.#pc) globalThis.console?.debug?.("a signal could not be used", kind, error);
      });
    return this.#queue;
  }

  /** The peer or this side is back after a while: what was sent meanwhile is lost. */
  resync() {
    const pc = this.#pc;
    if (!pc) return;
    if (pc.signalingState === "have-local-offer") this.#sendDescription("offer", pc.localDescription);
    else if (pc.connectionState !== "connected") this.restart();
  }

  /** Looks for another way to the peer: the network has changed, or the connection failed. */
  restart() {
    if (this.#pc?.remoteDescription) this.#pc.restartIce();
  }

  /** @returns {Promise<Map>} what RTCPeerConnection.getStats answers */
  async stats() {
    return this.#pc ? this.#pc.getStats() : new Map();
  }

  #make() {
    const pc = new this.#PeerConnection({ iceServers: this.#iceServers });
    this.#pc = pc;
    this.#session = randomName();
    this.#remoteSession = null;
    this.#isOffering = this.#ignoresOffer = false;
    this.#stream = new globalThis.MediaStream();
    pc.onicecandidate = ({ candidate }) => candidate && this.#tell("candidate", candidate.toJSON());
    pc.onnegotiationneeded = () => this.#offer(pc);
    pc.onconnectionstatechange = () => pc === this.#pc && this.#follow(pc.connectionState);
    pc.ontrack = ({ track }) => {
      this.#stream.addTrack(track);
      this.emit("stream", this.#stream);
    };
  }

  #offerLines() {
    for (const kind of KINDS) {
      const line = this.#pc.addTransceiver(kind, { direction: "sendrecv" });
      line.sender.replaceTrack(this.#tracks[kind]).catch(() => {});
    }
  }

  /** The peer speaks from another connection than before: so does this side. */
  #renew() {
    this.close();
    this.#make();
    if (this.#isCaller) this.#offerLines();
  }

  #senderOf(kind) {
    return this.#pc?.getTransceivers().find((line) => line.receiver.track.kind === kind)?.sender;
  }

  #tell(kind, data) {
    const to = this.#remoteSession ? { for: this.#remoteSession } : {};
    this.#send(kind, { ...data, session: this.#session, ...to });
  }

  #sendDescription(kind, { type, sdp }) {
    this.#tell(kind, { type, sdp });
  }

  async #offer(pc) {
    try {
      this.#isOffering = true;
      await pc.setLocalDescription();
      if (pc === this.#pc) this.#sendDescription(pc.localDescription.type, pc.localDescription);
    } catch (error) {
      if (pc === this.#pc && pc.signalingState !== "closed") globalThis.console?.debug?.("no offer", error);
    } finally {
      this.#isOffering = false;
    }
  }

  async #take(kind, data) {
    const { session = null, for: meant = null, ...body } = data ?? {};
    if (kind === "state" || kind === "offer") this.#meet(session);
    else if (meant !== null && meant !== this.#session) return;
    if (kind === "candidate") await this.#takeCandidate(body);
    else if (kind !== "state") await this.#takeDescription(body, session);
  }

  #meet(session) {
    if (session === null) return;
    const isAnother = this.#remoteSession !== null && this.#remoteSession !== session;
    if (isAnother) this.#renew();
    this.#remoteSession = session;
  }

  async #takeDescription(description, session) {
    const pc = this.#pc;
    const isOffer = description.type === "offer";
    const collides = isOffer && (this.#isOffering || pc.signalingState !== "stable");
    this.#ignoresOffer = this.#isCaller && collides;
    if (this.#ignoresOffer) return;
    await pc.setRemoteDescription(description);
    if (session !== null) this.#remoteSession = session;
    if (!isOffer) return;
    await this.#fillLines(pc);
    await pc.setLocalDescription();
    this.#sendDescription("answer", pc.localDescription);
  }

  /** What the caller offered is used both ways. */
  async #fillLines(pc) {
    for (const line of pc.getTransceivers()) {
      if (line.direction !== "stopped") line.direction = "sendrecv";
      await line.sender.replaceTrack(this.#tracks[line.receiver.track.kind] ?? null);
    }
  }

  async #takeCandidate(candidate) {
    try {
      await this.#pc.addIceCandidate(candidate);
    } catch (error) {
      if (!this.#ignoresOffer) throw error;
    }
  }

  #follow(state) {
    clearTimeout(this.#patience);
    if (state === "failed") this.restart();
    if (state === "disconnected") this.#patience = setTimeout(() => this.restart(), DISCONNECTED_PATIENCE_MS);
    this.emit("state", state);
  }
}

function randomName() {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(9));
  return btoa(String.fromCharCode(...bytes));
}
