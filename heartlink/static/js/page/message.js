/** Draws one message, stored or still on its way. What a user wrote only ever becomes text nodes. */
import { callLine } from "./call_line.js";
import { fewEmoji } from "./emoji_text.js";
import { drawFile } from "./media.js";
import { drawPendingFile } from "./pending.js";
import { previewOf } from "./previews.js";
import { summaryOf } from "./summary.js";
import { avatar, dayKey, dayText, el, exactTime, explain, icon, t, timeText } from "./ui.js";

const GROUP_WITHIN_MS = 5 * 60 * 1000;
const LINK = /https?:\/\/[^\s<>"'`，。！？；：、（）【】《》「」]+/giu;
const TRAILING = /[.,!?;:)\]}'"]+$/;

const STATUS = {
  queued: ["clock", "queued"],
  sent: ["up", "sent"],
  uploading: ["up", "sending"],
  stored: ["check", "stored"],
  read: ["checks", "read"],
  failed: ["alert", "not sent"],
};

/**
 * @param {object} message M of PROTOCOL 3.2
 * @param {object} around {previous: M | null, isFirstUnread, status: "stored" | "read", room, quoted: M | null, me}
 * @returns {HTMLElement} the row: perhaps a day or an unread mark, then the message
 */
export function drawMessage(message, around) {
  const at = new Date(message.created_at);
  const row = el("div", { class: "row", data: { id: message.id } });
  const isNewDay = !around.previous || dayKey(new Date(around.previous.created_at)) !== dayKey(at);
  if (isNewDay) row.append(el("div", { class: "day" }, dayText(at)));
  if (around.isFirstUnread) row.append(el("div", { class: "unread-mark" }, t("New messages")));
  const isGrouped = !isNewDay && !around.isFirstUnread && belongsTo(around.previous, message);
  const name = message.sender_name || message.sender;
  const classes = ["message", message.is_own && "own", isGrouped && "grouped"].filter(Boolean).join(" ");
  const article = el("article", {
    class: classes,
    tabindex: "-1",
    data: { id: message.id, clientId: message.client_id ?? "" },
    "aria-label": `${message.is_own ? t("You") : name}, ${exactTime(at)}`,
  });
  article.append(
    avatar({ id: message.sender_id, name, url: message.sender_avatar }),
    el(
      "div",
      { class: "message-body" },
      el("span", { class: "message-name" }, name),
      bubble(message, around),
      reactions(message, around),
      meta(message, around, at),
    ),
  );
  row.append(article);
  return row;
}

function belongsTo(previous, message) {
  if (!previous || previous.sender_id !== message.sender_id || previous.message_type === "system") return false;
  return new Date(message.created_at) - new Date(previous.created_at) < GROUP_WITHIN_MS;
}

function bubble(message, around) {
  if (message.deleted)
    return el("div", { class: "bubble" }, el("p", { class: "text tombstone" }, t("message deleted")));
  if (message.call) return callLine(message, around);
  if (message.file) return fileBubble(message, around);
  const emoji = message.reply_to ? 0 : fewEmoji(message.content);
  const more = emoji ? { class: "text emoji-only", data: { count: emoji } } : { class: "text" };
  const words = el("p", more, ...textNodes(message.content, around));
  return el(
    "div",
    { class: emoji ? "bubble bare" : "bubble" },
    message.reply_to ? quote(message.reply_to, around) : null,
    words,
  );
}

/** A file, and beneath it the words that go with it. `message` may be an outbox entry: it has no id yet. */
function fileBubble(message, around) {
  const isStored = message.id !== undefined;
  const preview = message.is_own ? previewOf(message.client_id) : null;
  return el(
    "div",
    { class: "bubble with-file", data: { kind: message.message_type } },
    message.reply_to ? quote(message.reply_to, around) : null,
    isStored ? drawFile(message, { preview }) : drawPendingFile(message, around.room),
    message.content ? el("p", { class: "text" }, ...textNodes(message.content, around)) : null,
  );
}

/** The quoted words come from the message itself where it is loaded: an edited or deleted one is quoted as it is now. */
function quote(replyTo, { quoted, room }) {
  const who = room.people.byName(replyTo.sender)?.display_name ?? replyTo.sender;
  const isGone = quoted ? quoted.deleted : !replyTo.excerpt;
  const words = isGone ? t("message deleted") : (quoted ? summaryOf(quoted) : replyTo.excerpt).slice(0, 200);
  return el(
    "button",
    { type: "button", class: "quote", data: { jump: replyTo.id }, title: t("Jump to this message") },
    el("b", {}, who),
    el("span", isGone ? { class: "tombstone" } : {}, words),
  );
}

function reactions(message, { me, room }) {
  const entries = Object.entries(message.reactions ?? {}).filter(([, names]) => names.length);
  if (!entries.length || message.deleted) return null;
  const buttons = entries.map(([emoji, names]) => {
    const isMine = names.includes(me.username);
    const who = names.map((name) => room.people.byName(name)?.display_name ?? name).join(", ");
    return el(
      "button",
      {
        type: "button",
        class: "reaction",
        "aria-pressed": String(isMine),
        "aria-label": `${emoji} ${names.length}: ${who}`,
        title: who,
        data: { react: emoji },
        disabled: !room.can("chat.send"),
      },
      emoji,
      el("span", {}, String(names.length)),
    );
  });
  return el("div", { class: "reactions" }, ...buttons);
}

function meta(message, { status }, at) {
  const parts = [el("time", { datetime: message.created_at, title: exactTime(at) }, timeText(at))];
  if (message.edited_at && !message.deleted)
    parts.push(el("span", { title: exactTime(new Date(message.edited_at)) }, t("edited")));
  if (message.is_own) parts.push(statusMark(status));
  return el("div", { class: "meta" }, ...parts);
}

/** The state of one's own message, in a drawing and a word. */
export function statusMark(status) {
  const [drawing, words] = STATUS[status];
  return el("span", { class: "status", data: { status } }, icon(drawing), t(words));
}

/** @param {object} entry an outbox entry; `around` as for drawMessage */
export function drawPending(entry, around) {
  const at = new Date(entry.created_at);
  const isFailed = entry.state === "failed";
  const classes = `message own ${isFailed ? "failed" : "waiting-to-send"}`;
  const marks = el(
    "div",
    { class: "meta" },
    el("time", { datetime: at.toISOString() }, timeText(at)),
    statusMark(entry.file && entry.state === "sent" ? "uploading" : entry.state),
  );
  const body = el("div", { class: "message-body" }, bubble({ ...entry, deleted: false }, around), marks);
  if (entry.error) body.append(failure(entry, isFailed));
  return el(
    "div",
    { class: "row", data: { clientId: entry.client_id, state: entry.state } },
    el("article", { class: classes, tabindex: "-1", data: { clientId: entry.client_id } }, body),
  );
}

/** Of what the browser no longer has there is nothing to send again. */
const GONE = new Set(["file_lost", "file_unreadable"]);

function failure(entry, isFailed) {
  const { sentence, fix } = explain(entry.error);
  if (!isFailed) return el("div", { class: "failure" }, `${sentence} ${t("It is tried again by itself.")}`);
  const isGone = GONE.has(entry.error.code);
  return el(
    "div",
    { class: "failure" },
    `${sentence} ${fix}`,
    isGone
      ? null
      : el("button", { type: "button", class: "link-button", data: { retry: entry.client_id } }, t("Try again")),
    el("button", { type: "button", class: "link-button", data: { discard: entry.client_id } }, t("Discard")),
  );
}

/** Words, links and mentions as nodes. */
export function textNodes(content, { room, me }) {
  const nodes = [];
  let end = 0;
  for (const match of content.matchAll(LINK)) {
    const address = match[0].replace(TRAILING, "");
    nodes.push(...mentionNodes(content.slice(end, match.index), room, me), anchor(address));
    end = match.index + address.length;
  }
  nodes.push(...mentionNodes(content.slice(end), room, me));
  return nodes;
}

function anchor(address) {
  let url;
  try {
    url = new URL(address);
  } catch {
    return address;
  }
  if (url.protocol !== "https:" && url.protocol !== "http:") return address;
  return el("a", { href: url.href, target: "_blank", rel: "noopener noreferrer nofollow" }, address);
}

/** The longest user name that follows an @ counts; an @ inside a word (an e-mail address) is no mention. */
function mentionNodes(text, room, me) {
  const nodes = [];
  const names = room.people.members.map((member) => member.username).sort((a, b) => b.length - a.length);
  let start = 0;
  for (let at = text.indexOf("@"); at !== -1; at = text.indexOf("@", at + 1)) {
    if (isWord(text[at - 1])) continue;
    const name = names.find((known) => stands(known, text, at + 1));
    if (!name) continue;
    nodes.push(text.slice(start, at));
    start = at + 1 + name.length;
    nodes.push(el("span", { class: name === me.username ? "mention me" : "mention" }, text.slice(at, start)));
  }
  nodes.push(text.slice(start));
  return nodes.filter((node) => node !== "");
}

function stands(name, text, at) {
  return text.slice(at, at + name.length).toLowerCase() === name.toLowerCase() && !isWord(text[at + name.length]);
}

const isWord = (character) => /[A-Za-z0-9_]/.test(character ?? "");
