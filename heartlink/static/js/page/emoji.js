/** The emoji picker; its data is loaded when it is opened for the first time. Searches in Chinese and English alike. */
import { el, language, t } from "./ui.js";

const RECENT_KEY = "heartlink:emoji";
const MOST_RECENT = 16;
const MOST_FOUND = 120;
const MARGIN_PX = 8;

const popover = document.getElementById("emoji-picker");
let data = null;
let choose = () => {};
let grid;
let nameLine;

/**
 * @param {HTMLElement} anchor the button it belongs to
 * @param {(emoji: string) => void} chosen
 */
export async function pickEmoji(anchor, chosen) {
  choose = (emoji) => {
    remember(emoji);
    popover.hidePopover();
    chosen(emoji);
  };
  const box = anchor.getBoundingClientRect();
  popover.showPopover();
  place(box);
  if (!data) await load();
  draw("");
  popover.querySelector("input").focus();
}

popover.addEventListener("toggle", (event) => {
  document.getElementById("emoji-button").setAttribute("aria-expanded", String(event.newState === "open"));
});

function place(box) {
  const { offsetWidth: width, offsetHeight: height } = popover;
  const left = Math.min(Math.max(MARGIN_PX, box.left), innerWidth - width - MARGIN_PX);
  const above = box.top - height - MARGIN_PX;
  popover.style.left = `${left}px`;
  popover.style.top = `${above >= MARGIN_PX ? above : Math.max(MARGIN_PX, Math.min(box.bottom + MARGIN_PX, innerHeight - height - MARGIN_PX))}px`;
}

async function load() {
  popover.replaceChildren(el("p", { class: "emoji-name" }, t("Loading…")));
  try {
    const answer = await fetch(document.body.dataset.emoji);
    if (!answer.ok) throw new Error(String(answer.status));
    const { groups, emoji } = await answer.json();
    data = {
      groups,
      emoji: emoji.map(([character, group, label, words]) => ({
        character,
        group,
        label: label[language.startsWith("zh") ? "zh" : "en"],
        names: ` ${label.en} ${label.zh} `.toLowerCase(),
        words: ` ${label.en} ${label.zh} ${words} `.toLowerCase(),
      })),
    };
  } catch (error) {
    popover.replaceChildren(el("p", { class: "emoji-name" }, t("The server cannot be reached.")));
    throw error;
  }
  const search = el("input", {
    class: "input",
    type: "search",
    placeholder: t("Search emoji"),
    "aria-label": t("Search emoji"),
    autocomplete: "off",
    on: { input: (event) => draw(event.target.value), keydown: pressed },
  });
  grid = el("div", {
    class: "emoji-grid",
    tabindex: "-1",
    on: { click: clicked, pointerover: named, focusin: named, keydown: walked },
  });
  nameLine = el("p", { class: "emoji-name", "aria-live": "off" });
  popover.replaceChildren(el("div", { class: "emoji-search" }, search), grid, nameLine);
}

function draw(query) {
  const words = query.trim().toLowerCase().split(/\s+/).filter(Boolean);
  nameLine.textContent = "";
  if (words.length) {
    const found = data.emoji
      .filter((entry) => words.every((word) => entry.words.includes(word)))
      .sort((a, b) => rank(a, words) - rank(b, words));
    grid.replaceChildren(
      found.length ? cells(found.slice(0, MOST_FOUND)) : el("p", { class: "muted" }, t("Nothing found.")),
    );
    return;
  }
  const recent = recentEmoji()
    .map((character) => data.emoji.find((entry) => entry.character === character))
    .filter(Boolean);
  const groups = data.groups.flatMap((name, index) => [
    el("h3", {}, t(name)),
    cells(data.emoji.filter((entry) => entry.group === index)),
  ]);
  grid.replaceChildren(...(recent.length ? [el("h3", {}, t("Recently used")), cells(recent)] : []), ...groups);
  grid.scrollTop = 0;
}

/** Found in the name comes before found elsewhere, a whole word before a part of one. */
function rank({ names, words }, wanted) {
  const places = [
    (word) => names.includes(` ${word} `),
    (word) => names.includes(word),
    (word) => words.includes(` ${word} `),
  ];
  const place = places.findIndex((isFound) => wanted.every(isFound));
  return place < 0 ? places.length : place;
}

function cells(entries) {
  return el(
    "div",
    { class: "emoji-cells" },
    ...entries.map(({ character, label }, index) =>
      el(
        "button",
        {
          type: "button",
          class: "emoji-cell",
          "aria-label": label,
          tabindex: index ? "-1" : "0",
          data: { emoji: character },
        },
        character,
      ),
    ),
  );
}

function clicked(event) {
  const cell = event.target.closest(".emoji-cell");
  if (cell) choose(cell.dataset.emoji);
}

function named(event) {
  const cell = event.target.closest(".emoji-cell");
  if (cell) nameLine.textContent = cell.getAttribute("aria-label");
}

function pressed(event) {
  const first = grid.querySelector(".emoji-cell");
  if (!first) return;
  if (event.key === "ArrowDown") {
    event.preventDefault();
    first.focus();
  } else if (event.key === "Enter" && event.target.value.trim() && !event.isComposing) {
    event.preventDefault();
    choose(first.dataset.emoji);
  }
}

/** Arrow keys walk through the grid as it is seen. */
function walked(event) {
  const all = [...grid.querySelectorAll(".emoji-cell")];
  const at = all.indexOf(event.target);
  if (at < 0) return;
  const columns = Math.max(1, Math.floor(event.target.parentElement.clientWidth / event.target.offsetWidth));
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
  if (!step) return;
  event.preventDefault();
  if (at + step < 0) popover.querySelector("input").focus();
  else all[Math.min(all.length - 1, at + step)].focus();
}

function recentEmoji() {
  try {
    return JSON.parse(localStorage.getItem(RECENT_KEY)) ?? [];
  } catch {
    return [];
  }
}

function remember(emoji) {
  try {
    localStorage.setItem(
      RECENT_KEY,
      JSON.stringify([emoji, ...recentEmoji().filter((one) => one !== emoji)].slice(0, MOST_RECENT)),
    );
  } catch {
    // Nothing is lost but a convenience.
  }
}
