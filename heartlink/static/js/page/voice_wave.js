/** A waveform to look at, and to move in by pointer and by keyboard. */
import { el, svgPath, t } from "./ui.js";

const BARS = 48;
const STEP_PX = 4;
const HEIGHT_PX = 30;
const LEAST_PX = 2.5;
const STEP_SECONDS = 2;
const LEAP_SECONDS = 10;

/** @returns {string} e.g. "1:05" */
export function clockText(seconds) {
  const whole = Math.max(0, Math.round(seconds || 0));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/**
 * @param {object} options
 * @param {number[] | null | undefined} options.waveform 0 to 100
 * @param {(seconds: number) => void} options.seek
 * @param {() => number} options.duration seconds
 * @param {() => number} options.position seconds
 * @returns {{element: HTMLElement, show: (seconds: number) => void}}
 */
export function drawWave({ waveform, seek, duration, position }) {
  const d = barsPath(resampled(waveform?.length ? waveform : [18], BARS));
  const box = `0 0 ${BARS * STEP_PX} ${HEIGHT_PX}`;
  const bars = svgPath("voice-bars", box, d);
  const played = svgPath("voice-bars played", box, d);
  for (const drawing of [bars, played]) drawing.setAttribute("preserveAspectRatio", "none");
  const element = el(
    "div",
    {
      class: "voice-wave",
      role: "slider",
      tabindex: "0",
      "aria-label": t("Position in the voice message"),
      "aria-valuemin": "0",
    },
    bars,
    played,
  );
  const show = (seconds) => {
    const whole = duration();
    const share = whole ? Math.min(1, seconds / whole) : 0;
    played.style.clipPath = `inset(0 ${(1 - share) * 100}% 0 0)`;
    element.setAttribute("aria-valuemax", String(Math.round(whole)));
    element.setAttribute("aria-valuenow", String(Math.round(Math.min(seconds, whole))));
    const values = { position: clockText(seconds), duration: clockText(whole) };
    element.setAttribute("aria-valuetext", t("{position} of {duration}", values));
  };
  const seekTo = (event) => {
    const frame = element.getBoundingClientRect();
    seek(Math.min(1, Math.max(0, (event.clientX - frame.left) / frame.width)) * duration());
  };
  element.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    element.setPointerCapture(event.pointerId);
    seekTo(event);
  });
  element.addEventListener("pointermove", (event) => element.hasPointerCapture(event.pointerId) && seekTo(event));
  element.addEventListener("keydown", (event) => {
    const to = placeByKey(event.key, position(), duration());
    if (to === null) return;
    event.preventDefault();
    event.stopPropagation();
    seek(Math.min(duration(), Math.max(0, to)));
  });
  show(0);
  return { element, show };
}

function placeByKey(key, seconds, whole) {
  const steps = { ArrowRight: STEP_SECONDS, ArrowUp: STEP_SECONDS, ArrowLeft: -STEP_SECONDS, ArrowDown: -STEP_SECONDS };
  const step = { ...steps, PageUp: LEAP_SECONDS, PageDown: -LEAP_SECONDS }[key];
  if (step) return seconds + step;
  return { Home: 0, End: whole }[key] ?? null;
}

/** @param {number[]} levels 0 to 100 @returns {number[]} as many as wanted, the loudest of each part */
export function resampled(levels, count) {
  return Array.from({ length: count }, (_, index) => {
    const from = Math.floor((index * levels.length) / count);
    const to = Math.max(from + 1, Math.floor(((index + 1) * levels.length) / count));
    return Math.max(...levels.slice(from, to));
  });
}

function barsPath(levels) {
  return levels
    .map((level, index) => {
      const length = LEAST_PX + (Math.min(100, Math.max(0, level)) / 100) * (HEIGHT_PX - LEAST_PX - 2.5);
      return `M${index * STEP_PX + STEP_PX / 2} ${((HEIGHT_PX - length) / 2).toFixed(1)}v${length.toFixed(1)}`;
    })
    .join("");
}
