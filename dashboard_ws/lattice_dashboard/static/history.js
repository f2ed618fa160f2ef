// One row a second of what the charts show, for the last hour. Bounded: a ring.

import { Ring } from "./rings.js";

export const ROWS = 3600;
export const COLUMNS = ["at", "ttftP50", "ttftP95", "tokensPerS"];

const number = (value) => (typeof value === "number" ? value : NaN);

/** The numbers of this moment out of State's windows; null where nothing is known. */
export function momentOf(windows) {
  const recent = windows?.["10s"] ?? {};
  const longer = windows?.["1m"] ?? {};
  const of = (quantity, name) => recent[quantity]?.[name] ?? longer[quantity]?.[name] ?? null;
  return {
    ttftP50Ms: of("ttft_ms", "p50"),
    ttftP95Ms: of("ttft_ms", "p95"),
    // A window without a rate is one in which nothing happened.
    tokensPerS: windows ? windows["1s"]?.tokens_per_s ?? 0 : null,
  };
}

const HELD_S = 10; // a time to first token counts in the 10 s after it

export class History {
  ring = new Ring(COLUMNS.length, ROWS);
  #last = 0;

  /** Take a row, at most one a second. `atMs`: the server's clock. */
  take(atMs, windows) {
    const second = Math.floor(atMs / 1000);
    if (second <= this.#last) return;
    const recent = windows?.["10s"] ?? {};
    this.#push(
      second,
      number(recent.ttft_ms?.p50),
      number(recent.ttft_ms?.p95),
      number(momentOf(windows).tokensPerS),
    );
  }

  /** Take over what the server remembers: seconds in which something happened, oldest first. */
  fill({ end_ms: ends, tokens_per_s: tokens, ttft_p50_ms: p50, ttft_p95_ms: p95 }) {
    if (!ends.length) return;
    const seconds = ends.map((ms) => Math.floor(ms / 1000));
    const last = seconds.at(-1);
    const first = Math.max(seconds[0], last - ROWS + 1);
    const [ats, ...own] = this.ring.since(0);
    this.ring.clear();
    this.#last = 0;
    const keep = (at, index) => this.#push(at, ...own.map((column) => column[index] ?? NaN));
    ats.forEach((at, index) => at < first && keep(at, index));
    let index = seconds.findIndex((second) => second >= first);
    let held = -1;
    for (let second = first; second <= last; second += 1) {
      const happened = seconds[index] === second;
      if (happened && p50[index] !== null) held = index;
      const known = held >= 0 && second - seconds[held] < HELD_S;
      this.#push(
        second,
        known ? p50[held] : NaN,
        known ? p95[held] ?? NaN : NaN,
        happened ? tokens[index] : 0,
      );
      if (happened) index += 1;
    }
    ats.forEach((at, place) => at > last && keep(at, place));
  }

  #push(second, ...row) {
    // A pause is a gap in the line, not a line across it.
    if (this.#last && second - this.#last > 5) this.ring.push(this.#last + 1);
    this.#last = second;
    this.ring.push(second, ...row);
  }
}
