/** Named events without a DOM: `on` answers with the function that ends the subscription. */
export class Emitter {
  #listeners = new Map();

  /**
   * @param {string} name event name
   * @param {(detail: any) => void} listener called with the event's detail
   * @returns {() => void} ends the subscription
   */
  on(name, listener) {
    if (!this.#listeners.has(name)) this.#listeners.set(name, new Set());
    this.#listeners.get(name).add(listener);
    return () => this.#listeners.get(name)?.delete(listener);
  }

  /** A listener that throws does not keep the others from hearing. */
  emit(name, detail) {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        listener(detail);
      } catch (error) {
        globalThis.reportError?.(error) ?? console.error(error);
      }
    }
  }
}
