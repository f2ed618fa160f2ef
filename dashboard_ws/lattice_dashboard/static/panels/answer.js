// The answer of the playground while it comes: a text, or the columns of a swarm.

import { WRITTEN } from "../asking.js";
import { count, duration, rate } from "../format.js";
import { html } from "../html.js";
import { sentence } from "./notices.js";
import { Empty, Panel, State } from "./panel.js";
import { Branches, isJudged, Verdict } from "./swarms.js";

const WORDS = { waiting: "waiting", answering: "running", done: "done", stopped: "stopped", failed: "failed" };

export function Answer({ answer, swarm }) {
  const state = WORDS[answer.state];
  const columns = answer.kind === "swarm" && answer.branches.length > 0;
  const apart = !columns || isWritten(answer);
  return html`
    <${Panel} id="answer" title="Answer" hint=${said(answer)} aside=${state && html`<${State} state=${state} />`}>
      ${answer.error && html`<div class="trouble" role="alert">
        <strong>${answer.error.code ?? "error"}</strong> ${answer.error.status !== undefined
          ? sentence(answer.error) : answer.error.message}</div>`}
      ${answer.state === "idle" && html`<${Empty} title="Nothing asked yet">
        ${swarm ? "Every branch gets a column of its own." : "The answer streams in here, token by token."}<//>`}
      ${columns && html`
        <${Branches} branches=${answer.branches} texts=${{}} verdict=${answer.verdict} />
        ${isJudged(answer.strategy) && !answer.error && html`<${Verdict} verdict=${answer.verdict} />`}`}
      ${answer.reasoning && html`<details class="thoughts"><summary>Reasoning</summary>${answer.reasoning}</details>`}
      ${answer.state !== "idle" && apart && html`
        <div class="text" aria-live="off" aria-busy=${answer.state === "answering"}>${answer.text}${
          answer.state === "answering" || answer.state === "waiting" ? html`<i class="caret"></i>` : null}</div>`}
    <//>
  `;
}

/** Whether a judge writes the answer; where a branch wins, its column is the answer. */
const isWritten = ({ strategy, verdict, text }) =>
  Boolean(text) && WRITTEN.has(strategy) && (verdict?.winner ?? null) === null;

/** One line about how it goes; it is always there, so nothing moves. */
function said(answer) {
  if (answer.state === "idle") return "Streamed as it is decoded.";
  if (answer.state === "waiting") return "Waiting for the first token …";
  const first = answer.firstMs === null ? null : answer.firstMs - answer.startedMs;
  if (first === null) return answer.comment || (answer.endedMs ? "No token came." : "Waiting for the first token …");
  const tokens = answer.usage?.completion_tokens;
  const seconds = ((answer.endedMs ?? performance.now()) - answer.firstMs) / 1000;
  const parts = [`first token after ${duration(first)}`];
  if (tokens) parts.push(`${count(tokens)} tokens`, `${rate(tokens / Math.max(seconds, 0.001))} tok/s`);
  if (answer.endedMs) parts.push(`${duration(answer.endedMs - answer.startedMs)} in all`);
  if (answer.finish && answer.finish !== "stop") parts.push(`ended by ${answer.finish}`);
  return parts.join(" · ");
}
