// Where the time of a request went, as pieces of a bar. Pure. All times in milliseconds.

export const PHASES = ["resolve", "queue", "load", "prefill", "decode"];

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600].map((s) => s * 1000);

/**
 * The phases of `request` in order, `{phase, from, to}` in ms since its arrival.
 *
 * A load lies within the wait: the model was not ready, so its piece comes last of it.
 * What has not happened yet has no piece; the phase that goes on ends at `now`.
 */
export function pieces(request, now) {
  const end = request.endedMs ?? Math.max(now, request.arrivedMs);
  const at = (moment) => Math.min(Math.max((moment ?? end) - request.arrivedMs, 0), total);
  const total = end - request.arrivedMs;
  const resolved = at(request.resolvedMs);
  const granted = Math.max(at(request.grantedMs), resolved);
  const first = Math.max(at(request.firstMs), granted);
  // While a load goes on, its length is not known: all of the wait so far is drawn as load.
  const loading = request.grantedMs === null && request.phase === "load";
  const load = loading ? granted - resolved : Math.min(request.loadMs ?? 0, granted - resolved);
  const found = [
    { phase: "resolve", from: 0, to: resolved },
    { phase: "queue", from: resolved, to: granted - load },
    { phase: "load", from: granted - load, to: granted },
    { phase: "prefill", from: granted, to: first },
    { phase: "decode", from: first, to: total },
  ];
  return found.filter((piece) => piece.to > piece.from);
}

/** How long the common axis is: a round length over `longest`, so that it seldom changes. */
export function span(longest) {
  return STEPS.find((step) => step >= longest) ?? Math.ceil(longest / 3_600_000) * 3_600_000;
}

/** Marks of an axis of that length, as shares of it: `{at, ms}`. */
export function ticks(length, number = 4) {
  return Array.from({ length: number + 1 }, (_, index) => ({
    at: index / number,
    ms: (length * index) / number,
  }));
}

/** The bar in words, for those who do not see it. */
export function inWords(parts, duration) {
  return parts.map(({ phase, from, to }) => `${phase} ${duration(to - from)}`).join(", ");
}
