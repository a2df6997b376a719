/** Somebody calls in a room that is not open here: a panel that rings, with a way into the room. */
import { Calls } from "../lib/call.js";
import { startRinging, tellOutside } from "./call_sound.js";
import { permissions } from "./stream.js";
import { avatar, el, link, roomUrl, t } from "./ui.js";

const GIVE_UP_MS = 120000;
const DECLINE_WITHIN_MS = 15000;
const rings = new Map();

function ring(data) {
  if (location.pathname === roomUrl(data.room_id) || rings.has(data.call_id)) return;
  const name = data.display_name;
  const title = data.media === "video" ? t("{name} calls, with video", { name }) : t("{name} calls", { name });
  const answer = `${roomUrl(data.room_id)}?${new URLSearchParams({ call: data.call_id })}`;
  const panel = el(
    "section",
    { class: "ring elsewhere", role: "alertdialog", "aria-label": title, data: { callId: data.call_id } },
    avatar({ id: data.user_id, name }),
    el(
      "div",
      { class: "ring-text", role: "alert" },
      el("b", {}, title),
      el("span", {}, data.message || data.room_name),
    ),
    el(
      "div",
      { class: "ring-actions" },
      el("a", { class: "button answer", href: answer }, t("Accept")),
      el("button", { type: "button", class: "button danger", on: { click: () => decline(data) } }, t("Decline")),
    ),
  );
  document.body.append(panel);
  const stopSound = startRinging("incoming");
  tellOutside(title, data.call_id);
  const timer = setTimeout(() => stop(data.call_id), GIVE_UP_MS);
  rings.set(data.call_id, () => {
    clearTimeout(timer);
    stopSound();
    panel.remove();
  });
}

function stop(callId) {
  rings.get(callId)?.();
  rings.delete(callId);
}

/** One declines in the room itself: its socket is opened for that long. */
async function decline({ call_id: callId, room_id: roomId }) {
  stop(callId);
  const room = await link.room(roomId);
  const calls = new Calls(room);
  const leave = () => {
    clearTimeout(timer);
    room.close();
  };
  const timer = setTimeout(leave, DECLINE_WITHIN_MS);
  calls.on("ringing", (ringing) => {
    if (ringing?.call_id !== callId) return;
    calls.decline();
    setTimeout(leave, 500);
  });
  room.open();
}

permissions.on("notification", (data) => {
  if (data.kind === "incoming_call") ring(data);
  if (data.kind === "call_over") stop(data.call_id);
});
permissions.on("state", ({ name }) => name === "waiting" && [...rings.keys()].forEach(stop));
