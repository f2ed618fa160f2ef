// What the page knows at this moment; tells its listeners once for each drawn frame.

export class Store {
  #listeners = new Set();
  #due = false;

  constructor(values) {
    this.values = values;
  }

  set(changes) {
    this.values = { ...this.values, ...changes };
    if (this.#due) return;
    this.#due = true;
    // A hidden page draws no frames, so it costs nothing however much arrives.
    requestAnimationFrame(() => {
      this.#due = false;
      for (const listener of this.#listeners) listener(this.values);
    });
  }

  /** Returns what ends the subscription. */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
