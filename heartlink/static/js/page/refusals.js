/** A conversation that takes something away or refuses it: the reason in a calm panel, with a way to ask for it. */
import { reasonPanel } from "./reasons.js";
import { permissions } from "./stream.js";
import { el, explain as errorWords, link, t } from "./ui.js";
import { reasonWords, roomNames, scopeOf } from "./words.js";

export class Refusals {
  #room;
  #composer;
  #scope;
  #because = "";
  #shown = null;
  #left = null;
  #hasAsked = false;

  /** @param {{allow: Function}} composer what is closed and opened again, its draft kept */
  constructor(room, composer) {
    this.#room = room;
    this.#composer = composer;
    this.#scope = scopeOf(room.id);
    room.on("frame", (frame) => frame.type === "capabilities_changed" && (this.#because = frame.because ?? ""));
    room.on("revoked", (frame) => this.#leave(frame));
    room.on("state", ({ name }) => {
      if (name === "catching_up") this.#return();
      else if (name === "stopped" && this.hasLeft) this.#askAgain();
    });
    permissions.on("rights", () => this.#comeBack());
  }

  /** Whether one was made to leave. */
  get hasLeft() {
    return this.#left !== null;
  }

  /** May read, but not write: the input stays with its draft, and says why it is closed. */
  closeComposer() {
    const version = `${this.#because} ${permissions.rights.version}`;
    if (this.#shown === version) return;
    this.#shown = version;
    roomNames.set(this.#room.id, this.#room.info.name || t("Conversation"));
    const panel = el("div", { class: "closed-reason" });
    this.#say(panel, t("You may read here, but not write."), this.#because);
    this.#composer.allow(false, panel, { isShown: true });
    this.#explain(panel, { resource: "chat", action: "send", scope: this.#scope });
  }

  openComposer() {
    const wasClosed = this.#shown !== null;
    this.#shown = null;
    this.#because = "";
    this.#composer.allow(true, "");
    if (wasClosed) document.getElementById("refusal-news").textContent = t("You may write here again.");
  }

  #say(panel, words, because) {
    panel.append(el("p", { class: "closed-title" }, words));
    if (because)
      panel.append(el("p", { class: "closed-because" }, t("Because: {reason}", { reason: reasonWords(because) })));
  }

  async #explain(panel, subject) {
    try {
      const explanation = await link.rest.explain(subject);
      const permission = explanation.permission ?? `${subject.resource}.${subject.action}`;
      panel.append(reasonPanel(explanation, { permission, scope: this.#scope, isShort: true }));
    } catch (error) {
      panel.append(el("p", { class: "muted" }, errorWords(error).sentence));
    }
  }

  /** What was said here is no longer for these eyes: the page says so, and why, and stays. */
  #leave({ because, decision_id: decisionId }) {
    roomNames.set(this.#room.id, this.#room.info.name || t("Conversation"));
    this.#shown = null;
    this.#hasAsked = false;
    this.#left?.remove();
    this.#left = el("section", { class: "left-room", "aria-labelledby": "left-title" });
    const title = el("h2", { id: "left-title", tabindex: "-1" }, t("You are no longer in this room"));
    const reason = because
      ? el("p", { class: "closed-because" }, t("Because: {reason}", { reason: reasonWords(because) }))
      : null;
    const home = el("a", { class: "button quiet", href: "/" }, t("My rooms"));
    const panel = el("div", { class: "left-card" }, el("div", { class: "flatline", "aria-hidden": "true" }), title);
    const place = el("div", {});
    panel.append(...[reason, place, home].filter(Boolean));
    this.#left.append(panel);
    document.querySelector(".messages-frame").before(this.#left);
    document.getElementById("chat").classList.add("has-left");
    title.focus();
    const subject = decisionId ? { decision_id: decisionId } : { resource: "chat", action: "read", scope: this.#scope };
    this.#explain(place, subject);
  }

  #return() {
    if (!this.#left) return;
    this.#left.remove();
    this.#left = null;
    document.getElementById("chat").classList.remove("has-left");
    document.getElementById("refusal-news").textContent = t("You are in this room again.");
  }

  /** What was taken may have been given back before this connection had ended. */
  async #askAgain() {
    if (this.#hasAsked) return;
    this.#hasAsked = true;
    const answer = await permissions.check("chat", "read", this.#scope).catch(() => null);
    if (answer?.has_permission && this.hasLeft) this.#room.open();
  }

  /** The right to be here is back: so is the conversation. */
  #comeBack() {
    if (!this.hasLeft || this.#room.state.name !== "stopped") return;
    if (permissions.allows("chat", "read", this.#scope)) this.#room.open();
  }
}
