// Errors and refusals with their reasons, newest first.

import { clock } from "../format.js";
import { html, still } from "../html.js";
import { Empty, Panel } from "./panel.js";

const MOST_SHOWN = 50;

export const Problems = still(({ problems }) => html`
  <${Panel} id="problems" title="Errors and refusals" className="span-7 tall"
    hint="What did not get an answer, and why. Newest first.">
    ${problems.length === 0
      ? html`<${Empty} title="Nothing went wrong">Refused and failed requests appear here with their reason.<//>`
      : html`<div class="scroll" tabindex="0" role="region" aria-label="Errors and refusals">
          <ul class="problems">
            ${problems.slice(0, MOST_SHOWN).map((one) => html`
              <li key=${one.number}>
                <time>${clock(one.atMs)}</time>
                <span class="status ${one.status >= 500 ? "bad" : "warn"}">${one.status ?? "–"}</span>
                <div><code>${one.code}</code><span class="sub">${one.model ?? one.route}</span>
                  <p>${one.message}</p></div>
              </li>`)}
          </ul>
        </div>`}
  <//>
`);
