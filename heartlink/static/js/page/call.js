/** Calls in the conversation: the buttons that start them, what rings, and the devices of the one that runs. */
import { Calls } from "../lib/call.js";
import { openDevices, openScreen, problemOf } from "./call_media.js";
import { CallPanel } from "./call_panel.js";
import { Quality } from "./call_quality.js";
import { startRinging, tellOutside } from "./call_sound.js";
import { avatar, el, roomTitle, t, toastError } from "./ui.js";

const OVER_SHOWN_MS = 3500;
const QUALITY_EVERY_MS = 3000;
const PLACE = "heartlink:call";

/** @param {import("../lib/room.js").Room} room @returns {Calls} */
export function wireCalls(room) {
  const calls = new Calls(room);
  new CallDesk(room, calls);
  return calls;
}

class CallDesk {
  #room;
  #calls;
  #panel;
  #buttons = ["audio", "video", "choose"].map((name) => document.getElementById(`call-${name}`));
  #ring = document.getElementById("ring");
  #stopSound = () => {};
  #camera = null;
  #microphone = null;
  #screen = null;
  #answerAtOnce = new URLSearchParams(location.search).get("call");
  #wanted = null;
  #timers = [];

  constructor(room, calls) {
    this.#room = room;
    this.#calls = calls;
    this.#panel = new CallPanel({
      microphone: () => this.#toggleMicrophone(),
      camera: () => this.#toggleCamera(),
      screen: () => this.#toggleScreen(),
      hangUp: () => calls.current?.hangUp(),
    });
    const [audio, video] = this.#buttons;
    audio.addEventListener("click", () => this.#start("audio"));
    video.addEventListener("click", () => this.#start("video"));
    const menu = document.getElementById("call-menu");
    menu.addEventListener("click", ({ target }) => {
      menu.hidePopover();
      if (target.dataset.call) this.#start(target.dataset.call);
    });
    document.getElementById("messages").addEventListener("click", (event) => {
      const media = event.target.closest("[data-call-back]")?.dataset.callBack;
      if (media) this.#start(media);
    });
    calls.on("ringing", (ring) => this.#drawRing(ring));
    calls.on("call", (call) => (call ? this.#follow(call) : this.#drawButtons()));
    for (const name of ["room", "capabilities", "people", "state"]) room.on(name, () => this.#drawButtons());
    addEventListener("online", () => calls.current?.networkChanged());
    addEventListener("pagehide", () => calls.current?.hangUp());
    addEventListener("beforeunload", (event) => calls.current && event.preventDefault());
    if (this.#answerAtOnce) history.replaceState(null, "", location.pathname);
    this.#returnAfterCrash();
    this.#drawButtons();
  }

  // --- the buttons

  #drawButtons() {
    const { kind, status } = this.#room.info;
    const isOffered = this.#calls.isPossible && kind !== "public" && status !== "ended" && this.#room.can("chat.send");
    const isFree = !this.#calls.current && this.#room.state.name === "live" && this.#room.people.members.length > 1;
    for (const button of this.#buttons) {
      button.hidden = !isOffered;
      button.disabled = !isFree;
    }
  }

  async #start(media) {
    if (this.#calls.current) return;
    this.#wanted = { audio: true, video: media === "video" };
    try {
      await this.#calls.invite({ media });
    } catch (error) {
      await this.#meetInTheMiddle(error);
    }
  }

  /** Both called at once: the other one's call is the one that rings, and it is answered. */
  async #meetInTheMiddle(error) {
    const { ringing } = this.#calls;
    if (error.code === "conflict" && ringing && error.fields?.call_id === ringing.call_id)
      await this.#answer(this.#wanted);
    else toastError(error);
  }

  /** A tab that crashed and was loaded again finds its place in the call; one that was closed has hung up. */
  #returnAfterCrash() {
    const kept = JSON.parse(sessionStorage.getItem(PLACE) ?? "null");
    sessionStorage.removeItem(PLACE);
    if (kept?.room !== this.#room.id) return;
    const stop = this.#room.on("state", async ({ name }) => {
      if (name !== "live") return;
      stop();
      // Whether the camera was on is not known any more: that is for the user to say.
      this.#wanted = { audio: true, video: false };
      await this.#calls.resume(kept.place).catch(() => {});
    });
  }

  #keepPlace(call) {
    if (call.isOver) sessionStorage.removeItem(PLACE);
    else if (call.place) sessionStorage.setItem(PLACE, JSON.stringify({ room: this.#room.id, place: call.place }));
  }

  async #answer(wanted) {
    this.#wanted = wanted;
    try {
      await this.#calls.answer();
    } catch (error) {
      toastError(error);
    }
  }

  // --- what rings

  #drawRing(ring) {
    this.#stopSound();
    this.#stopSound = () => {};
    this.#ring.hidden = !ring;
    this.#ring.replaceChildren();
    if (!ring) return;
    if (this.#answerAtOnce === ring.call_id) {
      this.#answerAtOnce = null;
      this.#answer({ audio: true, video: ring.media === "video" });
      return;
    }
    const other = this.#person(ring.user_id, ring.username);
    const title = ring.media === "video" ? t("{name} calls, with video", other) : t("{name} calls", other);
    this.#ring.append(
      avatar(other),
      el(
        "div",
        { class: "ring-text", role: "alert" },
        el("b", { id: "ring-title" }, title),
        ring.message ? el("span", {}, ring.message) : null,
      ),
      el("div", { class: "ring-actions" }, ...this.#ringButtons(ring)),
    );
    this.#stopSound = startRinging("incoming");
    tellOutside(title, ring.call_id);
  }

  #ringButtons({ media }) {
    const button = (words, className, act) =>
      el("button", { type: "button", class: className, on: { click: act } }, words);
    const answer = (video) => () => this.#answer({ audio: true, video });
    const decline = button(t("Decline"), "button danger", () => this.#calls.decline());
    if (media === "audio") return [button(t("Accept"), "button answer", answer(false)), decline];
    return [
      button(t("Accept"), "button answer", answer(true)),
      button(t("Accept without camera"), "button quiet", answer(false)),
      decline,
    ];
  }

  #person(id, username) {
    const member = this.#room.people.get(id);
    return { id, name: member?.display_name ?? username ?? "", url: member?.avatar_url ?? "" };
  }

  /** Whom one calls: the one who answered, the only other one, or the room. */
  #other(call) {
    if (call.peer) return this.#person(call.peer.id, call.peer.username);
    const others = this.#room.people.members.filter((member) => member.user_id !== this.#room.me.id);
    if (others.length === 1) return this.#person(others[0].user_id, others[0].username);
    return { id: this.#room.id, name: roomTitle({ ...this.#room.info, members: this.#room.people.members }), url: "" };
  }

  // --- the call

  #follow(call) {
    this.#clearTimers();
    this.#panel.show(call, this.#other(call));
    this.#drawButtons();
    let isNamed = Boolean(call.peer);
    call.on("state", (state) => {
      if (!isNamed && call.peer) {
        isNamed = true;
        this.#panel.show(call, this.#other(call), { takesFocus: false });
        this.#panel.showLocal(this.#screen ?? this.#camera);
      }
      this.#stopSound();
      this.#stopSound = state.name === "calling" ? startRinging("ringback") : () => {};
      this.#keepPlace(call);
      this.#panel.draw();
      if (state.name === "over") this.#over(call);
    });
    call.on("peer", () => this.#panel.draw());
    call.on("stream", (stream) => this.#panel.showRemote(stream));
    this.#openDevices(call);
    const quality = new Quality();
    const judge = async () => {
      const verdict = quality.judge(await call.stats());
      if (!call.isOver) this.#panel.drawQuality(verdict);
    };
    this.#timers.push(setInterval(() => judge().catch(() => {}), QUALITY_EVERY_MS));
  }

  #over(call) {
    this.#clearTimers();
    this.#closeDevices();
    // What was refused is told by a toast.
    if (call.state.reason === "refused") this.#panel.hide();
    else this.#timers.push(setTimeout(() => this.#panel.hide(), OVER_SHOWN_MS));
  }

  #clearTimers() {
    for (const timer of this.#timers.splice(0)) clearTimeout(timer);
  }

  // --- its devices

  async #openDevices(call) {
    const found = await openDevices(this.#wanted ?? { audio: true, video: call.media === "video" });
    if (call.isOver) {
      for (const track of [found.audio, found.video]) track?.stop();
      return;
    }
    this.#panel.drawProblem(found.problem);
    await this.#useMicrophone(call, found.audio);
    await this.#useCamera(call, found.video);
  }

  #closeDevices() {
    for (const track of [this.#microphone, this.#camera, this.#screen]) track?.stop();
    this.#microphone = this.#camera = this.#screen = null;
  }

  async #useMicrophone(call, track) {
    this.#microphone = track;
    await call.setTrack("audio", track);
    track?.addEventListener("ended", () => this.#microphone === track && this.#useMicrophone(call, null));
    call.announce({ audio: Boolean(track?.enabled) });
    this.#panel.draw();
  }

  async #useCamera(call, track) {
    if (this.#camera !== track) this.#camera?.stop();
    this.#camera = track;
    track?.addEventListener("ended", () => this.#camera === track && this.#useCamera(call, null));
    if (!this.#screen) await this.#sendPicture(call, track);
    call.announce({ video: Boolean(track) });
    this.#panel.draw();
  }

  async #useScreen(call, track) {
    this.#screen?.stop();
    this.#screen = track;
    track?.addEventListener("ended", () => this.#screen === track && this.#useScreen(call, null));
    await this.#sendPicture(call, track ?? this.#camera);
    call.announce({ screen: Boolean(track) });
    this.#panel.draw();
  }

  async #sendPicture(call, track) {
    await call.setTrack("video", track);
    this.#panel.showLocal(track);
  }

  async #toggleMicrophone() {
    const call = this.#calls.current;
    if (!call) return;
    if (!this.#microphone) {
      const { audio, problem } = await openDevices({ audio: true });
      this.#panel.drawProblem(problem);
      if (audio && !call.isOver) await this.#useMicrophone(call, audio);
      else audio?.stop();
      return;
    }
    this.#microphone.enabled = !this.#microphone.enabled;
    call.announce({ audio: this.#microphone.enabled });
    this.#panel.draw();
  }

  async #toggleCamera() {
    const call = this.#calls.current;
    if (!call) return;
    if (this.#camera) return this.#useCamera(call, null);
    const { video, problem } = await openDevices({ audio: false, video: true });
    this.#panel.drawProblem(problem);
    if (video && !call.isOver) await this.#useCamera(call, video);
    else video?.stop();
  }

  async #toggleScreen() {
    const call = this.#calls.current;
    if (!call) return;
    if (this.#screen) return this.#useScreen(call, null);
    try {
      const track = await openScreen();
      if (track && !call.isOver) await this.#useScreen(call, track);
      else track?.stop();
    } catch (error) {
      this.#panel.drawProblem({ sentence: t("The screen cannot be shared."), fix: problemOf(error, "camera").fix });
    }
  }
}
