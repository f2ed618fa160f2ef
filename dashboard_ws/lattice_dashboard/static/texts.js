// What the branches of swarms have said so far: swarm id to branch to text. Pure.

import { appended } from "./rings.js";

export const MOST_SWARMS = 8;
export const MOST_CHARS = 12_000; // of one branch; the beginning is forgotten

/** Return `texts` with more pieces, `{swarm, branch, text}` each; the oldest swarm goes first. */
export function withPieces(texts, pieces) {
  const next = { ...texts };
  for (const { swarm, branch, text } of pieces) {
    const branches = next[swarm] ?? {};
    next[swarm] = { ...branches, [branch]: appended(branches[branch] ?? "", text, MOST_CHARS) };
  }
  return bounded(next);
}

/** Return `texts` where the running swarms have said exactly `tails`; ended ones stay. */
export function withTails(texts, tails) {
  return bounded({ ...texts, ...tails });
}

function bounded(texts) {
  const ids = Object.keys(texts);
  for (const id of ids.slice(0, Math.max(0, ids.length - MOST_SWARMS))) delete texts[id];
  return texts;
}
