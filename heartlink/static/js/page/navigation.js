/** The navigation of the page, drawn from the user's menus as they are now: entries come and go without a reload. */
import { menuTree } from "../heartlink.js";
import { permissions } from "./stream.js";
import { el, icon, page, t } from "./ui.js";

const BAR_ENTRIES = 5;
const DEEPEST = 4;
const FRESH_MS = 4000;
const DRAWINGS = new Set(document.body.dataset.menuIcons.split(" "));

const bar = document.getElementById("navigation");
const list = document.getElementById("navigation-list");
const news = document.getElementById("navigation-news");
let drawn = JSON.stringify(page.menus);
let fresh = new Set();

/** The picture of an entry: a drawing, or the emoji that stands in its place. */
export function menuIcon(name) {
  if (DRAWINGS.has(name)) return icon(name);
  const isGlyph = name && name.length <= 8 && !/^[\x20-\x7e]+$/.test(name);
  return isGlyph ? el("span", { class: "nav-glyph", "aria-hidden": "true" }, name) : icon("dot");
}

/** An entry and all below it, with their depths. */
export function rowsOf(nodes, depth = 0) {
  return nodes.flatMap((node) => [{ menu: node, depth }, ...rowsOf(node.children, Math.min(depth + 1, DEEPEST))]);
}

function entry(menu) {
  const parts = [menuIcon(menu.icon), el("span", {}, t(menu.name))];
  const mark = fresh.has(menu.key) ? " fresh" : "";
  if (!/^(\/(?!\/)|https?:\/\/)/.test(menu.url)) return el("span", { class: `nav-link nav-heading${mark}` }, ...parts);
  const isHere = menu.url === location.pathname;
  return el("a", { class: `nav-link${mark}`, href: menu.url, "aria-current": isHere ? "page" : null }, ...parts);
}

const row = ({ menu, depth }) => el("div", { data: { depth } }, entry(menu));

function more(title, rows) {
  const summary = el("summary", { class: "nav-link" }, ...title);
  return el("details", { class: "nav-more" }, summary, el("div", { class: "menu" }, ...rows.map(row)));
}

function drawBar(tree) {
  const shown = tree.slice(0, BAR_ENTRIES).map((node) => {
    if (!node.children.length) return entry(node);
    const title = [menuIcon(node.icon), el("span", {}, t(node.name))];
    return more(
      title,
      rowsOf([node]).filter(({ menu, depth }) => depth || menu.url),
    );
  });
  const rest = tree.slice(BAR_ENTRIES);
  if (rest.length) shown.push(more([el("span", {}, t("More"))], rowsOf(rest)));
  bar.replaceChildren(...shown);
}

function draw() {
  const { menus } = permissions;
  const version = JSON.stringify(menus);
  if (version === drawn) return;
  drawn = version;
  const place = focusedPlace();
  const tree = menuTree(menus);
  drawBar(tree);
  list.replaceChildren(...rowsOf(tree).map(row));
  bar.hidden = list.hidden = !menus.length;
  refocus(place);
}

/** Where the keyboard is, so that a redrawn navigation does not take it away. */
function focusedPlace() {
  const focused = document.activeElement;
  const home = [bar, list].find((one) => one.contains(focused));
  return home ? { home, href: focused.getAttribute("href") } : null;
}

function refocus(place) {
  if (!place) return;
  const links = [...place.home.querySelectorAll("a, summary")];
  (links.find((one) => one.getAttribute("href") === place.href) ?? links[0])?.focus();
}

function announce({ added, removed }, namesBefore) {
  const named = (keys) => new Intl.ListFormat(page.locale.replace("_", "-")).format(keys);
  const newcomers = added.filter((menu) => !namesBefore.has(menu.key));
  const gone = removed.map((key) => namesBefore.get(key)).filter(Boolean);
  fresh = new Set(newcomers.map((menu) => menu.key));
  setTimeout(() => (fresh = new Set()), FRESH_MS);
  const words = [];
  if (newcomers.length)
    words.push(t("New in the navigation: {names}", { names: named(newcomers.map((menu) => t(menu.name))) }));
  if (gone.length) words.push(t("No longer in the navigation: {names}", { names: named(gone.map((name) => t(name))) }));
  if (words.length) news.textContent = words.join(" · ");
}

let names = new Map(page.menus.map((menu) => [menu.key, menu.name]));
permissions.on("menus", (change) => announce(change, names));
permissions.on("rights", () => {
  names = new Map(permissions.menus.map((menu) => [menu.key, menu.name]));
  draw();
});

document.addEventListener("click", (event) => {
  for (const open of bar.querySelectorAll("details[open]")) if (!open.contains(event.target)) open.open = false;
});
bar.addEventListener("keydown", (event) => {
  const open = event.target.closest("details[open]");
  if (event.key !== "Escape" || !open) return;
  open.open = false;
  open.querySelector("summary").focus();
});

permissions.open();
