/** Times until something ends, counted down by the server's clock. */
import { permissions } from "./stream.js";
import { el, exactTime, language, t } from "./ui.js";

const TICK_MS = 500;
const UNITS = [
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
  ["second", 1],
];

/** @returns {HTMLElement} a time that counts down by itself as long as it is in the page */
export function until(expiresAt) {
  const time = el("time", { class: "countdown", datetime: expiresAt, title: exactTime(new Date(expiresAt)) });
  draw(time);
  return time;
}

/** "9 seconds", "4 minutes, 10 seconds": the two greatest units. */
export function durationWords(seconds) {
  const parts = [];
  let rest = Math.max(0, Math.ceil(seconds));
  for (const [unit, size] of UNITS) {
    if (rest >= size && parts.length < 2) parts.push(unitWords(Math.floor(rest / size), unit));
    else if (parts.length) break;
    rest %= size;
  }
  return parts.length ? parts.join(" ") : unitWords(0, "second");
}

function unitWords(count, unit) {
  return new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "short" }).format(count);
}

function draw(time) {
  const seconds = (Date.parse(time.dateTime) - permissions.now) / 1000;
  const words = seconds > 0 ? t("{time} left", { time: durationWords(seconds) }) : t("over");
  if (time.textContent !== words) time.textContent = words;
  time.classList.toggle("soon", seconds < 60);
}

setInterval(() => {
  for (const time of document.querySelectorAll("time.countdown")) draw(time);
}, TICK_MS);
