/**
 * Makes heartlink/static/data/emoji.json from the npm package emojibase-data (MIT): nothing in it is typed by hand.
 *
 *     node scripts/generate_emoji.mjs            fetches the pinned version with npm and writes the two files
 *     node scripts/generate_emoji.mjs --check    writes nothing, fails when the committed file differs
 *
 * Shape: {source, licence, groups: ["smileys & emotion", …], emoji: [[character, group index, label, words, codes, tones]]};
 * label is {en, zh}; words are what the search looks through, in both languages, lower case, space separated; codes are
 * its shortcodes without colons, space separated; tones, where it has skin: the five characters from light to dark.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const PACKAGE = "emojibase-data";
const VERSION = "17.0.0";
const INTEGRITY = "sha512-Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA==";
/** Newer ones are still empty boxes on many systems. */
const NEWEST_EMOJI_VERSION = 15.1;
/** Hair and skin pieces: no use by themselves. */
const LEFT_OUT_GROUPS = new Set(["component"]);

const target = join(dirname(fileURLToPath(import.meta.url)), "..", "heartlink", "static", "data");

function fetchPackage(folder) {
  const answer = execFileSync("npm", ["pack", `${PACKAGE}@${VERSION}`, "--json", "--pack-destination", folder], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const packed = Object.values(JSON.parse(answer))[0];
  if (packed.integrity !== INTEGRITY) {
    throw new Error(`${PACKAGE}@${VERSION} has integrity ${packed.integrity}, expected ${INTEGRITY}`);
  }
  execFileSync("tar", ["-xzf", join(folder, packed.filename), "-C", folder]);
  return join(folder, "package");
}

function words(...sources) {
  const seen = new Set();
  for (const source of sources.flat(2)) {
    for (const word of String(source ?? "")
      .toLowerCase()
      .split(/[\s:_]+/))
      if (word) seen.add(word);
  }
  return [...seen].join(" ");
}

/** Without the mark "as an emoji" where it is one anyway: otherwise the same reaction would be two. */
function plain(emoji) {
  return /^\p{Emoji_Presentation}\ufe0f$/u.test(emoji) ? emoji.slice(0, -1) : emoji;
}

/** A character for each of the five tones that one person's skin may have; nothing for those without skin. */
function tones(entry) {
  const byTone = new Map((entry.skins ?? []).map((skin) => [[skin.tone].flat().join(), skin.emoji]));
  const five = [1, 2, 3, 4, 5].map((tone) => byTone.get(String(tone)) ?? byTone.get(`${tone},${tone}`));
  return five.every(Boolean) ? [five] : [];
}

function build(root) {
  const read = (name) => JSON.parse(readFileSync(join(root, name), "utf8"));
  const chinese = new Map(read("zh/data.json").map((entry) => [entry.hexcode, entry]));
  const github = read("en/shortcodes/github.json");
  const others = read("en/shortcodes/emojibase.json");
  const taken = new Set(Object.values(github).flat());
  const codesOf = ({ hexcode }) => [github[hexcode] ?? [others[hexcode] ?? []].flat().filter((code) => !taken.has(code))];
  const groups = read("en/messages.json").groups.filter((group) => !LEFT_OUT_GROUPS.has(group.key));
  const position = new Map(groups.map((group, index) => [group.order, index]));
  const emoji = read("en/data.json")
    .filter((entry) => position.has(entry.group) && entry.version <= NEWEST_EMOJI_VERSION)
    .sort((a, b) => a.order - b.order)
    .map((entry) => {
      const zh = chinese.get(entry.hexcode);
      const codes = codesOf(entry).flat();
      const found = words(entry.tags ?? [], codes, entry.emoticon ?? [], zh?.tags ?? []);
      const label = { en: entry.label, zh: zh?.label ?? entry.label };
      return [plain(entry.emoji), position.get(entry.group), label, found, codes.join(" "), ...tones(entry)];
    });
  return {
    source: `${PACKAGE}@${VERSION}`,
    licence: "MIT, see emoji.LICENSE.txt",
    groups: groups.map((group) => group.message),
    emoji,
  };
}

const folder = mkdtempSync(join(tmpdir(), "emoji-"));
try {
  const root = fetchPackage(folder);
  const json = JSON.stringify(build(root)).replaceAll("],[", "],\n[") + "\n";
  const licence = readFileSync(join(root, "LICENSE"), "utf8");
  if (process.argv.includes("--check")) {
    if (readFileSync(join(target, "emoji.json"), "utf8") !== json)
      throw new Error("emoji.json is not what the script makes");
    console.log("emoji.json is up to date");
  } else {
    writeFileSync(join(target, "emoji.json"), json);
    writeFileSync(join(target, "emoji.LICENSE.txt"), licence);
    console.log(`emoji.json: ${JSON.parse(json).emoji.length} emoji, ${json.length} characters`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
