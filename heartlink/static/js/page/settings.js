/** The room's settings: only what the capabilities allow is drawn. */
import { drawRestrictions } from "./moderation.js";
import { confirmed, el, exactTime, link, onSubmit, showFormError, t, toast, toastError } from "./ui.js";

const dialog = document.getElementById("settings-dialog");
const renameForm = document.getElementById("rename-form");
const inviteSection = document.getElementById("invite-section");
const inviteList = document.getElementById("invites");
const inviteForm = document.getElementById("invite-make");
const addForm = document.getElementById("add-form");

/** @param {import("../lib/room.js").Room} room */
export function wireSettings(room) {
  const draw = () => {
    const isOpen = room.info.status !== "ended";
    renameForm.hidden = !(isOpen && room.can("room.update"));
    inviteSection.hidden = !(isOpen && room.can("room.invite"));
    addForm.hidden = !(isOpen && room.can("room.invite"));
    document.getElementById("add-person").hidden = addForm.hidden;
    document.getElementById("end-room").hidden = !(isOpen && room.can("room.end"));
  };
  room.on("capabilities", draw);
  room.on("room", draw);
  room.on("capabilities", () => dialog.open && drawRestrictions(room).catch(toastError));

  const open = () => {
    renameForm.elements.namedItem("name").value = room.info.name;
    for (const place of dialog.querySelectorAll(".form-error")) place.replaceChildren();
    draw();
    dialog.showModal();
    if (!inviteSection.hidden) drawInvites(room).catch(toastError);
    drawRestrictions(room).catch(toastError);
  };
  document.getElementById("open-settings").addEventListener("click", open);
  document.getElementById("add-person").addEventListener("click", () => {
    open();
    addForm.elements.namedItem("username").focus();
  });

  onSubmit(renameForm, async (data) => {
    await link.rest.updateRoom(room.id, { name: data.get("name").trim() });
    toast(t("The room has a new name."));
  });
  onSubmit(inviteForm, async (data) => {
    await link.rest.createInvite(room.id, data.get("expires_in") ? { expires_in: Number(data.get("expires_in")) } : {});
    await drawInvites(room);
    inviteList.querySelector("input")?.select();
  });
  onSubmit(addForm, async (data) => {
    await link.rest.addMember(room.id, data.get("username").trim().replace(/^@/, ""));
    addForm.reset();
    toast(t("They are in."));
  });
  wireSuggestions();
  wireDeparture(room);
}

/** The links that are open, the newest first. */
async function drawInvites(room) {
  const { invites } = await link.rest.invites(room.id);
  inviteList.replaceChildren(...invites.reverse().map((invite) => inviteLine(room, invite)));
}

function inviteLine(room, invite) {
  const input = el("input", {
    class: "input",
    readonly: true,
    value: new URL(invite.url, location.href).href,
    "aria-label": t("Invite link"),
  });
  const until = invite.expires_at
    ? `${t("open until")} ${exactTime(new Date(invite.expires_at))}`
    : t("open as long as the room");
  const revoke = async () => {
    try {
      await link.rest.revokeInvite(invite.code);
      await drawInvites(room);
      toast(t("The link no longer opens."));
    } catch (error) {
      showFormError(inviteForm, error);
    }
  };
  return el(
    "li",
    {},
    el(
      "div",
      { class: "form inline" },
      el("div", { class: "field grow" }, input),
      el("button", { type: "button", class: "button quiet", on: { click: () => copy(input) } }, t("Copy")),
      el("button", { type: "button", class: "button quiet", on: { click: revoke } }, t("Revoke")),
    ),
    el("p", { class: "muted" }, `${until} · ${t("uses: {count}", { count: invite.uses })}`),
  );
}

async function copy(input) {
  try {
    await navigator.clipboard.writeText(input.value);
    toast(t("Copied."));
  } catch {
    // Without a secure context there is no clipboard: the selected text can be copied by hand.
    input.select();
    toast(t("Copy the selected text."));
  }
}

function wireSuggestions() {
  const list = document.getElementById("add-suggestions");
  const input = addForm.elements.namedItem("username");
  let timer = null;
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const query = input.value.trim();
      if (!query) return;
      const { users } = await link.rest.findUsers(query, 8).catch(() => ({ users: [] }));
      list.replaceChildren(...users.map((user) => el("option", { value: user.username }, user.display_name)));
    }, 200);
  });
}

function wireDeparture(room) {
  document.getElementById("leave-room").addEventListener("click", async () => {
    if (
      !(await confirmed({
        title: t("Leave the room?"),
        text: t("You see it again only when somebody invites you."),
        yes: t("Leave"),
      }))
    )
      return;
    try {
      await link.rest.removeMember(room.id, room.me.id);
      location.assign("/");
    } catch (error) {
      dialog.close();
      toastError(error);
    }
  });
  document.getElementById("end-room").addEventListener("click", async () => {
    if (
      !(await confirmed({
        title: t("End the room for everybody?"),
        text: t("Nobody can write any more. What was said stays readable."),
        yes: t("End the room"),
      }))
    )
      return;
    try {
      await link.rest.endRoom(room.id);
      dialog.close();
    } catch (error) {
      dialog.close();
      toastError(error);
    }
  });
}
