/** The lobby: my rooms, public rooms, a new room, an invite link. Its line beats with each answer of the server. */
import { beat, showConnection } from "./pulse.js";
import { keepRooms, unreadTotal, wireNewRoom } from "./rooms.js";
import { avatar, el, explain, link, onSubmit, roomTitle, roomUrl, t, toastError, ready } from "./ui.js";

const title = document.title;

function loaded(rooms) {
  document.getElementById("rooms-empty").hidden = rooms.length > 0;
  const unread = unreadTotal(rooms);
  document.title = unread ? `(${unread}) ${title}` : title;
  showConnection("live", t("Connected"));
  beat("heartbeat");
}

function failed(error) {
  if (error.status === 401) location.reload();
  else showConnection(error.code === "unreachable" ? "waiting" : "unsaved", explain(error).sentence);
}

async function drawPublicRooms() {
  const { rooms } = await link.rest.publicRooms();
  document.getElementById("public-empty").hidden = rooms.length > 0;
  document.getElementById("public-list").replaceChildren(...rooms.map(publicRoom));
}

function publicRoom(room) {
  const name = roomTitle(room);
  const join = el(
    "button",
    { type: "button", class: "button quiet", "aria-label": t("Join {name}", { name }) },
    t("Join"),
  );
  join.addEventListener("click", async () => {
    join.disabled = true;
    try {
      await link.rest.join(room.id);
      location.assign(roomUrl(room.id));
    } catch (error) {
      join.disabled = false;
      toastError(error);
    }
  });
  const people = el(
    "small",
    { class: "muted" },
    room.members_count === 1 ? t("one person") : t("{count} people", { count: room.members_count }),
  );
  return el("li", {}, avatar({ id: room.id, name }), el("span", { class: "grow" }, el("b", {}, name), people), join);
}

onSubmit(document.getElementById("invite-form"), async (data) => {
  const code = data
    .get("link")
    .trim()
    .replace(/[?#].*$/, "")
    .replace(/\/+$/, "")
    .split("/")
    .at(-1);
  await link.rest.invite(code);
  location.assign(`/invite/${encodeURIComponent(code)}`);
});

wireNewRoom();
showConnection("connecting", t("Connecting…"));
keepRooms({ list: document.getElementById("room-list"), loaded, failed });
drawPublicRooms().catch(() => {});
ready();
