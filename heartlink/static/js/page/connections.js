/** Open and closed connections as rows that stay in place while their figures change, and the recording of one. */
import { avatar, el, exactTime, iconButton, link, shortTime, t, toastError } from "./ui.js";
import { scopeTitle } from "./words.js";

/** Milliseconds there and back from which on a peer is far away, and very far away. */
const SLOW_MS = 250;
const VERY_SLOW_MS = 1000;

const times = new Intl.DateTimeFormat(document.documentElement.lang, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  fractionalSecondDigits: 3,
  hourCycle: "h23",
});
const numbers = new Intl.NumberFormat(document.documentElement.lang);

const ENDED_BY = {
  server: "closed by the server",
  peer: "closed by the other side",
  nobody: "lost without a word",
};

function placeOf({ kind, room_id: roomId }) {
  if (kind === "chat") return scopeTitle(`room:${roomId}`);
  return kind === "permissions" ? t("rights") : t("Doctor");
}

function lagChip(lagMs) {
  const grade = lagMs === null ? "unknown" : lagMs >= VERY_SLOW_MS ? "bad" : lagMs >= SLOW_MS ? "slow" : "good";
  const words = lagMs === null ? "–" : t("{count} ms", { count: numbers.format(lagMs) });
  return el("span", { class: "lag", data: { grade }, title: t("There and back, of the latest ping") }, words);
}

function figures(one) {
  if (one.closed_at) {
    const code = [one.close_code, one.close_reason].filter(Boolean).join(" ");
    return [el("b", {}, code), el("small", { class: "muted" }, t(ENDED_BY[one.ended_by]))];
  }
  const waiting = one.queued_frames ? t("{count} frames waiting", { count: numbers.format(one.queued_frames) }) : null;
  const last = one.last_frame && `${one.last_frame.direction === "in" ? "←" : "→"} ${one.last_frame.type}`;
  return [lagChip(one.lag_ms), el("small", { class: "muted" }, [last, waiting].filter(Boolean).join(" · "))];
}

function facts(one) {
  const date = new Date(one.closed_at ?? one.since);
  const words = { time: shortTime(date), address: one.address };
  const text = one.closed_at ? t("until {time}, from {address}", words) : t("since {time}, from {address}", words);
  return el("small", { class: "muted", title: exactTime(date) }, text);
}

/**
 * A list of connections whose rows stay the same elements while they are redrawn.
 * @param {object} options
 * @param {string} options.base the address below which recordings are
 * @param {boolean} [options.withUsers] whether rows say whose they are
 * @param {(one: object) => Promise<void>} [options.end] ends an open connection; without it nobody is asked to
 */
export class ConnectionList {
  #rows = new Map();

  constructor({ base, withUsers = false, end = null }) {
    this.base = base;
    this.withUsers = withUsers;
    this.end = end;
    this.element = el("ul", { class: "rows connections" });
  }

  show(connections) {
    const shown = new Set(connections.map(({ id }) => id));
    for (const [id, row] of this.#rows) {
      if (shown.has(id)) continue;
      row.element.remove();
      this.#rows.delete(id);
    }
    connections.forEach((one, index) => {
      const row = this.#rows.get(one.id) ?? this.#makeRow(one);
      row.figures.replaceChildren(...figures(one));
      row.facts.replaceChildren(facts(one));
      if (this.element.children[index] !== row.element)
        this.element.insertBefore(row.element, this.element.children[index] ?? null);
    });
    this.element.hidden = !connections.length;
  }

  #makeRow(one) {
    const name = one.username ? `@${one.username}` : t("Not signed in");
    const about = { name, place: placeOf(one) };
    const row = { figures: el("span", { class: "connection-figures" }), facts: el("span") };
    const buttons = [
      iconButton("document", t("Recording: {name}, {place}", about), () => showRecording(this.base, one).catch(toastError)),
    ];
    if (this.end && !one.closed_at)
      buttons.push(iconButton("hang-up", t("End: {name}, {place}", about), () => this.end(one).catch(toastError)));
    row.element = el(
      "li",
      { class: "row connection", data: { id: one.id } },
      this.withUsers ? avatar({ id: one.user_id ?? "anonymous", name: one.username ?? "?" }) : null,
      el("span", { class: "row-text" }, el("b", {}, this.withUsers ? name : placeOf(one)), row.facts),
      this.withUsers ? el("span", { class: "connection-place" }, placeOf(one)) : null,
      row.figures,
      el("span", { class: "row-actions" }, ...buttons),
    );
    this.#rows.set(one.id, row);
    return row;
  }
}

// --- the recording

async function showRecording(base, { id }) {
  const path = `${base}/${encodeURIComponent(id)}/recording`;
  const { connection, frames } = await link.rest.request("GET", path);
  const dialog = el(
    "dialog",
    { class: "dialog recording", "aria-labelledby": "recording-title" },
    el(
      "div",
      { class: "dialog-head" },
      el("h2", { id: "recording-title" }, t("Recording")),
      iconButton("close", t("Close"), () => dialog.close()),
    ),
    el("p", { class: "muted" }, t("The latest frames, as types and sizes; what they said is not recorded.")),
    summary(connection),
    frames.length ? frameTable(frames) : el("p", { class: "muted" }, t("Nothing went over it yet.")),
    el(
      "div",
      { class: "form-actions" },
      el("a", { class: "button quiet", href: path, download: `heartlink-connection-${id}.json` }, t("Download")),
    ),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function summary(one) {
  const words = {
    incoming: numbers.format(one.frames_in),
    outgoing: numbers.format(one.frames_out),
    dropped: numbers.format(one.frames_dropped),
  };
  return el(
    "dl",
    { class: "recording-facts" },
    ...pair(t("Address"), one.route.replace("{room_id}", one.room_id ?? "").replace("{user_id}", one.user_id ?? "")),
    ...pair(t("Since"), exactTime(new Date(one.since))),
    ...(one.closed_at ? pair(t("Closed"), `${exactTime(new Date(one.closed_at))}, ${one.close_code} ${one.close_reason}`) : []),
    ...pair(t("Frames"), t("{incoming} in, {outgoing} out, {dropped} dropped", words)),
    ...pair(t("There and back"), one.lag_ms === null ? "–" : t("{count} ms", { count: numbers.format(one.lag_ms) })),
  );
}

const pair = (name, value) => [el("dt", {}, name), el("dd", {}, value)];

function frameTable(frames) {
  const heads = [t("Time"), t("Way"), t("Frame"), t("Number"), t("Bytes"), t("Waiting")];
  const rows = frames.map((frame) =>
    el(
      "tr",
      { data: { direction: frame.direction } },
      el("td", {}, times.format(new Date(frame.at))),
      el("td", {}, frame.direction === "in" ? t("in") : t("out")),
      el("td", {}, frame.type),
      ...[frame.frames, frame.bytes, frame.queued_frames].map((count) => el("td", { class: "number" }, numbers.format(count))),
    ),
  );
  const table = el(
    "table",
    {},
    el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, ...rows.reverse()),
  );
  return el("div", { class: "recording-frames", tabindex: "0", role: "region", "aria-label": t("Recording") }, table);
}
