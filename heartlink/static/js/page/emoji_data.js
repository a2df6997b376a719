/** What is known of the emoji, loaded when it is first needed; what this browser's user used last, and their skin tone. */
import { language } from "./ui.js";

const RECENT_KEY = "heartlink:emoji";
const TONE_KEY = "heartlink:tone";
const MOST_RECENT = 16;

let loading = null;

/**
 * @typedef {{character: string, group: number, label: string, names: string, words: string, codes: string[],
 *            tones: string[] | null}} Entry
 * @returns {Promise<EmojiData>}
 */
export function loadEmoji() {
  loading ??= fetchEmoji().catch((error) => {
    loading = null;
    throw error;
  });
  return loading;
}

async function fetchEmoji() {
  const answer = await fetch(document.body.dataset.emoji);
  if (!answer.ok) throw new Error(String(answer.status));
  return new EmojiData(await answer.json());
}

class EmojiData {
  #byCode = new Map();
  #byCharacter = new Map();

  constructor({ groups, emoji }) {
    const tongue = language.startsWith("zh") ? "zh" : "en";
    this.groups = groups;
    /** @type {Entry[]} */
    this.entries = emoji.map(([character, group, label, words, codes, tones = null]) => ({
      character,
      group,
      label: label[tongue],
      names: ` ${label.en} ${label.zh} `.toLowerCase(),
      words: ` ${label.en} ${label.zh} ${words} ${codes} `.toLowerCase(),
      codes: codes.split(" ").filter(Boolean),
      tones,
    }));
    for (const entry of this.entries) {
      for (const code of entry.codes) this.#byCode.set(code, entry);
      for (const character of [entry.character, ...(entry.tones ?? [])]) this.#byCharacter.set(character, entry);
    }
  }

  /** @returns {Entry | null} what stands between two colons: a shortcode, or a name */
  coded(code) {
    const wanted = code.toLowerCase();
    const named = () => this.entries.find((entry) => entry.label.toLowerCase() === wanted);
    return this.#byCode.get(wanted) ?? named() ?? null;
  }

  /** @returns {Entry | null} in whatever tone */
  of(character) {
    return this.#byCharacter.get(character) ?? null;
  }

  /** @returns {Entry[]} those that fit all words, the most fitting first */
  find(query) {
    const words = query.trim().toLowerCase().split(/[\s_]+/).filter(Boolean);
    return this.entries
      .filter((entry) => words.every((word) => entry.words.includes(word)))
      .sort((a, b) => rank(a, words) - rank(b, words));
  }

  /** @returns {Entry[]} those that the beginning of a shortcode, or a part of a name, may become; used ones first */
  complete(typed, most) {
    const wanted = typed.toLowerCase();
    const recent = recentEmoji().map((character) => this.of(character));
    const score = (entry) => {
      if (entry.codes.includes(wanted)) return 0;
      const isBeginning = entry.codes.some((code) => code.startsWith(wanted)) || entry.names.includes(` ${wanted}`);
      return (recent.includes(entry) ? 1 : 2) + (isBeginning ? 0 : 2);
    };
    return this.find(typed)
      .map((entry) => ({ entry, score: score(entry) }))
      .sort((a, b) => a.score - b.score)
      .slice(0, most)
      .map(({ entry }) => entry);
  }
}

/** Found in the name comes before found elsewhere, a whole word before a part of one. */
function rank({ names, words }, wanted) {
  const places = [
    (word) => names.includes(` ${word} `),
    (word) => names.includes(word),
    (word) => words.includes(` ${word} `),
  ];
  const place = places.findIndex((isFound) => wanted.every(isFound));
  return place < 0 ? places.length : place;
}

/** The character of an entry in the tone that was chosen. */
export const toned = (entry, tone = chosenTone()) => (tone && entry.tones?.[tone - 1]) || entry.character;

/** @returns {number} 0: none, 1 to 5: from light to dark */
export const chosenTone = () => Math.min(5, Math.max(0, Math.trunc(Number(read(TONE_KEY)) || 0)));

export const chooseTone = (tone) => write(TONE_KEY, tone);

/** @returns {string[]} the newest first */
export function recentEmoji() {
  const kept = read(RECENT_KEY);
  return Array.isArray(kept) ? kept.filter((one) => typeof one === "string") : [];
}

export function rememberEmoji(character) {
  write(RECENT_KEY, [character, ...recentEmoji().filter((one) => one !== character)].slice(0, MOST_RECENT));
}

function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

function write(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // Nothing is lost but a convenience.
  }
}
