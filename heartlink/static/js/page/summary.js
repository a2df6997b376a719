/** A message in one line: for the list of rooms, for quotes, for notifications. */
import { callWords } from "./call_line.js";
import { t } from "./ui.js";

/** @param {object} message M, or what is known of it @returns {string} */
export function summaryOf(message) {
  if (message.deleted) return t("message deleted");
  if (message.call) return callWords(message.call, message.is_own);
  const words = message.content.replace(/\s+/g, " ").trim();
  const what = KINDS[message.message_type]?.(message.file);
  if (!what) return words;
  return words ? `${what} ${words}` : what;
}

const KINDS = {
  image: () => t("[image]"),
  voice: () => t("[voice]"),
  video: () => t("[video]"),
  file: (file) => (file ? `${t("[file]")} ${file.name}` : t("[file]")),
};
