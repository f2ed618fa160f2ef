// Who would answer, and why the others would not: the plan while one types, then what happened.

import { plan } from "../api.js";
import { bodyOf } from "../asking.js";
import { duration, wait } from "../format.js";
import { html, useEffect, useState } from "../html.js";
import { sentence } from "./notices.js";
import { Empty, Panel } from "./panel.js";
import { Headers, WayList } from "./ways.js";

const PAUSE_MS = 350; // after the last key

export function Route({ form, answer, ways }) {
  const [route, setRoute] = useState(null);
  const [trouble, setTrouble] = useState(null);
  const { model, prompt, system, maxTokens, klass } = form;

  useEffect(() => {
    if (!model.trim()) return undefined;
    const leaving = new AbortController();
    const timer = setTimeout(async () => {
      const { stream, stream_options, ...body } = bodyOf({ ...form, prompt: prompt || "hello" });
      try {
        setRoute(await plan(body, leaving.signal, { "X-Lattice-Priority": klass }));
        setTrouble(null);
      } catch (error) {
        if (error.name === "AbortError") return;
        setRoute(null);
        setTrouble(error);
      }
    }, PAUSE_MS);
    return () => {
      clearTimeout(timer);
      leaving.abort();
    };
  }, [model, prompt, system, maxTokens, klass, answer.state]);

  return html`
    <${Panel} id="route" title="Route" hint="What would happen now; asking for it changes nothing.">
      ${trouble?.code === "unsupported_model"
        ? html`<p class="sub">It asks several models: each branch gets a line here.</p>`
        : trouble
        ? html`<div class="trouble">${sentence(trouble)}</div>`
        : route
          ? html`<${Plan} route=${route} />`
          : html`<${Empty} title="Finding a model …"> <//>`}
      ${ways.length > 0 && html`<h3 class="minor">Branches</h3><${WayList} ways=${ways} />`}
      <${Headers} headers=${answer.headers} />
    <//>
  `;
}

const Plan = ({ route }) => html`
  <p class="chosen-model">${route.model
    ? html`<b>${route.model}</b> <span class="sub">on ${route.backend}</span>`
    : html`<span class="bad-text">${route.error?.message ?? "nobody can answer this"}</span>`}</p>
  ${route.resolution && html`<p class="sub">${route.resolution}</p>`}
  ${route.queue && html`
    <dl class="facts">
      <div><dt>Class</dt><dd>${route.queue.class}</dd></div>
      <div><dt>Starts</dt><dd>${wait(route.queue.predicted_wait_ms)}</dd></div>
      <div><dt>Before it</dt><dd>${route.queue.position}</dd></div>
      <div><dt>Load</dt><dd>${route.load?.needed ? `~${duration(route.load.predicted_ms)}` : "in memory"}</dd></div>
    </dl>`}
  ${route.load?.evicts?.length > 0 && html`<p class="warn-text">Would evict ${route.load.evicts.join(", ")}.</p>`}
  ${route.candidates?.length > 0 && html`
    <h3 class="minor">Candidates</h3>
    <ol class="candidates">
      ${route.candidates.map((one) => html`
        <li key=${one.id} class=${one.id === route.model ? "is-chosen" : ""}>
          <b>${one.id}</b><span class="sub">${one.reason}</span></li>`)}
    </ol>`}
`;
