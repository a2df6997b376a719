/** Who is connected, and words to everybody. */
import { personNamed } from "./admin_data.js";
import { fieldRow, readFields } from "./admin_fields.js";
import { emptyNote, panelHead, redraw } from "./admin_parts.js";
import { avatar, el, exactTime, link, onSubmit, shortTime, t, toast } from "./ui.js";
import { scopeTitle } from "./words.js";

const READ_EVERY_MS = 3000;

let list = null;
let place = null;

async function readConnections() {
  const { connections, total } = await link.rest.request("GET", "/api/connections");
  const people = new Map();
  for (const one of connections) people.set(one.user_id, [...(people.get(one.user_id) ?? []), one]);
  redraw(list, connections, () => [
    el("p", { class: "muted rows-note" }, t("{people} people, {total} connections", { people: people.size, total })),
    people.size ? el("ul", { class: "rows" }, ...[...people].map(row)) : emptyNote(t("Nobody is connected.")),
  ]);
}

function row([userId, connections]) {
  const name = connections[0].username;
  return el(
    "li",
    { class: "row", data: { id: userId } },
    avatar({ id: userId ?? "anonymous", name: name ?? "?" }),
    el("span", { class: "row-text" }, el("b", {}, name ? `@${name}` : t("Not signed in"))),
    el("ul", { class: "chips" }, ...connections.map(connectionChip)),
  );
}

function connectionChip({ kind, room_id, since, address, queued_frames: queued }) {
  const words = kind === "chat" ? scopeTitle(`room:${room_id}`) : t("rights");
  const date = new Date(since);
  const title = t("since {time}, from {address}, {count} frames waiting", {
    time: exactTime(date),
    address,
    count: queued,
  });
  return el("li", { class: "chip", title }, words, el("small", { class: "muted" }, shortTime(date)));
}

export const connectedPanel = {
  async open(home) {
    place = home;
    list = el("div", {});
    home.replaceChildren(panelHead(t("Connected")), list);
    await readConnections();
    setInterval(() => !place.hidden && !document.hidden && readConnections().catch(() => {}), READ_EVERY_MS);
  },
  refresh: readConnections,
};

// --- notification

function notificationFields() {
  const priorities = ["low", "normal", "high", "urgent"].map((value) => [value, t(PRIORITIES[value])]);
  return [
    { kind: "select", name: "priority", label: t("Priority"), value: "normal", options: priorities },
    { kind: "person", name: "user", label: t("To one user (left empty: to everybody)") },
  ];
}

const PRIORITIES = {
  low: "low",
  normal: "normal",
  high: "high: stays until it is closed",
  urgent: "urgent: stays, and stands out",
};

export const notifyPanel = {
  open(home) {
    const fields = notificationFields();
    const message = el("textarea", { class: "input", name: "message", rows: "3", required: true, maxlength: "2000" });
    const form = el(
      "form",
      { class: "form card notify-form" },
      el("p", { class: "muted" }, t("It appears at once on every open page; nothing is kept for those who are away.")),
      el("label", { class: "field" }, el("span", {}, t("Message")), message),
      ...fields.map(fieldRow),
      el("p", { class: "form-error", role: "alert" }),
      el("div", { class: "form-actions" }, el("button", { class: "button", type: "submit" }, t("Send"))),
    );
    onSubmit(form, async () => {
      const { priority, user } = readFields(form, fields);
      const person = user && (await personNamed(user));
      if (user && !person) throw Object.assign(new Error(t("There is no user of that name.")), { code: "not_found" });
      const body = { message: message.value.trim(), priority, ...(person ? { users: [person.id] } : {}) };
      const { sent_to: count } = await link.rest.request("POST", "/api/notifications", body);
      message.value = "";
      toast(t("Sent to {count} open pages.", { count }));
    });
    home.replaceChildren(panelHead(t("System notification")), form);
  },
  refresh() {},
};
