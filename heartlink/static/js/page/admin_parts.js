/** Small parts that the sections of the console share. */
import { el, icon, iconButton, t } from "./ui.js";

/** The head of a section: a title and what one can do there. */
export function panelHead(title, ...actions) {
  return el("div", { class: "section-head" }, el("h2", {}, title), el("div", { class: "panel-actions" }, ...actions));
}

export function newButton(label, act) {
  return el("button", { type: "button", class: "button", on: { click: act } }, icon("plus"), label);
}

export const editButton = (label, act) => iconButton("edit", label, act);
export const dropButton = (label, act) => iconButton("trash", label, act);

export function chip(words, iconName = null) {
  return el("li", { class: "chip" }, iconName === "people" ? icon("people") : null, words);
}

export function emptyNote(words) {
  return el("p", { class: "empty-note muted" }, words);
}

export function moreButton(act) {
  const button = el("button", { type: "button", class: "button quiet more" }, t("More"));
  button.addEventListener("click", async () => {
    button.disabled = true;
    await act();
    button.remove();
  });
  return button;
}

/** Replaces a list only when it would look different, so that focus and scrolling stay; the focused control is found again. */
export function redraw(place, version, draw) {
  const text = JSON.stringify(version);
  if (place.dataset.version === text) return;
  place.dataset.version = text;
  const label = place.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
  place.replaceChildren(...draw());
  if (label) place.querySelector(`[aria-label="${CSS.escape(label)}"]`)?.focus();
}
