/** The microphone button: hold it to talk and let go to send, slide away to cancel; or click it and talk freely. */
import { el, explain, icon, iconButton, t, toast } from "./ui.js";
import { pauseVoices } from "./voice_player.js";
import { MicrophoneError, MOST_SECONDS, Recorder } from "./voice_recorder.js";
import { clockText, drawWave } from "./voice_wave.js";

const CLICK_MS = 350;
const LEAST_SECONDS = 0.7;
const SLIDE_PX = 90;
const LOCK_PX = 60;
const SAY_SO_MS = 2000;
const WARN_SECONDS = 30;
const BARS_SHOWN = 160;

export class VoiceButton {
  #room;
  #composer;
  #button = document.getElementById("voice-button");
  #row = document.getElementById("composer").querySelector(".composer-row");
  #bar = null;
  #parts = {};
  #recorder = null;
  /** "idle" | "asking" | "held" | "free" | "review" */
  #state = "idle";
  #press = null;
  #sayingSo = null;
  #made = null;
  #preview = null;

  /**
   * @param {import("../lib/room.js").Room} room
   * @param {{takeReply: () => object | null, focus: () => void}} composer
   */
  constructor(room, composer) {
    this.#room = room;
    this.#composer = composer;
    const button = this.#button;
    button.addEventListener("pointerdown", (event) => this.#pressed(event));
    button.addEventListener("pointermove", (event) => this.#moved(event));
    button.addEventListener("pointerup", (event) => this.#released(event));
    button.addEventListener("pointercancel", () => this.#press && this.#cancel());
    button.addEventListener("contextmenu", (event) => this.#press && event.preventDefault());
    // By keyboard, or by a screen reader: a click that no pointer has made.
    button.addEventListener("click", (event) => !event.detail && this.#state === "idle" && this.#begin("free"));
    addEventListener("keydown", (event) => this.#keyed(event), { capture: true });
    addEventListener("beforeunload", (event) => this.#state !== "idle" && event.preventDefault());
    const follow = () => this.#state !== "idle" && !this.#mayTalk && this.#cancel();
    room.on("capabilities", follow);
    room.on("ended", follow);
  }

  get #mayTalk() {
    return this.#room.can("chat.send") && this.#room.info.status !== "ended";
  }

  // --- the button

  #pressed(event) {
    if (event.button || this.#button.disabled || this.#state !== "idle") return;
    this.#button.setPointerCapture(event.pointerId);
    this.#press = { x: event.clientX, y: event.clientY, at: performance.now() };
    this.#begin("held");
  }

  #moved(event) {
    if (!this.#press || this.#state !== "held") return;
    const isRightToLeft = getComputedStyle(this.#row).direction === "rtl";
    const left = (this.#press.x - event.clientX) * (isRightToLeft ? -1 : 1);
    if (this.#press.y - event.clientY > LOCK_PX) {
      this.#press = null;
      this.#enter("free");
      return;
    }
    this.#press.isAway = left > SLIDE_PX;
    this.#bar.classList.toggle("away", this.#press.isAway);
    this.#bar.style.setProperty("--slide", `${Math.min(0, -left)}px`);
    this.#parts.hint.textContent = this.#press.isAway ? t("Let go to cancel") : t("Slide left to cancel, up to lock");
  }

  #released() {
    const press = this.#press;
    this.#press = null;
    if (!press) return;
    const isClick = performance.now() - press.at < CLICK_MS;
    if (this.#state === "asking") this.#wish = isClick ? "free" : "nothing";
    else if (this.#state !== "held") return;
    else if (press.isAway) this.#cancel();
    else if (isClick) this.#enter("free");
    else if (this.#recorder.seconds < LEAST_SECONDS) this.#cancel(t("Hold the button while you talk, or click it once."));
    else this.#send();
  }

  #keyed(event) {
    if (this.#state === "idle" || event.key !== "Escape" || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    event.stopPropagation();
    this.#cancel();
  }

  // --- the recording

  /** What shall be once the microphone is there: it may take a question to the user. */
  #wish = "nothing";

  async #begin(wish) {
    pauseVoices();
    this.#wish = wish;
    this.#state = "asking";
    this.#button.setAttribute("aria-pressed", "true");
    let recorder;
    try {
      recorder = await Recorder.start({
        onLevel: (level, seconds) => this.#showLevel(level, seconds),
        onEnd: () => this.#review(),
      });
    } catch (error) {
      this.#reset();
      tellWhy(error);
      return;
    }
    this.#recorder = recorder;
    if (this.#wish === "nothing" || this.#wish === "cancelled" || !this.#mayTalk) {
      await this.#cancel(this.#wish === "nothing" ? t("The microphone is ready: hold the button and talk.") : "");
      return;
    }
    this.#drawBar();
    this.#enter(this.#wish);
    this.#sayingSo = setInterval(() => this.#room.typing("voice"), SAY_SO_MS);
    this.#room.stopTyping();
    this.#room.typing("voice");
  }

  #enter(state) {
    this.#state = state;
    this.#bar.dataset.state = state;
    this.#bar.classList.remove("away");
    this.#parts.hint.textContent = t("Slide left to cancel, up to lock");
    if (state === "free") this.#parts.send.focus();
  }

  #showLevel(level, seconds) {
    if (!this.#bar) return;
    const { levels, time } = this.#parts;
    const bar = levels.firstElementChild;
    bar.style.height = `${12 + level * 88}%`;
    levels.append(bar);
    const left = MOST_SECONDS - seconds;
    time.textContent = left > WARN_SECONDS ? clockText(Math.floor(seconds)) : t("{time} left", { time: clockText(left) });
    time.classList.toggle("ending", left <= WARN_SECONDS);
  }

  async #finish() {
    clearInterval(this.#sayingSo);
    const recorder = this.#recorder;
    this.#recorder = null;
    this.#room.stopTyping();
    return recorder ? recorder.stop() : null;
  }

  /** Stops, and lets one listen before it is sent. */
  async #review() {
    if (this.#state !== "held" && this.#state !== "free") return;
    this.#press = null;
    this.#state = "review";
    this.#made = await this.#finish();
    if (!this.#made) return this.#reset();
    this.#drawReview(this.#made);
  }

  async #send() {
    if (this.#state === "idle" || this.#state === "asking") return;
    const made = this.#state === "review" ? this.#made : await this.#finish();
    if (!made) return this.#reset();
    const { blob, ending, duration, waveform } = made;
    try {
      const name = `voice-${stamp(new Date())}.${ending}`;
      this.#room.sendFile(blob, { name, kind: "voice", duration, waveform, replyTo: this.#composer.takeReply() });
    } catch (error) {
      const { sentence, fix } = explain(error);
      toast(sentence, fix);
      this.#state = "review";
      this.#made = made;
      this.#drawReview(made);
      return;
    }
    this.#reset();
  }

  async #cancel(because = "") {
    clearInterval(this.#sayingSo);
    const recorder = this.#recorder;
    const isLate = this.#state === "asking" && !recorder;
    if (isLate) this.#wish = "cancelled";
    else this.#reset();
    if (because) toast(because);
    await recorder?.cancel();
  }

  #reset() {
    const hadFocus = this.#bar?.contains(document.activeElement);
    clearInterval(this.#sayingSo);
    if (this.#recorder || this.#made) this.#room.stopTyping();
    this.#state = "idle";
    this.#press = this.#recorder = this.#made = null;
    this.#preview?.pause();
    if (this.#preview) URL.revokeObjectURL(this.#preview.src);
    this.#preview = null;
    this.#bar?.remove();
    this.#bar = null;
    this.#row.classList.remove("recording");
    for (const behind of this.#row.children) behind.inert = false;
    this.#button.setAttribute("aria-pressed", "false");
    if (hadFocus) this.#composer.focus();
  }

  // --- the bar in the composer's place

  #drawBar() {
    const levels = el("div", { class: "voice-levels", "aria-hidden": "true" });
    levels.append(...Array.from({ length: BARS_SHOWN }, () => el("i")));
    const time = el("span", { class: "voice-clock", role: "timer" }, clockText(0));
    const hint = el("span", { class: "voice-hint" });
    const send = el(
      "button",
      { type: "button", class: "send-button voice-send", "aria-label": t("Send"), title: t("Send"), on: { click: () => this.#send() } },
      icon("send"),
      icon("mic"),
    );
    const stop = iconButton("stop", t("Stop and listen"), () => this.#review(), { class: "icon-button voice-stop" });
    const cancel = iconButton("trash", t("Cancel the recording"), () => this.#cancel(), { class: "icon-button voice-cancel" });
    this.#parts = { levels, time, hint, send, stop };
    this.#bar = el(
      "div",
      { class: "voice-bar", role: "group", "aria-label": t("Voice recording") },
      cancel,
      el("span", { class: "voice-lamp", "aria-hidden": "true" }),
      time,
      levels,
      hint,
      stop,
      send,
    );
    // The button stays where it is, for it holds the pointer; nothing else behind the bar is in reach.
    for (const behind of this.#row.children) if (behind !== this.#button) behind.inert = true;
    this.#row.classList.add("recording");
    this.#row.append(this.#bar);
    document.getElementById("refusal-news").textContent = t("Recording. Escape cancels, Enter sends.");
  }

  #drawReview({ blob, duration, waveform }) {
    const preview = (this.#preview = new Audio(URL.createObjectURL(blob)));
    const button = el("button", { type: "button", class: "voice-play" }, icon("play"), icon("pause"));
    const wave = drawWave({
      waveform,
      duration: () => duration,
      position: () => preview.currentTime,
      seek: (seconds) => (preview.currentTime = seconds),
    });
    const show = () => {
      this.#bar?.classList.toggle("playing", !preview.paused);
      button.setAttribute("aria-label", preview.paused ? t("Play the voice message") : t("Pause"));
      wave.show(preview.currentTime);
      this.#parts.time.textContent = clockText(preview.currentTime || duration);
    };
    button.addEventListener("click", () => (preview.paused ? preview.play().catch(() => {}) : preview.pause()));
    for (const event of ["play", "pause", "timeupdate", "seeked", "ended"]) preview.addEventListener(event, show);
    this.#bar.dataset.state = "review";
    this.#parts.time.classList.remove("ending");
    this.#parts.levels.replaceWith(button, wave.element);
    this.#parts.stop.remove();
    this.#bar.classList.add("voice");
    show();
    this.#parts.send.focus();
  }
}

const TROUBLES = {
  refused: ["This page may not use the microphone.", "Allow it beside the address of the page, then try again."],
  missing: ["No microphone was found.", "Connect one, then try again."],
  busy: ["The microphone cannot be used now.", "Another program may be using it: close that, then try again."],
  insecure: ["The browser only records on safe pages.", "Open this page by https, or as localhost."],
  unsupported: ["This browser cannot record.", "Use a newer one, or send a sound as a file."],
  failed: ["The recording did not begin.", "Try again."],
};

function tellWhy(error) {
  const [sentence, fix] = TROUBLES[error instanceof MicrophoneError ? error.reason : "failed"];
  toast(t(sentence), t(fix));
}

function stamp(date) {
  const two = (number) => String(number).padStart(2, "0");
  const day = [date.getFullYear(), date.getMonth() + 1, date.getDate()].map(two).join("");
  return `${day}-${[date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join("")}`;
}
