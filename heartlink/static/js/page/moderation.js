/** What those who look after a room may do with a member, and the list of what was done: muted, banned. */
import { until } from "./countdown.js";
import { confirmed, el, link, showFormError, t, toast, toastError } from "./ui.js";

const TEN_MINUTES_SECONDS = 600;
const HOUR_SECONDS = 3600;
const RANKS = { owner: 3, admin: 2, member: 1, guest: 0 };
/** Who was given all that a rank holds stands as high, whatever their role is called. */
const ADMIN_HOLDS = ["chat.moderate", "room.invite", "room.update", "room.remove"];
const OWNER_HOLDS = [...ADMIN_HOLDS, "room.end"];

const dialog = document.getElementById("member-dialog");
const title = document.getElementById("member-title");
const actions = document.getElementById("member-actions");
const section = document.getElementById("restriction-section");
const heading = document.getElementById("restriction-title");
const list = document.getElementById("restrictions");

/** @returns {boolean} whether anything could be done with the member; the server has the last word */
export function mayModerate(room, member) {
  if (member.user_id === room.me.id || !(room.can("chat.moderate") || room.can("room.remove"))) return false;
  const holds = (capabilities) => capabilities.every((capability) => room.can(capability));
  const held = holds(OWNER_HOLDS) ? RANKS.owner : holds(ADMIN_HOLDS) ? RANKS.admin : RANKS.guest;
  const mine = Math.max(RANKS[room.people.get(room.me.id)?.role] ?? RANKS.guest, held);
  return mine === RANKS.owner || mine > (RANKS[member.role] ?? RANKS.member);
}

/** Opens the choices for one member; only what the capabilities allow is among them. */
export function openModeration(room, member) {
  const name = member.display_name;
  title.textContent = name;
  const reason = el("input", { class: "input", autocomplete: "off", maxlength: "200" });
  const body = (seconds) => ({
    ...(seconds ? { expires_in: seconds } : {}),
    ...(reason.value.trim() ? { why: reason.value.trim() } : {}),
  });
  const mute = async (seconds) => {
    try {
      await link.rest.mute(room.id, member.user_id, body(seconds));
      dialog.close();
      toast(t("{name} is muted.", { name }));
    } catch (error) {
      showFormError(dialog, error);
    }
  };
  const mutes = [
    choice(t("Mute for 10 minutes"), () => mute(TEN_MINUTES_SECONDS)),
    choice(t("Mute for 1 hour"), () => mute(HOUR_SECONDS)),
    choice(t("Mute until I lift it"), () => mute(null)),
  ];
  const mayRemove = room.can("room.remove");
  actions.replaceChildren(
    el("label", { class: "field" }, el("span", {}, t("Reason (optional; told to those it concerns)")), reason),
    ...(room.can("chat.moderate") ? mutes : []),
    ...(mayRemove ? [choice(t("Ban"), () => ban(room, member, body(null)))] : []),
    ...(mayRemove ? [el("hr"), choice(t("Remove"), () => remove(room, member))] : []),
  );
  dialog.querySelector(".form-error").replaceChildren();
  dialog.showModal();
  actions.querySelector("button").focus();
}

function choice(words, listener) {
  return el("button", { type: "button", class: "menu-item", on: { click: listener } }, words);
}

async function ban(room, member, body) {
  const name = member.display_name;
  const isSure = await asked({
    title: t("Ban {name}?", { name }),
    text: t("They leave the room now, and no invitation lets them in until the ban is lifted."),
    yes: t("Ban"),
  });
  if (!isSure) return;
  await link.rest.ban(room.id, member.user_id, body).then(() => toast(t("{name} is banned.", { name })), toastError);
}

async function remove(room, member) {
  const isSure = await asked({
    title: t("Remove {name}?", { name: member.display_name }),
    text: t("They can come back only when somebody invites them again."),
    yes: t("Remove"),
  });
  if (isSure) await link.rest.removeMember(room.id, member.user_id).catch(toastError);
}

function asked(question) {
  dialog.close();
  return confirmed(question);
}

/** Shows the list of who is muted and banned to those who may lift it, and to nobody else. */
export async function drawRestrictions(room) {
  section.hidden = !(room.can("chat.moderate") || room.can("room.remove"));
  if (section.hidden) return;
  const { restrictions } = await link.rest.restrictions(room.id);
  const lines = restrictions.map((restriction) => restrictionLine(room, restriction));
  list.replaceChildren(...(lines.length ? lines : [el("li", { class: "muted" }, t("Nobody is muted or banned."))]));
}

function restrictionLine(room, { user_id: userId, username, display_name: name, kind, expires_at: expiresAt }) {
  const isMute = kind === "mute";
  const lift = async () => {
    section.querySelector(".form-error").replaceChildren();
    try {
      await (isMute ? link.rest.unmute(room.id, userId) : link.rest.unban(room.id, userId));
      toast(isMute ? t("{name} may write again.", { name }) : t("{name} may come back.", { name }));
      await drawRestrictions(room);
      heading.focus();
    } catch (error) {
      showFormError(section, error);
    }
  };
  const label = isMute ? t("Lift the mute of {name}", { name }) : t("Lift the ban of {name}", { name });
  const button = el(
    "button",
    { type: "button", class: "button quiet", "aria-label": label, on: { click: lift } },
    t("Lift"),
  );
  return el(
    "li",
    { data: { userId, kind } },
    el(
      "span",
      { class: "person-text" },
      el("b", { title: `@${username}` }, name),
      el("small", {}, isMute ? t("muted") : t("banned"), " · ", expiresAt ? until(expiresAt) : t("until it is lifted")),
    ),
    room.can(isMute ? "chat.moderate" : "room.remove") ? button : null,
  );
}
