/** The emoji picker: groups to leaf through, a search in Chinese and English alike, what was used last, skin tones. */
import { chooseTone, chosenTone, loadEmoji, recentEmoji, rememberEmoji, toned } from "./emoji_data.js";
import { el, t } from "./ui.js";

const MOST_FOUND = 120;
const MARGIN_PX = 8;
const TABS = ["😀", "👋", "🐻", "🍵", "🚲", "⚽", "💡", "❤️", "🏁"];
const TONE_HAND = "✋";
const TONE_NAMES = [
  "no skin tone",
  "light skin",
  "medium light skin",
  "medium skin",
  "medium dark skin",
  "dark skin",
];

const popover = document.getElementById("emoji-picker");
let data = null;
let choose = () => {};
let input, grid, tabs, nameLine, toneButton, toneList;

/**
 * @param {HTMLElement} anchor the button it belongs to
 * @param {(emoji: string) => void} chosen
 */
export async function pickEmoji(anchor, chosen) {
  choose = (emoji) => {
    rememberEmoji(emoji);
    popover.hidePopover();
    chosen(emoji);
  };
  const box = anchor.getBoundingClientRect();
  popover.showPopover();
  place(box);
  if (!data) await load();
  input.value = "";
  showTones(false);
  draw("");
  input.focus();
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
    data = await loadEmoji();
  } catch (error) {
    popover.replaceChildren(el("p", { class: "emoji-name" }, t("The server cannot be reached.")));
    throw error;
  }
  input = el("input", {
    class: "input",
    type: "search",
    placeholder: t("Search emoji"),
    "aria-label": t("Search emoji"),
    autocomplete: "off",
    on: { input: (event) => draw(event.target.value), keydown: pressed },
  });
  toneButton = el("button", {
    type: "button",
    class: "icon-button emoji-tone",
    "aria-label": t("Skin tone"),
    title: t("Skin tone"),
    "aria-expanded": "false",
    on: { click: () => showTones(toneList.hidden) },
  });
  toneList = el("div", {
    class: "emoji-tones",
    role: "radiogroup",
    "aria-label": t("Skin tone"),
    hidden: true,
    on: { click: toneClicked, keydown: toneWalked },
  });
  grid = el("div", {
    class: "emoji-grid",
    tabindex: "-1",
    on: { click: clicked, pointerover: named, focusin: named, keydown: walked, scroll: scrolled },
  });
  tabs = el("div", { class: "emoji-tabs", role: "group", "aria-label": t("Kinds of emoji"), on: { click: tabClicked } });
  nameLine = el("p", { class: "emoji-name", "aria-live": "off" });
  popover.replaceChildren(el("div", { class: "emoji-search" }, input, toneButton), toneList, tabs, grid, nameLine);
}

// --- what there is

function draw(query) {
  toneButton.textContent = toned(data.of(TONE_HAND));
  nameLine.textContent = "";
  const isSearch = Boolean(query.trim());
  tabs.hidden = isSearch;
  if (isSearch) {
    const found = data.find(query).slice(0, MOST_FOUND);
    grid.replaceChildren(found.length ? cells(found) : el("p", { class: "muted" }, t("Nothing found.")));
  } else drawGroups();
  grid.scrollTop = 0;
}

function drawGroups() {
  const recent = recentEmoji().filter((character) => data.of(character));
  const groups = [
    ...(recent.length ? [["recent", "🕘", t("Recently used"), cellsOf(recent)]] : []),
    ...data.groups.map((name, index) => {
      const entries = data.entries.filter((entry) => entry.group === index);
      return [String(index), TABS[index], t(name), cells(entries)];
    }),
  ];
  grid.replaceChildren(
    ...groups.map(([key, , title, content]) => el("section", { data: { group: key } }, el("h3", {}, title), content)),
  );
  tabs.replaceChildren(
    ...groups.map(([key, drawing, title]) =>
      el("button", { type: "button", class: "emoji-tab", title, "aria-label": title, data: { tab: key } }, drawing),
    ),
  );
  scrolled();
}

const cells = (entries) => cellsOf(entries.map((entry) => toned(entry)));

function cellsOf(characters) {
  return el(
    "div",
    { class: "emoji-cells" },
    ...characters.map((character, index) =>
      el(
        "button",
        {
          type: "button",
          class: "emoji-cell",
          "aria-label": data.of(character).label,
          tabindex: index ? "-1" : "0",
          data: { emoji: character },
        },
        character,
      ),
    ),
  );
}

function tabClicked(event) {
  const key = event.target.closest(".emoji-tab")?.dataset.tab;
  const section = key && grid.querySelector(`[data-group="${key}"]`);
  if (section) grid.scrollTop = section.offsetTop - grid.offsetTop;
}

function scrolled() {
  const sections = [...grid.querySelectorAll("section")];
  const here = sections.findLast((section) => section.offsetTop - grid.offsetTop <= grid.scrollTop + 1) ?? sections[0];
  for (const tab of tabs.children) tab.setAttribute("aria-current", String(tab.dataset.tab === here?.dataset.group));
}

// --- skin tones

function showTones(isShown) {
  toneList.hidden = !isShown;
  toneButton.setAttribute("aria-expanded", String(isShown));
  if (!isShown) return;
  const hand = data.of(TONE_HAND);
  toneList.replaceChildren(
    ...TONE_NAMES.map((name, tone) =>
      el(
        "button",
        {
          type: "button",
          class: "emoji-cell",
          role: "radio",
          "aria-checked": String(tone === chosenTone()),
          "aria-label": t(name),
          title: t(name),
          tabindex: tone === chosenTone() ? "0" : "-1",
          data: { tone },
        },
        toned(hand, tone),
      ),
    ),
  );
  toneList.querySelector('[aria-checked="true"]').focus();
}

function toneClicked(event) {
  const tone = event.target.closest("[data-tone]")?.dataset.tone;
  if (tone === undefined) return;
  chooseTone(Number(tone));
  showTones(false);
  draw(input.value);
  toneButton.focus();
}

function toneWalked(event) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const all = [...toneList.children];
  if (event.key === "Escape") {
    event.preventDefault();
    showTones(false);
    toneButton.focus();
  } else if (step) {
    event.preventDefault();
    all[(all.indexOf(event.target) + step + all.length) % all.length].focus();
  }
}

// --- choosing

function clicked(event) {
  const cell = event.target.closest(".emoji-cell");
  if (cell) choose(cell.dataset.emoji);
}

function named(event) {
  const cell = event.target.closest(".emoji-cell");
  if (!cell) return;
  const [code] = data.of(cell.dataset.emoji).codes;
  nameLine.textContent = cell.getAttribute("aria-label") + (code ? ` :${code}:` : "");
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
  if (at + step < 0) input.focus();
  else all[Math.min(all.length - 1, at + step)].focus();
}
