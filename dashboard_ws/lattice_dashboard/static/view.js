// From the server's State to what the panels draw. The only place that knows the State's names;
// whatever is absent is shown as absent. Pure.

import { once } from "./html.js";

const entries = (object) => Object.entries(object ?? {});

const actorOf = (actor) => ({
  name: actor.name,
  state: actor.state,
  depth: actor.mailbox_depth ?? 0,
  restarts: actor.restarts ?? 0,
  error: actor.last_error ?? null,
  children: (actor.children ?? []).map(actorOf),
});

const modelOf = ([id, model]) => ({
  id,
  state: model.state ?? "cold",
  pinned: model.pinned ?? false,
  backend: model.backend ?? "mlx",
  running: (model.running ?? 0) + (model.leaving ?? 0),
  waiting: model.waiting ?? 0,
  slots: model.slots ?? null,
  bytes: model.reserved_bytes || model.weights_bytes || null,
  kvBytes: model.kv_bytes ?? 0,
  prefixBytes: model.prefix_bytes ?? 0,
  restarts: model.restarts ?? 0,
  tokensPerS: model.tokens_per_s ?? null,
  context: model.context_tokens ?? null,
  barred: model.barred ?? null,
});

const AWAKE = new Set(["ready", "loading", "draining", "stopping", "restarting"]);

/** Whether a model in this state has an engine. */
export const isAwake = (state) => AWAKE.has(state);

const modelsOf = once((models) =>
  entries(models)
    .map(modelOf)
    .sort((a, b) => isAwake(b.state) - isAwake(a.state) || a.id.localeCompare(b.id)),
);

/** The id to cancel by: a second request of one id is shown as "id~2". */
const ownId = (id, all) => {
  const base = id.replace(/~\d+$/, "");
  return base in all ? base : id;
};

const requestOf = (id, request, all) => ({
  id,
  requestId: request.swarm?.request_id ?? ownId(id, all),
  swarm: request.swarm ?? null,
  model: request.model ?? null,
  backend: request.backend ?? null,
  spec: request.spec ?? null,
  resolution: request.resolution ?? null,
  klass: request.class ?? null,
  phase: request.phase ?? "queue",
  arrivedMs: request.arrived_ms,
  resolvedMs: request.resolved_ms ?? null,
  grantedMs: request.granted_ms ?? null,
  loadMs: request.load_ms ?? null,
  predictedMs: request.predicted_wait_ms ?? null,
  firstMs: request.first_ms ?? null,
  endedMs: request.ended_ms ?? null,
  prefill: request.prefill ?? null,
  tokens: request.tokens ?? 0,
  outcome: request.outcome ?? null,
  error: request.error ?? null,
});

export const requestsOf = once((requests) =>
  entries(requests)
    .map(([id, request]) => requestOf(id, request, requests))
    .sort((a, b) => (a.endedMs !== null) - (b.endedMs !== null) || b.arrivedMs - a.arrivedMs),
);

export const CLASSES = ["interactive", "normal", "batch"];

const queueOf = once((queue) => ({
  classes: CLASSES.map((name) => ({
    name,
    waiting: queue?.classes?.[name]?.waiting ?? 0,
    waitMs: queue?.classes?.[name]?.predicted_wait_ms ?? null,
  })),
  waiting: entries(queue?.waiting)
    .map(([id, one]) => ({
      id,
      requestId: ownId(id, queue.waiting),
      model: one.model,
      key: one.key,
      gang: one.gang ?? null,
      klass: one.class,
      level: one.level,
      position: one.position ?? 0,
      waitMs: one.predicted_wait_ms ?? null,
      arrivedMs: one.arrived_ms ?? null,
    }))
    .sort((a, b) => (a.waitMs ?? 0) - (b.waitMs ?? 0) || a.position - b.position),
}));

/** A verdict whose votes are shares by branch, however they came. */
export function verdictOf(verdict) {
  if (!verdict) return null;
  const { votes, winner_branch: branch } = verdict;
  const shares = Array.isArray(votes)
    ? Object.fromEntries(votes.map(({ branch, share }) => [branch, share]))
    : votes ?? {};
  return { ...verdict, votes: shares, winner: branch === undefined ? verdict.winner : branch };
}

const swarmsOf = once((swarms) =>
  entries(swarms)
    .map(([id, swarm]) => ({
      id,
      requestId: swarm.request_id ?? null,
      strategy: swarm.strategy ?? "swarm",
      startedMs: swarm.started_ms ?? null,
      endedMs: swarm.ended_ms ?? null,
      outcome: swarm.outcome ?? null,
      judge: swarm.judge ?? null, // {model, state}
      verdict: swarm.strategy === "fanout" ? null : verdictOf(swarm.verdict),
      branches: entries(swarm.branches).map(([branch, one]) => ({
        branch: Number(branch),
        model: one.model ?? "",
        stage: one.stage ?? "",
        state: one.state ?? "",
        error: one.error ?? null,
      })),
    }))
    .sort((a, b) => (b.startedMs ?? 0) - (a.startedMs ?? 0)),
);

const upstreamsOf = once((upstreams) =>
  entries(upstreams).map(([name, one]) => ({
    name,
    url: one.url ?? "",
    kind: one.kind ?? "",
    state: one.state ?? "",
    reason: one.reason ?? null,
    retryAtMs: one.retry_at_ms ?? null,
    models: one.models?.length ?? 0,
    running: one.running ?? 0,
    limit: one.limit || null,
    answered: one.answered ?? 0,
    failed: one.failed ?? 0,
    ejections: one.ejections ?? 0,
  })),
);

/** What left the machine, a row for each host and purpose; callers' words first. */
const egressOf = once((egress) =>
  entries(egress?.sums)
    .map(([id, sum]) => ({
      id,
      upstream: sum.upstream,
      host: sum.host,
      answers: sum.purpose !== "models",
      requests: sum.requests ?? 0,
      sent: sum.sent_bytes ?? 0,
      received: sum.received_bytes ?? 0,
    }))
    .sort((a, b) => b.answers - a.answers || a.id.localeCompare(b.id)),
);

const problemsOf = once((errors) =>
  entries(errors).reverse().map(([number, one]) => ({
    number,
    atMs: one.at_ms,
    id: one.request_id ?? null,
    status: one.status ?? null,
    code: one.code ?? "error",
    message: one.message ?? "",
    model: one.model ?? null,
    route: one.route ?? null,
  })),
);

const actorsOf = once((actors) => (actors ?? []).map(actorOf));

/** Everything the overview shows. Parts that did not change are the same objects as before. */
export function viewOf(state) {
  return {
    actors: actorsOf(state.actors),
    models: modelsOf(state.models),
    requests: requestsOf(state.requests),
    queue: queueOf(state.queue),
    swarms: swarmsOf(state.swarms),
    upstreams: upstreamsOf(state.upstreams),
    egress: egressOf(state.egress),
    problems: problemsOf(state.errors),
    memory: state.memory ?? null,
    preferences: state.preferences ?? null,
    totals: state.totals ?? null,
  };
}
