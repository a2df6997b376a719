/** Users of the console: search, the roles of each, who may come in. */
import { propose } from "./admin_change.js";
import { findPeople, policy } from "./admin_data.js";
import { chip, emptyNote, moreButton, panelHead, redraw } from "./admin_parts.js";
import { avatar, confirmed, el, icon, link, page, t, toastError } from "./ui.js";

const SEARCH_AFTER_MS = 200;

let rows = [];
let hasMore = false;
let input = null;
let list = null;
let asked = 0;

async function search() {
  const number = (asked += 1);
  const answer = await findPeople(input.value.trim().replace(/^@/, ""));
  if (number !== asked) return;
  rows = answer.users;
  hasMore = answer.has_more;
  draw();
}

function draw() {
  redraw(list, [rows, hasMore, policy.roles], () => [
    rows.length ? el("ul", { class: "rows" }, ...rows.map(row)) : emptyNote(t("There is no user of that name.")),
    ...(hasMore ? [moreButton(loadMore)] : []),
  ]);
}

async function loadMore() {
  const answer = await findPeople(input.value.trim(), rows.at(-1).username);
  rows = [...rows, ...answer.users];
  hasMore = answer.has_more;
  draw();
}

function row(person) {
  const { id, username, display_name: name, is_active: isActive, is_online: isOnline } = person;
  const status = isOnline ? "online" : "offline";
  return el(
    "li",
    { class: `row${isActive ? "" : " inactive"}`, data: { id } },
    el("span", { class: "presence", data: { status } }, avatar({ id, name })),
    el(
      "span",
      { class: "row-text" },
      el("b", {}, name),
      el("small", { class: "muted" }, `@${username}`, isActive ? "" : ` · ${t("deactivated")}`),
    ),
    el(
      "ul",
      { class: "chips" },
      ...person.roles.map((key) => el("li", { class: "chip" }, icon("shield"), roleName(key))),
      ...person.groups.map((key) => chip(groupName(key), "people")),
    ),
    el("span", { class: "row-actions" }, rolesButton(person), activeButton(person)),
  );
}

const roleName = (key) => policy.roles.find((role) => role.key === key)?.name ?? key;
const groupName = (key) => policy.groups.find((group) => group.key === key)?.name ?? key;

function rolesButton(person) {
  const label = t("Roles of {name}", { name: person.display_name });
  return el(
    "button",
    {
      type: "button",
      class: "button quiet small",
      "aria-label": label,
      on: { click: () => changeRoles(person, label) },
    },
    t("Roles"),
  );
}

function changeRoles(person, title) {
  const options = policy.roles.map((role) => [role.key, role.name, role.key]);
  propose({
    title,
    fields: [{ kind: "choices", name: "roles", label: t("Roles"), options, value: person.roles }],
    calls: ({ roles }) => [
      { method: "PUT", path: `/api/users/${encodeURIComponent(person.id)}/roles`, body: { roles } },
    ],
  });
}

function activeButton(person) {
  if (person.id === page.user.id) return null;
  const { display_name: name, is_active: isActive } = person;
  const label = isActive ? t("Deactivate {name}", { name }) : t("Let {name} in again", { name });
  const words = isActive ? t("Deactivate") : t("Let in again");
  const act = () => setActive(person, !isActive);
  return el("button", { type: "button", class: "button quiet small", "aria-label": label, on: { click: act } }, words);
}

async function setActive(person, isActive) {
  const name = person.display_name;
  const isSure =
    isActive ||
    (await confirmed({
      title: t("Deactivate {name}?", { name }),
      text: t("They are signed out everywhere at once, their connections end, and they cannot sign in again."),
      yes: t("Deactivate"),
    }));
  if (!isSure) return;
  try {
    await link.rest.request("PATCH", `/api/users/${encodeURIComponent(person.id)}`, { is_active: isActive });
    await search();
  } catch (error) {
    toastError(error);
  }
}

export const usersPanel = {
  async open(place) {
    input = el("input", {
      class: "input",
      type: "search",
      placeholder: t("User name"),
      autocomplete: "off",
      spellcheck: "false",
    });
    input.setAttribute("aria-label", t("Search for users"));
    list = el("div", {});
    let timer = null;
    input.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => search().catch(toastError), SEARCH_AFTER_MS);
    });
    place.replaceChildren(panelHead(t("Users"), input), list);
    await search();
  },
  refresh: () => search(),
};
