// What the page's pure modules promise; run in the browser by test_modules.py.

import { delay, MOST_MS } from "/dashboard/backoff.js";
import { bodyOf, pathOf, taken, NOTHING_YET } from "/dashboard/asking.js";
import { bytes, count, duration, percent, rate, wait } from "/dashboard/format.js";
import { History, momentOf } from "/dashboard/history.js";
import { merge } from "/dashboard/merge.js";
import { presetsAsText, presetsFrom } from "/dashboard/panels/preferences.js";
import { appended, Ring } from "/dashboard/rings.js";
import { SseParser } from "/dashboard/sse.js";
import { inPlace } from "/dashboard/steady.js";
import { MOST_SWARMS, withPieces, withTails } from "/dashboard/texts.js";
import { pieces, span } from "/dashboard/timeline.js";
import { requestsOf, viewOf } from "/dashboard/view.js";
import { seenOf, waysOf } from "/dashboard/ways.js";

function same(found, wanted) {
  const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)];
  if (a !== b) throw new Error(`found ${a}, wanted ${b}`);
}

const FORM = {
  kind: "one", model: " auto ", models: "", strategy: "best-of-n", judge: "", prompt: "hello",
  system: "", maxTokens: "32", temperature: "", klass: "normal",
};

/** The events of a swarm as they come, and at its end. */
const heard = (asked, events, ended = {}) => ({
  ...events.reduce(
    (before, [name, body]) => taken(before, { event: name, data: JSON.stringify(body) }, 5),
    { ...NOTHING_YET, kind: "swarm", requestId: "r", ...asked },
  ),
  ...ended,
});

/** What State tells of answers within the swarm that was asked for as "r". */
const told = (answers) => requestsOf(Object.fromEntries(answers.map(({ branch, ...one }, number) => [
  `r~${number + 1}`,
  { swarm: { request_id: "r", session: "s", ...(branch === undefined ? {} : { branch }) }, phase: "ended", tokens: 0, ...one },
])));

export const cases = {
  "the examples of RFC 7396 come out as it says"() {
    for (const [target, patch, wanted] of [
      [{ a: "b" }, { a: "c" }, { a: "c" }],
      [{ a: "b" }, { b: "c" }, { a: "b", b: "c" }],
      [{ a: "b" }, { a: null }, {}],
      [{ a: "b", b: "c" }, { a: null }, { b: "c" }],
      [{ a: ["b"] }, { a: "c" }, { a: "c" }],
      [{ a: "c" }, { a: ["b"] }, { a: ["b"] }],
      [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
      [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }],
      [["a", "b"], ["c", "d"], ["c", "d"]],
      [{ a: "b" }, ["c"], ["c"]],
      [{ a: "foo" }, null, null],
      [{ a: "foo" }, "bar", "bar"],
      [{ e: null }, { a: 1 }, { e: null, a: 1 }],
      [[1, 2], { a: "b", c: null }, { a: "b" }],
      [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
    ]) same(merge(target, patch), wanted);
  },

  "a merge keeps what it does not touch, and changes nothing it was given"() {
    const before = { a: { x: 1 }, b: { y: 2 } };
    const after = merge(before, { b: { y: 3 } });
    if (after.a !== before.a) throw new Error("a was copied");
    same(before, { a: { x: 1 }, b: { y: 2 } });
    merge({}, JSON.parse('{"__proto__": {"polluted": true}}'));
    same({}.polluted, undefined);
  },

  "numbers are short and have units"() {
    same([0, 340, 999.6, 2449, 59_400, 65_000, 3_720_000, NaN].map(duration),
      ["0 ms", "340 ms", "1.0 s", "2.4 s", "59 s", "1 m 05 s", "1 h 02 m", "–"]);
    same([512, 2e6, 3.44e9, 24.7e9, null].map(bytes), ["512 B", "2.0 MB", "3.4 GB", "25 GB", "–"]);
    same([0, 980, 12_400, 913_442, 999_700, 3.14e6].map(count),
      ["0", "980", "12.4k", "913k", "1.0M", "3.1M"]);
    same([0, 8.41, 128.4, undefined].map(rate), ["0", "8.4", "128", "–"]);
    same([percent(0.714), wait(20), wait(6400), wait(null)], ["71 %", "now", "~6.4 s", "–"]);
  },

  "a ring forgets the oldest and knows gaps"() {
    const ring = new Ring(2, 3);
    for (let at = 1; at <= 5; at += 1) ring.push(at, at === 4 ? NaN : at * 10);
    same(ring.length, 3);
    same(ring.since(0), [[3, 4, 5], [30, null, 50]]);
    same(ring.since(5), [[5], [50]]);
    same(appended("abc", "def", 4), "…def");
    same(appended("ab", "c", 4), "abc");
  },

  "history has a row a second, and a gap where nobody looked"() {
    const history = new History();
    const windows = { "1s": { tokens_per_s: 5 }, "10s": { ttft_ms: { p50: 7, p95: 9 } } };
    for (const ms of [10_000, 10_400, 11_000, 30_000]) history.take(ms, windows);
    same(history.ring.since(0), [
      [10, 11, 12, 30], [7, 7, null, 7], [9, 9, null, 9], [5, 5, null, 5],
    ]);
    history.fill({
      end_ms: [20_500, 22_100], tokens_per_s: [50, 60], ttft_p50_ms: [1, null], ttft_p95_ms: [2, null],
    });
    same(history.ring.since(0), [
      [10, 11, 12, 13, 20, 21, 22, 23, 30], [7, 7, null, null, 1, 1, 1, null, 7],
      [9, 9, null, null, 2, 2, 2, null, 9], [5, 5, null, null, 50, 0, 60, null, 5],
    ]);
    history.fill({ end_ms: [], tokens_per_s: [], ttft_p50_ms: [], ttft_p95_ms: [] });
    same(history.ring.length, 9);
    same(momentOf({ "1s": {}, "10s": {}, "1m": { ttft_ms: { p50: 3 } } }),
      { ttftP50Ms: 3, ttftP95Ms: null, tokensPerS: 0 });
    same(momentOf(undefined), { ttftP50Ms: null, ttftP95Ms: null, tokensPerS: null });
  },

  "events arrive whole however their bytes were cut"() {
    const stream = ': wait\r\n\r\nevent: branch\r\ndata: {"a":1}\r\n\r\ndata: x\ndata: y\n\ndata:z\r\rid: 5\n\ndata: no end';
    for (let size = 1; size < stream.length; size += 1) {
      const parser = new SseParser();
      const found = [];
      for (let at = 0; at < stream.length; at += size) {
        found.push(...parser.push(stream.slice(at, at + size)));
      }
      same(found, [
        { comment: "wait" }, { event: "branch", data: '{"a":1}' },
        { event: "message", data: "x\ny" }, { event: "message", data: "z" },
      ]);
    }
  },

  "a timeline's pieces follow each other and fill the time"() {
    const request = {
      arrivedMs: 1000, resolvedMs: 1010, grantedMs: 3000, loadMs: 1500, firstMs: 3400, endedMs: 9000,
    };
    const parts = pieces(request, 99_999);
    same(parts.map(({ phase, from, to }) => [phase, from, to]), [
      ["resolve", 0, 10], ["queue", 10, 500], ["load", 500, 2000], ["prefill", 2000, 2400],
      ["decode", 2400, 8000],
    ]);
    same(pieces({ arrivedMs: 1000, phase: "resolve" }, 900), []);
    same(pieces({ arrivedMs: 0, resolvedMs: 5, phase: "load", grantedMs: null }, 100).map((p) => p.phase),
      ["resolve", "load"]);
    same([900, 1001, 61_000].map(span), [1000, 2000, 120_000]);
  },

  "what has a place keeps it, and what is new comes last"() {
    const items = ["d", "b", "a", "c"].map((id) => ({ id }));
    same(inPlace(items, ["a", "x", "b"]).map(({ id }) => id), ["a", "b", "d", "c"]);
    same(inPlace(items, []), items);
  },

  "attempts come apart, and never more than 15 s"() {
    same([0, 1, 2, 20].map((n) => delay(n, 0)), [500, 1000, 2000, MOST_MS]);
    same(delay(0, 1), 375);
  },

  "swarm texts grow, and only the last swarms are kept"() {
    let texts = withPieces({}, [{ swarm: "a", branch: 0, text: "x" }, { swarm: "a", branch: 0, text: "y" }]);
    texts = withTails(texts, { b: { 0: "tail" } });
    same(texts, { a: { 0: "xy" }, b: { 0: "tail" } });
    for (let n = 0; n < 20; n += 1) texts = withPieces(texts, [{ swarm: `s${n}`, branch: 1, text: "z" }]);
    same(Object.keys(texts).length, MOST_SWARMS);
  },

  "a form becomes a body, with nothing that was left out"() {
    same(bodyOf(FORM), {
      model: "auto", messages: [{ role: "user", content: "hello" }], stream: true, max_tokens: 32,
      stream_options: { include_usage: true },
    });
    same(pathOf(FORM), "/v1/chat/completions");
    const swarm = { ...FORM, kind: "swarm", models: "a, b,", judge: "c", temperature: "0.5" };
    same(bodyOf(swarm), {
      models: ["a", "b"], messages: [{ role: "user", content: "hello" }], stream: true,
      max_tokens: 32, temperature: 0.5, strategy: "best-of-n", judge: "c",
    });
    same([pathOf(swarm), pathOf({ ...swarm, strategy: "fanout" })], ["/swarm/vote", "/swarm/fanout"]);
    same(bodyOf({ ...swarm, models: "preset:council" }).models, "preset:council");
    same("strategy" in bodyOf({ ...swarm, strategy: "fanout" }), false);
    const debate = { ...swarm, strategy: "debate" };
    same([pathOf(debate), bodyOf(debate).judge, "strategy" in bodyOf(debate)], ["/swarm/debate", "c", false]);
    const pipeline = { ...swarm, strategy: "pipeline" };
    same(pathOf(pipeline), "/swarm/pipeline");
    same([bodyOf(pipeline).steps, "models" in bodyOf(pipeline)], [[{ model: "a" }, { model: "b" }], false]);
  },

  "the events of a swarm become columns and a verdict"() {
    const event = (name, body) => ({ event: name, data: JSON.stringify(body) });
    const answer = [
      event("session", { session: "s", strategy: "best-of-n" }),
      event("branch", { branch: 1, model: "b", delta: { reasoning_content: "hm" } }),
      event("branch", { branch: 0, model: "a", delta: { content: "he" } }),
      event("branch", { branch: 0, model: "a", delta: { content: "llo" } }),
      event("branch_done", { branch: 0, model: "a", ok: true, text: "hello" }),
      event("branch_done", { branch: 1, model: "b", ok: false, error_kind: "timeout", error: "too slow" }),
      event("verdict", { winner: "a", winner_branch: 0, votes: [{ branch: 0, share: 1 }], rationale: "r" }),
      event("message", { choices: [{ message: { content: "hello" } }], usage: { completion_tokens: 2 } }),
    ].reduce((before, next) => taken(before, next, 5), NOTHING_YET);
    same(answer.branches.map(({ branch, state, text }) => [branch, state, text]),
      [[0, "done", "hello"], [1, "timeout", "too slow"]]);
    same([answer.verdict.winner, answer.verdict.votes, answer.text, answer.usage.completion_tokens],
      [0, { 0: 1 }, "hello", 2]);
    same(taken(NOTHING_YET, event("error", { error: "all failed" }), 1).error.message, "all failed");
  },

  "each branch says as what it was asked, who answers, why, and how it ended"() {
    const row = (branch, agent_id, more) => ["branch_done", { branch, agent_id, model: agent_id, backend: "mlx", latency_ms: 70, ...more }];
    const answer = heard({ named: ["role:coder", "b", "x", "auto"] }, [
      ["session", { session: "s", strategy: "best-of-n" }],
      row(0, "role:coder", { model: "a", ok: true, text: "1", finish_reason: "stop" }),
      row(1, "b", { ok: true, text: "2", finish_reason: "length" }),
      row(2, "x", { ok: false, backend: "", error_kind: "model_not_resolved", error: "no model matches" }),
      row(3, "c", { ok: false, error_kind: "cancelled", error: "the outcome was clear without it" }),
      ["verdict", { winner_branch: 0, rationale: "preferred", judge: "j", votes: [{ branch: 1, share: 0.25 }] }],
    ], { endedMs: 9 });
    const seen = seenOf(null, "r", told([
      { branch: 0, spec: "role:coder", model: "a", backend: "mlx", resolution: "alias", arrived_ms: 100, granted_ms: 140, load_ms: 30, first_ms: 150, ended_ms: 190, tokens: 8, outcome: "ok" },
      { spec: "role:reasoner", model: "j", backend: "mlx", arrived_ms: 200, granted_ms: 210, first_ms: 230, ended_ms: 240, tokens: 1, outcome: "ok" },
      { spec: "role:reasoner", model: "j", backend: "mlx", arrived_ms: 205, granted_ms: 220, first_ms: 232, ended_ms: 260, tokens: 1, outcome: "ok" },
    ]));
    const ways = waysOf(answer, seen);
    same(ways.map(({ title, asked, model, how, end, why }) => [title, asked, model, how, end, why]), [
      ["Branch 1", "role:coder", "a", "alias", "won", ""],
      ["Branch 2", "b", "b", "by its own name", "lost", "25 % of the vote; cut at its most tokens"],
      ["Branch 3", "x", null, null, "failed", "model_not_resolved: no model matches"],
      ["Branch 4", "auto", "c", "one that it stands for", "cut", "the outcome was clear without it"],
      ["Judge", "role:reasoner", "j", "the best match now", "decided", ""],
    ]);
    same(ways.map(({ waitMs, loadMs, firstMs, totalMs, tokens }) => [waitMs, loadMs, firstMs, totalMs, tokens]), [
      [40, 30, 50, 90, 8], [null, null, null, 70, null], [null, null, null, 70, null],
      [null, null, null, 70, null], [10, null, 30, 60, 2],
    ]);
    same(ways.at(-1).stage, "asked 2 times");
  },

  "a branch that is not over says where it is, and one that nobody ended was cut"() {
    const seen = seenOf(null, "r", told([
      { branch: 0, spec: "a", model: "a", phase: "queue", arrived_ms: 100, predicted_wait_ms: 900 },
      { branch: 1, spec: "b", model: "b", phase: "load", arrived_ms: 100 },
      { branch: 2, spec: "c", model: "c", phase: "decode", arrived_ms: 100, granted_ms: 100, first_ms: 120 },
      { branch: 3, spec: "d", model: "d", arrived_ms: 100, ended_ms: 300, outcome: "queue_timeout", error: { code: "queue_timeout", message: "too long" } },
      { branch: 4, spec: "e", model: "e", arrived_ms: 100, ended_ms: 300, outcome: "stopped" },
      { spec: "j", model: "j", phase: "prefill", arrived_ms: 300, granted_ms: 300 },
    ]));
    const going = heard({ named: ["a"] }, [["session", { session: "s", strategy: "best-of-n" }]]);
    const ways = waysOf(going, seen);
    same(ways.map(({ end, why, going }) => [end, why, going]), [
      ["waiting", "", true], ["loading", "", true], ["answering", "", true],
      ["failed", "queue_timeout: too long", false], ["cut", "the swarm ended before it", false],
      ["reading", "", true],
    ]);
    same([ways[0].predictedMs, ways[0].sinceMs, ways[2].firstMs], [900, 100, 20]);
    same(waysOf({ ...going, state: "stopped", endedMs: 9 }, seen)[4].why, "stopped by you");
  },

  "a judge that was not asked, or gave no vote, says so"() {
    const events = (verdict) => [["session", { session: "s", strategy: "best-of-n" }], ["verdict", { winner_branch: 0, judge: null, ...verdict }]];
    const nobody = seenOf(null, "r", []);
    const same_answers = heard({ judge: "role:fast" }, events({ rationale: "all 2 answers are the same" }), { endedMs: 9 });
    same(waysOf(same_answers, nobody).map(({ title, model, end, why }) => [title, model, end, why]),
      [["Judge", null, "not asked", "all 2 answers are the same"]]);
    same(waysOf({ ...same_answers, strategy: "longest" }, nobody), []);
    const asked = told([{ spec: "j", model: "j", arrived_ms: 1, granted_ms: 1, ended_ms: 2, outcome: "ok" }]);
    const [judge] = waysOf(heard({}, events({ rationale: "the longest answer, as j named none" })), seenOf(null, "r", asked));
    same([judge.end, judge.why], ["failed", "the longest answer, as j named none"]);
  },

  "what was seen of a swarm stays, and a new question begins anew"() {
    const first = told([{ branch: 0, spec: "a", model: "a", arrived_ms: 1, ended_ms: 2, outcome: "ok" }]);
    const seen = seenOf(null, "r", first);
    if (seenOf(seen, "r", []) !== seen) throw new Error("nothing was new");
    const later = seenOf(seen, "r", requestsOf({ other: { arrived_ms: 5 } }));
    same(Object.keys(later.answers), ["r~1"]);
    same(seenOf(seen, "q", first).answers, {});
  },

  "presets are read as they are written"() {
    const presets = { council: ["role:coder", "auto"], one: ["a/b:c"] };
    same(presetsFrom(presetsAsText(presets)), presets);
    let told = null;
    try {
      presetsFrom("no name");
    } catch (error) {
      told = error.message;
    }
    if (!told?.includes("no name")) throw new Error("it was taken");
  },

  "a state without anything is shown as nothing, and a part that stays is the same object"() {
    same(viewOf({}).requests, []);
    const state = { models: { m: { state: "ready" } }, requests: {} };
    const before = viewOf(state);
    const after = viewOf({ ...state, requests: { r: { arrived_ms: 1 } } });
    if (after.models !== before.models) throw new Error("models were made anew");
    same(after.requests.length, 1);
  },
};
