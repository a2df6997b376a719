/** Draws a file that is still on its way: what it is, how far it is, and a way to end it. */
import { boxOf, fileCard, shape, sizeText } from "./media.js";
import { keepPreview, previewOf } from "./previews.js";
import { el, explain, iconButton, t } from "./ui.js";
import { drawVoice } from "./voice_player.js";

/**
 * @param {object} entry an outbox entry with a `file`
 * @param {import("../lib/room.js").Room} room
 * @returns {HTMLElement}
 */
export function drawPendingFile(entry, room) {
  const cancel = entry.state === "failed" ? null : cancelButton(entry);
  const box = el("div", { class: "pending-file" });
  if (/^(image|video)\//.test(entry.file.mime)) box.append(place(entry, room), cancel ?? "");
  else if (entry.message_type === "voice") box.append(voice(entry, room), cancel ?? "");
  else box.append(fileCard(entry.file, null, cancel));
  if (entry.state !== "failed") {
    box.append(progressLine(entry));
    if (entry.owner === room.outbox.tabId) drawProgress(box, room.uploads.progressOf(entry.client_id), entry);
    else box.querySelector(".upload-words").textContent = t("Another tab sends it.");
  }
  return box;
}

/** What was recorded can be listened to before it has arrived. */
function voice(entry, room) {
  const url = async () => {
    const blob = await room.uploads.blobOf(entry.client_id);
    return previewOf(entry.client_id) ?? (blob && keepPreview(entry.client_id, blob));
  };
  return drawVoice({ ...entry, is_own: true }, { url });
}

function cancelButton(entry) {
  const label = t("Cancel the upload of {name}", { name: entry.file.name });
  return iconButton("close", label, () => {}, {
    class: "icon-button cancel-upload",
    data: { discard: entry.client_id },
    title: t("Cancel"),
  });
}

function place(entry, room) {
  const frame = shape(el("div", { class: "media media-pending" }), boxOf(entry.file));
  const show = (address) => {
    const isVideo = entry.file.mime.startsWith("video/");
    const more = isVideo ? { muted: true, preload: "metadata", playsinline: true } : { alt: entry.file.name };
    const picture = el(isVideo ? "video" : "img", { ...more, src: address });
    picture.addEventListener("error", () => frame.replaceWith(fileCard(entry.file)), { once: true });
    frame.append(picture);
  };
  const known = previewOf(entry.client_id);
  if (known) show(known);
  else room.uploads.blobOf(entry.client_id).then((blob) => blob && show(keepPreview(entry.client_id, blob)));
  return frame;
}

function progressLine(entry) {
  return el(
    "div",
    // Told by its end, not at each step.
    { class: "upload-progress", "aria-live": "off" },
    el("progress", {
      max: Math.max(1, entry.file.size),
      "aria-label": t("Upload of {name}", { name: entry.file.name }),
    }),
    el("span", { class: "upload-words" }),
  );
}

/** Only the bar and its words change while bytes go. @param {HTMLElement} row what contains a drawing of drawPendingFile */
export function drawProgress(row, progress, entry) {
  const bar = row.querySelector("progress");
  if (!bar) return;
  const line = row.querySelector(".upload-words");
  if (!progress || entry.state === "queued") {
    bar.value = 0;
    line.textContent = t("Waiting to be sent · {size}", { size: sizeText(entry.file.size) });
    return;
  }
  const { sent_bytes: sent, total_bytes: total, error } = progress;
  bar.value = total ? sent : 1;
  if (error) {
    line.textContent = `${explain(error).sentence} ${t("It goes on by itself.")}`;
    return;
  }
  const percent = total ? Math.floor((sent / total) * 100) : 100;
  line.textContent =
    sent >= total
      ? t("All is sent, the server looks at it…")
      : t("{sent} of {total} · {percent} %", { sent: sizeText(sent), total: sizeText(total), percent });
}
