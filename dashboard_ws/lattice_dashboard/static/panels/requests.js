// Requests as bars: where the time of each went. One axis for all, so that lengths compare.

import { cancelRequest } from "../api.js";
import { serverNow, useNow } from "../clock.js";
import { clock, count, duration, rate } from "../format.js";
import { html, still } from "../html.js";
import { useAimed } from "../steady.js";
import { PHASES, inWords, pieces, span, ticks } from "../timeline.js";
import { act } from "./notices.js";
import { Empty, Panel } from "./panel.js";

export const MOST_ROWS = 40;

const Legend = () => html`
  <ul class="legend" aria-label="Colours of the phases">
    ${PHASES.map((phase) => html`<li key=${phase}><i class="phase-${phase}"></i>${phase}</li>`)}
  </ul>
`;

export const Requests = still(({ requests }) => {
  const [steady, aiming] = useAimed(requests);
  const shown = steady.slice(0, MOST_ROWS);
  const running = shown.filter((request) => request.endedMs === null);
  const now = useNow(running.length > 0);
  const long = Math.max(1000, ...shown.map((one) => (one.endedMs ?? now) - one.arrivedMs));
  const length = span(long);
  return html`
    <${Panel} id="requests" title="Requests" className="span-8 tall"
      hint="Each bar is one request, from its arrival. Hover or focus for the numbers."
      aside=${html`<${Legend} />`}>
      ${shown.length === 0
        ? html`<${Empty} title="Nothing has been asked yet">
            Send a chat to <code>/v1/chat/completions</code>, or try${" "}
            the <a href="#playground">playground</a>.
          <//>`
        : html`
          <div class="axis" aria-hidden="true">
            ${ticks(length).map(({ at, ms }) => html`
              <span key=${at} style=${{ left: `${at * 100}%` }}>${ms ? duration(ms) : "0"}</span>`)}
          </div>
          <ul class="rows scroll" tabindex="0" aria-label="Requests, running ones first" ...${aiming}>
            ${shown.map((request) => html`
              <${Row} key=${request.id} request=${request} length=${length}
                now=${request.endedMs === null ? now : 0} />`)}
          </ul>`}
    <//>
  `;
});

const Row = still(({ request, length, now }) => {
  const parts = pieces(request, now || serverNow());
  const words = inWords(parts, duration);
  const ended = request.endedMs !== null;
  return html`
    <li class="request ${ended ? "ended" : "going"} ${request.error ? "failed" : ""}">
      <div class="who">
        <span class="model" title=${request.resolution ?? request.spec ?? ""}>
          ${request.model ?? request.spec ?? "…"}
        </span>
        <span class="sub"><span class="tag class-${request.klass}">${request.klass ?? "new"}</span>
          <time>${clock(request.arrivedMs)}</time>${request.swarm && html`<span>${partOf(request.swarm)}</span>`}</span>
      </div>
      <div class="track" role="img" tabindex="0" aria-label=${`${request.id}: ${words}`} title=${words}>
        ${parts.map(({ phase, from, to }) => html`
          <i key=${phase} class="piece phase-${phase}"
             style=${{ left: `${(from / length) * 100}%`, width: `${((to - from) / length) * 100}%` }}>
            ${phase === "prefill" && !ended && request.prefill?.total
              ? html`<b style=${{ width: `${(request.prefill.done / request.prefill.total) * 100}%` }}></b>`
              : null}
          </i>`)}
      </div>
      <div class="what">${ended ? outcome(request) : progress(request, now)}</div>
      <div class="do">
        ${!ended && html`
          <button class="quiet icon" title=${request.swarm ? "Cancel the whole swarm" : "Cancel this request"}
            aria-label=${`Cancel request ${request.id}`}
            onClick=${() => act(() => cancelRequest(request.requestId), "Cancelled.")}>✕</button>`}
      </div>
    </li>
  `;
});

const partOf = ({ branch }) => (branch === undefined ? "judge" : `branch ${branch + 1}`);

function progress(request, now) {
  if (request.firstMs !== null) {
    const seconds = (now - request.firstMs) / 1000;
    const speed = request.tokens > 1 && seconds > 0.2 ? rate(request.tokens / seconds) : "…";
    return html`<span>${count(request.tokens)} tok</span><span class="sub">${speed} tok/s</span>`;
  }
  if (request.grantedMs !== null) {
    const { done, total } = request.prefill ?? {};
    return html`<span>prefill</span>
      <span class="sub">${total ? `${count(done)} / ${count(total)}` : "…"}</span>`;
  }
  return html`<span>${request.phase}</span>
    <span class="sub">${duration(now - request.arrivedMs)}</span>`;
}

function outcome(request) {
  const total = duration(request.endedMs - request.arrivedMs);
  if (request.error) {
    return html`<span class="bad-text" title=${request.error.message}>${request.error.code}</span>
      <span class="sub">${total}</span>`;
  }
  const seconds = (request.endedMs - request.firstMs) / 1000;
  const speed = request.firstMs !== null && request.tokens > 1 && seconds > 0
    ? `${rate(request.tokens / seconds)} tok/s`
    : request.outcome ?? "";
  return html`<span>${count(request.tokens)} tok · ${total}</span><span class="sub">${speed}</span>`;
}
