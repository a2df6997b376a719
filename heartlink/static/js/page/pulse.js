/** The heartbeat line: it beats with what the server really sends, and lies flat when the connection is lost. */
import { svgPath } from "./ui.js";

const SPEED_PX_PER_SECOND = 62;
const STILL_BEAT_MS = 900;
const BEAT_WIDTH_PX = 84;
/** Heights of the peaks: a sign of life is small, somebody's words are tall. */
const BEATS = {
  pong: "M0 20H26l4-3 4 3h4l5-9 6 15 4-6h5l4-3 4 3h22",
  heartbeat: "M0 20H22l5-4 5 4h4l3 3 6-17 7 26 4-12h5l5-4 5 4h13",
  greeting: "M0 20H22l5-4 5 4h4l3 3 6-17 7 26 4-12h5l5-4 5 4h13",
  message: "M0 20H20l5-5 5 5h4l3 4 7-22 8 34 5-16h5l5-5 5 5h12",
};

const line = document.querySelector(".pulse");
const words = document.getElementById("connection-words");
const wantsStillness = matchMedia("(prefers-reduced-motion: reduce)");
let lastBeatAt = -Infinity;
let waiting = null;

/** @param {"pong" | "heartbeat" | "greeting" | "message"} kind */
export function beat(kind) {
  const now = performance.now();
  if (document.hidden || waiting) return;
  const roomInMs = lastBeatAt + (BEAT_WIDTH_PX / SPEED_PX_PER_SECOND) * 1000 - now;
  if (roomInMs > 0) {
    if (kind === "message") waiting = setTimeout(beatLate, roomInMs, kind);
    return;
  }
  lastBeatAt = now;
  const drawing = svgPath("beat", "0 0 84 40", BEATS[kind] ?? BEATS.pong);
  line.classList.toggle("still", wantsStillness.matches);
  line.append(drawing);
  const distance = line.clientWidth + BEAT_WIDTH_PX;
  const animation = wantsStillness.matches
    ? drawing.animate([{ opacity: 0.4 }, { opacity: 1 }, { opacity: 0.4 }], STILL_BEAT_MS)
    : drawing.animate(
        [{ transform: "translateX(0)" }, { transform: `translateX(${-distance}px)` }],
        (distance / SPEED_PX_PER_SECOND) * 1000,
      );
  animation.onfinish = animation.oncancel = () => drawing.remove();
}

/** Words are never passed over: they follow as soon as there is room on the line. */
function beatLate(kind) {
  waiting = null;
  beat(kind);
}

/** @param {"idle" | "connecting" | "catching_up" | "live" | "waiting" | "stopped" | "unsaved"} state */
export function showConnection(state, sentence, title = "") {
  line.dataset.state = state;
  words.dataset.state = state;
  if (words.textContent !== sentence) words.textContent = sentence;
  words.title = title;
  if (state === "waiting" || state === "stopped") for (const old of line.querySelectorAll(".beat")) old.remove();
}
