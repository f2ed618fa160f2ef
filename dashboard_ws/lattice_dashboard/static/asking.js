// One question of the playground, as a request body, and its streamed answer as a growing value.

import { ApiError, ask } from "./api.js";
import { MOST_CHARS } from "./texts.js";
import { appended } from "./rings.js";
import { eventsOf } from "./sse.js";
import { verdictOf } from "./view.js";

const MOST_ANSWER_CHARS = 200_000;

export const STRATEGIES = [
  { name: "best-of-n", label: "Vote", hint: "a judge picks the best answer" },
  { name: "synthesis", label: "Synthesis", hint: "a judge writes one answer from all" },
  { name: "majority", label: "Majority", hint: "the short answer that most give" },
  { name: "first-success", label: "First", hint: "the first good answer wins, the rest are cancelled" },
  { name: "longest", label: "Longest", hint: "the longest answer wins" },
  { name: "fanout", label: "Fan-out", hint: "everybody answers, nobody wins" },
  { name: "pipeline", label: "Pipeline", hint: "one after the other, each works on what came before" },
  { name: "debate", label: "Debate", hint: "two rounds, each reads the others; a judge sums up" },
];

const ROUTES = { fanout: "/swarm/fanout", pipeline: "/swarm/pipeline", debate: "/swarm/debate" };

/** Strategies at whose end a judge speaks. */
export const JUDGED = new Set(["best-of-n", "synthesis", "debate"]);

/** Those of them whose judge writes the answer. */
export const WRITTEN = new Set(["synthesis", "debate"]);

/** The body for the form; pure. */
export function bodyOf(form) {
  const messages = [{ role: "user", content: form.prompt }];
  if (form.system.trim()) messages.unshift({ role: "system", content: form.system });
  const common = { messages, stream: true, max_tokens: Number(form.maxTokens) || 256 };
  if (form.temperature !== "") common.temperature = Number(form.temperature);
  if (form.kind === "one") {
    return { model: form.model.trim(), ...common, stream_options: { include_usage: true } };
  }
  const models = namedIn(form);
  const only = models.length === 1 && /^(preset:|\*$|all|auto$|loaded$|available$|configured$)/.test(models[0]);
  if (form.strategy === "pipeline") {
    return { steps: models.map((model) => ({ model })), ...common };
  }
  const body = { models: only ? models[0] : models, ...common };
  if (!ROUTES[form.strategy]) body.strategy = form.strategy;
  if (form.judge.trim() && JUDGED.has(form.strategy)) body.judge = form.judge.trim();
  return body;
}

/** The names in the list of a swarm's models; pure. */
const namedIn = (form) => form.models.split(",").map((one) => one.trim()).filter(Boolean);

/** Where it goes; pure. */
export function pathOf(form) {
  if (form.kind === "one") return "/v1/chat/completions";
  return ROUTES[form.strategy] ?? "/swarm/vote";
}

export const NOTHING_YET = {
  state: "idle", // then "waiting", "answering", "done", "stopped", "failed"
  strategy: "", text: "", reasoning: "", comment: "", branches: [], verdict: null, error: null,
  headers: {}, usage: null, finish: null, startedMs: 0, firstMs: null, endedMs: null,
  kind: "one", requestId: "", named: [], judge: "", // as it was asked
};

const HEADERS = [
  "X-Model-Routed-To", "X-Model-Resolution", "X-Lattice-Cache", "X-Lattice-Queue-Ms",
  "X-Lattice-Load-Ms", "X-Lattice-Ttft-Ms", "X-Lattice-Ignored-Params",
  "X-Lattice-Clamped-Params", "X-Swarm-Session", "X-Swarm-Strategy", "x-request-id",
];

/** An id of our own, so that State can be asked for what is not answered yet. */
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID is not on plain HTTP
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Ask, and call `show` with each newer answer. Ends when the answer does; `signal` cancels. */
export async function question(form, signal, show) {
  let answer = {
    ...NOTHING_YET, state: "waiting", startedMs: performance.now(), requestId: newId(), kind: form.kind,
  };
  if (form.kind === "swarm") answer = { ...answer, named: namedIn(form), judge: form.judge.trim() };
  const change = (changes) => {
    answer = { ...answer, ...changes };
    show(answer);
  };
  show(answer);
  try {
    const response = await ask(pathOf(form), {
      method: "POST", body: bodyOf(form), signal,
      headers: { "X-Lattice-Priority": form.klass, "x-request-id": answer.requestId },
    });
    const headers = Object.fromEntries(
      HEADERS.map((name) => [name, response.headers.get(name)]).filter(([, value]) => value),
    );
    change({ headers, state: "answering" });
    for await (const event of eventsOf(response)) {
      if (event.data === "[DONE]") continue; // the server ends it; leaving first would be leaving
      const next = taken(answer, event, performance.now());
      if (next !== answer) change(next);
    }
    change({ state: answer.error ? "failed" : "done", endedMs: performance.now() });
  } catch (error) {
    const stopped = error.name === "AbortError";
    const told = error instanceof ApiError ? error : new ApiError(0, "The connection was lost.");
    // A swarm of which all fail is refused as a whole, and says of each why.
    for (const row of told.rows ?? []) answer = withRow(answer, row);
    change({ state: stopped ? "stopped" : "failed", error: stopped ? null : told, endedMs: performance.now() });
  }
}

/** The answer with one more event of the stream; pure. */
export function taken(answer, event, now) {
  if (event.comment !== undefined) return { ...answer, comment: event.comment };
  let body;
  try {
    body = JSON.parse(event.data);
  } catch {
    return answer;
  }
  const failed = event.event === "error" || (event.event === "message" && body.error);
  if (failed) return { ...answer, error: troubleOf(body.error ?? body) };
  if (event.event === "branch") return withBranch(answer, body, now);
  if (event.event === "branch_done") return withRow(answer, body);
  if (event.event === "session") return { ...answer, strategy: body.strategy };
  if (event.event === "answer") return withChunk(answer, { choices: [body] }, now);
  if (event.event === "verdict" && answer.strategy === "fanout") return answer; // nobody wins
  if (event.event === "verdict") return { ...answer, verdict: verdictOf(body) };
  return withChunk(answer, body, now);
}

const troubleOf = (error) =>
  typeof error === "string" ? { code: "swarm_failed", message: error } : error;

function withChunk(answer, body, now) {
  const next = { ...answer, usage: body.usage ?? answer.usage };
  const choice = body.choices?.[0];
  const piece = choice?.delta?.content ?? "";
  const thought = choice?.delta?.reasoning_content ?? choice?.delta?.reasoning ?? "";
  if (piece || thought) {
    next.firstMs ??= now;
    next.text = appended(answer.text, piece, MOST_ANSWER_CHARS);
    next.reasoning = appended(answer.reasoning, thought, MOST_CHARS);
    next.comment = "";
  }
  if (choice?.message?.content) next.text = choice.message.content;
  if (choice?.finish_reason) next.finish = choice.finish_reason;
  if (!body.swarm) return next;
  next.verdict = verdictOf({ ...body.swarm, ...answer.verdict });
  return (body.swarm.candidates ?? []).reduce(withRow, next); // of a chat that names a swarm
}

function changed(answer, number, changes) {
  const index = answer.branches.findIndex((one) => one.branch === number);
  const before = answer.branches[index] ?? { branch: number, model: "", stage: "", state: "answering", text: "" };
  const after = { ...before, ...changes(before) };
  const branches = index < 0
    ? [...answer.branches, after].sort((a, b) => a.branch - b.branch)
    : answer.branches.with(index, after);
  return { ...answer, branches };
}

function withBranch(answer, body, now) {
  const next = changed(answer, body.branch, (before) => ({
    model: body.model ?? before.model,
    stage: body.stage ?? before.stage,
    state: body.delta.content || before.text ? "answering" : "thinking",
    text: appended(before.text, body.delta.content ?? "", MOST_CHARS),
  }));
  next.firstMs ??= now;
  next.comment = "";
  return next;
}

function withRow(answer, row) {
  return changed(answer, row.branch, (before) => ({
    over: true,
    asked: row.agent_id,
    model: row.model ?? before.model,
    backend: row.backend,
    stage: row.stage ?? before.stage,
    ok: row.ok,
    error: row.error,
    errorKind: row.error_kind,
    latencyMs: row.latency_ms,
    finish: row.finish_reason,
    state: row.ok ? "done" : row.error_kind ?? "failed",
    text: row.text || before.text || (row.ok ? "" : row.error ?? ""),
  }));
}
