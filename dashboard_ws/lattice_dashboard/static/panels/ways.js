// Where each branch of a swarm went: who answers, why it is that one, how long it took, how it ended.

import { serverNow, useNow } from "../clock.js";
import { count, duration, NONE, wait } from "../format.js";
import { html } from "../html.js";
import { Empty, Panel, State } from "./panel.js";

export const Ways = ({ answer, ways }) => html`
  <${Panel} id="route" title="Route" hint="For each branch: what it was asked as, who answers and why, where its time went.">
    ${ways.length === 0
      ? html`<${Empty} title="No branch yet">Every branch gets a line here, and the judge too.<//>`
      : html`<${WayList} ways=${ways} />`}
    ${answer.kind === "swarm" && html`<${Headers} headers=${answer.headers} />`}
  <//>
`;

export function WayList({ ways }) {
  const now = useNow(ways.some((one) => one.going));
  return html`
    <ol class="ways" aria-label="Branches and judge, with model, times and outcome">
      ${ways.map((way) => html`<${Way} key=${way.key} way=${way} now=${way.going ? now : 0} />`)}
    </ol>
  `;
}

/** What the headers of an answer told. */
export function Headers({ headers }) {
  const told = Object.entries(headers);
  return told.length > 0 && html`
    <h3 class="minor">What the last answer said</h3>
    <dl class="headers">
      ${told.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
    </dl>`;
}

const Way = ({ way, now }) => html`
  <li class="way ${way.end === "won" ? "won" : ""}" aria-label=${way.title}>
    <div class="way-who">
      <span class="sub">${[way.title, way.stage].filter(Boolean).join(" · ")}</span>
      ${!unasked(way) && html`<b class="clip" title=${way.model ?? ""}>${way.model ?? "no model"}</b>`}
      ${way.backend && html`<span class="sub">on ${way.backend}</span>`}
    </div>
    <div class="way-how">
      ${way.asked !== null && html`<span class="sub">asked as</span> <code>${way.asked}</code>`}
      ${way.how && html`<span class="sub line">${way.how}</span>`}
    </div>
    ${!unasked(way) && html`<dl class="facts">
      <div><dt>Wait</dt><dd>${waited(way, now)}</dd></div>
      <div><dt>First token</dt><dd>${duration(way.firstMs)}</dd></div>
      <div><dt>Total</dt><dd>${duration(way.totalMs ?? (way.going ? Math.max(0, (now || serverNow()) - way.sinceMs) : null))}</dd></div>
      <div><dt>Tokens</dt><dd>${count(way.tokens)}</dd></div>
    </dl>`}
    <div class="way-end"><${State} state=${way.end} />${more(way) && html`<span class="sub">${more(way)}</span>`}</div>
  </li>
`;

const unasked = ({ model, asked }) => model === null && asked === null;

function waited({ waitMs, going, predictedMs }) {
  if (waitMs !== null) return duration(waitMs);
  return going && predictedMs !== null ? wait(predictedMs) : NONE;
}

/** Why it ended so, and the load that its wait was for. */
const more = ({ why, loadMs }) =>
  [why, loadMs > 0 ? `waited ${duration(loadMs)} for the model to load` : ""].filter(Boolean).join("; ");
