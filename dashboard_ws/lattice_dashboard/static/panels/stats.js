// The first line of the screen: how it goes at this moment.

import { bytes, count, duration, rate } from "../format.js";
import { html, still } from "../html.js";
import { Bar } from "./panel.js";

function Stat({ label, value, unit, note, children }) {
  return html`
    <div class="stat">
      <dt>${label}</dt>
      <dd><span class="figure">${value}</span>${unit && html`<span class="unit">${unit}</span>`}</dd>
      ${children ?? html`<p class="note">${note}</p>`}
    </div>
  `;
}

export const Stats = still(({ now, memory, running, waiting, slots, nextMs, totals }) => {
  const [ttft, ttftUnit] = split(duration(now.ttftP50Ms));
  const [used, usedUnit] = split(bytes(memory?.reserved_bytes));
  const budget = memory?.budget_bytes;
  return html`
    <dl class="stats" aria-label="At this moment">
      <${Stat} label="Throughput" value=${rate(now.tokensPerS)} unit="tok/s"
        note=${totals.tokens === null ? "tokens decoded a second" : `${count(totals.tokens)} tokens since start`} />
      <${Stat} label="First token" value=${ttft} unit=${ttftUnit}
        note=${`p95 ${duration(now.ttftP95Ms)}`} />
      <${Stat} label="Running" value=${count(running)}
        unit=${slots ? `of ${slots} slots` : ""}
        note=${totals.requests === null ? "answers at this moment" : `${count(totals.requests)} requests since start`} />
      <${Stat} label="Waiting" value=${count(waiting)}
        note=${waiting ? `longest wait ${duration(nextMs)}` : "nobody waits"} />
      <${Stat} label="Memory" value=${used} unit=${budget ? `${usedUnit} of ${bytes(budget)}` : usedUnit}>
        <${Bar} share=${budget ? (memory.reserved_bytes ?? 0) / budget : 0} label="Memory reserved of the budget" />
      <//>
    </dl>
  `;
});

function split(text) {
  const [value, ...unit] = text.split(" ");
  return unit.length > 1 ? [text, ""] : [value, unit.join(" ")];
}
