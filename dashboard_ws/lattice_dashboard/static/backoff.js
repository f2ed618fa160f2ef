// How long to wait before the next attempt. Pure.

export const FIRST_MS = 500;
export const MOST_MS = 15_000;

/** Doubling from half a second to 15 s; `random` (0 to 1) takes up to a quarter off, so that pages
 * that lost the same server do not come back in step. */
export function delay(attempt, random = Math.random()) {
  const whole = Math.min(MOST_MS, FIRST_MS * 2 ** Math.min(attempt, 10));
  return Math.round(whole * (1 - random / 4));
}
