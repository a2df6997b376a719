/** Grants: to whom, what, where, until when; a new one, and taking one back. */
import { propose } from "./admin_change.js";
import { grants as findGrants, learnPeople, people, personName, personNamed, policy } from "./admin_data.js";
import { dropButton, emptyNote, moreButton, newButton, panelHead, redraw } from "./admin_parts.js";
import { until } from "./countdown.js";
import { el, icon, t, toastError } from "./ui.js";
import { permissionWords, roomNames, scopeWords } from "./words.js";

const SUBJECTS = {
  user: "A user",
  role: "A role",
  group: "A group",
  everyone: "Everyone with an account",
  anonymous: "Whoever is not signed in",
};

let rows = [];
let hasMore = false;
let list = null;
let subjectKind = null;
let subjectName = null;
let scope = null;

// --- the filter

async function subjectWanted() {
  const kind = subjectKind.value;
  const name = subjectName.value.trim();
  if (!kind || kind === "everyone" || kind === "anonymous") return kind;
  if (!name) return "";
  if (kind !== "user") return `${kind}:${name}`;
  const person = await personNamed(name);
  return person ? `user:${person.id}` : null;
}

async function search(after = "") {
  const subject = await subjectWanted();
  const query = { limit: 100, ...(subject ? { subject } : {}), ...(scope.value ? { scope: scope.value } : {}) };
  const answer =
    subject === null ? { grants: [], has_more: false } : await findGrants({ ...query, ...(after ? { after } : {}) });
  rows = after ? [...rows, ...answer.grants] : answer.grants;
  hasMore = answer.has_more;
  await learnPeople(rows.filter((grant) => grant.subject.kind === "user").map((grant) => grant.subject.id));
  draw();
}

function filters() {
  const kinds = [["", t("Everybody's")], ...Object.entries(SUBJECTS).map(([kind, words]) => [kind, t(words)])];
  subjectKind = select(t("To whom"), kinds);
  subjectName = el("input", {
    class: "input",
    placeholder: t("Name or key"),
    "aria-label": t("Name or key"),
    hidden: true,
  });
  const scopes = [
    ["", t("All scopes")],
    ["*", t("Everywhere")],
  ];
  for (const [id, name] of roomNames) scopes.push([`room:${id}`, name]);
  scope = select(t("Where"), scopes);
  subjectKind.addEventListener("change", () => {
    subjectName.hidden = !["user", "role", "group"].includes(subjectKind.value);
    subjectName.value = "";
  });
  for (const control of [subjectKind, subjectName, scope])
    control.addEventListener("change", () => search().catch(toastError));
  return el("div", { class: "filters" }, subjectKind, subjectName, scope);
}

function select(label, options) {
  const rows = options.map(([value, words]) => el("option", { value }, words));
  return el("select", { class: "input", "aria-label": label }, ...rows);
}

// --- the list

function draw() {
  const names = rows.map((grant) => people.get(grant.subject.id)?.username);
  redraw(list, [rows, hasMore, names], () => [
    rows.length ? el("ul", { class: "rows" }, ...rows.map(row)) : emptyNote(t("There is no such grant.")),
    ...(hasMore ? [moreButton(() => search(rows.at(-1).id))] : []),
  ]);
}

export function subjectWords({ kind, id }) {
  if (kind === "user") return personName(id);
  if (kind === "role") return t("role {name}", { name: policy.roles.find((one) => one.key === id)?.name ?? id });
  if (kind === "group") return t("group {name}", { name: policy.groups.find((one) => one.key === id)?.name ?? id });
  return t(SUBJECTS[kind]);
}

function row(grant) {
  const { id, subject, permission, effect, expires_at: expiresAt, source } = grant;
  const words = permissionWords(permission);
  const name = `${words}, ${subjectWords(subject)}`;
  return el(
    "li",
    { class: "row grant", data: { id, effect } },
    effect === "allow" ? icon("check") : icon("lock"),
    el(
      "span",
      { class: "row-text" },
      el("b", {}, effect === "deny" ? t("Not: {permission}", { permission: words }) : words),
      el(
        "small",
        { class: "muted" },
        ...(words === permission ? [] : [el("code", {}, permission), " · "]),
        scopeWords(grant.scope),
      ),
    ),
    el("span", { class: "grant-subject" }, subjectWords(subject), sourceTag(source)),
    expiresAt ? until(expiresAt) : el("span", {}),
    el(
      "span",
      { class: "row-actions" },
      source === "room_role" ? null : dropButton(t("Take back: {name}", { name }), () => drop(grant, name)),
    ),
  );
}

function sourceTag(source) {
  if (source === "role") return el("small", { class: "tag" }, t("by the role itself"));
  return source === "room_role" ? el("small", { class: "tag" }, t("by the role in the room")) : null;
}

function drop({ id }, name) {
  propose({
    title: t("Take back: {name}", { name }),
    isDanger: true,
    calls: () => [{ method: "DELETE", path: `/api/grants/${encodeURIComponent(id)}` }],
  });
}

// --- a new one

function newGrant({ kind = "user", name = "", permission = "", scope: place = "*" } = {}) {
  propose({
    title: t("New grant"),
    fields: [
      {
        kind: "select",
        name: "effect",
        label: t("Allow or deny"),
        value: "allow",
        options: [
          ["allow", t("Allow")],
          ["deny", t("Deny")],
        ],
      },
      { kind: "permission", name: "permission", label: t("What"), value: permission, required: true, maxlength: 130 },
      { kind: "select", name: "kind", label: t("To whom"), value: kind, options: subjectOptions() },
      { kind: "person", name: "who", label: t("User name, or key of the role or group"), value: name },
      { kind: "scope", name: "scope", label: t("Where"), value: place },
      { kind: "duration", name: "expires_in", label: t("Ends after") },
    ],
    calls: async (values) => [{ method: "POST", path: "/api/grants", body: await grantBody(values) }],
  });
}

const subjectOptions = () => Object.entries(SUBJECTS).map(([kind, words]) => [kind, t(words)]);

async function grantBody({ effect, permission, kind, who, scope: place, expires_in: seconds }) {
  const subject = { kind };
  if (kind === "user") {
    const person = await personNamed(who);
    if (!person)
      throw Object.assign(new Error(t("There is no user of that name.")), { code: "not_found", fields: { who: "" } });
    subject.id = person.id;
  } else if (kind === "role" || kind === "group") subject.id = who;
  return { subject, permission, scope: place, effect, ...(seconds ? { expires_in: seconds } : {}) };
}

/** `?user=…&permission=…&scope=…`: what somebody asked for, ready to be granted. */
export async function grantFromAddress() {
  const query = new URLSearchParams(location.search);
  if (!query.has("permission")) return;
  history.replaceState(null, "", location.pathname + location.hash);
  await learnPeople([query.get("user")]);
  const name = people.get(query.get("user"))?.username ?? "";
  newGrant({ name, permission: query.get("permission"), scope: query.get("scope") || "*" });
}

export const grantsPanel = {
  async open(place) {
    list = el("div", {});
    place.replaceChildren(
      panelHead(
        t("Grants"),
        newButton(t("New grant"), () => newGrant()),
      ),
      filters(),
      list,
    );
    await search();
  },
  refresh: () => search(),
};
