// Numbers as people read them. Pure. The width of a text hardly changes with its value.

export const NONE = "–";

const known = (value) => typeof value === "number" && Number.isFinite(value);

/** Milliseconds: "340 ms", "2.4 s", "1 m 05 s". */
export function duration(ms) {
  if (!known(ms)) return NONE;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 9950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${pad(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${pad(Math.floor(seconds / 60) % 60)} m`;
}

const pad = (number) => String(number).padStart(2, "0");

/** A wait that is predicted: never more exact than it can be. */
export function wait(ms) {
  if (!known(ms)) return NONE;
  return ms < 50 ? "now" : `~${duration(ms)}`;
}

/** Bytes: "812 MB", "3.4 GB"; powers of 1000, as memory budgets are given. */
export function bytes(count) {
  if (!known(count)) return NONE;
  for (const [unit, size] of [["TB", 1e12], ["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (count >= size) {
      const value = count / size;
      return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${unit}`;
    }
  }
  return `${Math.round(count)} B`;
}

/** Counts: "980", "12.4k", "3.1M". */
export function count(value) {
  if (!known(value)) return NONE;
  if (value < 10_000) return String(Math.round(value));
  if (value < 999_500) return `${(value / 1000).toFixed(value < 99_950 ? 1 : 0)}k`;
  return `${(value / 1e6).toFixed(1)}M`;
}

/** Rates: "0", "8.4", "128". */
export function rate(value) {
  if (!known(value)) return NONE;
  if (value === 0) return "0";
  return value < 10 ? value.toFixed(1) : count(value);
}

/** A share from 0 to 1: "42 %". */
export function percent(share) {
  return known(share) ? `${Math.round(share * 100)} %` : NONE;
}

/** The time of day, local. */
export function clock(atMs) {
  if (!known(atMs)) return NONE;
  const at = new Date(atMs);
  return `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
}
