// The frame that all parts of the screen share.

import { html } from "../html.js";

/** A landmark with a heading, a line that explains it, and room for more beside. */
export function Panel({ id, title, hint, aside, className = "", children }) {
  return html`
    <section class="panel ${className}" aria-labelledby=${`${id}-title`} id=${id}>
      <header class="panel-head">
        <div>
          <h2 id=${`${id}-title`}>${title}</h2>
          ${hint && html`<p class="hint">${hint}</p>`}
        </div>
        ${aside && html`<div class="panel-aside">${aside}</div>`}
      </header>
      ${children}
    </section>
  `;
}

/** What is shown where there is nothing yet, and why. */
export function Empty({ title, children }) {
  return html`<div class="empty"><strong>${title}</strong><span>${children}</span></div>`;
}

/** A filled share of a line; `share` from 0 to 1. */
export function Bar({ share, label, tone = "" }) {
  const width = `${Math.min(100, Math.max(0, (share || 0) * 100)).toFixed(2)}%`;
  return html`
    <div class="bar ${tone}" role="meter" aria-label=${label} aria-valuemin="0" aria-valuemax="100"
         aria-valuenow=${Math.round((share || 0) * 100)}>
      <i style=${{ width }}></i>
    </div>
  `;
}

const TONES = {
  won: "good", decided: "good", wrote: "good", answered: "good", answering: "good", reading: "busy", cut: "warn",
  ready: "good", up: "good", trial: "warn", down: "bad", unavailable: "bad", running: "good", ok: "good", live: "good", done: "good", finished: "good",
  loading: "busy", starting: "busy", wanted: "busy", restarting: "warn", draining: "warn",
  stopping: "warn", "backing off": "warn", quarantined: "bad", failed: "bad",
};

/** A state as a coloured dot and its word. */
export function State({ state }) {
  return html`<span class="state ${TONES[state] ?? "idle"}"><i></i>${state}</span>`;
}
