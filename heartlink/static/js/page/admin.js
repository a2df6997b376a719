/** The console: its sections, and the eye on changes that others make. */
import { auditPanel } from "./admin_audit.js";
import { saved } from "./admin_change.js";
import { latestVersion, learnRooms, loadPolicy, policy } from "./admin_data.js";
import { grantsPanel, grantFromAddress } from "./admin_grants.js";
import { connectedPanel } from "./admin_connections.js";
import { notifyPanel } from "./admin_live.js";
import { menusPanel } from "./admin_menus.js";
import { groupsPanel, rolesPanel } from "./admin_roles.js";
import { usersPanel } from "./admin_users.js";
import { beat, showConnection } from "./pulse.js";
import { reasonPanel } from "./reasons.js";
import { permissions } from "./stream.js";
import { el, explain as errorWords, ready, t, toastError } from "./ui.js";

const LOOK_EVERY_MS = 2000;

/** Each panel draws itself into its place: `open` when it is chosen, `refresh` when the policy has changed. */
const PANELS = {
  users: usersPanel,
  roles: rolesPanel,
  groups: groupsPanel,
  grants: grantsPanel,
  menus: menusPanel,
  audit: auditPanel,
  connected: connectedPanel,
  notify: notifyPanel,
};

const tabs = [...document.querySelectorAll('[role="tab"]')];
const placeOf = (name) => document.getElementById(`panel-${name}`);
const opened = new Set();
let current = null;

// --- tabs

async function choose(name, { focus = false } = {}) {
  if (!PANELS[name]) name = "users";
  current = name;
  for (const tab of tabs) {
    const isChosen = tab.dataset.panel === name;
    tab.setAttribute("aria-selected", String(isChosen));
    tab.tabIndex = isChosen ? 0 : -1;
    placeOf(tab.dataset.panel).hidden = !isChosen;
    if (isChosen) tab.scrollIntoView({ block: "nearest", inline: "nearest" });
    if (isChosen && focus) tab.focus();
  }
  history.replaceState(null, "", `${location.pathname}${location.search}#${name}`);
  await show(name);
}

async function show(name) {
  try {
    if (opened.has(name)) await PANELS[name].refresh(placeOf(name));
    else await PANELS[name].open(placeOf(name));
    opened.add(name);
  } catch (error) {
    placeOf(name).setAttribute("aria-busy", "false");
    toastError(error);
  }
}

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

document.getElementById("tabs").addEventListener("keydown", (event) => {
  const at = tabs.indexOf(event.target);
  let next = null;
  if (STEPS[event.key]) next = tabs[(at + STEPS[event.key] + tabs.length) % tabs.length];
  else if (event.key === "Home") next = tabs[0];
  else if (event.key === "End") next = tabs.at(-1);
  if (!next) return;
  event.preventDefault();
  choose(next.dataset.panel, { focus: true });
});
for (const tab of tabs) tab.addEventListener("click", () => choose(tab.dataset.panel));
addEventListener("hashchange", () => location.hash.slice(1) !== current && choose(location.hash.slice(1)));

// --- what others change

let isReading = false;

async function reread() {
  if (isReading) return;
  isReading = true;
  try {
    await loadPolicy();
    drawVersion();
    await show(current);
  } catch (error) {
    if (!error.isTemporary) toastError(error);
  } finally {
    isReading = false;
  }
}

/** One's own stream tells of one's own rights alone: what others are given is asked for. */
async function look() {
  if (document.hidden) return;
  try {
    const version = await latestVersion();
    drawLost(null);
    if (version > policy.version) await reread();
  } catch (error) {
    if (error.decisionId) drawLost(error.decisionId);
  }
}

let lostBecause = null;

async function drawLost(decisionId) {
  const notice = document.getElementById("admin-lost");
  notice.hidden = !decisionId;
  const main = document.querySelector(".admin");
  main.toggleAttribute("data-lost", Boolean(decisionId));
  for (const part of main.querySelectorAll(".tabs, .panel")) part.inert = Boolean(decisionId);
  if (decisionId) document.getElementById("change-dialog").close();
  else lostBecause = null;
  if (!decisionId || lostBecause) return;
  lostBecause = decisionId;
  const asked = { permission: "permissions.manage", scope: "*" };
  try {
    const explanation = await permissions.explain({ decision_id: decisionId });
    notice.replaceChildren(reasonPanel(explanation, asked));
  } catch (error) {
    notice.replaceChildren(el("p", {}, errorWords(error).sentence));
  }
}

function drawVersion() {
  document.getElementById("policy-version").textContent = t("Version {version}", { version: policy.version });
}

function drawState({ name }) {
  if (name === "live") showConnection("live", t("Live"));
  else if (name === "connecting" || name === "catching_up") showConnection("connecting", t("Connecting…"));
  else showConnection(name, t("Not connected"));
}

saved.addEventListener("saved", reread);
permissions.on("state", drawState);
permissions.on("beat", ({ kind }) => beat(kind));
permissions.on("changed", () => look());
setInterval(look, LOOK_EVERY_MS);

drawState(permissions.state);
ready();
await Promise.all([loadPolicy(), learnRooms()]).catch(toastError);
drawVersion();
await choose(location.hash.slice(1) || "users");
grantFromAddress();
