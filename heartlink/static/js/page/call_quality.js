/** How well a call goes, from the statistics of its connection. */

const WEAK = { rttMs: 250, loss: 0.04 };
const BAD = { rttMs: 600, loss: 0.12 };

export class Quality {
  #before = null;

  /** @param {Map} stats of RTCPeerConnection @returns {"good" | "weak" | "bad"} since the last time it was asked */
  judge(stats) {
    const now = { received: 0, lost: 0, rttMs: 0 };
    for (const row of stats.values()) {
      if (row.type === "inbound-rtp") {
        now.received += row.packetsReceived ?? 0;
        now.lost += Math.max(0, row.packetsLost ?? 0);
      } else if (row.type === "candidate-pair" && row.nominated && row.state === "succeeded") {
        now.rttMs = Math.max(now.rttMs, (row.currentRoundTripTime ?? 0) * 1000);
      }
    }
    const before = this.#before ?? now;
    this.#before = now;
    const lost = Math.max(0, now.lost - before.lost);
    const all = lost + Math.max(0, now.received - before.received);
    const loss = all ? lost / all : 0;
    if (now.rttMs > BAD.rttMs || loss > BAD.loss) return "bad";
    return now.rttMs > WEAK.rttMs || loss > WEAK.loss ? "weak" : "good";
  }
}
