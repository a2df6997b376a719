/** How long to wait before the next try: doubling, bounded, with jitter so that a thousand clients do not return at once. */
export class Backoff {
  #attempt = 0;

  /** @param {{firstMs?: number, mostMs?: number, random?: () => number}} [options] */
  constructor({ firstMs = 500, mostMs = 5000, random = Math.random } = {}) {
    this.firstMs = firstMs;
    this.mostMs = mostMs;
    this.random = random;
  }

  /** @returns {number} milliseconds: between half and all of the current step */
  next() {
    const step = Math.min(this.mostMs, this.firstMs * 2 ** Math.min(this.#attempt, 16));
    this.#attempt += 1;
    return Math.round(step * (0.5 + this.random() / 2));
  }

  reset() {
    this.#attempt = 0;
  }
}
