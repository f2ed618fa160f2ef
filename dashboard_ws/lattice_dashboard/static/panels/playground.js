// Ask something, and see who answers, why, and how fast.

import { NOTHING_YET, question } from "../asking.js";
import { html, useCallback, useEffect, useState } from "../html.js";
import { seenOf, waysOf } from "../ways.js";
import { Answer } from "./answer.js";
import { Form } from "./askform.js";
import { Route } from "./route.js";
import { Ways } from "./ways.js";

const EMPTY = {
  kind: "one", model: "auto", models: "auto", strategy: "best-of-n", judge: "", prompt: "", system: "",
  maxTokens: "256", temperature: "", klass: "interactive",
};

// It goes on while somebody looks at the overview, where the same answer is a row or a swarm.
const talk = { form: EMPTY, answer: NOTHING_YET, asking: null, draw: null, seen: null };

export function Playground({ ids, presets, requests }) {
  const [form, setForm] = useState(talk.form);
  const [answer, setAnswer] = useState(talk.answer);

  useEffect(() => {
    talk.form = form;
  }, [form]);
  useEffect(() => {
    talk.draw = setAnswer;
    return () => {
      talk.draw = null;
    };
  }, []);

  const send = useCallback(async () => {
    talk.asking?.abort();
    const mine = new AbortController();
    talk.asking = mine;
    const show = atOneAFrame((next) => {
      if (talk.asking !== mine) return;
      talk.answer = next;
      talk.draw?.(next);
    });
    await question(form, mine.signal, show);
  }, [form]);
  const stop = useCallback(() => talk.asking?.abort(), []);
  talk.seen = seenOf(talk.seen, answer.requestId, requests);
  const ways = waysOf(answer, talk.seen);
  const change = useCallback((changes) => setForm((before) => ({ ...before, ...changes })), []);

  return html`
    <main class="playground ${form.kind}" id="main" tabindex="-1">
      <h1 class="hidden">Playground</h1>
      <${Form} form=${form} ids=${ids} presets=${presets} change=${change} send=${send} stop=${stop}
        busy=${answer.state === "waiting" || answer.state === "answering"} />
      <${Answer} answer=${answer} swarm=${form.kind === "swarm"} />
      ${form.kind === "one"
        ? html`<${Route} form=${form} answer=${answer} ways=${answer.kind === "one" ? ways : []} />`
        : html`<${Ways} answer=${answer} ways=${answer.kind === "swarm" ? ways : []} />`}
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
