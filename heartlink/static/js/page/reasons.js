/** Why something is allowed or not: the chain that decided, what it takes, who could help, and a way to ask. */
import { until } from "./countdown.js";
import { el, explain as errorWords, icon, link, t } from "./ui.js";
import { permissionWords, roomRoleWords, scopeWords } from "./words.js";

const SENTENCES = {
  user: ["You yourself were given it.", "You yourself are denied it."],
  everyone: ["Everyone is allowed this.", "Everyone is denied this."],
  anonymous: ["People who are not signed in are allowed this.", "People who are not signed in are denied this."],
};

function decidedBy({ via, effect, chain = [] }) {
  const isAllowed = effect === "allow";
  const [first, ...others] = chain;
  if (via === "room_role") return t("Your role in this room: {role}.", { role: roomRoleWords(first ?? "member") });
  if (via === "group")
    return isAllowed
      ? t("Your group {name} allows it.", { name: first })
      : t("Your group {name} denies it.", { name: first });
  if (via !== "role") return t(SENTENCES[via]?.[isAllowed ? 0 : 1] ?? via);
  const line = [first, ...others].join(" → ");
  return isAllowed
    ? t("Your role {name} allows it.", { name: line })
    : t("Your role {name} denies it.", { name: line });
}

function chainLink(because) {
  return el(
    "li",
    { class: "reason-link", data: { effect: because.effect } },
    icon(because.effect === "allow" ? "check" : "lock"),
    el(
      "span",
      {},
      decidedBy(because),
      el("small", {}, el("code", {}, because.permission), ` ${scopeWords(because.scope)}`),
      because.expires_at ? el("small", {}, until(because.expires_at)) : null,
    ),
  );
}

function needWords({ what, permission, scope }) {
  const values = { permission: permissionWords(permission), place: scopeWords(scope) };
  return what === "lift_denial"
    ? t("It takes that the denial of “{permission}” {place} is lifted.", values)
    : t("It takes a grant of “{permission}” {place}.", values);
}

function whoCanGrant(granters) {
  const people = granters.map((one) => one.display_name ?? one.username).filter(Boolean);
  const others = granters.some((one) => one.kind === "administrators") ? [t("an administrator")] : [];
  const names = [...people, ...others];
  if (!names.length) return null;
  return t("Who could change that: {names}.", {
    names: new Intl.ListFormat(document.documentElement.lang).format(names),
  });
}

/**
 * An explanation as a calm panel.
 * @param {object} explanation as the server gives it: {allowed, because, needs, who_can_grant} and what was asked
 * @param {{permission: string, scope: string, canAsk?: boolean, isShort?: boolean}} asked isShort: what was asked is said already
 */
export function reasonPanel(explanation, { permission, scope, canAsk = true, isShort = false }) {
  const { allowed, because = [], needs = [], who_can_grant = [] } = explanation;
  const values = { permission: permissionWords(permission), place: scopeWords(scope) };
  const verdict = allowed
    ? t("You may: {permission}, {place}.", values)
    : t("You may not: {permission}, {place}.", values);
  const who = allowed ? null : whoCanGrant(who_can_grant);
  return el(
    "div",
    { class: `reason${isShort ? " short" : ""}`, data: { allowed: String(allowed) } },
    isShort ? null : el("p", { class: "reason-verdict" }, verdict),
    because.length
      ? el("ul", { class: "reason-chain" }, ...because.map(chainLink))
      : el("p", { class: "muted" }, t("No role, group or grant of yours speaks of it, and silence is no.")),
    ...(isShort ? [] : needs).map((need) => el("p", { class: "reason-need" }, needWords(need))),
    who ? el("p", { class: "muted" }, who) : null,
    !allowed && canAsk ? askFor(permission, scope) : null,
  );
}

/** A button that tells those who can grant it; it says by itself how that went. */
export function askFor(permission, scope) {
  const said = el("p", { class: "reason-asked", role: "status" });
  const button = el("button", { type: "button", class: "button quiet" }, icon("key"), t("Ask for access"));
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await link.rest.requestAccess(permission, scope);
      said.textContent = t("Asked. Those who can grant it were told.");
      button.hidden = true;
    } catch (error) {
      const { sentence, fix } = errorWords(error);
      said.textContent = `${sentence} ${fix}`;
      button.disabled = false;
    }
  });
  return el("div", { class: "reason-ask" }, button, said);
}
