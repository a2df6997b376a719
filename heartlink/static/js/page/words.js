/** What rights, scopes and subjects are called. */
import { link, page, roomTitle, t } from "./ui.js";

/** The permissions that mean something here; others are shown as they are written. */
export const KNOWN_PERMISSIONS = {
  "*.*": "Everything",
  "chat.*": "Everything in conversations",
  "room.*": "Everything about rooms",
  "menu.*": "All menu entries",
  "permissions.*": "Everything about rights",
  "chat.read": "Read messages",
  "chat.send": "Write messages",
  "chat.moderate": "Change and delete others' messages",
  "room.create": "Make rooms",
  "room.invite": "Invite people to rooms",
  "room.update": "Change rooms and the roles in them",
  "room.remove": "Remove people from rooms",
  "room.end": "End rooms",
  "permissions.manage": "Manage everybody's rights",
  "permissions.watch": "Watch others' rights live",
  "permissions.explain": "Ask why others may or may not",
  "notifications.send": "Send notifications to everybody",
};

/** @returns {string} the permission in words, or as it is written when it has none */
export function permissionWords(permission) {
  const known = KNOWN_PERMISSIONS[permission];
  if (known) return t(known);
  if (!permission.startsWith("menu.")) return permission;
  const key = permission.slice("menu.".length);
  const name = page.menus.find((menu) => menu.key === key)?.name;
  return t("See the menu entry “{name}”", { name: name ? t(name) : key });
}

/** Names of rooms by id, as far as they are mine to read. */
export const roomNames = new Map();

/** @returns {Promise<boolean>} whether a name was learnt */
export async function learnRoomNames() {
  const { rooms } = await link.rest.rooms();
  const before = JSON.stringify([...roomNames]);
  for (const room of rooms) roomNames.set(room.id, roomTitle(room));
  return JSON.stringify([...roomNames]) !== before;
}

export const scopeOf = (roomId) => `room:${roomId}`;

/** @returns {string} where: everywhere, or the name of the room */
export function scopeWords(scope) {
  if (scope === "*") return t("everywhere");
  const id = scope.slice("room:".length);
  return roomNames.has(id) ? t("in “{room}”", { room: roomNames.get(id) }) : t("in the room {id}", { id: shortId(id) });
}

export function scopeTitle(scope) {
  if (scope === "*") return t("Everywhere");
  const id = scope.slice("room:".length);
  return roomNames.get(id) ?? t("The room {id}", { id: shortId(id) });
}

/** A reason as the server tells it: in the page's language where it is one of the server's own, with the names of rooms. */
export function reasonWords(because) {
  const named = because.replace(/room:([^\s/]+)/gu, (whole, id) =>
    roomNames.has(id) ? `“${roomNames.get(id)}”` : whole,
  );
  for (const [pattern, words] of reasonPatterns) {
    const found = pattern.exec(named);
    if (found) return words.replace(/\{(\d)\}/g, (_, number) => reasonWords(found[Number(number)]));
  }
  return named;
}

/** The server's own reasons, `why:… {1} …`, in the language of the page. */
const reasonPatterns = Object.entries(page.strings)
  .filter(([key]) => key.startsWith("why:"))
  .map(([key, words]) => {
    const plain = key.slice("why:".length).replace(/[.*+?^$()|[\]\\]/g, "\\$&");
    return [new RegExp(`^${plain.replace(/\{\d\}/g, "(.+)")}$`, "u"), words];
  });

function shortId(id) {
  return id.length > 14 ? `${id.slice(0, 12)}…` : id;
}

/** The roles that one can have in a room. */
const ROOM_ROLES = { owner: "owner", admin: "admin", member: "member", guest: "guest" };

export const roomRoleWords = (role) => t(ROOM_ROLES[role] ?? role);
