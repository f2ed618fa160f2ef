// Who waits, in which class, and for how long by prediction.

import { cancelRequest } from "../api.js";
import { count, wait } from "../format.js";
import { html, still } from "../html.js";
import { useAimed } from "../steady.js";
import { act } from "./notices.js";
import { Empty, Panel } from "./panel.js";

const MEANING = {
  interactive: "goes first",
  normal: "the ordinary class",
  batch: "when nothing else waits; ageing lifts it",
};

export const Queue = still(({ queue }) => {
  const [shown, aiming] = useAimed(queue.waiting);
  return html`
    <${Panel} id="queue" title="Queue" className="span-4 tall"
      hint="Nobody waits longer than predicted; who would is refused at once.">
      <ul class="classes">
        ${queue.classes.map(({ name, waiting, waitMs }) => html`
          <li key=${name} title=${MEANING[name]}>
            <span class="tag class-${name}">${name}</span>
            <span class="figure small">${count(waiting)}</span>
            <span class="sub">${waiting || waitMs > 50 ? `within ${wait(waitMs)}` : "at once"}</span>
          </li>`)}
      </ul>
      ${queue.waiting.length === 0
        ? html`<${Empty} title="Nobody waits">A request that came now would begin at once.<//>`
        : html`
          <div class="scroll" tabindex="0" role="region" aria-label="Waiting requests, in the order of service" ...${aiming}>
            <table>
              <thead><tr><th>#</th><th>Model</th><th class="num">Starts in</th><th><span class="hidden">Cancel</span></th></tr></thead>
              <tbody>
                ${shown.map((one) => html`
                  <tr key=${one.id}>
                    <td class="num">${queue.waiting.indexOf(one) + 1}</td>
                    <td><span class="clip" title=${`${one.id}, key ${one.key}${one.gang ? `, swarm ${one.gang}` : ""}`}>${one.model}</span>
                      <span class="sub">${one.klass}${aged(one)}${one.gang ? " · swarm" : ""}</span></td>
                    <td class="num">${wait(one.waitMs)}</td>
                    <td><button class="quiet icon" aria-label=${`Cancel waiting request ${one.id}`}
                      title="Take it out of the queue"
                      onClick=${() => act(() => cancelRequest(one.requestId), "Taken out of the queue.")}>✕</button></td>
                  </tr>`)}
              </tbody>
            </table>
          </div>`}
    <//>
  `;
});

const aged = (one) => (one.level && one.level !== one.klass ? ` → ${one.level}` : "");
