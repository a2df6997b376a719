/** Changing the policy: fill in, see in words who gains and loses what, then save or leave it. */
import { undo } from "./admin_data.js";
import { fieldRow, readFields } from "./admin_fields.js";
import { until } from "./countdown.js";
import { el, explain as errorWords, icon, language, link, showFormError, t, toast } from "./ui.js";
import { permissionWords, scopeTitle, scopeWords } from "./words.js";

const MOST_SHOWN = 12;

const dialog = document.getElementById("change-dialog");
const form = document.getElementById("change-form");
const title = document.getElementById("change-title");
const fieldsPlace = document.getElementById("change-fields");
const previewPlace = document.getElementById("change-preview");
const why = document.getElementById("change-why");
const back = document.getElementById("change-back");
const go = document.getElementById("change-go");
const error = form.querySelector(".form-error");

let current = null;

/** Hears of every saved change: {version}. */
export const saved = new EventTarget();

/**
 * Opens the dialog.
 * @param {object} proposal
 * @param {string} proposal.title
 * @param {object[]} [proposal.fields] see admin_fields.js; without any the preview comes at once
 * @param {(values: object) => object[] | Promise<object[]>} proposal.calls the REST calls: [{method, path, body}]
 * @param {boolean} [proposal.isDanger]
 */
export async function propose({ title: words, fields = [], calls, isDanger = false }) {
  current = { fields, calls, wanted: null, isDanger };
  title.textContent = words;
  fieldsPlace.replaceChildren(...fields.map(fieldRow));
  why.querySelector("input").value = "";
  showStep("fields");
  dialog.showModal();
  if (fields.length) form.querySelector("input, select, textarea")?.focus();
  else await guarded(preview);
}

function showStep(step) {
  error.replaceChildren();
  const isPreview = step === "preview";
  fieldsPlace.hidden = isPreview || !current.fields.length;
  previewPlace.hidden = why.hidden = !isPreview;
  back.hidden = !isPreview || !current.fields.length;
  go.textContent = isPreview ? t("Save") : t("Preview");
  go.classList.toggle("danger", isPreview && current.isDanger);
  if (!isPreview) current.wanted = null;
}

async function preview() {
  const wanted = await current.calls(readFields(fieldsPlace, current.fields));
  const answer = await link.rest.preview(wanted);
  showStep("preview");
  current.wanted = wanted;
  previewPlace.replaceChildren(...previewParts(answer));
}

async function save() {
  const reason = why.querySelector("input").value.trim();
  let answer = null;
  for (const { method, path, body = {} } of current.wanted)
    answer = await link.rest.request(method, path, reason ? { ...body, why: reason } : body);
  dialog.close();
  offerUndo(answer.version);
  saved.dispatchEvent(new CustomEvent("saved", { detail: { version: answer.version } }));
}

function offerUndo(version) {
  const note = toast(t("Saved as version {version}.", { version }));
  const act = () => {
    note.remove();
    undoVersion(version);
  };
  note.append(" ", el("button", { type: "button", class: "link-button", on: { click: act } }, t("Undo")));
}

async function guarded(act) {
  go.disabled = true;
  error.replaceChildren();
  try {
    await act();
  } catch (problem) {
    showFormError(form, problem);
    if (problem.code) error.prepend(el("code", {}, problem.code), " ");
  } finally {
    go.disabled = false;
    // What had the focus is hidden now, and a disabled button takes none.
    if (current.wanted && dialog.open) go.focus();
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!go.disabled) guarded(current.wanted ? save : preview);
});
back.addEventListener("click", () => {
  showStep("fields");
  form.querySelector("input, select, textarea")?.focus();
});

// --- what would change, in words

function previewParts({ summary, people, total }) {
  if (!total) return [el("p", { class: "preview-sum" }, icon("check"), t("Nobody gains or loses anything by this."))];
  const shown = people.slice(0, MOST_SHOWN).map(personPart);
  const rest = total - shown.length;
  return [
    el("p", { class: "preview-sum" }, icon("people"), summaryWords(summary)),
    el("ul", { class: "preview-people" }, ...shown),
    rest > 0 ? el("p", { class: "muted" }, t("… and {count} more.", { count: rest })) : null,
  ].filter(Boolean);
}

function summaryWords(summary) {
  const text = summary.text ?? "";
  if (language === "en" && text) return `${text[0].toUpperCase()}${text.slice(1)}.`;
  return t(
    "This concerns {people} people: {gaining} gain something, {losing} lose something; {rooms} rooms, {menus} menus.",
    {
      ...summary,
    },
  );
}

function personPart(person) {
  const name = person.user_id === null ? t("Whoever is not signed in") : `@${person.username}`;
  return el(
    "li",
    {},
    el("b", {}, name),
    ...person.granted.map((entry) => signed("allow", t("gains"), entryWords(entry), entry.expires_at)),
    ...person.revoked.map((entry) => signed("deny", t("loses"), entryWords(entry))),
    ...person.rooms_gained.map((id) => signed("allow", t("may enter"), scopeTitle(`room:${id}`))),
    ...person.rooms_lost.map((id) => signed("deny", t("is removed from"), scopeTitle(`room:${id}`))),
    ...person.menus_added.map((key) => signed("allow", t("sees the menu"), key)),
    ...person.menus_removed.map((key) => signed("deny", t("no longer sees the menu"), key)),
    ...roleParts(person),
  );
}

function roleParts({ roles_before: before, roles_after: after }) {
  return [
    ...after.filter((key) => !before.includes(key)).map((key) => signed("allow", t("gets the role"), key)),
    ...before.filter((key) => !after.includes(key)).map((key) => signed("deny", t("loses the role"), key)),
  ];
}

const entryWords = ({ permission, scope, effect }) => {
  const what =
    effect === "deny"
      ? t("Not: {permission}", { permission: permissionWords(permission) })
      : permissionWords(permission);
  return `${what}, ${scopeWords(scope)}`;
};

function signed(effect, verb, words, expiresAt = null) {
  const sign = el("span", { class: "sign", "aria-hidden": "true" }, effect === "allow" ? "+" : "−");
  const time = expiresAt ? until(expiresAt) : null;
  return el(
    "span",
    { class: "preview-line", data: { effect } },
    sign,
    el("span", {}, `${verb} `, el("em", {}, words)),
    time,
  );
}

/** One click: the inverse change as a new version. */
export async function undoVersion(version) {
  try {
    const entry = await undo(version);
    toast(t("Version {version} is taken back.", { version }));
    saved.dispatchEvent(new CustomEvent("saved", { detail: { version: entry.version } }));
  } catch (problem) {
    const { sentence, fix } = errorWords(problem);
    toast(`${problem.code}: ${sentence}`, fix);
  }
}
