// Other servers that answer here, and what has left this machine.

import { serverNow } from "../clock.js";
import { bytes, count, wait } from "../format.js";
import { html, still } from "../html.js";
import { Panel, State } from "./panel.js";

/** Only where there is any: most houses answer alone. */
export const Upstreams = still(({ upstreams, egress }) => upstreams.length > 0 && html`
  <${Panel} id="upstreams" title="Upstreams" className="span-12"
    hint="Other servers whose models answer here, and what has been sent to them.">
    <div class="elsewhere">
      <ul aria-label="Upstreams">
        ${upstreams.map((one) => html`
          <li key=${one.name} class="upstream" aria-label=${one.name}>
            <div class="card-head"><h3 title=${one.url}>${one.name}</h3><${State} state=${one.state} /></div>
            <p class="sub whole">${one.reason ? down(one) : `${one.kind} at ${one.url}`}</p>
            <dl class="facts">
              <div><dt>Models</dt><dd>${count(one.models)}</dd></div>
              <div><dt>Running</dt><dd>${count(one.running)}<small>${one.limit ? ` of ${one.limit}` : ""}</small></dd></div>
              <div><dt>Answered</dt><dd>${count(one.answered)}</dd></div>
              <div><dt>Failed</dt><dd class=${one.failed ? "warn-text" : ""}>${count(one.failed)}</dd></div>
              <div title="How often it was set aside of late, after failures in a row"><dt>Ejected</dt>
                <dd class=${one.ejections ? "warn-text" : ""}>${count(one.ejections)}</dd></div>
            </dl>
          </li>`)}
      </ul>
      <${Egress} rows=${egress} />
    </div>
  <//>
`);

const down = ({ reason, retryAtMs }) =>
  retryAtMs === null ? reason : `${reason}; looked at again ${inTime(retryAtMs - serverNow())}`;

const inTime = (ms) => (ms < 1000 ? "now" : `in ${wait(ms)}`);

const Egress = ({ rows }) => html`
  <div class="scroll" tabindex="0" role="region" aria-label="What left this machine">
    <table class="egress">
      <thead><tr><th>Sent to</th><th class="num">Requests</th><th class="num">Sent</th><th class="num">Received</th></tr></thead>
      <tbody>
        ${rows.map((one) => html`
          <tr key=${one.id}>
            <td><span class="clip" title=${one.host}>${one.host}</span>
              <span class="sub">${one.upstream}, ${one.answers ? "callers\u2019 requests" : "lists of models"}</span></td>
            <td class="num">${count(one.requests)}</td>
            <td class="num">${bytes(one.sent)}</td>
            <td class="num">${bytes(one.received)}</td>
          </tr>`)}
      </tbody>
    </table>
  </div>
`;
