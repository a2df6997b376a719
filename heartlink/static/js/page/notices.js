/** What the permission stream tells beside rights, as toasts: words of the administrators, requests, invitations. */
import { permissions } from "./stream.js";
import { el, icon, iconButton, roomUrl, t } from "./ui.js";

const PLAIN_MS = 9000;
const WITH_ACTION_MS = 30000;
const STAYS = new Set(["high", "urgent", "critical"]);
const MOST_AT_ONCE = 4;

const place = document.getElementById("toasts");

/** A toast with a way on; it goes by itself unless it matters. */
function show({ iconName, title, words, action = null, stays = false, priority = "normal" }) {
  const note = el(
    "div",
    { class: "toast notice-toast", data: { priority } },
    icon(iconName),
    el("div", { class: "toast-text" }, title ? el("b", {}, title) : null, el("span", {}, words), action),
    iconButton("close", t("Close"), () => note.remove()),
  );
  place.append(note);
  const old = [...place.querySelectorAll(".notice-toast")];
  for (const one of old.slice(0, -MOST_AT_ONCE)) one.remove();
  if (!stays) setTimeout(() => note.remove(), action ? WITH_ACTION_MS : PLAIN_MS);
}

permissions.on("system", ({ message, priority = "normal", by }) => {
  const title = by ? t("{name} says to everybody", { name: `@${by}` }) : t("System notification");
  show({ iconName: "bell", title, words: message, priority, stays: STAYS.has(priority) });
});

const KINDS = {
  invite({ room_id, room_name, by }) {
    const words = by
      ? t("{name} added you to {room}", { name: `@${by}`, room: room_name || t("a room") })
      : t("You were added to {room}", { room: room_name || t("a room") });
    if (location.pathname === roomUrl(room_id)) return;
    show({ iconName: "rooms", words, action: el("a", { href: roomUrl(room_id) }, t("Open the room")) });
  },
  access_request(data) {
    const words = t("{name} asks for {permission}", { name: `@${data.username}`, permission: data.permission });
    show({
      iconName: "key",
      title: words,
      words: data.message || (data.scope === "*" ? t("everywhere") : t("in one room")),
      action: permissions.allows("permissions", "manage") ? el("a", { href: answerUrl(data) }, t("Answer")) : null,
      stays: true,
    });
  },
};

/** The console with its form for a grant filled in. */
export function answerUrl({ user_id, permission, scope }) {
  return `/admin/?${new URLSearchParams({ user: user_id, permission, scope })}#grants`;
}

permissions.on("notification", (data) => KINDS[data.kind]?.(data));
