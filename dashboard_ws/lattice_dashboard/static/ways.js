// What became of each branch of a swarm that was asked in the playground: whom it was asked of, who
// answers and why, where its time went, and how it ended. Pure.

import { JUDGED } from "./asking.js";
import { percent } from "./format.js";

const TOKENS = /^(preset:.*|\*|all|auto|loaded|available|configured|all-loaded|all-available)$/i;

/** Whether a name in the list of models stands for models that it does not name. */
export const isToken = (name) => TOKENS.test(name);

/** What was seen of the swarm that `requestId` asked for, with what `requests` tell of it now.
 *
 * State keeps the last few that ended; a debate has more, so what was seen stays. */
export function seenOf(before, requestId, requests) {
  const of = before?.requestId === requestId ? before : { requestId, answers: {} };
  const news = requests.filter((one) => requestId && one.swarm?.request_id === requestId);
  if (news.every((one) => of.answers[one.id] === one)) return of;
  return { requestId, answers: { ...of.answers, ...Object.fromEntries(news.map((one) => [one.id, one])) } };
}

/** A line for each branch in their order, and one for the judge where there is one. */
export function waysOf(answer, seen) {
  const told = Object.values(seen.answers);
  const ofBranch = new Map(told.filter(hasBranch).map((one) => [one.swarm.branch, one]));
  const rows = new Map(answer.branches.map((one) => [one.branch, one]));
  const numbers = [...new Set([...rows.keys(), ...ofBranch.keys()])].sort((a, b) => a - b);
  const ways = numbers.map((number) => wayOf(number, rows.get(number), ofBranch.get(number), answer));
  const judge = judgeOf(told.filter((one) => !hasBranch(one)), answer);
  return judge ? [...ways, judge] : ways;
}

const hasBranch = (one) => one.swarm.branch !== undefined;

function wayOf(number, row, request, answer) {
  const spec = row?.asked ?? request?.spec ?? null;
  const model = request?.model ?? (row?.backend === "" ? null : row?.model || null);
  return {
    key: `branch ${number}`,
    title: `Branch ${number + 1}`,
    stage: row?.stage ?? "",
    model,
    backend: row?.backend || request?.backend || null,
    ...askedAs(spec, model, request?.resolution, answer.named),
    ...timesOf(request ? [request] : [], row?.latencyMs ?? null),
    ...endOf(number, row, request, answer),
  };
}

/** The name as it was sent, and how it became the model. */
function askedAs(spec, model, resolution, named) {
  if (spec === null) return { asked: null, how: null };
  const via = named.includes(spec) ? [] : named.filter(isToken);
  const asked = [...via, ...(via.length && spec === model ? [] : [spec])].join(" → ");
  if (model === null) return { asked, how: null };
  if (resolution) return { asked, how: resolution };
  if (spec !== model) return { asked, how: "the best match now" };
  return { asked, how: via.length ? "one that it stands for" : "by its own name" };
}

/** Where the time went, over all `requests`; a total that only its row knows is `latencyMs`. */
function timesOf(requests, latencyMs = null) {
  const first = (name) => earliest(requests.map((one) => one[name]));
  const since = first("arrivedMs");
  const after = (moment) => (moment === null || since === null ? null : Math.max(0, moment - since));
  const going = requests.some((one) => one.endedMs === null);
  const ended = requests.length && !going ? Math.max(...requests.map((one) => one.endedMs)) : null;
  const firstMs = after(first("firstMs"));
  const totalMs = after(ended) ?? latencyMs;
  return {
    sinceMs: since,
    waitMs: after(first("grantedMs")),
    loadMs: first("loadMs"),
    // Of one that is cut, what was on its way comes after its end.
    firstMs: firstMs !== null && totalMs !== null ? Math.min(firstMs, totalMs) : firstMs,
    totalMs,
    tokens: requests.length ? requests.reduce((sum, one) => sum + one.tokens, 0) : null,
    // Where there is no end yet, its total grows.
    going: going && latencyMs === null,
    predictedMs: going ? requests[0].predictedMs : null,
  };
}

function earliest(times) {
  const known = times.filter((at) => at !== null);
  return known.length ? Math.min(...known) : null;
}

const PHASES = { resolve: "waiting", queue: "waiting", load: "loading", prefill: "reading", decode: "answering" };

function endOf(number, row, request, answer) {
  if (row?.over) return row.ok ? wonOrLost(number, row, answer) : notOk(row);
  if (request?.error) return { end: "failed", why: `${request.error.code}: ${request.error.message}` };
  const over = request ? request.endedMs !== null : Boolean(answer.endedMs);
  if (!over) return { end: PHASES[request?.phase] ?? "answering", why: "" };
  if (request?.outcome === "ok") return wonOrLost(number, request, answer);
  return { end: "cut", why: answer.state === "stopped" ? "stopped by you" : "the swarm ended before it" };
}

function wonOrLost(number, { finish }, { verdict, strategy }) {
  const share = verdict?.votes[number];
  const why = [
    share === undefined ? "" : `${percent(share)} of the vote`,
    finish === "length" ? "cut at its most tokens" : "",
  ].filter(Boolean).join("; ");
  if (!verdict) return { end: "answered", why };
  if (verdict.winner === number) return { end: "won", why };
  // In a debate everybody speaks again, and a judge that writes lets nobody win.
  const open = strategy === "debate" || (verdict.winner ?? null) === null;
  return { end: open ? "answered" : "lost", why };
}

const notOk = ({ errorKind, error }) =>
  errorKind === "cancelled" ? { end: "cut", why: error ?? "" }
    : { end: "failed", why: [errorKind, error].filter(Boolean).join(": ") };

/** The judge may be asked several times: its times are from the first question to the last word. */
function judgeOf(questions, answer) {
  const { verdict, judge, strategy, endedMs } = answer;
  const model = questions[0]?.model ?? verdict?.judge ?? null;
  const passedOver = JUDGED.has(strategy) && verdict && endedMs;
  if (model === null && !passedOver) return null;
  const spec = questions[0]?.spec ?? (judge || null);
  return {
    key: "judge",
    title: "Judge",
    stage: questions.length > 1 ? `asked ${questions.length} times` : "",
    model,
    backend: questions[0]?.backend ?? null,
    ...askedAs(spec, model, questions[0]?.resolution, [spec]),
    ...timesOf(questions),
    ...(model === null ? { asked: null, how: null, end: "not asked", why: verdict.rationale } : judged(questions, answer)),
  };
}

function judged(questions, { verdict, endedMs }) {
  const failed = questions.find((one) => one.error);
  if (failed) return { end: "failed", why: `${failed.error.code}: ${failed.error.message}` };
  if (verdict?.judge) return { end: (verdict.winner ?? null) === null ? "wrote" : "decided", why: "" };
  if (verdict) return { end: "failed", why: verdict.rationale ?? "it gave no vote that counts" };
  if (endedMs) return { end: "cut", why: "the swarm ended before it" };
  const now = questions.find((one) => one.endedMs === null);
  return { end: now ? PHASES[now.phase] ?? "answering" : "answering", why: "" };
}
