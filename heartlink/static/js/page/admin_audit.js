/** The audit: every version of the policy, newest first, with what was before, and one click to take it back. */
import { undoVersion } from "./admin_change.js";
import { audit, learnPeople, personName } from "./admin_data.js";
import { subjectWords } from "./admin_grants.js";
import { moreButton, panelHead, redraw } from "./admin_parts.js";
import { dayText, el, exactTime, icon, t, timeText } from "./ui.js";
import { reasonWords, roomRoleWords, scopeWords } from "./words.js";

let entries = [];
let hasMore = false;
let list = null;
const open = new Set();

async function load(before = null) {
  const answer = await audit(before);
  const older = before ? entries : entries.filter((entry) => entry.version < (answer.entries.at(-1)?.version ?? 0));
  entries = before ? [...entries, ...answer.entries] : [...answer.entries, ...older];
  if (before || !older.length) hasMore = answer.has_more;
  await learnPeople(entries.flatMap((entry) => [...entry.changes, ...entry.before].flatMap(idsIn)));
  draw();
}

const idsIn = (change) => [
  change.user_id,
  ...(change.users ?? []).slice(0, 20),
  change.grant?.subject.kind === "user" ? change.grant.subject.id : null,
];

function draw() {
  redraw(list, [entries, hasMore], () => [
    el("ol", { class: "rows audit" }, ...entries.map(row)),
    ...(hasMore ? [moreButton(() => load(entries.at(-1).version))] : []),
  ]);
}

function row(entry) {
  const { version, at, by, why, touched_count: touched } = entry;
  const date = new Date(at);
  const details = el(
    "details",
    { class: "audit-details", open: open.has(version) },
    el("summary", {}, t("Before and after")),
    el(
      "div",
      { class: "before-after" },
      side(t("Before"), entry.before, "deny"),
      side(t("After"), entry.changes, "allow"),
    ),
  );
  details.addEventListener("toggle", () => (details.open ? open.add(version) : open.delete(version)));
  const label = t("Take version {version} back", { version });
  return el(
    "li",
    { class: "row audit-row", data: { version } },
    el("span", { class: "audit-version muted" }, `#${version}`),
    el(
      "span",
      { class: "row-text" },
      el("b", {}, reasonWords(why)),
      el(
        "small",
        { class: "muted" },
        el("time", { datetime: at, title: exactTime(date) }, `${dayText(date)}, ${timeText(date)}`),
        by ? ` · @${by}` : ` · ${t("by itself")}`,
        ` · ${touched === 1 ? t("one person") : t("{count} people", { count: touched })}`,
      ),
    ),
    el(
      "span",
      { class: "row-actions" },
      el(
        "button",
        {
          type: "button",
          class: "button quiet small",
          "aria-label": label,
          on: { click: () => undoVersion(version) },
        },
        icon("undo"),
        el("span", { class: "not-narrow" }, t("Undo")),
      ),
    ),
    details,
  );
}

function side(title, changes, effect) {
  const lines = changes.map((change) => el("li", {}, changeWords(change)));
  return el("div", { data: { effect } }, el("h3", {}, title), el("ul", {}, ...lines));
}

const listed = (names) => (names.length ? names.join(", ") : "–");

/** A change of the policy in words, by its kind. */
const CHANGES = {
  put_role: ({ role }) =>
    t("Role {name}: {permissions}", { name: role.name, permissions: listed(role.permissions) }) +
    (role.parent ? ` · ${t("inherits from {name}", { name: role.parent })}` : ""),
  drop_role: ({ key }) => t("No role {name}", { name: key }),
  set_roles: ({ user_id, roles }) => t("Roles of {name}: {roles}", { name: personName(user_id), roles: listed(roles) }),
  put_group: ({ group }) => t("Group {name}", { name: group.name }),
  drop_group: ({ key }) => t("No group {name}", { name: key }),
  set_group_members: ({ key, users }) =>
    t("Members of {name}: {people}", { name: key, people: listed(users.slice(0, 20).map(personName)) }),
  put_grant: ({ grant }) => {
    const values = { permission: grant.permission, name: subjectWords(grant.subject), place: scopeWords(grant.scope) };
    const words =
      grant.effect === "deny"
        ? t("Denied to {name}: {permission}, {place}", values)
        : t("Allowed to {name}: {permission}, {place}", values);
    return grant.expires_at_ms ? `${words} (${exactTime(new Date(grant.expires_at_ms))})` : words;
  },
  drop_grant: ({ id }) => t("No grant {id}", { id }),
  put_menu: ({ menu }) => t("Menu {name}: {url}, shows with {permission}", { ...menu, name: t(menu.name) }),
  drop_menu: ({ key }) => t("No menu {name}", { name: key }),
  set_member: ({ room_id, user_id, role }) => {
    const values = { name: personName(user_id), place: scopeWords(`room:${room_id}`) };
    return role
      ? t("{name} is {role} {place}", { ...values, role: roomRoleWords(role) })
      : t("{name} is not {place}", values);
  },
};

function changeWords(change) {
  return CHANGES[change.change]?.(change) ?? change.change;
}

export const auditPanel = {
  async open(place) {
    list = el("div", {});
    place.replaceChildren(panelHead(t("Audit")), list);
    await load();
  },
  refresh: () => load(),
};
