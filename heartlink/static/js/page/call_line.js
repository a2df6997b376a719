/** The line that a call leaves in the conversation: what it came to, how long, and a way to call back. */
import { el, icon, t } from "./ui.js";

const OUTGOING = {
  missed: { video: "Video call, no answer", audio: "Audio call, no answer" },
  declined: { video: "Video call, declined", audio: "Audio call, declined" },
  cancelled: { video: "Video call, cancelled", audio: "Audio call, cancelled" },
  busy: { video: "Video call, the line was busy", audio: "Audio call, the line was busy" },
};
const MISSED = { video: "Missed video call", audio: "Missed audio call" };
const INCOMING = {
  missed: MISSED,
  cancelled: MISSED,
  busy: MISSED,
  declined: { video: "Declined video call", audio: "Declined audio call" },
};
const PLAIN = { video: "Video call", audio: "Audio call" };
const FAILED = { video: "Video call, failed", audio: "Audio call, failed" };

/** @param {{outcome: string, media: "video" | "audio"}} call @param {boolean} isOwn whether one called oneself */
export function callWords({ outcome, media }, isOwn) {
  if (outcome === "answered") return t(PLAIN[media]);
  return t(((isOwn ? OUTGOING : INCOMING)[outcome] ?? FAILED)[media]);
}

/** @returns {string} e.g. 3:07, or 1:02:45 */
export function durationText(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const shown = parts[0] ? parts : parts.slice(1);
  return shown.map((part, index) => (index ? String(part).padStart(2, "0") : String(part))).join(":");
}

/** @param {object} message M with `call` @param {{room: object}} around */
export function callLine(message, { room }) {
  const { call } = message;
  const isMissed = !message.is_own && INCOMING[call.outcome] === MISSED;
  const mayCallBack = room.can("chat.send") && room.info.kind !== "public" && room.info.status !== "ended";
  return el(
    "div",
    { class: "bubble call-line", data: { outcome: call.outcome, missed: String(isMissed) } },
    icon(call.media === "video" ? "camera" : "phone"),
    el(
      "p",
      { class: "text" },
      callWords(call, message.is_own),
      call.outcome === "answered" ? el("span", { class: "call-duration" }, durationText(call.duration_seconds)) : null,
    ),
    isMissed && mayCallBack
      ? el("button", { type: "button", class: "button quiet", data: { callBack: call.media } }, t("Call back"))
      : null,
  );
}
