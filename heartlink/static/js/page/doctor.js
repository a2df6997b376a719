/** The doctor's page: runs the checks one after the other, draws each as it goes, and copies what was found. */
import { wireConsole } from "./doctor_console.js";
import { drawResult, drawStep, drawSummary, roomForm } from "./doctor_drawing.js";
import { checkIdle } from "./doctor_idle.js";
import { ask, isOfType, PATIENCE_MS, Probe, ProbeFailure } from "./doctor_probe.js";
import { reportText } from "./doctor_report.js";
import { DOCTOR } from "./doctor_routes.js";
import { STEPS } from "./doctor_steps.js";
import { failed } from "./doctor_verdicts.js";
import { el, link, page, ready, t, toast } from "./ui.js";

const STEP_LIMIT_MS = 4 * PATIENCE_MS;

/** What one run has found so far, and the one socket that its checks share. */
class Visit {
  #seen = null;
  #isUnreachable = false;
  #opening = null;
  #cannotOpen = false;
  #rooms = null;
  /** The name by which the server knows the handshake of this run. */
  attempt = "";
  /** Nothing answered the first request over HTTP: what a proxy does with others cannot be told. */
  isSilent = false;

  constructor(roomId) {
    this.roomId = roomId;
  }

  /** @returns {Promise<object | null>} what the server sees of this page; null when HeartLink does not answer */
  async whoAmI(isFresh = false) {
    if (this.#isUnreachable) return null;
    if (!this.#seen || isFresh) {
      const answer = await ask(`/api/doctor/whoami?page=${encodeURIComponent(location.origin)}`).catch(() => null);
      this.#seen = answer?.json?.version ? answer.json : null;
      this.#isUnreachable = !this.#seen;
    }
    return this.#seen;
  }

  /** @returns {Promise<{probe: Probe, greeting: object | null, failure: Error | null, ms: number} | null>} null: none opens */
  async socket() {
    const open = await this.#opening;
    if (open?.probe.isOpen || (open && !open.greeting)) return open;
    if (this.#cannotOpen) return null;
    this.#opening = this.#open();
    return this.#opening;
  }

  /** The same, only when it was greeted. */
  async greeted() {
    const socket = await this.socket();
    return socket?.greeting ? socket : null;
  }

  async #open() {
    this.attempt = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16)).join("");
    const begun = performance.now();
    let probe;
    try {
      probe = await Probe.open(`${DOCTOR}?attempt=${this.attempt}`);
    } catch {
      this.#cannotOpen = true;
      return null;
    }
    try {
      const greeting = await probe.next(isOfType("doctor_greeting"));
      return { probe, greeting, failure: null, ms: performance.now() - begun };
    } catch (failure) {
      return { probe, greeting: null, failure, ms: performance.now() - begun };
    }
  }

  /** A room to try things with: of mine the one that was asked for, else another; empty when there is none. */
  async anyRoom() {
    if (!page.user) return this.roomId;
    this.#rooms ??= link.rest.rooms().then(
      ({ rooms }) => rooms.filter(({ status }) => status !== "ended").map(({ id }) => id),
      () => [],
    );
    const mine = await this.#rooms;
    return mine.includes(this.roomId) ? this.roomId : (mine[0] ?? "");
  }

  async leave() {
    const open = await this.#opening;
    open?.probe.close();
  }
}

// --- the run

const results = new Map();
const list = document.getElementById("steps");
const room = roomForm(page.room_id, () => runAlone("room"));
let running = null;

function draw(key, result) {
  results.set(key, result);
  drawStep(list.querySelector(`[data-step="${key}"]`), result);
  drawSummary([...results.values()]);
}

async function runStep({ key, run }, visit) {
  const begun = performance.now();
  draw(key, { verdict: "running", words: "" });
  let timer;
  const limit = new Promise((resolve) => {
    timer = setTimeout(resolve, STEP_LIMIT_MS, failed(t("It took too long."), t("Check again.")));
  });
  const found = await Promise.race([run(visit), limit]).catch(unexpected);
  clearTimeout(timer);
  draw(key, { ...found, ms: performance.now() - begun });
}

/** A check that fails by itself is told like any other finding. */
function unexpected(error) {
  const detail = error instanceof ProbeFailure ? error.kind : String(error);
  return failed(
    t("This check itself failed: {detail}.", { detail }),
    t("Copy the report and send it to whoever runs this server."),
  );
}

async function runAll() {
  if (running) return;
  delete list.dataset.done;
  for (const { key } of STEPS) draw(key, { verdict: "waiting", words: "" });
  const button = document.getElementById("run-again");
  button.setAttribute("aria-disabled", "true");
  const visit = new Visit(room.value);
  running = (async () => {
    for (const step of STEPS) await runStep(step, visit);
    await visit.leave();
  })();
  await running;
  running = null;
  button.removeAttribute("aria-disabled");
  list.dataset.done = "true";
}

async function runAlone(key) {
  await running;
  await runStep(
    STEPS.find((step) => step.key === key),
    new Visit(room.value),
  );
}

// --- what one can do

function report() {
  const found = STEPS.map(({ key, title }) => ({ title: title(), result: results.get(key) ?? { verdict: "running" } }));
  if (results.has("idle")) found.push({ title: t("Does it last?"), result: results.get("idle") });
  return reportText(found);
}

async function copyReport() {
  const place = document.getElementById("report");
  place.value = report();
  try {
    await navigator.clipboard.writeText(place.value);
    toast(t("Copied."));
  } catch {
    // Without https, or without leave, only what is selected can be copied.
    document.getElementById("report-details").open = true;
    place.focus();
    place.select();
    toast(t("The report is selected: copy it with Ctrl+C."));
  }
}

function wireIdle() {
  const form = document.getElementById("idle-form");
  const [start, cancel, bar, place] = ["idle-start", "idle-cancel", "idle-progress", "idle-result"].map((id) =>
    document.getElementById(id),
  );
  let giveUp = null;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (giveUp) return;
    giveUp = new AbortController();
    const seconds = Number(document.getElementById("idle-seconds").value);
    bar.max = seconds;
    bar.value = 0;
    place.replaceChildren();
    start.hidden = true;
    bar.hidden = cancel.hidden = false;
    const result = await checkIdle(seconds, (passed) => (bar.value = passed), giveUp.signal);
    giveUp = null;
    bar.hidden = cancel.hidden = true;
    start.hidden = false;
    if (result) {
      results.set("idle", result);
      place.replaceChildren(drawResult(result));
    } else place.replaceChildren(el("p", { class: "muted" }, t("Given up.")));
  });
  cancel.addEventListener("click", () => giveUp?.abort());
}

document.documentElement.dataset.doctor = "started";
document.getElementById("doctor-stuck").remove();
document.getElementById("doctor-command").textContent = `python -m heartlink.doctor ${location.origin}`;
for (const { key, title } of STEPS) {
  const more = key === "room" ? room.form : null;
  list.append(
    el(
      "li",
      { class: "step", id: `step-${key}`, data: { step: key, verdict: "waiting" } },
      el("h2", {}, title()),
      el("div", {}),
      more,
    ),
  );
}
document.getElementById("run-again").addEventListener("click", runAll);
document.getElementById("copy-report").addEventListener("click", copyReport);
document.getElementById("report-details").addEventListener("toggle", (event) => {
  const place = document.getElementById("report");
  if (event.target.open && document.activeElement !== place) place.value = report();
});
wireIdle();
wireConsole();
ready();
runAll();
