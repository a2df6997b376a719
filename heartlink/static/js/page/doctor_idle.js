/** Whether a connection lasts on which nobody says anything. */
import { isOfType, Probe, ProbeFailure } from "./doctor_probe.js";
import { DOCTOR } from "./doctor_routes.js";
import { failed, ok } from "./doctor_verdicts.js";
import { t } from "./ui.js";

const TICK_MS = 200;

/**
 * @param {number} seconds
 * @param {(passedSeconds: number) => void} onTick
 * @param {AbortSignal} signal
 * @returns {Promise<import("./doctor_verdicts.js").Result | null>} null when it was given up
 */
export async function checkIdle(seconds, onTick, signal) {
  let probe;
  try {
    probe = await Probe.open(DOCTOR);
    await probe.next(isOfType("doctor_greeting"));
  } catch {
    return failed(t("No socket opens, so there is nothing to wait for."), t("See the checks above."));
  }
  const begun = performance.now();
  const ticking = setInterval(() => onTick((performance.now() - begun) / 1000), TICK_MS);
  try {
    await Promise.race([probe.untilClosed(), passed(seconds * 1000, signal)]);
    if (signal.aborted) return null;
    if (probe.closed) throw new ProbeFailure("closed", probe.closed);
    probe.send({ type: "ping", timestamp: 0, ref: "still there" });
    await probe.next((frame) => frame.ref === "still there");
    const heartbeats = probe.frames.filter(isOfType("heartbeat")).length;
    return ok(t("Still there after {seconds} s; {count} heartbeats came meanwhile.", { seconds, count: heartbeats }));
  } catch (failure) {
    return ended(failure);
  } finally {
    clearInterval(ticking);
    probe.close();
  }
}

function ended(failure) {
  const remedy = t("Have the proxy wait longer before it ends a quiet connection, five minutes or more.");
  if (failure.kind !== "closed")
    return failed(t("It looks open, but nothing comes back any more."), remedy, { lines: "idle" });
  const values = { seconds: Math.round(failure.ms / 1000), code: failure.code };
  return failed(t("It was cut after {seconds} s (code {code}).", values), remedy, { lines: "idle", facts: values });
}

function passed(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
