/** The console's section of connections: who is there, how far away, what waits; their recordings; ending one. */
import { emptyNote, panelHead } from "./admin_parts.js";
import { ConnectionList } from "./connections.js";
import { confirmed, el, link, t, toast } from "./ui.js";

const READ_EVERY_MS = 3000;
const TYPING_MS = 250;

let home = null;
let note = null;
let filter = null;
let nobody = null;
let closedHead = null;
let typing = null;

async function end(one) {
  const name = one.username ? `@${one.username}` : t("Not signed in");
  const text = t("The program on the other side may come back at once. To keep somebody out, take their rights away.");
  if (!(await confirmed({ title: t("End the connection of {name}?", { name }), text, yes: t("End it") }))) return;
  await link.rest.request("DELETE", `/api/connections/${encodeURIComponent(one.id)}`);
  toast(t("The connection was ended."));
  await read();
}

const open = new ConnectionList({ base: "/api/connections", withUsers: true, end });
const closed = new ConnectionList({ base: "/api/connections", withUsers: true });

async function read() {
  const wanted = filter.value.trim();
  const found = await link.rest.request("GET", `/api/connections?q=${encodeURIComponent(wanted)}`);
  if (wanted !== filter.value.trim()) return;
  const people = new Set(found.connections.map((one) => one.user_id)).size;
  note.textContent = t("{people} people, {total} connections", { people, total: found.total });
  open.show(found.connections);
  nobody.hidden = found.connections.length > 0;
  closed.show(found.closed);
  closedHead.hidden = found.closed.length === 0;
}

export const connectedPanel = {
  async open(place) {
    home = place;
    note = el("p", { class: "muted rows-note", role: "status" });
    nobody = emptyNote(t("Nobody is connected."));
    filter = el("input", {
      class: "input",
      type: "search",
      placeholder: t("User, room or address"),
      "aria-label": t("Filter"),
      autocomplete: "off",
      spellcheck: "false",
      maxlength: "100",
    });
    filter.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => read().catch(() => {}), TYPING_MS);
    });
    closedHead = el("h3", { class: "closed-head" }, t("Closed lately"));
    const filters = el("div", { class: "filters" }, filter);
    home.replaceChildren(panelHead(t("Connected")), filters, note, nobody, open.element, closedHead, closed.element);
    await read();
    setInterval(() => !home.hidden && !document.hidden && read().catch(() => {}), READ_EVERY_MS);
  },
  refresh: read,
};
