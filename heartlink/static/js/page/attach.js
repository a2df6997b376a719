/** Files to be sent: chosen, dropped, pasted or taken with the camera; a tray above the words until they go. */
import { bytesText, fileName, fileTile, sizeText } from "./media.js";
import { keepPreview, measure } from "./previews.js";
import { el, explain, iconButton, t, toast } from "./ui.js";

const MOST_AT_ONCE = 20;
/** Names that programs give to everything that is pasted. */
const NO_NAME = /^(image|blob|unknown|clipboard)?\.?(png|jpe?g|gif|webp)?$/i;

export class Attachments {
  #room;
  #changed;
  #tray = document.getElementById("attachments");
  #items = [];

  /**
   * @param {import("../lib/room.js").Room} room
   * @param {{changed: () => void, focus: () => void}} composer what the tray belongs to
   */
  constructor(room, { changed, focus }) {
    this.#room = room;
    this.#changed = changed;
    this.#wireChoosing(focus);
    this.#wirePaste(focus);
    this.#wireDrop(focus);
    new UploadNews(room);
  }

  get isEmpty() {
    return !this.#items.length;
  }

  /**
   * Everything in the tray goes into the outbox, in order; the first carries the words.
   * @throws {HeartLinkError} too_large: what could not be sent is still in the tray
   */
  send(caption, replyTo) {
    let words = { caption, replyTo };
    try {
      for (const { file, name, size, address } of [...this.#items]) {
        const entry = this.#room.sendFile(file, { name, ...size, ...words });
        words = {};
        this.#items.shift();
        if (size) keepPreview(entry.client_id, file);
        if (address) URL.revokeObjectURL(address);
      }
    } finally {
      this.#draw();
    }
  }

  /** @param {Iterable<File>} files */
  async add(files) {
    if (!this.#room.can("chat.send") || this.#room.info.status === "ended") return;
    const taken = [...files].filter((file) => this.#isTaken(file));
    const space = Math.max(0, MOST_AT_ONCE - this.#items.length);
    if (taken.length > space) toast(t("Up to {count} files go at once.", { count: MOST_AT_ONCE }));
    const items = taken.slice(0, space).map((file) => ({ file, name: nameOf(file), size: null, address: null }));
    this.#items.push(...items);
    this.#draw();
    await Promise.all(items.map((item) => this.#measure(item)));
    this.#draw();
  }

  /** The server has the last word; what it would refuse for its size need not be sent there. */
  #isTaken(file) {
    const most = this.#room.limits.upload_bytes;
    if (!most || file.size <= most) return true;
    const isClose = sizeText(file.size) === sizeText(most);
    const [size, limit] = [file.size, most].map((bytes) => (isClose ? bytesText(bytes) : sizeText(bytes)));
    const values = { name: file.name, size, most: limit };
    toast(
      t("“{name}” is too large: {size}.", values),
      t("Files may have up to {most}. Make it smaller, or share a link to it.", values),
    );
    return false;
  }

  async #measure(item) {
    item.size = await measure(item.file);
    if (item.size && this.#items.includes(item)) item.address = URL.createObjectURL(item.file);
  }

  #draw() {
    this.#tray.hidden = this.isEmpty;
    this.#tray.replaceChildren(...this.#items.map((item) => this.#tile(item)));
    this.#changed();
  }

  #tile(item) {
    const label = t("Remove {name}", { name: item.name });
    const picture = item.address
      ? el("img", { class: "attachment-picture", src: item.address, alt: "" })
      : fileTile({ name: item.name, mime: item.file.type });
    return el(
      "li",
      { class: "attachment" },
      picture,
      el("span", { class: "file-words" }, fileName(item.name), el("small", {}, sizeText(item.file.size))),
      iconButton("close", label, () => this.#remove(item)),
    );
  }

  #remove(item) {
    const index = this.#items.indexOf(item);
    if (item.address) URL.revokeObjectURL(item.address);
    this.#items.splice(index, 1);
    this.#draw();
    const buttons = this.#tray.querySelectorAll("button");
    (buttons[Math.min(index, buttons.length - 1)] ?? document.getElementById("attach-button")).focus();
  }

  // --- the ways in

  /** A phone's own chooser for the camera is asked for by name; elsewhere one button is enough. */
  #wireChoosing(focus) {
    const button = document.getElementById("attach-button");
    const menu = document.getElementById("attach-menu");
    const inputs = { files: document.getElementById("attach-input"), camera: document.getElementById("camera-input") };
    button.addEventListener("click", () => {
      if (!matchMedia("(pointer: coarse)").matches) return inputs.files.click();
      const box = button.getBoundingClientRect();
      menu.style.left = `${Math.max(8, box.left)}px`;
      menu.style.bottom = `${innerHeight - box.top + 6}px`;
      menu.showPopover();
      menu.querySelector("button").focus();
    });
    menu.addEventListener("click", (event) => {
      const wanted = event.target.closest("button")?.dataset.choose;
      if (!wanted) return;
      menu.hidePopover();
      inputs[wanted].click();
    });
    for (const input of Object.values(inputs)) {
      input.addEventListener("change", () => {
        this.add(input.files);
        input.value = "";
        focus();
      });
    }
  }

  #wirePaste(focus) {
    document.addEventListener("paste", (event) => {
      const files = event.clipboardData?.files;
      if (!files?.length || document.querySelector("dialog[open]") || isElsewhere(event.target)) return;
      if (isRichText(event.clipboardData)) return;
      event.preventDefault();
      this.add(files);
      focus();
    });
  }

  #wireDrop(focus) {
    const target = document.getElementById("main");
    const sign = document.getElementById("drop-sign");
    let depth = 0;
    const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    const isOpen = () => this.#room.can("chat.send") && this.#room.info.status !== "ended";
    const leave = () => {
      depth = 0;
      sign.hidden = true;
    };
    target.addEventListener("dragenter", (event) => {
      if (!hasFiles(event) || !isOpen()) return;
      depth += 1;
      sign.hidden = false;
    });
    target.addEventListener("dragleave", (event) => {
      if (!hasFiles(event)) return;
      depth -= 1;
      if (depth <= 0) leave();
    });
    // Beside the conversation a dropped file would replace the page.
    addEventListener("dragover", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = target.contains(event.target) && isOpen() ? "copy" : "none";
    });
    addEventListener("drop", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      leave();
      if (!target.contains(event.target) || !isOpen()) return;
      const { files, hasFolder } = dropped(event.dataTransfer);
      if (hasFolder) toast(t("Folders cannot be sent."), t("Drop the files in it, or make an archive of it."));
      this.add(files);
      focus();
    });
  }
}

function dropped(transfer) {
  const items = [...transfer.items].filter((item) => item.kind === "file");
  const folders = items.filter((item) => item.webkitGetAsEntry?.()?.isDirectory);
  const files = items.filter((item) => !folders.includes(item)).map((item) => item.getAsFile());
  return { files: files.filter(Boolean), hasFolder: folders.length > 0 };
}

/** Cells of a table or words of a document bring a picture of themselves along: the words are meant. */
function isRichText(clipboard) {
  return clipboard.types.includes("text/html") && clipboard.getData("text/plain").trim() !== "";
}

function isElsewhere(target) {
  const field = target instanceof Element ? target.closest("input, textarea, [contenteditable]") : null;
  return field !== null && field.id !== "message-input";
}

function nameOf(file) {
  if (file.name && !NO_NAME.test(file.name)) return file.name;
  const ending = file.name.split(".").at(-1) || file.type.split("/").at(-1) || "bin";
  const now = new Date();
  const two = (number) => String(number).padStart(2, "0");
  const day = `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`;
  return `${t("image")} ${day} ${two(now.getHours())}.${two(now.getMinutes())}.${two(now.getSeconds())}.${ending}`;
}

/** Says aloud what became of a file: a bar that is full is not heard. */
class UploadNews {
  #line = document.getElementById("upload-news");
  #names = new Map();

  constructor(room) {
    room.on("outbox", () => this.#look(room.outbox.entries));
    room.on("message", (message) => {
      if (message.is_own && this.#names.delete(message.client_id))
        this.#say(t("Sent: {name}", { name: message.file?.name }));
    });
  }

  #look(entries) {
    const known = new Set(entries.map((entry) => entry.client_id));
    for (const clientId of [...this.#names.keys()]) {
      // Its message may be told of just after its entry is gone.
      if (!known.has(clientId)) queueMicrotask(() => this.#names.delete(clientId));
    }
    for (const { client_id: clientId, file, state, error } of entries) {
      if (!file) continue;
      if (state === "failed" && this.#names.get(clientId) !== "failed") {
        this.#say(`${t("Not sent: {name}.", { name: file.name })} ${explain(error).sentence}`);
      }
      this.#names.set(clientId, state);
    }
  }

  #say(words) {
    this.#line.textContent = words;
  }
}
