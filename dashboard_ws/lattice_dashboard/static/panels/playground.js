// Ask something, and see who answers, why, and how fast.

import { NOTHING_YET, question } from "../asking.js";
import { html, useCallback, useEffect, useRef, useState } from "../html.js";
import { Answer } from "./answer.js";
import { Form } from "./askform.js";
import { Route } from "./route.js";

const EMPTY = {
  kind: "one", model: "auto", models: "auto", strategy: "best-of-n", judge: "", prompt: "", system: "",
  maxTokens: "256", temperature: "", klass: "interactive",
};

const START = { form: EMPTY, answer: NOTHING_YET };
let last = START; // so that a look at the overview loses nothing

export function Playground({ ids }) {
  const [form, setForm] = useState(last.form);
  const [answer, setAnswer] = useState(last.answer);
  const asking = useRef(null);

  useEffect(() => {
    last = { form, answer };
  }, [form, answer]);
  useEffect(() => () => asking.current?.abort(), []);

  const send = useCallback(async () => {
    asking.current?.abort();
    const mine = new AbortController();
    asking.current = mine;
    const show = atOneAFrame((next) => asking.current === mine && setAnswer(next));
    await question(form, mine.signal, show);
  }, [form]);
  const stop = useCallback(() => asking.current?.abort(), []);
  const change = useCallback((changes) => setForm((before) => ({ ...before, ...changes })), []);

  return html`
    <main class="playground ${form.kind}" id="main" tabindex="-1">
      <h1 class="hidden">Playground</h1>
      <${Form} form=${form} ids=${ids} change=${change} send=${send} stop=${stop}
        busy=${answer.state === "waiting" || answer.state === "answering"} />
      <${Answer} answer=${answer} swarm=${form.kind === "swarm"} />
      ${form.kind === "one" && html`<${Route} form=${form} answer=${answer} />`}
    </main>
  `;
}

/** Tokens may come faster than frames: only the newest answer of each frame is drawn. */
function atOneAFrame(draw) {
  let newest = null;
  return (answer) => {
    const due = newest === null;
    newest = answer;
    if (!due) return;
    requestAnimationFrame(() => {
      draw(newest);
      newest = null;
    });
  };
}
