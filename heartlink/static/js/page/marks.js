/** Where words stand in a text, whatever their case and width: as the server finds them (NFKC, case folded). */

const clusters = globalThis.Intl?.Segmenter ? new Intl.Segmenter(undefined, { granularity: "grapheme" }) : null;

/** Upper case first: ß is SS there, and both forms of the Greek sigma are one. */
export const fold = (text) => text.normalize("NFKC").toUpperCase().toLowerCase().normalize("NFKC");

/** @returns {string[]} the words of a query, folded */
export const wordsOf = (query) => [...new Set(fold(query).split(/\s+/).filter(Boolean))];

/**
 * @param {string} text
 * @param {string[]} words folded
 * @returns {[number, number][]} beginning and end of each place in the text, in order, none overlapping
 */
export function placesOf(text, words) {
  const { folded, origins } = foldedWithOrigins(text);
  const found = [];
  for (const word of words) {
    for (let at = folded.indexOf(word); at !== -1; at = folded.indexOf(word, at + word.length))
      found.push([origins[at].start, origins[at + word.length - 1].end]);
  }
  found.sort((a, b) => a[0] - b[0] || b[1] - a[1]);
  const places = [];
  for (const [start, end] of found) {
    const last = places.at(-1);
    if (last && start <= last[1]) last[1] = Math.max(last[1], end);
    else places.push([start, end]);
  }
  return places;
}

/** The folded text, and for each of its code units the part of the text that it comes from. */
function foldedWithOrigins(text) {
  let folded = "";
  const origins = [];
  let start = 0;
  for (const part of clusters ? Array.from(clusters.segment(text), ({ segment }) => segment) : text) {
    const origin = { start, end: start + part.length };
    const here = fold(part);
    folded += here;
    for (let unit = 0; unit < here.length; unit += 1) origins.push(origin);
    start = origin.end;
  }
  return { folded, origins };
}
