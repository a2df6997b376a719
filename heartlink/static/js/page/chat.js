/** The chat page: puts the room, the conversation, the composer, the people and the line together. */
import { Attention } from "./attention.js";
import { wireCalls } from "./call.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { pickEmoji } from "./emoji.js";
import { Gallery } from "./gallery.js";
import { PeoplePanel } from "./people.js";
import { beat, showConnection } from "./pulse.js";
import { Refusals } from "./refusals.js";
import { keepRooms, unreadTotal, wireNewRoom } from "./rooms.js";
import { SearchPanel } from "./search.js";
import { wireSettings } from "./settings.js";
import { confirmed, el, explain, link, page, roomTitle, t, toastError, ready } from "./ui.js";
import { VoiceButton } from "./voice.js";
import { wireVoices } from "./voice_player.js";

const LOOK_AT_STORE_EVERY_MS = 2000;
const AWAY_AFTER_MS = 5 * 60 * 1000;
const TICK_MS = 500;

const room = await link.room(page.room.id);
room.know(page);
wireVoices(room);
const notice = document.getElementById("notice");
let pingMs = null;
let isStoreDown = false;
let unreadAtStart = page.unread;

const conversation = new Conversation(room, {
  reply: (message) => composer.reply(message),
  edit: (message) => composer.edit(message),
  remove,
  react,
  pick: (anchor, message) => pickEmoji(anchor, (emoji) => react(message, emoji)).catch(() => {}),
  readUpTo: () => page.read_up_to,
  hasUnread: () => unreadAtStart > 0,
  arrived: (message, isSeen) => !message.is_own && !isSeen && attention.missed(message),
  seen: (message) => {
    room.markRead(message.id);
    attention.seen();
  },
});
const composer = new Composer(room, conversation);
const attention = new Attention(room);
const refusals = new Refusals(room, composer);
new Gallery(room, conversation);
new PeoplePanel(room);
wireCalls(room);
new SearchPanel(room, conversation);
new VoiceButton(room, composer);
wireSettings(room);
wireNewRoom();

// --- the room and what one may do in it

async function remove(message) {
  if (
    !(await confirmed({
      title: t("Delete the message?"),
      text: t("It disappears for everybody, also where it is quoted."),
      yes: t("Delete"),
    }))
  )
    return;
  await room.delete(message.id).catch(toastError);
}

async function react(message, emoji) {
  const isOn = !(message.reactions?.[emoji] ?? []).includes(room.me.username);
  await room.react(message.id, emoji, isOn).catch(toastError);
}

function drawRoom() {
  const title = roomTitle({ ...room.info, members: room.people.members });
  document.getElementById("room-title").textContent = title;
  attention.named(title);
  const here = room.people.members.filter((member) => member.status !== "offline").length;
  const count = room.people.members.length;
  const words = [t(KINDS[room.info.kind] ?? "Group"), count === 1 ? t("one person") : t("{count} people", { count })];
  if (here) words.push(t("{count} here", { count: here }));
  document.getElementById("room-subtitle").textContent = words.join(" · ");
  drawComposer();
}

const KINDS = { private: "Private", group: "Group", public: "Public" };

function drawComposer() {
  if (room.info.status === "ended") composer.allow(false, t("This room was ended. What was said stays readable."));
  else if (room.state.name === "stopped" && room.state.error) composer.allow(false, explain(room.state.error).sentence);
  else if (room.capabilities.size && !room.can("chat.send")) refusals.closeComposer();
  else refusals.openComposer();
}

room.on("room", drawRoom);
room.on("people", drawRoom);
room.on("capabilities", drawRoom);

// --- the connection, in a line and in words

function drawState() {
  const { name, error, retryAt } = room.state;
  if (name === "live" && isStoreDown) showConnection("unsaved", t("Connected, but the server cannot save"));
  else if (name === "live")
    showConnection("live", t("Connected"), pingMs === null ? "" : t("There and back in {ms} ms", { ms: pingMs }));
  else if (name === "connecting")
    showConnection(wasLost ? "waiting" : "connecting", t(wasLost ? "Reconnecting…" : "Connecting…"));
  else if (name === "catching_up") showConnection("catching_up", t("Catching up…"));
  else if (name === "waiting") showConnection("waiting", waitingWords(retryAt));
  else showConnection("stopped", stoppedWords(error));
  drawNotice();
}

let wasLost = false;

function waitingWords(retryAt) {
  const seconds = Math.max(1, Math.ceil((retryAt - Date.now()) / 1000));
  return t("No connection · next try in {seconds} s", { seconds });
}

function stoppedWords(error) {
  if (room.info.status === "ended") return t("Ended");
  if (error?.status === 401 || error?.status === 4401) return t("Signed out");
  return t("Not connected");
}

function drawNotice() {
  const { name, error } = room.state;
  const isLost = wasLost && name !== "live" && name !== "stopped";
  notice.hidden = !(
    isLost ||
    (name === "live" && isStoreDown) ||
    (name === "stopped" && error && room.info.status !== "ended" && !refusals.hasLeft)
  );
  notice.dataset.kind = name;
  if (notice.hidden) return;
  let words;
  if (name === "stopped") words = explain(error);
  else if (isLost)
    words = {
      sentence: error ? explain(error).sentence : t("The connection is lost."),
      fix: t("It comes back by itself. What you write waits here and is sent then."),
    };
  else
    words = {
      sentence: t("The server cannot save at the moment."),
      fix: t("What you write waits here and is sent as soon as it can. Nothing is lost."),
    };
  const text = `${words.sentence} ${words.fix}`;
  if (notice.dataset.text === text) return;
  notice.dataset.text = text;
  notice.replaceChildren(el("span", {}, text));
  if (name === "stopped" && (error?.status === 401 || error?.status === 4401)) {
    notice.append(el("a", { href: `/login?next=${encodeURIComponent(location.pathname)}` }, t("Sign in")));
  } else if (name !== "live") {
    const more = { href: `/doctor/?room=${encodeURIComponent(room.id)}`, target: "_blank" };
    notice.append(el("a", more, t("Why?")));
  }
}

room.on("state", ({ name }) => {
  if (name === "waiting" || name === "stopped") wasLost = true;
  if (name === "live") wasLost = false;
  drawState();
  drawComposer();
});
room.on("ended", drawRoom);
room.on("beat", ({ kind, ms }) => {
  if (ms !== undefined) pingMs = ms;
  if (room.state.name === "live" || kind === "greeting") beat(kind);
  if (kind === "pong") drawState();
});
setInterval(() => room.state.name === "waiting" && drawState(), TICK_MS);

// --- the store behind the server

/** Asks /readyz until it is well again; what waits in the outbox goes on by itself. */
async function watchStore() {
  if (isStoreDown) return;
  isStoreDown = true;
  drawState();
  while (isStoreDown) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_AT_STORE_EVERY_MS));
    isStoreDown = !(await isReady());
  }
  drawState();
}

async function isReady() {
  try {
    return (await fetch("/readyz", { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}

room.on("outbox", () => {
  if (room.outbox.entries.some((entry) => entry.error?.code === "not_saved" && entry.state !== "failed")) watchStore();
});
room.on("refused", (error) => (error.code === "not_saved" ? watchStore() : toastError(error)));

// --- the sides

const rooms = keepRooms({
  list: document.getElementById("room-list"),
  currentId: room.id,
  loaded: (list) => attention.elsewhere(unreadTotal(list, room.id)),
  failed: async (error) => error.status === 503 && !(await isReady()) && watchStore(),
});
room.on("message", () => rooms.refreshSoon());

const scrim = document.getElementById("scrim");
const drawers = [
  [document.getElementById("open-rooms"), document.getElementById("rooms-side")],
  [document.getElementById("open-people"), document.getElementById("people-side")],
];

function closeDrawers() {
  for (const [button, side] of drawers) {
    if (side.classList.contains("open") && side.contains(document.activeElement)) button.focus();
    side.classList.remove("open");
    button.setAttribute("aria-expanded", "false");
  }
  scrim.hidden = true;
}

for (const [button, side] of drawers) {
  button.addEventListener("click", () => {
    const opens = !side.classList.contains("open");
    closeDrawers();
    if (!opens) return;
    side.classList.add("open");
    button.setAttribute("aria-expanded", "true");
    scrim.hidden = false;
    side.querySelector("a, button:not([hidden])")?.focus();
  });
}
scrim.addEventListener("click", closeDrawers);
addEventListener(
  "keydown",
  (event) => event.key === "Escape" && !document.querySelector("dialog[open]") && closeDrawers(),
);

document.getElementById("emoji-button").addEventListener("click", (event) => {
  pickEmoji(event.currentTarget, (emoji) => composer.insert(emoji)).catch(() => {});
});

// --- attention

addEventListener("online", () => room.wake());
let awayTimer = null;
document.addEventListener("visibilitychange", () => {
  clearTimeout(awayTimer);
  if (document.hidden) {
    awayTimer = setTimeout(() => room.setStatus("away"), AWAY_AFTER_MS);
    return;
  }
  room.wake();
  if (room.people.get(room.me.id)?.status === "away") room.setStatus("online");
});

drawRoom();
drawState();
ready();
room.open();
if (matchMedia("(min-width: 760px)").matches) composer.focus();
