/** How a finding looks: its mark, its sentence, how long it took, and what to do. */
import { whole } from "./doctor_verdicts.js";
import { el, icon, page, t } from "./ui.js";

const CHART_WIDTH = 200;
const CHART_HEIGHT = 28;
const SVG = "http://www.w3.org/2000/svg";

const MARKS = { ok: "check", warning: "alert", failed: "close", skipped: "dot", waiting: "dot", running: "dot" };

const spoken = (verdict) =>
  ({
    ok: t("in order"),
    warning: t("worth a look"),
    failed: t("not in order"),
    skipped: t("not checked"),
    waiting: t("still to come"),
    running: t("under way"),
  })[verdict];

function mark(verdict) {
  return el(
    "span",
    { class: "mark", data: { verdict } },
    icon(MARKS[verdict]),
    el("span", { class: "sr-only" }, spoken(verdict)),
  );
}

/** Draws a step anew; its title and what stands below stay. */
export function drawStep(item, result) {
  item.dataset.verdict = result.verdict;
  item.querySelector(":scope > .mark")?.remove();
  item.prepend(mark(result.verdict));
  item.querySelector(":scope > div").replaceWith(drawResult(result));
}

/** Sentence, time, remedy, lines for proxies, parts and measurements of a result. */
export function drawResult(result) {
  const { verdict, words, ms, remedy, lines, rows, samples } = result;
  return el(
    "div",
    { class: "finding", data: { verdict } },
    words && el("p", { class: "finding-words" }, words),
    ms !== undefined && el("span", { class: "finding-ms" }, t("{ms} ms", { ms: whole(ms) })),
    samples?.length > 1 && chart(samples),
    remedy && el("p", { class: "remedy" }, remedy),
    lines && proxyLines(lines),
    rows?.length > 1 && el("ul", { class: "finding-rows" }, ...rows.map(drawRow)),
  );
}

function drawRow({ name, verdict, words, ms }) {
  return el(
    "li",
    { data: { verdict } },
    mark(verdict),
    el("code", {}, name),
    el("span", {}, words),
    ms !== undefined && el("span", { class: "finding-ms" }, t("{ms} ms", { ms: whole(ms) })),
  );
}

/** What each of the usual proxies needs, with a mark where the fault is mended (heartlink/doctor/remedies.py). */
function proxyLines(fault) {
  const blocks = page.proxies.map((proxy) =>
    el(
      "div",
      {},
      el("h3", {}, proxy.name),
      el("pre", { tabindex: "0", "aria-label": proxy.name }, ...linesOf(proxy, fault)),
    ),
  );
  return el(
    "details",
    { class: "proxy-lines" },
    el("summary", {}, t("The lines for nginx, Caddy, Apache and HAProxy")),
    el("p", { class: "muted" }, t("127.0.0.1:8000 stands for where HeartLink listens.")),
    ...blocks,
  );
}

function linesOf({ place, lines, by_itself: byItself }, fault) {
  const remarks = [place, byItself[fault]].filter(Boolean).map((remark) => `# ${remark}\n`);
  return [
    el("span", { class: "muted" }, ...remarks),
    ...lines.map(({ text, mends }) => (mends === fault ? el("mark", {}, `${text}\n`) : `${text}\n`)),
  ];
}

/** Each round trip as a beat on a line. */
function chart(samples) {
  const most = Math.max(...samples, 1);
  const step = CHART_WIDTH / samples.length;
  const base = CHART_HEIGHT - 2;
  const beats = samples.map((ms, at) => {
    const height = Math.max(2, (ms / most) * (CHART_HEIGHT - 4));
    return `H${((at + 0.3) * step).toFixed(1)}l${(step * 0.2).toFixed(1)} ${-height.toFixed(1)}l${(step * 0.2).toFixed(1)} ${height.toFixed(1)}`;
  });
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "trips");
  svg.setAttribute("viewBox", `0 0 ${CHART_WIDTH} ${CHART_HEIGHT}`);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", `M0 ${base}${beats.join("")}H${CHART_WIDTH}`);
  svg.append(path);
  return svg;
}

/** The sentence above everything, and the line that beats or does not. */
export function drawSummary(results) {
  const count = (verdict) => results.filter((result) => result.verdict === verdict).length;
  const left = count("waiting") + count("running");
  const verdict = count("failed") ? "failed" : left ? "running" : count("warning") ? "warning" : "ok";
  document.getElementById("doctor-line").dataset.verdict = verdict;
  const words = document.getElementById("doctor-summary");
  const sentence = left
    ? t("Checking … {done} of {total}", { done: results.length - left, total: results.length })
    : summary(count("failed"), count("warning"));
  words.dataset.verdict = left ? "running" : verdict;
  // Every step would be too much for a screen reader: it hears the end.
  words.setAttribute("aria-live", left ? "off" : "polite");
  words.replaceChildren(sentence);
  const worst = !left && document.querySelector(`.step[data-verdict="${verdict}"]`);
  if (worst && verdict !== "ok") words.append(" ", el("a", { href: `#${worst.id}` }, t("Show it")));
}

function summary(failures, warnings) {
  if (failures === 1) return t("One check failed. What to do stands beside it.");
  if (failures)
    return t("{count} checks failed. Begin with the first: it often explains the others.", { count: failures });
  if (warnings) return t("It works, but something is worth a look.");
  return t("Everything works.");
}

/** The field for a room's id; `value` is what stands in it. */
export function roomForm(roomId, act) {
  const input = el("input", {
    class: "input",
    value: roomId ?? "",
    "aria-label": t("Room id"),
    placeholder: t("Room id"),
    autocomplete: "off",
    autocapitalize: "none",
    spellcheck: "false",
    maxlength: "200",
  });
  const form = el(
    "form",
    { class: "form inline room-form" },
    el("label", { class: "field grow" }, input),
    el("button", { class: "button quiet", type: "submit" }, t("Ask")),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    act();
  });
  return {
    form,
    get value() {
      return input.value.trim();
    },
  };
}
