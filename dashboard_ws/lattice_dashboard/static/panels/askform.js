// The form of the playground.

import { JUDGED, STRATEGIES } from "../asking.js";
import { html } from "../html.js";
import { Panel } from "./panel.js";

const ROLES = ["auto", "role:fast", "role:coder", "role:reasoner"];
const CLASSES = ["interactive", "normal", "batch"];

/** What stands for several models at once. */
const severalOf = (presets) => [...Object.keys(presets).map((name) => `preset:${name}`), "loaded", "available"];

export function Form({ form, ids, presets, change, send, stop, busy }) {
  const field = (name) => ({
    name, value: form[name], onInput: ({ target }) => change({ [name]: target.value }),
  });
  const submit = (event) => {
    event.preventDefault();
    if (busy) stop();
    else if (form.prompt.trim()) send();
  };
  const shortcut = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit(event);
  };
  const one = form.kind === "one";
  return html`
    <${Panel} id="ask" title="Ask" hint="A capability, a model by name, or several at once.">
      <form class="ask" onSubmit=${submit} onKeyDown=${shortcut}>
        <div class="picker" role="radiogroup" aria-label="Who is asked">
          ${[["one", "One model"], ["swarm", "Swarm"]].map(([kind, label]) => html`
            <label key=${kind} class=${form.kind === kind ? "chosen" : ""}>
              <input type="radio" name="kind" checked=${form.kind === kind} onChange=${() => change({ kind })} />
              ${label}
            </label>`)}
        </div>
        ${one
          ? html`<label>Capability
              <input ...${field("model")} list="capabilities" autocomplete="off" spellcheck="false" required />
            </label>`
          : html`
            <label>${form.strategy === "pipeline" ? "Models, step by step" : "Models, with commas between"}
              <input ...${field("models")} list="capabilities" autocomplete="off" spellcheck="false" required />
            </label>
            <div class="pair">
              <label>Strategy
                <select name="strategy" value=${form.strategy}
                  onChange=${({ target }) => change({ strategy: target.value })}>
                  ${STRATEGIES.map(({ name, label, hint }) => html`
                    <option key=${name} value=${name}>${label}: ${hint}</option>`)}
                </select>
              </label>
              ${JUDGED.has(form.strategy) && html`<label>Judge
                <input ...${field("judge")} list="capabilities" placeholder="role:reasoner" autocomplete="off" /></label>`}
            </div>`}
        <label>Prompt
          <textarea ...${field("prompt")} rows="7" placeholder="What do you want to know?" required></textarea>
        </label>
        <details>
          <summary>Settings</summary>
          <label>System <textarea ...${field("system")} rows="2"></textarea></label>
          <div class="pair">
            <label>Most tokens <input ...${field("maxTokens")} type="number" min="1" step="1" /></label>
            <label>Temperature <input ...${field("temperature")} type="number" min="0" max="2" step="0.1" placeholder="of the model" /></label>
          </div>
          <label>Class
            <select name="klass" value=${form.klass} onChange=${({ target }) => change({ klass: target.value })}>
              ${CLASSES.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
            </select>
          </label>
        </details>
        <div class="actions">
          <button class=${busy ? "danger" : "primary"} type="submit" disabled=${!busy && !form.prompt.trim()}>
            ${busy ? "Stop" : "Ask"}
          </button>
          <span class="sub"><kbd>Ctrl</kbd> <kbd>Enter</kbd></span>
        </div>
      </form>
      <datalist id="capabilities">
        ${[...(one ? [] : severalOf(presets)), ...ROLES, ...ids].map((id) => html`<option key=${id} value=${id}></option>`)}
      </datalist>
    <//>
  `;
}
