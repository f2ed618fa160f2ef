// The top of the page: where one is, how the connection does, theme and key.

import { html, useEffect, useState } from "../html.js";
import { toggleTheme } from "../theme.js";

const Mark = () => html`
  <svg class="mark" viewBox="0 0 24 24" aria-hidden="true">
    <path d="M12 3 20 8v8l-8 5-8-5V8zM12 3v18M4 8l16 8M20 8 4 16" />
    <circle cx="12" cy="12" r="2.6" />
  </svg>
`;

const Moon = () => html`
  <svg viewBox="0 0 16 16" aria-hidden="true"><path d="M13.5 9.6A5.8 5.8 0 0 1 6.4 2.5a5.8 5.8 0 1 0 7.1 7.1z" /></svg>
`;

const Key = () => html`
  <svg viewBox="0 0 16 16" aria-hidden="true"><circle cx="5" cy="11" r="2.8" /><path d="m7 9 6-6m-2.4 2.4 2 2" /></svg>
`;

export function Header({ tab, link, onKey, onRetry, hasKey }) {
  const to = (name, label) => html`
    <a href=${`#${name}`} aria-current=${tab === name ? "page" : undefined}>${label}</a>`;
  return html`
    <header class="top">
      <a class="brand" href="#overview"><${Mark} /><b>lattice</b><span>trio</span></a>
      <nav aria-label="Views">${to("overview", "Overview")}${to("playground", "Playground")}</nav>
      <div class="tools">
        <${Link} link=${link} onRetry=${onRetry} />
        <button class="quiet icon" title="Enter the API key" aria-label="Enter the API key"
          aria-pressed=${hasKey} onClick=${onKey}><${Key} /></button>
        <button class="quiet icon" title="Dark or light" aria-label="Switch between dark and light"
          onClick=${toggleTheme}><${Moon} /></button>
      </div>
    </header>
  `;
}

const WORDS = { connecting: "Connecting", live: "Live", locked: "Key needed" };
const TONE = { connecting: "busy", live: "good", locked: "bad", waiting: "warn" };

function Link({ link, onRetry }) {
  const left = useSecondsTo(link.link === "waiting" ? link.retryAtMs : null);
  const words = WORDS[link.link] ?? html`<span class="at-ease">Reconnecting </span>in ${left} s`;
  return html`
    <div class="link" role="status" title=${link.reason ?? ""}>
      <span class="state ${TONE[link.link]}"><i></i><span>${words}</span></span>
      ${link.link === "waiting" && html`<button class="quiet" onClick=${onRetry}>Now</button>`}
    </div>
  `;
}

function useSecondsTo(atMs) {
  const [, draw] = useState(0);
  useEffect(() => {
    if (atMs === null) return undefined;
    const timer = setInterval(() => draw((n) => n + 1), 500);
    return () => clearInterval(timer);
  }, [atMs]);
  return atMs === null ? 0 : Math.max(0, Math.ceil((atMs - Date.now()) / 1000));
}
