// Swarms as they argue: a column of live text for each branch, and who won, and why.

import { duration, percent } from "../format.js";
import { html, still, useEffect, useRef } from "../html.js";
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
      <span class="sub">${swarm.branches.length} branches${swarm.endedMs
        ? ` · ${duration(swarm.endedMs - swarm.startedMs)}` : ""}</span>
      <${State} state=${swarm.endedMs ? "done" : "running"} />
    </header>
    <${Branches} branches=${swarm.branches} texts=${texts} verdict=${swarm.verdict} />
    ${swarm.strategy !== "fanout" && html`<${Verdict} verdict=${swarm.verdict} />`}
  </article>
`);

/** Columns of text; also of the playground. `branches`: `{branch, model, stage, state}`. */
export function Branches({ branches, texts, verdict }) {
  return html`
    <div class="branches">
      ${branches.map((one) => {
        const won = verdict?.winner === one.branch;
        const share = verdict?.votes[one.branch];
        return html`
          <section key=${one.branch} class="branch ${won ? "won" : ""}"
            aria-label=${`Branch ${one.branch + 1}, ${one.model}`}>
            <header><b title=${one.model}>${one.model}</b>
              <span class="sub">${won ? "winner" : one.stage || one.state}${share === undefined ? "" : ` · ${percent(share)}`}</span>
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

/** Why it ended as it did. */
export function Verdict({ verdict }) {
  if (!verdict) return html`<p class="verdict pending">No verdict yet.</p>`;
  const judge = verdict.judge ? ` Judge: ${verdict.judge}.` : "";
  return html`<p class="verdict"><b>Verdict</b> ${verdict.rationale}${judge}</p>`;
}
