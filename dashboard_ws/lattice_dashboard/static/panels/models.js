// Models as cards: what each holds, does, and can be told to do.

import { rescan, steer } from "../api.js";
import { bytes, count, percent, rate } from "../format.js";
import { html, still, useState } from "../html.js";
import { useSteady } from "../steady.js";
import { isAwake } from "../view.js";
import { act } from "./notices.js";
import { Bar, Empty, Panel, State } from "./panel.js";

const Rescan = () => html`
  <button title="Look at the model folders again"
    onClick=${() => act(rescan, ({ diff }) => found(diff))}>Rescan</button>`;

function found(diff) {
  const { added = [], removed = [] } = diff ?? {};
  if (!added.length && !removed.length) return "Nothing new in the model folders.";
  return `Models: ${added.length} added, ${removed.length} gone.`;
}

export const Models = still(({ models, budget }) => {
  const shown = useSteady(models);
  return html`
    <${Panel} id="models" title="Models" className="span-12"
      hint="What can answer. A model with running answers is never evicted."
      aside=${html`<${Rescan} />`}>
      ${models.length === 0
        ? html`<${Empty} title="No model was found">
            Put a model folder where the server looks for them, then rescan.
          <//>`
        : html`<ul class="cards">
            ${shown.map((model) => html`<${Card} key=${model.id} model=${model} budget=${budget} />`)}
          </ul>`}
    <//>
  `;
});

const Card = still(({ model, budget }) => {
  const awake = isAwake(model.state);
  const local = model.backend === "mlx";
  return html`
    <li class="card ${awake ? "awake" : "asleep"}" aria-label=${model.id}>
      <div class="card-head">
        <h3 title=${model.id}>${model.id}</h3>
        <${State} state=${model.state} />
      </div>
      <dl class="facts">
        <div><dt>Speed</dt><dd>${awake ? rate(model.tokensPerS) : "–"}<small> tok/s</small></dd></div>
        <div><dt>Batch</dt><dd>${count(model.running)}<small>${model.slots ? ` of ${model.slots}` : " running"}</small></dd></div>
        <div><dt>Waiting</dt><dd>${count(model.waiting)}</dd></div>
        <div><dt>Restarts</dt><dd>${count(model.restarts)}</dd></div>
      </dl>
      ${local
        ? html`<div class="memory">
            <${Bar} share=${budget && awake ? model.bytes / budget : 0} tone="memory-bar"
              label=${`Memory of ${model.id}, share of the budget`} />
            <p class="note">${awake ? memoryText(model, budget) : sleeping(model)}</p>
          </div>`
        : html`<p class="note">${model.barred ?? `context of ${count(model.context)} tokens`}</p>`}
      ${model.slots ? html`<${Slots} model=${model} />` : html`<div class="slots"></div>`}
      ${local
        ? html`<${Controls} model=${model} awake=${awake} />`
        : html`<p class="note remote">on ${model.backend}</p>`}
    </li>
  `;
});

function memoryText(model, budget) {
  const cache = model.kvBytes ? ` · cache ${bytes(model.kvBytes)}` : "";
  const share = budget && model.bytes ? ` · ${percent(model.bytes / budget)} of the budget` : "";
  return `${bytes(model.bytes)}${cache}${share}`;
}

function sleeping(model) {
  if (model.barred) return model.barred;
  return model.bytes ? `would take ${bytes(model.bytes)}` : "not in memory";
}

const MOST_SLOTS = 32;

/** One small square for each place in the batch. */
const Slots = ({ model }) => html`
  <div class="slots" role="img" aria-label=${`${model.running} of ${model.slots} places in the batch are taken`}>
    ${Array.from({ length: Math.min(model.slots, MOST_SLOTS) }, (_, index) => html`
      <i key=${index} class=${index < model.running ? "taken" : ""}></i>`)}
  </div>
`;

const Controls = ({ model, awake }) => {
  const [busy, setBusy] = useState(null);
  const button = ({ verb, label, title, done, able = true }) => html`
    <button key=${verb} title=${title} disabled=${!able || busy !== null} aria-busy=${busy === verb}
      aria-label=${`${label} ${model.id}`}
      onClick=${async () => {
        setBusy(verb);
        await act(() => steer(model.id, verb), done);
        setBusy(null);
      }}>${label}</button>`;
  return html`
    <div class="controls">
      ${button(awake ? leaving(model) : {
        verb: "load", label: "Load", title: "Take it into memory now", done: `${model.id} is loaded.`,
      })}
      ${button(model.pinned
        ? { verb: "unpin", label: "Unpin", title: "It may be evicted again", done: `${model.id} may be evicted again.` }
        : { verb: "pin", label: "Pin", title: "Never evict it", done: `${model.id} stays in memory once it is there.` })}
    </div>
  `;
};

/** How it would leave memory: at once, or when what runs on it has ended. */
function leaving(model) {
  const able = model.state === "ready";
  const done = ({ deferred }) =>
    deferred ? `${model.id} goes when its answers are over.` : `${model.id} is out of memory.`;
  return model.running
    ? { verb: "drain", label: "Drain", able, done, title: "Start nothing new on it; unload it when what runs has ended" }
    : { verb: "unload", label: "Unload", able, done, title: "Take it out of memory; the files stay" };
}
