/** The page of one's own rights: what one may, why, until when, and what has changed; live. */
import { menuTree } from "../heartlink.js";
import { until } from "./countdown.js";
import { menuIcon, rowsOf } from "./navigation.js";
import { beat, showConnection } from "./pulse.js";
import { reasonPanel } from "./reasons.js";
import { permissions } from "./stream.js";
import { el, explain as errorWords, icon, link, onSubmit, page, ready, shortTime, t } from "./ui.js";
import {
  KNOWN_PERMISSIONS,
  learnRoomNames,
  permissionWords,
  reasonWords,
  roomNames,
  scopeTitle,
  scopeWords,
} from "./words.js";

const MOST_CHANGES = 8;
const FRESH_MS = 4000;

const list = document.getElementById("rights-list");
const filter = document.getElementById("rights-filter");
const news = document.getElementById("rights-news");
let groups = [];
let fresh = new Set();

const keyOf = ({ permission, scope, effect }) => `${effect} ${permission} ${scope}`;
const isOver = ({ expires_at }) => expires_at && Date.parse(expires_at) <= permissions.now;

// --- rights

function drawRights() {
  const wanted = filter.value.trim().toLowerCase();
  const shown = permissions.permissions.filter((entry) => !isOver(entry) && matches(entry, wanted));
  document.getElementById("rights-none").hidden = shown.length > 0 || !permissions.rights.isKnown;
  const open = openReasons();
  const scopes = [...new Set(shown.map((entry) => entry.scope))].sort(byScope);
  list.replaceChildren(
    ...scopes.map((scope) =>
      scopeGroup(
        scope,
        shown.filter((entry) => entry.scope === scope),
      ),
    ),
  );
  if (permissions.rights.isKnown) list.removeAttribute("aria-busy");
  for (const key of open) list.querySelector(`[data-key="${CSS.escape(key)}"] .why-button`)?.click();
}

function matches(entry, wanted) {
  const words = `${entry.permission} ${permissionWords(entry.permission)} ${scopeTitle(entry.scope)}`;
  return words.toLowerCase().includes(wanted);
}

const byScope = (a, b) => (a !== "*") - (b !== "*") || scopeTitle(a).localeCompare(scopeTitle(b));

function openReasons() {
  const open = list.querySelectorAll('.why-button[aria-expanded="true"]');
  return [...open].map((button) => button.closest("[data-key]").dataset.key);
}

function scopeGroup(scope, entries) {
  const rights = entries.map((entry) => right(entry));
  return el("section", { class: "scope-group" }, el("h3", {}, scopeTitle(scope)), el("ul", {}, ...rights));
}

function right(entry) {
  const key = keyOf(entry);
  const isDenial = entry.effect === "deny";
  const place = el("div", { class: "right-reason", hidden: true });
  const words = permissionWords(entry.permission);
  const why = el("button", { type: "button", class: "link-button why-button", "aria-expanded": "false" }, t("Why?"));
  why.setAttribute("aria-label", t("Why? {permission}", { permission: words }));
  why.addEventListener("click", () => toggleReason(why, place, entry));
  return el(
    "li",
    { class: `right${fresh.has(key) ? " fresh" : ""}`, data: { key, effect: entry.effect } },
    icon(isDenial ? "lock" : "check"),
    el(
      "span",
      { class: "right-text" },
      el("b", {}, isDenial ? t("Not: {permission}", { permission: words }) : words),
      words === entry.permission ? null : el("code", {}, entry.permission),
    ),
    entry.expires_at ? until(entry.expires_at) : null,
    why,
    place,
  );
}

async function toggleReason(button, place, { permission, scope }) {
  const opens = place.hidden;
  button.setAttribute("aria-expanded", String(opens));
  place.hidden = !opens;
  if (opens) await showReason(place, permission, scope, false);
}

async function showReason(place, permission, scope, canAsk = true) {
  try {
    const dot = permission.indexOf(".");
    const [resource, action] = [permission.slice(0, dot), permission.slice(dot + 1)];
    const explanation = await permissions.explain({ resource, action, scope });
    place.replaceChildren(reasonPanel(explanation, { permission, scope, canAsk }));
  } catch (error) {
    const { sentence, fix } = errorWords(error);
    place.replaceChildren(el("p", { class: "form-error" }, `${sentence} ${fix}`));
  }
}

// --- roles, menus, changes

function drawRoles() {
  const names = [...permissions.roles.map((key) => ["shield", key]), ...groups.map((group) => ["people", group])];
  const chips = names.map(([drawing, name]) => el("li", { class: "chip" }, chipIcon(drawing), t(name)));
  document.getElementById("my-roles").replaceChildren(...chips);
  document.getElementById("no-roles").hidden = names.length > 0;
}

const chipIcon = (drawing) => (drawing === "shield" ? icon("shield") : icon("people"));

function drawMenus() {
  const rows = rowsOf(menuTree(permissions.menus)).map(({ menu, depth }) =>
    el(
      "li",
      { data: { depth } },
      menuIcon(menu.icon),
      el("span", {}, t(menu.name)),
      el("small", { class: "muted" }, menu.url),
    ),
  );
  document.getElementById("my-menus").replaceChildren(...rows);
}

function drawChanges() {
  const changes = permissions.changes.slice(0, MOST_CHANGES);
  document.getElementById("no-changes").hidden = changes.length > 0;
  document.getElementById("my-changes").replaceChildren(...changes.map(changeItem));
}

function changeItem({ at, because, granted, revoked, menus, roles }) {
  return el(
    "li",
    {},
    el("time", { class: "muted", datetime: at }, shortTime(new Date(at))),
    el("span", { class: "change-because" }, because ? reasonWords(because) : t("No reason was given.")),
    ...granted.map((entry) => signed("+", entry)),
    ...revoked.map((entry) => signed("−", entry)),
    roles ? el("small", {}, t("Roles: {names}", { names: roles.new.join(", ") || "–" })) : null,
    menus && !granted.length && !revoked.length ? el("small", {}, t("The navigation changed.")) : null,
  );
}

function signed(sign, { permission, scope }) {
  const effect = sign === "+" ? "allow" : "deny";
  return el(
    "small",
    { data: { effect } },
    el("span", { "aria-hidden": "true" }, `${sign} `),
    el("span", { class: "sr-only" }, sign === "+" ? t("gained:") : t("lost:")),
    el("code", {}, permission),
    ` ${scopeWords(scope)}`,
  );
}

function announce({ granted, revoked, because }) {
  fresh = new Set(granted.map(keyOf));
  setTimeout(() => (fresh = new Set()), FRESH_MS);
  const named = (entries) => entries.map((one) => `${permissionWords(one.permission)} ${scopeWords(one.scope)}`);
  const words = [];
  if (granted.length) words.push(t("You gained: {names}.", { names: named(granted).join(", ") }));
  if (revoked.length) words.push(t("You lost: {names}.", { names: named(revoked).join(", ") }));
  if (words.length) news.textContent = `${words.join(" ")} ${because}`;
}

// --- why can't I…

function drawScopes() {
  const select = document.querySelector("#why-form select");
  const chosen = select.value;
  const rooms = [...roomNames].map(([id, name]) => el("option", { value: `room:${id}` }, name));
  select.replaceChildren(el("option", { value: "*" }, t("Everywhere")), ...rooms);
  select.value = chosen || "*";
}

function wireWhy() {
  const options = Object.entries(KNOWN_PERMISSIONS).filter(([permission]) => !permission.includes("*"));
  const rows = options.map(([permission, words]) => el("option", { value: permission, label: t(words) }));
  document.getElementById("why-permissions").replaceChildren(...rows);
  const answer = document.getElementById("why-answer");
  onSubmit(document.getElementById("why-form"), async (data) => {
    const permission = data.get("permission").trim();
    if (!permission.includes(".")) {
      const error = { code: "invalid_parameters", message: t("A permission is written resource.action.") };
      throw Object.assign(new Error(error.message), error);
    }
    answer.replaceChildren();
    await showReason(answer, permission, data.get("scope"));
  });
}

// --- all together

async function learn() {
  const [learnt, mine] = await Promise.allSettled([learnRoomNames(), link.rest.myPermissions()]);
  if (mine.value?.groups) groups = mine.value.groups.map((group) => group.name ?? group.key ?? group);
  drawRoles();
  if (!learnt.value) return;
  drawScopes();
  drawRights();
  drawChanges();
}

function drawState({ name, retryAt, error }) {
  if (name === "live") showConnection("live", t("Live"));
  else if (name === "connecting") showConnection("connecting", t("Connecting…"));
  else if (name === "catching_up") showConnection("catching_up", t("Catching up…"));
  else if (name === "waiting") {
    const seconds = Math.max(1, Math.ceil((retryAt - Date.now()) / 1000));
    showConnection("waiting", t("No connection · next try in {seconds} s", { seconds }));
  } else
    showConnection("stopped", error?.status === 401 || error?.status === 4401 ? t("Signed out") : t("Not connected"));
}

function draw() {
  drawRights();
  drawRoles();
  drawMenus();
  drawChanges();
}

permissions.on("state", drawState);
permissions.on("beat", ({ kind }) => beat(kind));
permissions.on("changed", announce);
permissions.on("changed", () => learn());
permissions.on("snapshot", () => learn());
permissions.on("rights", draw);
filter.addEventListener("input", drawRights);
setInterval(() => permissions.state.name === "waiting" && drawState(permissions.state), 500);

if (!permissions.rights.isKnown) permissions.rights.menus = page.menus;
wireWhy();
draw();
drawState(permissions.state);
learn();
ready();
