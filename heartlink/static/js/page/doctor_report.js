/** What was found, as text for whoever helps: no token, no cookie, no name. */
import { page } from "./ui.js";

const MARKS = { ok: "ok     ", warning: "WARNING", failed: "FAILED ", skipped: "skipped", running: "…      " };

/**
 * @param {{title: string, result: import("./doctor_verdicts.js").Result & {ms: number}}[]} found
 * @returns {string}
 */
export function reportText(found) {
  const lines = [
    `HeartLink ${page.version}, connection check`,
    `${new Date().toISOString()} (UTC${offset()}), ${location.origin}${location.pathname}`,
    navigator.userAgent,
    `language ${navigator.language}, online ${navigator.onLine}, ${page.user ? "signed in" : "not signed in"}`,
    "",
  ];
  for (const { title, result } of found) {
    lines.push(line("", title, result));
    for (const row of result.rows ?? []) lines.push(line("    ", row.name, row));
  }
  return lines.join("\n");
}

function line(indent, name, { verdict, words, remedy, ms, facts }) {
  const parts = [`${indent}[${MARKS[verdict]}] ${name}: ${words ?? ""}`];
  if (ms !== undefined) parts[0] += ` (${Math.round(ms)} ms)`;
  if (remedy) parts.push(`${indent}          -> ${remedy}`);
  if (facts) parts.push(`${indent}          ${JSON.stringify(facts)}`);
  return parts.join("\n");
}

function offset() {
  const minutes = -new Date().getTimezoneOffset();
  const sign = minutes < 0 ? "-" : "+";
  const pad = (number) => String(Math.floor(Math.abs(number))).padStart(2, "0");
  return `${sign}${pad(minutes / 60)}:${pad(minutes % 60)}`;
}
