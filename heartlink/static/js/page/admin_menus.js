/** Menu entries as the tree that people see. */
import { menuTree } from "../heartlink.js";
import { propose } from "./admin_change.js";
import { policy } from "./admin_data.js";
import { dropButton, editButton, emptyNote, newButton, panelHead, redraw } from "./admin_parts.js";
import { menuIcon, rowsOf } from "./navigation.js";
import { el, t } from "./ui.js";

function row({ menu, depth }) {
  const { name } = menu;
  return el(
    "li",
    { class: "row", data: { depth, key: menu.key } },
    menuIcon(menu.icon),
    el(
      "span",
      { class: "row-text" },
      el("b", {}, t(name)),
      el("small", { class: "muted" }, el("code", {}, menu.url || menu.key), ` · ${menu.sort_order}`),
    ),
    el("ul", { class: "chips" }, el("li", { class: "chip" }, el("code", {}, menu.permission))),
    el(
      "span",
      { class: "row-actions" },
      editButton(t("Change the menu {name}", { name }), () => edit(menu)),
      dropButton(t("Delete the menu {name}", { name }), () => drop(menu)),
    ),
  );
}

function fields(menu, isNew) {
  const others = policy.menus.filter((one) => one.key !== menu.key).map((one) => [one.key, t(one.name)]);
  const icons = document.body.dataset.menuIcons.split(" ").join(", ");
  return [
    ...(isNew
      ? [{ name: "key", label: t("Key"), required: true, maxlength: 64, hint: t("letters, digits, - _ .") }]
      : []),
    { name: "name", label: t("Name"), value: menu.name, required: true, maxlength: 100 },
    { name: "url", label: t("Address"), value: menu.url, placeholder: "/reports/", maxlength: 1000 },
    {
      name: "icon",
      label: t("Icon"),
      value: menu.icon,
      maxlength: 64,
      hint: t("An emoji, or one of: {names}", { names: icons }),
    },
    { kind: "select", name: "parent", label: t("Below"), value: menu.parent, options: [["", t("nothing")], ...others] },
    { kind: "number", name: "sort_order", label: t("Order"), value: menu.sort_order },
    {
      kind: "permission",
      name: "permission",
      label: t("Shows to those who hold"),
      value: menu.permission,
      hint: isNew ? t("Left empty: menu. and the key.") : "",
    },
  ];
}

function edit(menu) {
  propose({
    title: t("Change the menu {name}", { name: menu.name }),
    fields: fields(menu, false),
    calls: (values) => [{ method: "PATCH", path: `/api/menus/${encodeURIComponent(menu.key)}`, body: body(values) }],
  });
}

function add() {
  propose({
    title: t("New menu entry"),
    fields: fields({ key: "", name: "", url: "", icon: "", parent: null, sort_order: 50, permission: "" }, true),
    calls: (values) => [{ method: "POST", path: "/api/menus", body: body(values) }],
  });
}

function body({ permission, parent, ...rest }) {
  return { ...rest, parent: parent || null, ...(permission ? { permission } : {}) };
}

function drop({ key, name }) {
  propose({
    title: t("Delete the menu {name}", { name }),
    isDanger: true,
    calls: () => [{ method: "DELETE", path: `/api/menus/${encodeURIComponent(key)}` }],
  });
}

let list = null;

function draw() {
  redraw(list, policy.menus, () => [
    policy.menus.length
      ? el("ul", { class: "rows tree" }, ...rowsOf(menuTree(policy.menus)).map(row))
      : emptyNote(t("No menu entries.")),
  ]);
}

export const menusPanel = {
  open(place) {
    list = el("div", {});
    place.replaceChildren(panelHead(t("Menus"), newButton(t("New menu entry"), add)), list);
    draw();
  },
  refresh: draw,
};
