/** My rooms with their unread counts and last messages: the lobby's list and the chat page's left side. */
import { permissions } from "./stream.js";
import { summaryOf } from "./summary.js";
import { avatar, el, icon, link, onSubmit, roomTitle, roomUrl, shortTime, t } from "./ui.js";

const REFRESH_EVERY_MS = 10000;
const SOON_MS = 1500;

/**
 * Keeps a list of rooms fresh while somebody looks at it.
 * @param {object} options
 * @param {HTMLElement} options.list a <ul>
 * @param {string} [options.currentId] the room that is open
 * @param {(rooms: object[]) => void} [options.loaded]
 * @param {(error: Error) => void} [options.failed]
 * @returns {{refresh: () => Promise<void>, refreshSoon: () => void}} soon: once for however many calls within a moment
 */
export function keepRooms({ list, currentId = null, loaded = () => {}, failed = () => {} }) {
  let isBusy = false;
  async function refresh() {
    if (isBusy || document.hidden) return;
    isBusy = true;
    try {
      const { rooms } = await link.rest.rooms();
      draw(list, rooms, currentId);
      loaded(rooms);
      deliverLeftBehind();
    } catch (error) {
      failed(error);
    } finally {
      isBusy = false;
      list.removeAttribute("aria-busy");
    }
  }
  let timer = null;
  const refreshSoon = () => {
    timer ??= setTimeout(() => {
      timer = null;
      refresh();
    }, SOON_MS);
  };
  async function deliverLeftBehind() {
    const delivered = await link.deliverLeftBehind(currentId).catch(() => 0);
    if (delivered) refreshSoon();
  }
  // Something new in a room, a room one was added to, or one that is no longer mine to read.
  permissions.on("notification", refreshSoon);
  permissions.on("changed", refreshSoon);
  setInterval(refresh, REFRESH_EVERY_MS);
  addEventListener("focus", refresh);
  document.addEventListener("visibilitychange", refresh);
  refresh();
  return { refresh, refreshSoon };
}

/** Redraws only what changed, so that the keyboard's place in the list is kept. */
function draw(list, rooms, currentId) {
  const known = new Map([...list.children].map((item) => [item.dataset.id, item]));
  const items = rooms.map((room) => {
    const version = JSON.stringify([room.name, room.unread, room.last_message, room.kind, room.status, room.members]);
    const old = known.get(room.id);
    if (old?.dataset.version === version) return old;
    const item = el("li", { data: { id: room.id, version } }, roomLink(room, currentId));
    if (old?.contains(document.activeElement)) queueMicrotask(() => item.querySelector("a").focus());
    return item;
  });
  items.forEach(
    (item, index) => list.children[index] !== item && list.insertBefore(item, list.children[index] ?? null),
  );
  while (list.children.length > items.length) list.lastElementChild.remove();
}

function roomLink(room, currentId) {
  const isCurrent = room.id === currentId;
  const unread = isCurrent ? 0 : room.unread;
  const title = roomTitle(room);
  const at = room.last_message?.created_at ?? room.created_at;
  return el(
    "a",
    {
      class: unread ? "room-link unread" : "room-link",
      href: roomUrl(room.id),
      "aria-current": isCurrent ? "page" : null,
    },
    avatar({ id: room.id, name: title }),
    el(
      "span",
      { class: "room-name" },
      el("span", {}, title),
      KIND_ICONS[room.kind] ? icon(KIND_ICONS[room.kind]) : null,
      room.status === "ended" ? el("span", { class: "tag" }, t("ended")) : null,
    ),
    el("time", { class: "room-time", datetime: at }, at ? shortTime(new Date(at)) : ""),
    el("span", { class: "room-last" }, lastWords(room)),
    unread
      ? el(
          "span",
          { class: "badge" },
          unread > 99 ? "99+" : String(unread),
          el("span", { class: "sr-only" }, ` ${t("unread")}`),
        )
      : null,
  );
}

const KIND_ICONS = { private: "lock", public: "globe" };

function lastWords({ last_message: message }) {
  if (!message) return t("Nobody has said anything yet.");
  const what = summaryOf(message).slice(0, 140);
  if (message.message_type === "system") return what;
  return `${message.is_own ? t("You") : message.sender_name || message.sender}: ${what}`;
}

/** The dialog that makes a room; goes there when it is made. */
export function wireNewRoom() {
  const dialog = document.getElementById("room-dialog");
  document.getElementById("new-room").addEventListener("click", () => dialog.showModal());
  const form = document.getElementById("room-form");
  const nameField = form.elements.namedItem("name");
  form.addEventListener("change", () => (nameField.required = form.elements.namedItem("kind").value !== "private"));
  onSubmit(form, async (data) => {
    const members = data
      .get("members")
      .split(/[\s,，、;]+/)
      .map((name) => name.replace(/^@/, ""))
      .filter(Boolean);
    const name = data.get("name").trim();
    const room = await link.rest.createRoom({
      kind: data.get("kind"),
      ...(name ? { name } : {}),
      ...(members.length ? { members } : {}),
    });
    location.assign(roomUrl(room.id));
  });
}

export const unreadTotal = (rooms, exceptId) =>
  rooms.reduce((sum, room) => sum + (room.id === exceptId ? 0 : room.unread), 0);
