/** Fields of the console's forms. A field: {kind, name, label, value?, hint?, …}; its value is read by `readFields`. */
import { findPeople, people, personName, personNamed } from "./admin_data.js";
import { el, icon, t } from "./ui.js";
import { KNOWN_PERMISSIONS, roomNames } from "./words.js";

const SUGGEST_AFTER_MS = 200;
const UNIT_SECONDS = { second: 1, minute: 60, hour: 3600, day: 86400 };
let count = 0;

/** @returns {HTMLElement} the field with its label */
export function fieldRow(field) {
  const row = KINDS[field.kind ?? "text"].draw(field);
  row.dataset.field = field.name;
  return row;
}

/** @returns {object} the values by name */
export function readFields(place, fields) {
  const rows = new Map([...place.querySelectorAll("[data-field]")].map((row) => [row.dataset.field, row]));
  return Object.fromEntries(
    fields.map((field) => [field.name, KINDS[field.kind ?? "text"].read(rows.get(field.name))]),
  );
}

function labelled({ label, hint }, control, ...more) {
  const id = `field-${(count += 1)}`;
  control.id = id;
  if (hint) control.setAttribute("aria-describedby", `${id}-hint`);
  return el(
    "div",
    { class: "field" },
    el("label", { for: id }, label),
    control,
    hint ? el("small", { class: "muted", id: `${id}-hint` }, hint) : null,
    ...more,
  );
}

function textInput({ name, value = "", required, maxlength = 200, list, placeholder, readonly }) {
  const more = { autocomplete: "off", autocapitalize: "none", spellcheck: "false" };
  return el("input", { class: "input", name, value, required, maxlength, list, placeholder, readonly, ...more });
}

function options(rows, chosen) {
  return rows.map(([value, label]) => el("option", { value, selected: value === chosen }, label));
}

const valueOf = (row) => row.querySelector("input, select, textarea").value.trim();

// --- kinds

function permissionField(field) {
  const id = `permissions-${(count += 1)}`;
  const known = Object.entries(KNOWN_PERMISSIONS).map(([value, words]) => el("option", { value, label: t(words) }));
  const input = textInput({ ...field, list: id, placeholder: "chat.send" });
  return labelled(field, input, el("datalist", { id }, ...known));
}

/** Everywhere, a room by its name, or any other room by its id. */
function scopeField(field) {
  const { value = "*", name } = field;
  const rows = [["*", t("Everywhere")], ...[...roomNames].map(([id, words]) => [`room:${id}`, words])];
  const isKnown = rows.some(([scope]) => scope === value);
  const select = el(
    "select",
    { class: "input", name },
    ...options([...rows, ["", t("Another room…")]], isKnown ? value : ""),
  );
  const other = textInput({
    name: `${name}-other`,
    value: isKnown ? "" : value,
    placeholder: "room:…",
    maxlength: 110,
  });
  other.setAttribute("aria-label", t("Scope"));
  other.hidden = isKnown;
  select.addEventListener("change", () => {
    other.hidden = select.value !== "";
    if (!other.hidden) other.focus();
  });
  return labelled(field, select, other);
}

function readScope(row) {
  const chosen = row.querySelector("select").value;
  if (chosen) return chosen;
  const typed = row.querySelector("input").value.trim();
  return typed === "*" || typed.startsWith("room:") ? typed : `room:${typed}`;
}

/** How long: a number and a unit; empty is for good. */
function durationField(field) {
  const number = el("input", {
    class: "input",
    name: field.name,
    type: "number",
    min: "1",
    step: "1",
    inputmode: "numeric",
  });
  number.placeholder = t("for good");
  const units = Object.keys(UNIT_SECONDS).map((unit) => [unit, t(UNIT_WORDS[unit])]);
  const unit = el("select", { class: "input", "aria-label": t("Unit of time") }, ...options(units, "hour"));
  const row = labelled(field, number, unit);
  row.classList.add("duration");
  return row;
}

const UNIT_WORDS = { second: "seconds", minute: "minutes", hour: "hours", day: "days" };

function readDuration(row) {
  const number = Number(row.querySelector("input").value);
  return number > 0 ? number * UNIT_SECONDS[row.querySelector("select").value] : null;
}

function linesField(field) {
  const { name, value = [] } = field;
  const area = el("textarea", { class: "input", name, rows: "4", spellcheck: "false", autocapitalize: "none" });
  area.value = value.join("\n");
  return labelled(field, area);
}

function choicesField({ name, label, options: rows, value = [] }) {
  const choices = rows.map(([key, words, more]) =>
    el(
      "label",
      { class: "choice" },
      el("input", { type: "checkbox", name, value: key, checked: value.includes(key) }),
      el("span", {}, el("b", {}, words), more ? el("small", {}, more) : null),
    ),
  );
  return el("fieldset", { class: "field choices scroll" }, el("legend", {}, label), ...choices);
}

/** One user, by name, with suggestions. */
function personField(field) {
  const id = `people-${(count += 1)}`;
  const input = textInput({ ...field, list: id, placeholder: "ann" });
  const suggestions = el("datalist", { id });
  suggest(input, suggestions);
  return labelled(field, input, suggestions);
}

function suggest(input, place) {
  let timer = null;
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const { users } = await findPeople(input.value.trim().replace(/^@/, ""), "", 8).catch(() => ({ users: [] }));
      place.replaceChildren(...users.map((one) => el("option", { value: one.username, label: one.display_name })));
    }, SUGGEST_AFTER_MS);
  });
}

/** Many users: chips, and a line to add one. */
function peopleField({ name, label, value = [] }) {
  const chips = el("ul", { class: "chips", data: { name } });
  const add = (id) => chips.append(personChip(id));
  value.forEach(add);
  const input = textInput({ name: `${name}-new`, placeholder: "ann", list: `people-${(count += 1)}` });
  const suggestions = el("datalist", { id: `people-${count}` });
  suggest(input, suggestions);
  const said = el("small", { class: "field-error", role: "alert" });
  const button = el("button", { type: "button", class: "button quiet" }, t("Add"));
  const take = async () => {
    said.textContent = "";
    const person = input.value.trim() && (await personNamed(input.value).catch(() => null));
    if (!person) said.textContent = t("There is no user of that name.");
    else if (!chips.querySelector(`[data-id="${CSS.escape(person.id)}"]`)) add(person.id);
    if (person) input.value = "";
    input.focus();
  };
  button.addEventListener("click", take);
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    take();
  });
  const line = el("div", { class: "add-line" }, labelled({ label: t("Add a person by user name") }, input), button);
  return el("fieldset", { class: "field" }, el("legend", {}, label), chips, line, suggestions, said);
}

function personChip(id) {
  const name = personName(id);
  const chip = el("li", { class: "chip", data: { id } }, people.get(id)?.display_name ?? name);
  const label = t("Remove {name}", { name });
  const remove = el(
    "button",
    { type: "button", class: "chip-remove", "aria-label": label, title: label },
    icon("close"),
  );
  remove.addEventListener("click", () => chip.remove());
  chip.append(remove);
  return chip;
}

const KINDS = {
  text: { draw: (field) => labelled(field, textInput(field)), read: valueOf },
  number: {
    draw: (field) =>
      labelled(field, el("input", { class: "input", type: "number", name: field.name, value: field.value })),
    read: (row) => Number(valueOf(row) || 0),
  },
  select: {
    draw: (field) =>
      labelled(field, el("select", { class: "input", name: field.name }, ...options(field.options, field.value ?? ""))),
    read: valueOf,
  },
  permission: { draw: permissionField, read: valueOf },
  scope: { draw: scopeField, read: readScope },
  duration: { draw: durationField, read: readDuration },
  lines: {
    draw: linesField,
    read: (row) => [
      ...new Set(
        valueOf(row)
          .split(/[\s,]+/u)
          .filter(Boolean),
      ),
    ],
  },
  choices: { draw: choicesField, read: (row) => [...row.querySelectorAll(":checked")].map((one) => one.value) },
  person: { draw: personField, read: valueOf },
  people: { draw: peopleField, read: (row) => [...row.querySelectorAll(".chip")].map((chip) => chip.dataset.id) },
};
