/** Plays voice messages: one at a time, from any place, faster where one likes, and on to the next one not heard yet. */
import { el, icon, t, toast } from "./ui.js";
import { clockText, drawWave } from "./voice_wave.js";

const SPEEDS = [1, 1.5, 2];
const SPEED_KEY = "heartlink:voice-speed";
const MOST_NAMES = 3;
const MOST_DRAWN = 500;
/** Farther than any voice message reaches: asking for it makes the browser find out where the end is. */
const BEYOND_SECONDS = 1e7;

let room = null;
let audio = null;
/** What plays, or rests where it was left: {key, message: M | null, duration} */
let current = null;
const drawn = new Map();
const unreported = new Set();

/** Call once, before messages are drawn. @param {import("../lib/room.js").Room} live */
export function wireVoices(live) {
  room = live;
  audio = el("audio", { id: "voice-audio", preload: "auto", hidden: true });
  document.body.append(audio);
  for (const event of ["play", "pause", "timeupdate", "seeked"]) audio.addEventListener(event, show);
  audio.addEventListener("playing", () => current?.message && report(current.message));
  audio.addEventListener("ended", playNext);
  audio.addEventListener("error", failed);
  audio.addEventListener("loadedmetadata", learnEnd);
  room.on("message", (message) => message.is_own && becameStored(message));
  room.on("state", ({ name }) => name === "live" && reportAll());
  room.on("change", ({ message }) => message.deleted && current?.key === keyOf(message) && stop());
}

/** What played while it was on its way goes on as the message that it has become. */
function becameStored(message) {
  if (current && message.client_id && current.key === message.client_id)
    current = { ...current, key: keyOf(message), message };
}

const keyOf = (message) => String(message.id ?? message.client_id);

/**
 * @param {object} message M with a `file`, or an outbox entry with one; `listened` of others' says whether it was heard
 * @param {{url: string | (() => Promise<string | null>)}} source where the sound is
 * @returns {HTMLElement}
 */
export function drawVoice(message, { url }) {
  const key = keyOf(message);
  const voice = { key, url, message: message.id === undefined ? null : message, duration: message.file.duration ?? 0 };
  const isPlaying = () => current?.key === key;
  const button = el(
    "button",
    { type: "button", class: "voice-play", on: { click: () => toggle(voice) } },
    icon("play"),
    icon("pause"),
  );
  const wave = drawWave({
    waveform: message.file.waveform,
    duration: () => (isPlaying() ? current.duration : voice.duration),
    position: () => (isPlaying() ? audio.currentTime : 0),
    seek: (seconds) => seek(voice, seconds),
  });
  wave.element.addEventListener("keydown", (event) => {
    if (event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    toggle(voice);
  });
  const time = el("span", { class: "voice-time" });
  const speed = el("button", { type: "button", class: "voice-speed", on: { click: changeSpeed } });
  const download = el(
    "a",
    { class: "voice-download", href: typeof url === "string" ? url : null, download: message.file.name },
    t("Download"),
  );
  const element = el(
    "div",
    { class: "voice", role: "group", "aria-label": t("Voice message"), data: { voice: key } },
    button,
    wave.element,
    el("div", { class: "voice-line" }, time, listeners(message), download, speed),
  );
  const mine = { element, button, wave, time, speed, voice };
  element.classList.toggle("unheard", isUnheard(message));
  forgetGone();
  drawn.set(key, mine);
  showOne(mine);
  return element;
}

function forgetGone() {
  if (drawn.size < MOST_DRAWN) return;
  for (const [key, { element }] of drawn) if (!element.isConnected && current?.key !== key) drawn.delete(key);
}

// --- heard or not

function isUnheard(message) {
  if (message.id === undefined || message.is_own || message.deleted || unreported.has(message.id)) return false;
  return message.message_type === "voice" && !message.listened?.includes(room.me.username);
}

/** Of one's own messages: who has listened. Of others': a dot, as long as one has not. */
function listeners(message) {
  if (isUnheard(message)) return el("span", { class: "voice-dot" }, el("span", { class: "sr-only" }, t("not heard yet")));
  if (!message.is_own || !message.listened?.length) return null;
  const names = message.listened.map((name) => room.people.byName(name)?.display_name ?? name);
  const shown = names.length > MOST_NAMES ? [...names.slice(0, MOST_NAMES), `+${names.length - MOST_NAMES}`] : names;
  const words = t("heard by {names}", { names: shown.join(", ") });
  return el("span", { class: "voice-heard", title: names.join(", ") }, icon("headphones"), el("span", {}, words));
}

/** Tells the server once that it was listened to; after a lost connection, later. */
function report({ id }) {
  const message = room.timeline.get(id);
  if (!message) return;
  if (!isUnheard(message) || room.info.status === "ended") return;
  unreported.add(message.id);
  drawn.get(keyOf(message))?.element.classList.remove("unheard");
  drawn.get(keyOf(message))?.element.querySelector(".voice-dot")?.remove();
  send(message.id);
}

function reportAll() {
  for (const id of unreported) send(id);
}

async function send(id) {
  try {
    await room.listened(id);
    unreported.delete(id);
  } catch (error) {
    if (!error.isTemporary) unreported.delete(id);
  }
}

// --- playing

async function toggle(voice) {
  if (current?.key === voice.key && !audio.paused) return audio.pause();
  await bring(voice);
  play();
}

async function bring(voice, from = 0) {
  if (current?.key === voice.key) return;
  const before = current;
  current = { ...voice };
  const url = typeof voice.url === "function" ? await voice.url() : voice.url;
  if (before) showKey(before.key);
  if (current.key !== voice.key || !url) return;
  audio.src = url;
  audio.currentTime = from;
  audio.defaultPlaybackRate = audio.playbackRate = chosenSpeed();
}

function play() {
  audio.play().catch((error) => {
    if (error.name === "NotAllowedError") toast(t("The browser did not start the sound."), t("Press play once more."));
  });
}

async function seek(voice, seconds) {
  await bring(voice, seconds);
  if (current?.key !== voice.key) return;
  audio.currentTime = current.duration ? Math.min(seconds, current.duration) : seconds;
  show();
}

/** What a browser recorded does not say how long it is: the server knows, or the end has to be looked for. */
function learnEnd() {
  if (!current || current.duration) return;
  if (Number.isFinite(audio.duration)) current.duration = audio.duration;
  else {
    const place = audio.currentTime;
    const found = () => {
      if (current) current.duration = Number.isFinite(audio.duration) ? audio.duration : audio.currentTime;
      audio.currentTime = place;
    };
    audio.addEventListener("seeked", found, { once: true });
    audio.currentTime = BEYOND_SECONDS;
  }
}

function stop() {
  audio.pause();
  audio.removeAttribute("src");
  audio.load();
  current = null;
}

function failed() {
  if (!current || !audio.hasAttribute("src")) return;
  const { key } = current;
  stop();
  showKey(key);
  drawn.get(key)?.element.classList.add("failed");
  toast(t("This voice message cannot be played here."), t("Download it to listen to it."));
}

function playNext() {
  const ended = current;
  audio.currentTime = 0;
  show();
  if (!ended?.message) return;
  const next = room.timeline.messages.find((message) => message.id > ended.message.id && isUnheard(message));
  const there = next && drawn.get(keyOf(next));
  if (there?.element.isConnected) toggle(there.voice);
}

// --- speed

function chosenSpeed() {
  try {
    return SPEEDS.find((speed) => speed === Number(localStorage.getItem(SPEED_KEY))) ?? 1;
  } catch {
    return 1;
  }
}

function changeSpeed() {
  const speed = SPEEDS[(SPEEDS.indexOf(chosenSpeed()) + 1) % SPEEDS.length];
  try {
    localStorage.setItem(SPEED_KEY, String(speed));
  } catch {
    // It is not remembered, then.
  }
  audio.defaultPlaybackRate = audio.playbackRate = speed;
  for (const mine of drawn.values()) showSpeed(mine, speed);
}

function showSpeed({ speed: button }, speed = chosenSpeed()) {
  button.textContent = `${speed}×`;
  button.setAttribute("aria-label", t("Speed: {speed} times", { speed }));
}

// --- showing

function show() {
  if (current) showKey(current.key);
}

function showKey(key) {
  const mine = drawn.get(key);
  if (mine) showOne(mine);
}

function showOne(mine) {
  const { element, button, wave, time, voice } = mine;
  const isCurrent = current?.key === voice.key;
  const isPlaying = isCurrent && !audio.paused;
  const seconds = isCurrent ? audio.currentTime : 0;
  const duration = isCurrent ? current.duration : voice.duration;
  element.classList.toggle("playing", isPlaying);
  element.classList.toggle("current", isCurrent);
  button.setAttribute("aria-label", isPlaying ? t("Pause") : t("Play the voice message"));
  wave.show(seconds);
  time.textContent = isCurrent && seconds > 0 ? `-${clockText(duration - seconds)}` : clockText(duration);
  showSpeed(mine);
}

/** Nothing plays on behind a recording. */
export function pauseVoices() {
  audio?.pause();
}
