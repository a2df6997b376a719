/** What a check comes to: a verdict, a sentence, and what to do about it. */
import { t } from "./ui.js";

/**
 * @typedef {object} Result
 * @property {"ok" | "warning" | "failed" | "skipped"} verdict
 * @property {string} words what was found
 * @property {string} [remedy] what to do
 * @property {string} [lines] the fault of a proxy whose lines belong to the remedy: "upgrade", "host" …
 * @property {object[]} [rows] its parts: {name, …Result}
 * @property {number[]} [samples] milliseconds, to be drawn
 * @property {object} [facts] for the report: nothing secret
 */

export const ok = (words, more = {}) => ({ verdict: "ok", words, ...more });
export const warning = (words, remedy, more = {}) => ({ verdict: "warning", words, remedy, ...more });
export const failed = (words, remedy, more = {}) => ({ verdict: "failed", words, remedy, ...more });
export const skipped = (words, more = {}) => ({ verdict: "skipped", words, ...more });

const RANK = { failed: 0, warning: 1, ok: 2, skipped: 3 };

/** The worst of several results. */
export const worstOf = (results) => [...results].sort((a, b) => RANK[a.verdict] - RANK[b.verdict])[0];

export const whole = (ms) => (ms < 10 ? Math.round(ms * 10) / 10 : Math.round(ms));

/** What a ProbeFailure means for something that was sent and should have come back. */
export function lost(failure, remedy, more = {}) {
  if (failure.kind === "closed")
    return failed(
      t("The connection was cut while it was under way (code {code}).", { code: failure.code }),
      remedy,
      more,
    );
  return failed(t("It did not come back."), remedy, more);
}
