/** Texts of nothing but emoji: a few of them are shown large. */

const MOST_LARGE = 3;
const MOST_CHARS = 120;
const clusters = globalThis.Intl?.Segmenter ? new Intl.Segmenter(undefined, { granularity: "grapheme" }) : null;
const ONE =
  /^(?:\p{Regional_Indicator}{2}|[0-9#*]\ufe0f?\u20e3|(?:\p{Emoji_Presentation}|(?![©®™‼⁉])\p{Extended_Pictographic})[\p{Emoji_Modifier}\p{Extended_Pictographic}\u200d\ufe0f\u{e0020}-\u{e007f}♀♂⚕]*)$/u;

/** @returns {number} how many emoji a text is, if it is a few of them and nothing else; 0 otherwise */
export function fewEmoji(text) {
  const found = text.trim();
  if (!found || found.length > MOST_CHARS || !clusters) return 0;
  const parts = Array.from(clusters.segment(found), ({ segment }) => segment).filter((part) => part.trim());
  return parts.length <= MOST_LARGE && parts.every((part) => ONE.test(part)) ? parts.length : 0;
}
