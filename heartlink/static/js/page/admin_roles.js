/** Roles as a tree by what they inherit, and groups with their members. */
import { propose } from "./admin_change.js";
import { groupMembers, learnPeople, policy } from "./admin_data.js";
import { dropButton, editButton, emptyNote, newButton, panelHead, redraw } from "./admin_parts.js";
import { el, icon, t } from "./ui.js";
import { permissionWords } from "./words.js";

const DEEPEST = 4;
const KEY_HINT = "letters, digits, - _ .";

/** Roles in the order of their tree: [{role, depth}]. */
function roleRows() {
  const keys = new Set(policy.roles.map((role) => role.key));
  const below = (parent, depth) =>
    policy.roles
      .filter((role) => (keys.has(role.parent) ? role.parent : null) === parent)
      .flatMap((role) => [{ role, depth }, ...below(role.key, Math.min(depth + 1, DEEPEST))]);
  return below(null, 0);
}

function peopleCount(count) {
  return count === 1 ? t("one person") : t("{count} people", { count });
}

function roleRow({ role, depth }) {
  const { key, name, permissions, users_count: count } = role;
  return el(
    "li",
    { class: "row", data: { depth, key } },
    icon("shield"),
    el(
      "span",
      { class: "row-text" },
      el("b", {}, name),
      el("small", { class: "muted" }, el("code", {}, key), ` · ${peopleCount(count)}`),
      role.parent ? el("small", { class: "muted" }, t("inherits from {name}", { name: role.parent })) : null,
    ),
    el("ul", { class: "chips" }, ...permissions.map(permissionChip)),
    el(
      "span",
      { class: "row-actions" },
      editButton(t("Change the role {name}", { name }), () => editRole(role)),
      dropButton(t("Delete the role {name}", { name }), () => dropRole(role)),
    ),
  );
}

function permissionChip(permission) {
  return el("li", { class: "chip", title: permissionWords(permission) }, el("code", {}, permission));
}

function roleFields(role, isNew) {
  const others = policy.roles.filter((one) => one.key !== role.key).map((one) => [one.key, one.name]);
  return [
    ...(isNew ? [{ name: "key", label: t("Key"), required: true, maxlength: 64, hint: t(KEY_HINT) }] : []),
    { name: "name", label: t("Name"), value: role.name, maxlength: 100, required: !isNew },
    {
      kind: "select",
      name: "parent",
      label: t("Inherits from"),
      value: role.parent,
      options: [["", t("nothing")], ...others],
    },
    {
      kind: "lines",
      name: "permissions",
      label: t("Permissions, everywhere"),
      value: role.permissions,
      hint: t("One in a line: resource.action, * for all of either."),
    },
  ];
}

function editRole(role) {
  const path = `/api/roles/${encodeURIComponent(role.key)}`;
  propose({
    title: t("Change the role {name}", { name: role.name }),
    fields: roleFields(role, false),
    calls: (values) => [{ method: "PATCH", path, body: { ...values, parent: values.parent || null } }],
  });
}

function newRole() {
  propose({
    title: t("New role"),
    fields: roleFields({ key: "", name: "", parent: null, permissions: [] }, true),
    calls: (values) => [{ method: "POST", path: "/api/roles", body: { ...values, parent: values.parent || null } }],
  });
}

function dropRole({ key, name }) {
  propose({
    title: t("Delete the role {name}", { name }),
    isDanger: true,
    calls: () => [{ method: "DELETE", path: `/api/roles/${encodeURIComponent(key)}` }],
  });
}

let rolesList = null;

function drawRoles() {
  redraw(rolesList, policy.roles, () => [el("ul", { class: "rows tree" }, ...roleRows().map(roleRow))]);
}

export const rolesPanel = {
  open(place) {
    rolesList = el("div", {});
    place.replaceChildren(panelHead(t("Roles"), newButton(t("New role"), newRole)), rolesList);
    drawRoles();
  },
  refresh: drawRoles,
};

// --- groups

function groupRow(group) {
  const { key, name, users_count: count } = group;
  return el(
    "li",
    { class: "row", data: { key } },
    icon("people"),
    el(
      "span",
      { class: "row-text" },
      el("b", {}, name),
      el("small", { class: "muted" }, el("code", {}, key), ` · ${peopleCount(count)}`),
    ),
    el(
      "span",
      { class: "row-actions" },
      editButton(t("Members of {name}", { name }), () => editMembers(group)),
      dropButton(t("Delete the group {name}", { name }), () => dropGroup(group)),
    ),
  );
}

async function editMembers({ key, name }) {
  const { users } = await groupMembers(key);
  await learnPeople(users);
  await propose({
    title: t("Members of {name}", { name }),
    fields: [{ kind: "people", name: "users", label: t("Members"), value: users }],
    calls: (values) => [{ method: "PUT", path: `/api/groups/${encodeURIComponent(key)}/members`, body: values }],
  });
}

function newGroup() {
  propose({
    title: t("New group"),
    fields: [
      { name: "key", label: t("Key"), required: true, maxlength: 64, hint: t(KEY_HINT) },
      { name: "name", label: t("Name"), maxlength: 100 },
    ],
    calls: (values) => [{ method: "POST", path: "/api/groups", body: values }],
  });
}

function dropGroup({ key, name }) {
  propose({
    title: t("Delete the group {name}", { name }),
    isDanger: true,
    calls: () => [{ method: "DELETE", path: `/api/groups/${encodeURIComponent(key)}` }],
  });
}

let groupsList = null;

function drawGroups() {
  redraw(groupsList, policy.groups, () => [
    policy.groups.length
      ? el("ul", { class: "rows" }, ...policy.groups.map(groupRow))
      : emptyNote(t("No groups yet. A group is some people to whom one can grant something together.")),
  ]);
}

export const groupsPanel = {
  open(place) {
    groupsList = el("div", {});
    place.replaceChildren(panelHead(t("Groups"), newButton(t("New group"), newGroup)), groupsList);
    drawGroups();
  },
  refresh: drawGroups,
};
