/** The images of a conversation, one at a time and large: by keys, by swipe, with what can be done with them. */
import { isOwnAddress, missing } from "./media.js";
import { el, exactTime, iconButton, t } from "./ui.js";

const SWIPE_PX = 50;
const PAN_PX = 4;
const MOST_PAGES = 3;
const MOST_ZOOM = 8;
const ZOOM_STEP = 1.6;
const NEWS_MS = 4000;

export class Gallery {
  #room;
  #conversation;
  #dialog = null;
  #parts = {};
  #message = null;
  #opener = null;
  #zoom = 1;
  #isLooking = false;

  /**
   * @param {import("../lib/room.js").Room} room
   * @param {import("./conversation.js").Conversation} conversation
   */
  constructor(room, conversation) {
    this.#room = room;
    this.#conversation = conversation;
    const frame = document.getElementById("messages");
    frame.addEventListener("click", (event) => {
      const button = event.target.closest("[data-view]");
      if (button) this.open(Number(button.dataset.view), button);
    });
    frame.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !event.target.matches(".message")) return;
      const button = event.target.querySelector("[data-view]");
      if (!button) return;
      event.preventDefault();
      this.open(Number(button.dataset.view), button);
    });
    room.on("change", ({ message }) => this.#followChange(message));
    room.on("history", () => this.#dialog?.close());
  }

  open(id, opener) {
    const message = this.#room.timeline.get(id);
    if (!isImage(message)) return;
    this.#dialog ??= this.#make();
    this.#opener = opener;
    this.#show(message);
    this.#dialog.showModal();
    this.#parts.stage.focus();
  }

  // --- drawing

  #make() {
    const stage = el("div", { class: "gallery-stage", tabindex: "-1" });
    const count = el("span", { class: "gallery-count" });
    const who = el("b", {});
    const when = el("time", {});
    const caption = el("p", { class: "gallery-caption" });
    const zoom = iconButton("zoom", t("Zoom"), () => this.#setZoom(this.#zoom > 1 ? 1 : 2.5), {
      "aria-pressed": "false",
    });
    const copy = iconButton("copy", t("Copy the image"), () => this.#copy());
    copy.hidden = !globalThis.ClipboardItem || !navigator.clipboard?.write;
    const fetching = el("a", { class: "icon-button", "aria-label": t("Download"), title: t("Download") });
    fetching.append(...iconButton("download", "", () => {}).childNodes);
    const older = iconButton("left", t("Previous image"), () => this.#step(-1), {
      class: "icon-button gallery-step older",
    });
    const newer = iconButton("right", t("Next image"), () => this.#step(1), {
      class: "icon-button gallery-step newer",
    });
    const close = iconButton("close", t("Close"), () => dialog.close());
    const words = el(
      "div",
      { class: "gallery-words", "aria-live": "polite" },
      el("p", {}, who, " ", when, " ", count),
      caption,
    );
    const news = el("p", { class: "gallery-news", role: "status" });
    const dialog = el(
      "dialog",
      { class: "gallery", "aria-label": t("Images") },
      el("div", { class: "gallery-bar" }, words, zoom, copy, fetching, close),
      stage,
      older,
      newer,
      news,
    );
    this.#parts = { stage, count, who, when, caption, zoom, fetching, older, newer, news };
    dialog.addEventListener("keydown", (event) => this.#pressed(event));
    dialog.addEventListener("close", () => this.#closed());
    this.#wireStage(stage);
    document.body.append(dialog);
    return dialog;
  }

  #show(message) {
    this.#message = message;
    const { stage, count, who, when, caption, fetching, older, newer } = this.#parts;
    const at = new Date(message.created_at);
    who.textContent = message.is_own ? t("You") : message.sender_name || message.sender;
    when.textContent = exactTime(at);
    when.dateTime = message.created_at;
    caption.textContent = message.content;
    caption.hidden = !message.content;
    fetching.href = message.file_url;
    fetching.download = message.file.name;
    const images = this.#images();
    const index = images.findIndex(({ id }) => id === message.id);
    count.textContent = images.length > 1 ? t("{number} of {count}", { number: index + 1, count: images.length }) : "";
    older.hidden = index <= 0 && !this.#room.timeline.hasMore;
    newer.hidden = index >= images.length - 1 && !this.#room.timeline.hasNewer;
    stage.replaceChildren(this.#picture(message));
    this.#setZoom(1);
    for (const near of [images[index + 1], images[index - 1]]) if (near) new Image().src = near.file_url;
  }

  #picture(message) {
    const { width, height, name, thumbnail_url: thumbnail } = message.file;
    const picture = el("img", { class: "gallery-picture", alt: name, width, height, draggable: "false" });
    if (isOwnAddress(thumbnail)) picture.style.backgroundImage = `url("${thumbnail}")`;
    picture.addEventListener("load", () => (picture.style.backgroundImage = "none"));
    picture.addEventListener("error", () => picture.replaceWith(missing(t("The image is not here."))));
    picture.src = message.file_url;
    return picture;
  }

  // --- going on

  #images() {
    return this.#room.timeline.messages.filter(isImage);
  }

  async #step(by) {
    if (this.#isLooking) return;
    const next = this.#neighbour(by) ?? (await this.#lookFurther(by));
    if (!next || !this.#dialog.open) return;
    const { older, newer, stage } = this.#parts;
    this.#show(next);
    const button = by < 0 ? older : newer;
    if (button.hidden && (document.activeElement === button || document.activeElement === document.body)) stage.focus();
  }

  #neighbour(by) {
    const images = this.#images();
    const index = images.findIndex(({ id }) => id === this.#message.id);
    return index === -1 ? null : (images[index + by] ?? null);
  }

  /** Beyond the part of the history that is here, a few pages at a time. */
  async #lookFurther(by) {
    const { timeline } = this.#room;
    const hasMore = () => (by < 0 ? timeline.hasMore : timeline.hasNewer);
    this.#isLooking = true;
    try {
      for (let page = 0; page < MOST_PAGES && hasMore() && !this.#neighbour(by); page += 1) {
        await (by < 0 ? this.#conversation.loadOlder() : this.#conversation.loadNewer());
      }
    } finally {
      this.#isLooking = false;
    }
    const found = this.#neighbour(by);
    if (!found) this.#parts[by < 0 ? "older" : "newer"].hidden = !hasMore();
    return found;
  }

  #followChange(message) {
    if (!this.#dialog?.open || message.id !== this.#message.id) return;
    if (!message.deleted) return this.#show(message);
    const next = this.#room.timeline.messages.filter((other) => isImage(other) && other.id !== message.id);
    const nearest = next.find(({ id }) => id > message.id) ?? next.at(-1);
    if (nearest) this.#show(nearest);
    else this.#dialog.close();
  }

  /** The focus goes back to where it came from; to the last image seen where that is no longer there. */
  #closed() {
    this.#parts.stage.replaceChildren();
    const last = this.#conversation.articleOf(this.#message.id);
    const opener = this.#opener?.isConnected ? this.#opener : last?.querySelector("[data-view]");
    (opener ?? last ?? document.getElementById("messages")).focus();
  }

  #pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isZoomed = this.#zoom > 1;
    const act = {
      ArrowLeft: () => (isZoomed ? this.#pan(-1, 0) : this.#step(-1)),
      ArrowRight: () => (isZoomed ? this.#pan(1, 0) : this.#step(1)),
      ArrowUp: () => isZoomed && this.#pan(0, -1),
      ArrowDown: () => isZoomed && this.#pan(0, 1),
      "+": () => this.#setZoom(this.#zoom * ZOOM_STEP),
      "=": () => this.#setZoom(this.#zoom * ZOOM_STEP),
      "-": () => this.#setZoom(this.#zoom / ZOOM_STEP),
      0: () => this.#setZoom(1),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  // --- large, and larger

  /** @param {number} zoom 1: as large as fits; `at`: the point that stays, in the stage's pixels */
  #setZoom(zoom, at = null) {
    const { stage } = this.#parts;
    const picture = stage.querySelector("img");
    const before = this.#zoom;
    this.#zoom = picture ? Math.min(MOST_ZOOM, Math.max(1, zoom)) : 1;
    const isZoomed = this.#zoom > 1.001;
    if (!isZoomed) this.#zoom = 1;
    this.#parts.zoom.setAttribute("aria-pressed", String(isZoomed));
    stage.classList.toggle("zoomed", isZoomed);
    if (!picture) return;
    const point = at ?? { x: stage.clientWidth / 2, y: stage.clientHeight / 2 };
    const ratio = this.#zoom / before;
    const left = (stage.scrollLeft + point.x) * ratio - point.x;
    const top = (stage.scrollTop + point.y) * ratio - point.y;
    picture.style.width = isZoomed ? `${stage.clientWidth * this.#zoom}px` : "";
    picture.style.height = isZoomed ? `${stage.clientHeight * this.#zoom}px` : "";
    stage.scrollTo(left, top);
  }

  #pan(x, y) {
    const { stage } = this.#parts;
    stage.scrollBy({ left: (x * stage.clientWidth) / 4, top: (y * stage.clientHeight) / 4 });
  }

  /** A tap or click zooms, a drag moves what is zoomed, a swipe goes on. */
  #wireStage(stage) {
    let start = null;
    const pointOf = (event) => {
      const box = stage.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    };
    stage.addEventListener("pointerdown", (event) => {
      if (event.button || !event.isPrimary) return;
      start = { x: event.clientX, y: event.clientY, left: stage.scrollLeft, top: stage.scrollTop, isPan: false };
      stage.setPointerCapture(event.pointerId);
    });
    stage.addEventListener("pointermove", (event) => {
      if (!start || this.#zoom === 1) return;
      const [x, y] = [event.clientX - start.x, event.clientY - start.y];
      start.isPan ||= Math.abs(x) + Math.abs(y) > PAN_PX;
      stage.scrollTo(start.left - x, start.top - y);
    });
    stage.addEventListener("pointercancel", () => (start = null));
    stage.addEventListener("pointerup", (event) => {
      if (!start) return;
      const [x, y] = [event.clientX - start.x, event.clientY - start.y];
      const wasPan = start.isPan;
      start = null;
      const isSwipe = this.#zoom === 1 && Math.abs(x) > SWIPE_PX && Math.abs(x) > Math.abs(y);
      if (isSwipe) this.#step(x > 0 ? -1 : 1);
      else if (!wasPan && Math.abs(x) + Math.abs(y) <= PAN_PX) this.#tapped(pointOf(event), event);
    });
    stage.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        this.#setZoom(this.#zoom * (event.deltaY < 0 ? 1.2 : 1 / 1.2), pointOf(event));
      },
      { passive: false },
    );
  }

  #tapped(point, event) {
    const picture = this.#parts.stage.querySelector("img");
    const isOnPicture = picture && isInside(pictureBox(picture), event);
    if (isOnPicture) this.#setZoom(this.#zoom > 1 ? 1 : 2.5, point);
    else this.#dialog.close();
  }

  async #copy() {
    try {
      await navigator.clipboard.write([new ClipboardItem({ "image/png": asPng(this.#message.file_url) })]);
      this.#say(t("The image is copied."));
    } catch {
      this.#say(t("The browser did not let the image be copied. Download it instead."));
    }
  }

  #say(words) {
    const { news } = this.#parts;
    news.textContent = words;
    setTimeout(() => news.textContent === words && news.replaceChildren(), NEWS_MS);
  }
}

const isImage = (message) =>
  Boolean(message) &&
  message.message_type === "image" &&
  !message.deleted &&
  Boolean(message.file) &&
  isOwnAddress(message.file_url);

/** The clipboard takes PNG everywhere, and nothing else everywhere. */
async function asPng(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const blob = await answer.blob();
  if (blob.type === "image/png") return blob;
  const bitmap = await createImageBitmap(blob);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}

/** Where the picture itself is, inside a box that it need not fill. */
function pictureBox(picture) {
  const box = picture.getBoundingClientRect();
  const { naturalWidth: width, naturalHeight: height } = picture;
  if (!width || !height) return box;
  const scale = Math.min(box.width / width, box.height / height, picture.style.width ? Infinity : 1);
  const [across, down] = [(box.width - width * scale) / 2, (box.height - height * scale) / 2];
  return { left: box.left + across, right: box.right - across, top: box.top + down, bottom: box.bottom - down };
}

function isInside(box, { clientX: x, clientY: y }) {
  return x >= box.left && x <= box.right && y >= box.top && y <= box.bottom;
}
