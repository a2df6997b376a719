/** The room's settings: only what the capabilities allow is drawn. */
import { confirmed, el, link, onSubmit, showFormError, t, toast, toastError } from "./ui.js";

const dialog = document.getElementById("settings-dialog");
const renameForm = document.getElementById("rename-form");
const inviteSection = document.getElementById("invite-section");
const inviteMade = document.getElementById("invite-made");
const inviteUrl = document.getElementById("invite-url");
const addForm = document.getElementById("add-form");

/** @param {import("../lib/room.js").Room} room */
export function wireSettings(room) {
  let code = null;
  const draw = () => {
    const isOpen = room.info.status !== "ended";
    renameForm.hidden = !(isOpen && room.can("room.update"));
    inviteSection.hidden = !(isOpen && room.can("room.invite"));
    addForm.hidden = !(isOpen && room.can("room.invite"));
    document.getElementById("add-person").hidden = addForm.hidden;
    document.getElementById("end-room").hidden = !(isOpen && room.can("room.end"));
    inviteMade.hidden = !code;
  };
  room.on("capabilities", draw);
  room.on("room", draw);

  const open = () => {
    renameForm.elements.namedItem("name").value = room.info.name;
    for (const place of dialog.querySelectorAll(".form-error")) place.replaceChildren();
    draw();
    dialog.showModal();
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
  onSubmit(document.getElementById("invite-make"), async (data) => {
    const invite = await link.rest.createInvite(room.id, data.get("expires_in") ? { expires_in: Number(data.get("expires_in")) } : {});
    code = invite.code;
    inviteUrl.value = new URL(invite.url, location.href).href;
    draw();
    inviteUrl.select();
  });
  document.getElementById("invite-copy").addEventListener("click", () => copy(inviteUrl));
  document.getElementById("invite-revoke").addEventListener("click", async () => {
    try {
      await link.rest.revokeInvite(code);
      code = null;
      draw();
      toast(t("The link no longer opens."));
    } catch (error) {
      showFormError(document.getElementById("invite-make"), error);
    }
  });
  onSubmit(addForm, async (data) => {
    await link.rest.addMember(room.id, data.get("username").trim().replace(/^@/, ""));
    addForm.reset();
    toast(t("They are in."));
  });
  wireSuggestions();
  wireDeparture(room);
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
    if (!(await confirmed({ title: t("Leave the room?"), text: t("You see it again only when somebody invites you."), yes: t("Leave") }))) return;
    try {
      await link.rest.removeMember(room.id, room.me.id);
      location.assign("/");
    } catch (error) {
      dialog.close();
      toastError(error);
    }
  });
  document.getElementById("end-room").addEventListener("click", async () => {
    if (!(await confirmed({ title: t("End the room for everybody?"), text: t("Nobody can write any more. What was said stays readable."), yes: t("End the room") }))) return;
    try {
      await link.rest.endRoom(room.id);
      dialog.close();
    } catch (error) {
      dialog.close();
      toastError(error);
    }
  });
}
