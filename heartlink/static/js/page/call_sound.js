/** The sound of a phone, made on the spot; silent until somebody has touched the page, as browsers want it. */
import { page } from "./ui.js";

const INCOMING = [
  [659, 0, 0.18],
  [784, 0.2, 0.18],
  [988, 0.4, 0.3],
];
const RINGBACK = [[440, 0, 0.9]];
const EVERY_MS = 2600;
const LOUDNESS = { incoming: 0.16, ringback: 0.05 };

/** @param {"incoming" | "ringback"} kind @returns {() => void} stops it */
export function startRinging(kind) {
  const notes = kind === "incoming" ? INCOMING : RINGBACK;
  let context = null;
  let timer = null;
  let isStopped = false;

  function begin() {
    removeEventListener("pointerdown", begin);
    removeEventListener("keydown", begin);
    if (isStopped || context || !("AudioContext" in globalThis)) return;
    context = new AudioContext();
    const round = () =>
      notes.forEach(([frequency, at, length]) => play(context, frequency, at, length, LOUDNESS[kind]));
    round();
    timer = setInterval(round, EVERY_MS);
  }

  if (navigator.userActivation?.hasBeenActive) begin();
  else {
    addEventListener("pointerdown", begin);
    addEventListener("keydown", begin);
  }
  return () => {
    isStopped = true;
    clearInterval(timer);
    removeEventListener("pointerdown", begin);
    removeEventListener("keydown", begin);
    context?.close().catch(() => {});
  };
}

function play(context, frequency, at, length, loudness) {
  const start = context.currentTime + at;
  const note = context.createOscillator();
  const level = context.createGain();
  note.frequency.value = frequency;
  level.gain.setValueAtTime(0, start);
  level.gain.linearRampToValueAtTime(loudness, start + 0.02);
  level.gain.setValueAtTime(loudness, start + length - 0.05);
  level.gain.linearRampToValueAtTime(0, start + length);
  note.connect(level).connect(context.destination);
  note.start(start);
  note.stop(start + length);
}

/** A call that comes while the page is out of sight, for those who have switched notifications on. */
export function tellOutside(title, callId) {
  if (!document.hidden || !("Notification" in window) || Notification.permission !== "granted") return;
  if (localStorage.getItem("heartlink:notify") !== page.user?.id) return;
  const note = new Notification(title, { tag: `heartlink:call:${callId}`, icon: "/static/favicon.svg" });
  note.onclick = () => {
    window.focus();
    note.close();
  };
}
