/** Draws what a message carries beside its words: an image, a video, a sound, or a card for any other file. */
import { el, icon, language, t } from "./ui.js";
import { drawVoice } from "./voice_player.js";

const MOST_WIDTH_PX = 340;
const MOST_HEIGHT_PX = 320;
const LEAST_SIDE_PX = 72;
const LEAST_FILM_PX = 280;
const END_CHARS = 9;
/** Moves by itself: shown as it is while it is small, and nobody asked for stillness. */
const MOST_MOVING_BYTES = 4 * 2 ** 20;
const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];
const wantsStillness = matchMedia("(prefers-reduced-motion: reduce)");

/** @returns {string} e.g. "3.4 MB", in the page's language */
export function sizeText(bytes) {
  const step = bytes < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(bytes) / 10));
  const unit = UNITS[step];
  return new Intl.NumberFormat(language, {
    style: "unit",
    unit,
    unitDisplay: step ? "short" : "long",
    maximumFractionDigits: step > 1 ? 1 : 0,
  }).format(bytes / 1024 ** step);
}

/** @returns {string} all of them: for two sizes that are nearly the same */
export const bytesText = (bytes) =>
  new Intl.NumberFormat(language, { style: "unit", unit: "byte", unitDisplay: "long" }).format(bytes);

/** The room's own files only: an address from elsewhere is none. */
export const isOwnAddress = (url) => /^\/(?!\/)/.test(url ?? "");

/**
 * @param {object} message M with a `file`
 * @param {{preview?: string | null}} [more] preview: an address of the same picture that is here already
 * @returns {HTMLElement}
 */
export function drawFile(message, more = {}) {
  if (!isOwnAddress(message.file_url)) return fileCard(message.file);
  if (message.message_type === "voice") return drawVoice(message, { url: more.preview ?? message.file_url });
  if (message.message_type === "image") return image(message, more);
  if (message.message_type === "video") return video(message);
  if (/^audio\//.test(message.file.mime)) return sound(message);
  return fileCard(message.file, message.file_url);
}

/** The size of the place of a picture, before it is there. */
export function boxOf({ width, height }) {
  if (!(width > 0 && height > 0)) return { width: MOST_WIDTH_PX * 0.7, height: MOST_WIDTH_PX * 0.5, isGuessed: true };
  const scale = Math.min(1, MOST_WIDTH_PX / width, MOST_HEIGHT_PX / height);
  const side = (pixels) => Math.round(Math.max(LEAST_SIDE_PX, pixels * scale));
  return { width: side(width), height: side(height), isGuessed: false };
}

/** Gives an element the place of a picture, in proportion also where the page is narrower. */
export function shape(element, { width, height }) {
  element.style.width = `${width}px`;
  element.style.aspectRatio = `${width} / ${height}`;
  return element;
}

function image(message, { preview = null }) {
  const { file } = message;
  const isMoving = file.mime === "image/gif" && file.size <= MOST_MOVING_BYTES && !wantsStillness.matches;
  const source = !isMoving && isOwnAddress(file.thumbnail_url) ? file.thumbnail_url : message.file_url;
  const picture = el("img", { src: source, alt: "", loading: "lazy", decoding: "async", draggable: "false" });
  if (preview) picture.style.backgroundImage = `url("${preview}")`;
  const label = message.content
    ? t("Open the image {name}: {caption}", { name: file.name, caption: message.content.slice(0, 200) })
    : t("Open the image {name}", { name: file.name });
  const button = el(
    "button",
    { type: "button", class: "media media-image", "aria-label": label, title: file.name, data: { view: message.id } },
    picture,
  );
  picture.addEventListener("error", () => button.replaceWith(shape(missing(t("The image is not here.")), boxOf(file))));
  return shape(button, boxOf(file));
}

/** A quiet place for what cannot be shown. */
export function missing(words) {
  return el("div", { class: "media media-missing" }, icon("image"), el("span", {}, words));
}

function video(message) {
  const { file } = message;
  const player = el("video", {
    class: "media media-video",
    src: message.file_url,
    poster: isOwnAddress(file.thumbnail_url) ? file.thumbnail_url : null,
    controls: true,
    playsinline: true,
    preload: "metadata",
    "aria-label": t("Video {name}", { name: file.name }),
  });
  const box = boxOf(file);
  // A small film still needs space for its controls.
  const scale = Math.max(1, Math.min(LEAST_FILM_PX / box.width, MOST_HEIGHT_PX / box.height));
  const place = { width: Math.round(box.width * scale), height: Math.round(box.height * scale) };
  shape(player, box.isGuessed ? { width: MOST_WIDTH_PX, height: (MOST_WIDTH_PX * 9) / 16 } : place);
  return withLine(player, message);
}

function sound(message) {
  const { file } = message;
  const player = el("audio", {
    class: "media-audio",
    src: message.file_url,
    controls: true,
    preload: "metadata",
    "aria-label": t("Sound {name}", { name: file.name }),
  });
  return withLine(player, message);
}

/** What this browser cannot play can still be fetched. */
function withLine(player, { file, file_url: url }) {
  const whole = el("div", { class: "media-with-line" }, player, fileLine(file, url));
  player.addEventListener("error", () => whole.replaceWith(fileCard(file, url)), { once: true });
  return whole;
}

function fileLine(file, url) {
  return el(
    "div",
    { class: "file-line" },
    fileName(file.name),
    el("small", {}, sizeText(file.size)),
    download(file, url),
  );
}

/**
 * @param {{name: string, size: number, mime?: string}} file
 * @param {string | null} [url] where it can be fetched from
 * @param {...(Node | null)} more behind name and size
 */
export function fileCard(file, url = null, ...more) {
  return el(
    "div",
    { class: "file-card" },
    fileTile(file),
    el(
      "span",
      { class: "file-words" },
      fileName(file.name),
      el("small", {}, [sizeText(file.size), kindText(file)].filter(Boolean).join(" · ")),
    ),
    url && download(file, url),
    ...more,
  );
}

function download(file, url) {
  const label = t("Download {name}", { name: file.name });
  return el(
    "a",
    { class: "icon-button", href: url, download: file.name, "aria-label": label, title: t("Download") },
    icon("download"),
  );
}

/** The end of a name says what it is: it stays when the middle has to go. */
export function fileName(name) {
  const characters = [...name];
  const end = characters.slice(-END_CHARS).join("");
  const start = characters.slice(0, -END_CHARS).join("");
  return el("b", { class: "file-name", title: name }, el("span", { class: "start" }, start), el("span", {}, end));
}

const KINDS = [
  [/^image\//, "image"],
  [/^video\//, "film"],
  [/^audio\//, "music"],
  [/zip|compressed|x-tar|x-7z|gzip|rar/, "archive"],
  [/spreadsheet|excel|csv/, "table"],
  [/pdf|word|document|text|rtf|presentation|powerpoint/, "document"],
];

const ENDINGS = {
  archive: "zip 7z rar gz tgz bz2 xz tar",
  table: "csv tsv xls xlsx ods numbers",
  document: "pdf doc docx odt rtf txt md tex pages ppt pptx odp key epub",
  music: "mp3 m4a aac flac ogg opus wav aiff",
  film: "mp4 mov mkv webm avi m4v",
  image: "png jpg jpeg gif webp heic heif svg bmp tif tiff avif psd",
};

/** A square with a drawing that says what kind of file it is. */
export function fileTile(file) {
  const ending = endingOf(file.name).toLowerCase();
  const byEnding = Object.keys(ENDINGS).find((kind) => ending && ENDINGS[kind].split(" ").includes(ending));
  const kind = byEnding ?? KINDS.find(([mime]) => mime.test(file.mime ?? ""))?.[1] ?? "file";
  return el("span", { class: "file-tile", data: { kind } }, icon(kind));
}

const kindText = (file) => endingOf(file.name).toUpperCase();

function endingOf(name) {
  return /\.([A-Za-z0-9]{1,8})$/.exec(name)?.[1] ?? "";
}
