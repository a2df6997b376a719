/** What every page shares: the page's data, words in its language, small elements, dialogs, the account menu. */
import { HeartLink } from "../heartlink.js";

const LASTS_SECONDS = 365 * 24 * 3600;
const TOAST_MS = 6000;

/** {user: U | null, locale: "en_US" | "zh_CN", strings: {english: translated}, …} as rendered into the page */
export const page = JSON.parse(document.getElementById("page-data").textContent);
export const language = document.documentElement.lang;

/** Who speaks, through the page's own cookie. */
export const link = new HeartLink({
  user: page.user,
  pingSeconds: 4,
  getCsrfToken: () => cookie("csrftoken") ?? document.querySelector('meta[name="csrf-token"]').content,
});

/** The words for an English sentence in the page's language; `{name}` is replaced from `values`. */
export function t(english, values = {}) {
  const words = page.strings[english] ?? english;
  return words.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/**
 * An element. Text children are text nodes: nothing a user wrote is ever parsed as markup.
 * @param {string} tag
 * @param {object} [properties] `class`, `data` {…}, `on` {event: listener}, `aria-…` and other attributes; null and false are left out
 * @param {...(Node | string | null)} children
 */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "data") Object.assign(element.dataset, value);
    else if (name === "on")
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** A drawing from the icon sheet; says nothing to a screen reader. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `${document.body.dataset.icons}#${name}`);
  svg.append(use);
  return svg;
}

export function svgPath(className, viewBox, d) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", className);
  svg.setAttribute("viewBox", viewBox);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", d);
  svg.append(path);
  return svg;
}

export function iconButton(iconName, label, listener, more = {}) {
  return el(
    "button",
    { type: "button", class: "icon-button", "aria-label": label, title: label, on: { click: listener }, ...more },
    icon(iconName),
  );
}

/** A picture or initials in a colour of the user's own. */
export function avatar({ id, name, url }) {
  const circle = el("span", { class: "avatar", "aria-hidden": "true" });
  if (/^(https:\/\/|\/(?!\/))/.test(url ?? ""))
    circle.append(el("img", { src: url, alt: "", loading: "lazy", referrerpolicy: "no-referrer" }));
  else circle.append(initials(name));
  circle.style.setProperty("--hue", String(hueOf(id ?? name)));
  return circle;
}

function initials(name) {
  const words = (name ?? "").trim().split(/\s+/).filter(Boolean);
  if (!words.length) return "?";
  if (/\p{Script=Han}/u.test(words[0])) return [...words[0]].slice(-2).join("");
  return (
    words.length > 1 ? [...words[0]][0] + [...words.at(-1)][0] : [...words[0]].slice(0, 2).join("")
  ).toUpperCase();
}

function hueOf(text) {
  let hash = 0;
  for (const character of String(text)) hash = (hash * 31 + character.codePointAt(0)) >>> 0;
  return (hash * 47) % 360;
}

/** What a room is called: its name, else the others in it. */
export function roomTitle(room) {
  if (room.name) return room.name;
  const others = (room.members ?? []).filter((member) => member.user_id !== page.user?.id);
  return others.length ? others.map((member) => member.display_name).join(", ") : t("Conversation");
}

export function roomUrl(roomId) {
  return `/chat/${encodeURIComponent(roomId)}/`;
}

// --- times

const clock = new Intl.DateTimeFormat(language, { hour: "numeric", minute: "2-digit" });
const shortDay = new Intl.DateTimeFormat(language, { month: "short", day: "numeric" });
const longDay = new Intl.DateTimeFormat(language, { weekday: "long", year: "numeric", month: "long", day: "numeric" });
const exact = new Intl.DateTimeFormat(language, { dateStyle: "long", timeStyle: "short" });

export function dayKey(date) {
  return `${date.getFullYear()}-${date.getMonth()}-${date.getDate()}`;
}

export const timeText = (date) => clock.format(date);
export const exactTime = (date) => exact.format(date);
export const shortTime = (date) => (dayKey(date) === dayKey(new Date()) ? clock.format(date) : shortDay.format(date));

export function dayText(date) {
  const now = new Date();
  if (dayKey(date) === dayKey(now)) return t("Today");
  if (dayKey(date) === dayKey(new Date(now.getFullYear(), now.getMonth(), now.getDate() - 1))) return t("Yesterday");
  return longDay.format(date);
}

// --- telling

/** A refusal as one sentence and what to do, in the page's language as far as it is known. */
export function explain(error) {
  const sentence = serverWords(error.message) ?? page.strings[`code:${error.code}`] ?? error.message ?? String(error);
  const fix = error.fix ? (serverWords(error.fix) ?? (language === "en" ? error.fix : "")) : "";
  return { sentence, fix };
}

/** A sentence of the server in the page's language; those with numbers and names in them have patterns: `server:… {1} …`. */
function serverWords(sentence) {
  if (page.strings[sentence]) return page.strings[sentence];
  for (const [pattern, words] of serverPatterns) {
    const found = pattern.exec(sentence);
    if (found) return words.replace(/\{(\d)\}/g, (_, number) => found[Number(number)]);
  }
  return null;
}

const serverPatterns = Object.entries(page.strings)
  .filter(([key]) => key.startsWith("server:"))
  .map(([key, words]) => [
    new RegExp(
      `^${key
        .slice(7)
        .replace(/[.*+?^$()|[\]\\]/g, "\\$&")
        .replace(/\{\d\}/g, "(.+)")}$`,
      "u",
    ),
    words,
  ]);

/** Hears of refusals for want of a right: `refused` {error, place}; place is where they are shown. */
export const refused = new EventTarget();

function tellRefused(error, place) {
  if (error.decisionId) refused.dispatchEvent(new CustomEvent("refused", { detail: { error, place } }));
}

export function toast(words, fix = "") {
  const note = el("div", { class: "toast" }, words, fix ? el("span", { class: "fix" }, fix) : null);
  document.getElementById("toasts").append(note);
  setTimeout(() => note.remove(), TOAST_MS);
  return note;
}

export function toastError(error) {
  const { sentence, fix } = explain(error);
  tellRefused(error, toast(sentence, fix));
}

/** Writes a refusal under its form and marks the fields it speaks of. */
export function showFormError(form, error) {
  const place = form.querySelector(".form-error");
  const { sentence, fix } = explain(error);
  place.replaceChildren(sentence, fix ? el("span", { class: "fix" }, fix) : "");
  for (const [name, words] of Object.entries(error.fields ?? {})) {
    const input = form.elements?.namedItem(name);
    if (!(input instanceof HTMLElement)) continue;
    input.setAttribute("aria-invalid", "true");
    if (language === "en" && words !== "missing" && !words.includes(sentence))
      place.append(el("span", { class: "fix" }, words));
  }
  if (error.retryAfterSeconds)
    place.append(
      el("span", { class: "fix" }, t("Try again in {seconds} s.", { seconds: Math.ceil(error.retryAfterSeconds) })),
    );
  tellRefused(error, place);
}

/** Runs `act` when the form is sent; one at a time; its refusal is shown in the form. */
export function onSubmit(form, act) {
  form?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector('[type="submit"]');
    if (button?.disabled) return;
    form.querySelector(".form-error").replaceChildren();
    for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
    if (button) button.disabled = true;
    try {
      await act(new FormData(form));
    } catch (error) {
      showFormError(form, error);
    } finally {
      if (button) button.disabled = false;
    }
  });
}

/** @returns {Promise<boolean>} what the user decided */
export function confirmed({ title, text, yes }) {
  const dialog = document.getElementById("confirm-dialog");
  document.getElementById("confirm-title").textContent = title;
  document.getElementById("confirm-text").textContent = text;
  document.getElementById("confirm-yes").textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }),
  );
}

// --- the bar

export function cookie(name) {
  const found = document.cookie.split("; ").find((pair) => pair.startsWith(`${name}=`));
  return found ? decodeURIComponent(found.slice(name.length + 1)) : null;
}

function keepCookie(name, value) {
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `${name}=${value}; Path=/; Max-Age=${LASTS_SECONDS}; SameSite=Lax${secure}`;
}

function isDark() {
  return (
    (document.documentElement.dataset.theme ??
      (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark"
  );
}

function wireTheme() {
  const button = document.getElementById("theme-toggle");
  const draw = () => button.replaceChildren(icon(isDark() ? "sun" : "moon"));
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    keepCookie("heartlink_theme", document.documentElement.dataset.theme);
    draw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
}

function wireDialogs() {
  document.addEventListener("click", (event) => {
    const opener = event.target.closest?.("[data-open]");
    if (opener) {
      opener.closest("[popover]")?.hidePopover();
      document.getElementById(opener.dataset.open).showModal();
    }
    if (event.target.closest?.("[data-close]")) event.target.closest("dialog").close();
    if (event.target instanceof HTMLDialogElement && isOutside(event.target, event)) event.target.close();
  });
}

function isOutside(dialog, event) {
  const box = dialog.getBoundingClientRect();
  return event.clientX < box.left || event.clientX > box.right || event.clientY < box.top || event.clientY > box.bottom;
}

function wireAccount() {
  for (const button of document.querySelectorAll("[data-locale]")) {
    button.addEventListener("click", async () => {
      keepCookie("heartlink_locale", button.dataset.locale);
      if (page.user) await link.rest.updateMe({ locale: button.dataset.locale }).catch(() => {});
      location.reload();
    });
  }
  if (!page.user) return;
  document
    .getElementById("account-button")
    .append(avatar({ id: page.user.id, name: page.user.display_name, url: page.user.avatar_url }));
  document.getElementById("sign-out").addEventListener("click", async () => {
    try {
      await link.rest.logout();
      location.assign("/");
    } catch (error) {
      toastError(error);
    }
  });
  const profile = document.getElementById("profile-form");
  onSubmit(profile, async (data) => {
    await link.rest.updateMe({ display_name: data.get("display_name").trim() });
    location.reload();
  });
  const password = document.getElementById("password-form");
  onSubmit(password, async (data) => {
    await link.rest.changePassword(data.get("old_password"), data.get("new_password"));
    password.reset();
    password.closest("dialog").close();
    toast(t("The password is changed."));
  });
}

/** The page's scripts are at work: what was drawn before them may be used now. */
export function ready() {
  for (const control of document.querySelectorAll("[data-wait]")) {
    control.removeAttribute("data-wait");
    control.disabled = false;
  }
}

wireTheme();
wireDialogs();
wireAccount();
