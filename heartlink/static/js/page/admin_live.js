/** Words to everybody. */
import { personNamed } from "./admin_data.js";
import { fieldRow, readFields } from "./admin_fields.js";
import { panelHead } from "./admin_parts.js";
import { el, link, onSubmit, t, toast } from "./ui.js";

function notificationFields() {
  const priorities = ["low", "normal", "high", "urgent"].map((value) => [value, t(PRIORITIES[value])]);
  return [
    { kind: "select", name: "priority", label: t("Priority"), value: "normal", options: priorities },
    { kind: "person", name: "user", label: t("To one user (left empty: to everybody)") },
  ];
}

const PRIORITIES = {
  low: "low",
  normal: "normal",
  high: "high: stays until it is closed",
  urgent: "urgent: stays, and stands out",
};

export const notifyPanel = {
  open(home) {
    const fields = notificationFields();
    const message = el("textarea", { class: "input", name: "message", rows: "3", required: true, maxlength: "2000" });
    const form = el(
      "form",
      { class: "form card notify-form" },
      el("p", { class: "muted" }, t("It appears at once on every open page; nothing is kept for those who are away.")),
      el("label", { class: "field" }, el("span", {}, t("Message")), message),
      ...fields.map(fieldRow),
      el("p", { class: "form-error", role: "alert" }),
      el("div", { class: "form-actions" }, el("button", { class: "button", type: "submit" }, t("Send"))),
    );
    onSubmit(form, async () => {
      const { priority, user } = readFields(form, fields);
      const person = user && (await personNamed(user));
      if (user && !person) throw Object.assign(new Error(t("There is no user of that name.")), { code: "not_found" });
      const body = { message: message.value.trim(), priority, ...(person ? { users: [person.id] } : {}) };
      const { sent_to: count } = await link.rest.request("POST", "/api/notifications", body);
      message.value = "";
      toast(t("Sent to {count} open pages.", { count }));
    });
    home.replaceChildren(panelHead(t("System notification")), form);
  },
  refresh() {},
};
