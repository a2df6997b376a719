/** Wherever the server refuses for want of a right: a way to hear the reason, and to ask for it. */
import { reasonPanel } from "./reasons.js";
import { el, explain as errorWords, iconButton, link, page, refused, t } from "./ui.js";

/** Puts the reason for something into the page. Subject: {decision_id}, or {resource, action, scope}. */
export async function showReason(place, subject) {
  try {
    const explanation = await link.rest.explain(subject);
    const permission = explanation.permission ?? `${explanation.resource}.${explanation.action}`;
    place.replaceChildren(
      reasonPanel(explanation, { permission, scope: explanation.scope, canAsk: Boolean(page.user) }),
    );
  } catch (error) {
    place.replaceChildren(el("p", { class: "muted" }, errorWords(error).sentence));
  }
}

function openReason(subject) {
  const place = el("div", { role: "status" });
  const dialog = el("dialog", { class: "dialog", "aria-labelledby": "reason-title" });
  const title = el("h2", { id: "reason-title" }, t("Why not?"));
  const close = iconButton("close", t("Close"), () => dialog.close());
  dialog.append(el("div", { class: "form" }, el("div", { class: "dialog-head" }, title, close), place));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  showReason(place, subject);
}

refused.addEventListener("refused", ({ detail: { error, place } }) => {
  const subject = { decision_id: error.decisionId };
  const ask = () => openReason(subject);
  place.append(" ", el("button", { type: "button", class: "link-button", on: { click: ask } }, t("Why?")));
});

const onPage = document.getElementById("page-reason");
if (onPage) {
  const { decision, resource, action, scope } = onPage.dataset;
  showReason(onPage, decision ? { decision_id: decision } : { resource, action, scope });
}
