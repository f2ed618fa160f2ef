// The default model and the presets. Updates of the page never touch what somebody types.

import { savePreferences } from "../api.js";
import { html, still, useEffect, useState } from "../html.js";
import { act } from "./notices.js";
import { Panel } from "./panel.js";

/** "fast: role:fast, role:coder" for each line; raises Error for a line without a name. */
export function presetsFrom(text) {
  const presets = {};
  for (const line of text.split("\n").map((one) => one.trim()).filter(Boolean)) {
    const at = line.search(/[:=]\s/);
    const models = line.slice(at + 1).split(",").map((one) => one.trim()).filter(Boolean);
    if (at < 1 || !models.length) throw new Error(`“${line}” is not “name: model, model”.`);
    presets[line.slice(0, at).trim()] = models;
  }
  return presets;
}

export const presetsAsText = (presets) =>
  Object.entries(presets ?? {}).map(([name, models]) => `${name}: ${models.join(", ")}`).join("\n");

function said({ default_model: model }) {
  if (model === undefined) return "The presets are saved.";
  return model ? `Default model: ${model}.` : "No default model any more.";
}

const asText = (preferences) => ({
  model: preferences?.default_model ?? "",
  presets: presetsAsText(preferences?.swarm_presets),
});

/** `preferences`: as they are saved, whoever saved them; null where the server does not say. */
export const Preferences = still(({ preferences, ids }) => {
  const [saved, setSaved] = useState(asText(preferences));
  const [model, setModel] = useState(null); // null: nobody has typed, so the saved value is shown
  const [presets, setPresets] = useState(null);
  const [trouble, setTrouble] = useState("");

  useEffect(() => setSaved(asText(preferences)), [preferences]);

  const save = async (event) => {
    event.preventDefault();
    const wanted = {}; // what nobody typed here stays as it is, also where others change it
    try {
      // Emptied means cleared: the empty string, never null.
      if (model !== null) wanted.default_model = model.trim();
      if (presets !== null) wanted.swarm_presets = presetsFrom(presets);
    } catch (error) {
      setTrouble(error.message);
      return;
    }
    setTrouble("");
    const done = async () => {
      await savePreferences(wanted);
      const text = asText(wanted); // the feed will say the same in a moment
      setSaved((now) => ({
        model: model === null ? now.model : text.model,
        presets: presets === null ? now.presets : text.presets,
      }));
      // What was typed meanwhile stays.
      setModel((now) => (now === model ? null : now));
      setPresets((now) => (now === presets ? null : now));
    };
    await act(done, said(wanted));
  };

  const typed = model !== null || presets !== null;
  return html`
    <${Panel} id="preferences" title="Defaults" className="span-12"
      hint="For requests that say “auto”, and for swarms that name a preset.">
      <form class="preferences" onSubmit=${save}>
        <label>Default model
          <input name="default_model" list="model-ids" autocomplete="off" spellcheck="false"
            placeholder="none: the best that is there" value=${model ?? saved.model}
            onInput=${({ target: { value } }) => setModel(value === saved.model ? null : value)} />
        </label>
        <label>Presets, one a line
          <textarea name="swarm_presets" rows="2" spellcheck="false" placeholder="council: role:reasoner, role:coder, role:fast"
            value=${presets ?? saved.presets} onInput=${({ target: { value } }) => setPresets(value === saved.presets ? null : value)}></textarea>
        </label>
        <div class="actions">
          <button class="primary" type="submit" disabled=${!typed}>Save</button>
          <button type="button" disabled=${!typed}
            onClick=${() => { setModel(null); setPresets(null); setTrouble(""); }}>Undo</button>
          <p class="bad-text" role="alert">${trouble}</p>
        </div>
      </form>
      <datalist id="model-ids">${ids.map((id) => html`<option key=${id} value=${id}></option>`)}</datalist>
    <//>
  `;
});
