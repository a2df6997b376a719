/** A call on the screen: both pictures, what the other one has switched off, the state in words, and the buttons. */
import { durationText } from "./call_line.js";
import { canShareScreen } from "./call_media.js";
import { avatar, el, icon, iconButton, t } from "./ui.js";

const NARROW = matchMedia("(max-width: 759px)");

export class CallPanel {
  #place = document.getElementById("call");
  #actions;
  #parts = {};
  #call = null;
  #name = "";
  #mode = "docked";
  #ticking = null;

  /**
   * @param {{microphone: Function, camera: Function, screen: Function, hangUp: Function}} actions what the buttons do
   */
  constructor(actions) {
    this.#actions = actions;
    document.addEventListener("fullscreenchange", () => this.#drawButtons());
  }

  /** @param {import("../lib/call.js").Call} call @param {{id: string, name: string, url: string}} other */
  show(call, other, { takesFocus = true } = {}) {
    this.#call = call;
    this.#name = other.name;
    this.#mode = NARROW.matches ? "full" : "docked";
    this.#build(other);
    this.#place.hidden = false;
    clearInterval(this.#ticking);
    this.#ticking = setInterval(() => this.#tick(), 1000);
    this.draw();
    if (takesFocus) this.#place.focus({ preventScroll: true });
  }

  hide() {
    clearInterval(this.#ticking);
    const hadFocus = this.#place.contains(document.activeElement);
    if (document.fullscreenElement === this.#place) document.exitFullscreen().catch(() => {});
    for (const video of this.#place.querySelectorAll("video")) video.srcObject = null;
    this.#place.hidden = true;
    this.#place.replaceChildren();
    if (hadFocus) document.getElementById("message-input").focus({ preventScroll: true });
    this.#call = null;
  }

  #build(other) {
    const video = (className, more) => el("video", { class: className, autoplay: true, playsinline: true, ...more });
    const parts = (this.#parts = {
      remote: video("call-remote", { "aria-label": t("Video of {name}", { name: other.name }) }),
      local: video("call-local", { muted: true, "aria-label": t("Your own video") }),
      face: el("div", { class: "call-face" }, avatar(other), el("b", {}, other.name)),
      words: el("p", { class: "call-words", role: "status" }),
      time: el("p", { class: "call-time", role: "timer", "aria-label": t("Duration") }),
      signs: el("p", { class: "call-signs", role: "status" }),
      quality: el("p", { class: "call-quality", role: "status" }),
      problem: el("p", { class: "call-problem", role: "alert", hidden: true }),
      microphone: iconButton("mic", "", () => this.#actions.microphone()),
      camera: iconButton("camera", "", () => this.#actions.camera()),
      screen: canShareScreen()
        ? iconButton("screen", "", () => this.#actions.screen(), { class: "icon-button extra" })
        : null,
      size: iconButton("shrink", "", () => this.#resize()),
      whole: iconButton("expand", "", () => this.#toggleFullscreen(), { class: "icon-button extra" }),
      hangUp: iconButton("hang-up", t("Hang up"), () => this.#actions.hangUp(), { class: "icon-button hang-up" }),
      hear: el("button", { type: "button", class: "button call-hear", hidden: true }, t("Turn on the sound")),
    });
    parts.local.muted = true;
    parts.remote.addEventListener("resize", () => this.draw());
    parts.hear.addEventListener("click", () => this.#play());
    const buttons = [parts.microphone, parts.camera, parts.screen, parts.size, parts.whole, parts.hangUp].filter(
      Boolean,
    );
    this.#place.setAttribute("aria-label", t("Call with {name}", { name: other.name }));
    this.#place.replaceChildren(
      el(
        "div",
        { class: "call-stage" },
        parts.remote,
        parts.face,
        parts.local,
        el("div", { class: "call-said" }, parts.words, parts.time, parts.quality),
        parts.signs,
        parts.hear,
      ),
      parts.problem,
      el("div", { class: "call-bar", role: "toolbar", "aria-label": t("Call") }, ...buttons),
    );
  }

  // --- what is shown

  /** Draws everything that the call's state decides. */
  draw() {
    const call = this.#call;
    if (!call) return;
    const { state, remote, local } = call;
    this.#place.dataset.state = state.name;
    this.#place.dataset.mode = this.#mode;
    const isSeen = state.name !== "over" && call.stream && this.#isPictureThere(call);
    this.#place.dataset.remote = isSeen ? (remote.screen ? "screen" : "video") : "none";
    this.#place.dataset.local = local.screen ? "screen" : local.video ? "video" : "none";
    this.#parts.local.hidden = state.name === "over" || (!local.video && !local.screen);
    this.#say(this.#parts.words, stateWords(state, this.#name));
    this.#say(this.#parts.signs, state.name === "connected" ? this.#signs(call) : "");
    this.#drawButtons();
    this.#tick();
  }

  /** Clients of others do not say what they send: then the picture speaks for itself. */
  #isPictureThere(call) {
    return call.isRemoteKnown ? call.remote.video || call.remote.screen : this.#parts.remote.videoWidth > 0;
  }

  #signs({ remote, isRemoteKnown }) {
    if (!isRemoteKnown) return "";
    const signs = [];
    if (!remote.audio) signs.push(t("{name} is muted", { name: this.#name }));
    if (remote.screen) signs.push(t("{name} shares the screen", { name: this.#name }));
    else if (!remote.video && this.#call.media === "video")
      signs.push(t("{name}'s camera is off", { name: this.#name }));
    return signs.join(" · ");
  }

  #say(place, words) {
    if (place.textContent !== words) place.textContent = words;
  }

  #tick() {
    const { answeredAt, state } = this.#call ?? {};
    const isRunning = answeredAt && state.name !== "over";
    this.#parts.time.textContent = isRunning ? durationText((Date.now() - answeredAt) / 1000) : "";
  }

  #drawButtons() {
    const call = this.#call;
    if (!call) return;
    const { local } = call;
    const isOver = call.state.name === "over";
    drawButton(
      this.#parts.microphone,
      local.audio ? "mic" : "mic-off",
      local.audio ? t("Mute") : t("Unmute"),
      !local.audio,
    );
    const cameraWords = local.video ? t("Turn the camera off") : t("Turn the camera on");
    drawButton(this.#parts.camera, local.video ? "camera" : "camera-off", cameraWords, !local.video);
    const screenWords = local.screen ? t("Stop sharing the screen") : t("Share the screen");
    if (this.#parts.screen) drawButton(this.#parts.screen, "screen", screenWords, local.screen);
    const isMini = this.#mode === "mini";
    drawButton(
      this.#parts.size,
      isMini ? "grow" : "shrink",
      isMini ? t("Make the call larger") : t("Make the call smaller"),
    );
    const isWhole = document.fullscreenElement === this.#place;
    drawButton(this.#parts.whole, "expand", isWhole ? t("Leave the full screen") : t("Full screen"), isWhole);
    for (const name of ["microphone", "camera", "screen", "hangUp"])
      if (this.#parts[name]) this.#parts[name].disabled = isOver;
  }

  /** @param {"good" | "weak" | "bad"} quality */
  drawQuality(quality) {
    this.#place.dataset.quality = quality;
    const words = { good: "", weak: t("The connection is weak"), bad: t("The connection is very weak") };
    this.#say(this.#parts.quality, words[quality]);
  }

  /** @param {{sentence: string, fix: string} | null} problem */
  drawProblem(problem) {
    this.#parts.problem.hidden = !problem;
    this.#parts.problem.replaceChildren(
      ...(problem ? [problem.sentence, " ", el("span", { class: "fix" }, problem.fix)] : []),
    );
  }

  showLocal(track) {
    if (this.#call) this.#parts.local.srcObject = track ? new MediaStream([track]) : null;
  }

  showRemote(stream) {
    if (this.#parts.remote.srcObject !== stream) this.#parts.remote.srcObject = stream;
    this.#play();
    this.draw();
  }

  /** A page that nobody has touched may not make a sound: then a button asks for it. */
  async #play() {
    try {
      await this.#parts.remote.play();
      this.#parts.hear.hidden = true;
    } catch (error) {
      if (error.name === "NotAllowedError") this.#parts.hear.hidden = false;
    }
  }

  // --- its size

  #resize() {
    this.#mode = this.#mode === "mini" ? (NARROW.matches ? "full" : "docked") : "mini";
    this.draw();
  }

  async #toggleFullscreen() {
    if (document.fullscreenElement) await document.exitFullscreen();
    else {
      if (this.#mode === "mini") this.#resize();
      await this.#place.requestFullscreen?.().catch(() => {});
    }
  }
}

function drawButton(button, drawing, words, isPressed = null) {
  if (button.dataset.drawing !== drawing) button.replaceChildren(icon(drawing));
  button.dataset.drawing = drawing;
  button.setAttribute("aria-label", words);
  button.title = words;
  if (isPressed !== null) button.classList.toggle("is-off", isPressed);
}

/** @param {{name: string, reason?: string}} state @param {string} name of the other one */
export function stateWords({ name: state, reason }, name) {
  const words = {
    starting: () => t("Starting…"),
    calling: () => t("Calling {name}…", { name }),
    connecting: () => t("Connecting…"),
    connected: () => t("In a call with {name}", { name }),
    reconnecting: () => t("The connection is interrupted. Reconnecting…"),
    over: () => endWords(reason, name),
  };
  return words[state]();
}

function endWords(reason, name) {
  const words = {
    declined: () => t("{name} declined", { name }),
    no_answer: () => t("No answer"),
    busy: () => t("{name} is in another call", { name }),
    cancelled: () => t("Cancelled"),
    lost: () => t("The connection was lost: the call is over"),
    revoked: () => t("The call is over: somebody may no longer be in this room"),
    signed_out: () => t("The call is over: somebody signed out"),
    room_ended: () => t("The call is over: the room was ended"),
    moved: () => t("The call goes on in another window"),
    unreachable: () => t("The two networks do not reach each other. The operator can set up a TURN server."),
  };
  return (words[reason] ?? (() => t("The call is over")))();
}
