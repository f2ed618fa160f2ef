// Swarms as they argue: a column of live text for each branch, and who won, and why.

import { cancelRequest, stopBranch } from "../api.js";
import { duration, percent } from "../format.js";
import { html, still, useEffect, useRef } from "../html.js";
import { act } from "./notices.js";
import { Empty, Panel, State } from "./panel.js";

const MOST_SHOWN = 4;

export const Swarms = still(({ swarms, texts }) => html`
  <${Panel} id="swarms" title="Swarms" className="span-12"
    hint="One question, several models. Every branch streams; losers are cancelled when the outcome is clear.">
    ${swarms.length === 0
      ? html`<${Empty} title="No swarm has run yet">
          Ask several models at once in the <a href="#playground">playground</a>.
        <//>`
      : swarms.slice(0, MOST_SHOWN).map((swarm) => html`
          <${Session} key=${swarm.id} swarm=${swarm} texts=${texts[swarm.id] ?? NOTHING} />`)}
  <//>
`);

const NOTHING = {};

const Session = still(({ swarm, texts }) => html`
  <article class="swarm" aria-label=${`${swarm.strategy} ${swarm.id}`}>
    <header>
      <h3>${swarm.strategy}</h3>
      <span class="sub">${swarm.branches.length} ${swarm.branches.length === 1 ? "branch" : "branches"}${swarm.endedMs
        ? ` · ${duration(swarm.endedMs - swarm.startedMs)}` : ""}</span>
      <${State} state=${howItGoes(swarm)} />
      ${!swarm.endedMs && swarm.requestId && html`
        <button class="quiet icon" title="Cancel the whole swarm" aria-label=${`Cancel ${swarm.strategy}`}
          onClick=${() => act(() => cancelRequest(swarm.requestId), "Cancelled.")}>✕</button>`}
    </header>
    <${Branches} branches=${swarm.branches} texts=${texts} verdict=${swarm.verdict}
      stop=${swarm.endedMs ? null : (branch) => act(() => stopBranch(swarm.id, branch), "The branch is stopped.")} />
    <${Written} judge=${swarm.judge} text=${texts.judge} />
    ${isJudged(swarm.strategy) && html`<${Verdict} verdict=${swarm.verdict} judge=${swarm.judge} />`}
  </article>
`);

const ENDS = { ok: "done", client_left: "left by its client" };

const howItGoes = ({ endedMs, outcome }) =>
  endedMs ? ENDS[outcome] ?? outcome?.replaceAll("_", " ") ?? "done" : "running";

const GOING = new Set(["waiting", "thinking", "running"]);

/** "round 2"; and how it is there, unless it just runs or went well. */
const where = ({ stage, state }) =>
  !stage ? state : state === "running" || state === "ok" || !state ? stage : `${stage}, ${state}`;

/** Columns of text; also of the playground. `branches`: `{branch, model, stage, state}`; `stop`:
 * what ends one that runs, where somebody may. */
export function Branches({ branches, texts, verdict, stop = null }) {
  return html`
    <div class="branches">
      ${branches.map((one) => {
        const won = verdict?.winner === one.branch;
        const share = verdict?.votes[one.branch];
        return html`
          <section key=${one.branch} class="branch ${won ? "won" : ""}"
            aria-label=${`Branch ${one.branch + 1}, ${one.model}`}>
            <header><b title=${one.model}>${one.model}</b>
              <span class="sub">${won ? "winner" : where(one)}${share === undefined ? "" : ` · ${percent(share)}`}</span>
              ${stop && GOING.has(one.state) && html`
                <button class="quiet icon" title="Stop this branch; the others go on"
                  aria-label=${`Stop branch ${one.branch + 1}`} onClick=${() => stop(one.branch)}>✕</button>`}
            </header>
            <${Tail} text=${texts[one.branch] || one.text || one.error || ""} />
          </section>`;
      })}
    </div>
  `;
}

/** Text that stays at its end while it grows, unless somebody scrolled up to read. */
function Tail({ text }) {
  const place = useRef(null);
  const follows = useRef(true);
  useEffect(() => {
    if (follows.current) place.current.scrollTop = place.current.scrollHeight;
  }, [text]);
  const scrolled = ({ target }) => {
    follows.current = target.scrollHeight - target.scrollTop - target.clientHeight < 24;
  };
  return html`<div class="tail" ref=${place} tabindex="0" onScroll=${scrolled}>${text}</div>`;
}

/** Whether there is a verdict at the end; after a fan-out and a pipeline there is none. */
export const isJudged = (strategy) => strategy !== "fanout" && strategy !== "pipeline";

/** The answer that a judge writes from those of the branches, while it does. */
const Written = ({ judge, text }) => Boolean(judge && text) && html`
  <section class="branch written" aria-label=${`Answer of the judge ${judge.model}`}>
    <header><b title=${judge.model}>${judge.model}</b>
      <span class="sub">judge, ${judge.state === "ok" ? "done" : judge.state}</span></header>
    <${Tail} text=${text} />
  </section>
`;

/** Why it ended as it did; `judge`: who reads the answers, where somebody does. */
export function Verdict({ verdict, judge = null }) {
  if (!verdict?.rationale) return html`<p class="verdict pending">${pending(judge)}</p>`;
  const by = verdict.judge ? ` Judge: ${verdict.judge}.` : "";
  return html`<p class="verdict"><b>Verdict</b> ${verdict.rationale}${by}</p>`;
}

const pending = (judge) =>
  judge?.state === "judging" ? `${judge.model} reads the answers …`
    : judge?.state === "writing" ? `${judge.model} writes the answer …` : "No verdict yet.";
