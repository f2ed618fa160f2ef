// The page: one feed, one store, two views.

import { readHistory } from "./api.js";
import { learn, serverNow } from "./clock.js";
import { Feed } from "./feed.js";
import { History, momentOf } from "./history.js";
import { html, once, render, useCallback, useEffect, useState } from "./html.js";
import { readKey } from "./key.js";
import { Header } from "./panels/header.js";
import { KeyDialog } from "./panels/keydialog.js";
import { Notices } from "./panels/notices.js";
import { Overview } from "./panels/overview.js";
import { Playground } from "./panels/playground.js";
import { Store } from "./store.js";
import { withPieces, withTails } from "./texts.js";
import { startTheme } from "./theme.js";
import { viewOf } from "./view.js";

const TABS = new Set(["overview", "playground"]);

const store = new Store({
  link: { link: "connecting", attempt: 0 }, state: null, texts: {},
});
const history = new History();

const feed = new Feed(`${location.origin.replace(/^http/, "ws")}/dashboard/ws`, {
  link(link) {
    store.set({ link });
    if (link.link === "live") {
      // Without it the charts begin now.
      readHistory().then((rows) => history.fill(rows)).catch(() => {});
    }
  },
  pieces: (pieces) => store.set({ texts: withPieces(store.values.texts, pieces) }),
  tails: (tails) => store.set({ texts: withTails(store.values.texts, tails) }),
  state(state, atMs) {
    learn(atMs);
    store.set({ state });
    history.take(serverNow(), state.windows);
  },
});

const NO_IDS = [];
const NO_REQUESTS = [];
const idsOf = once((models) => models.map((model) => model.id));

function App() {
  const [values, setValues] = useState(store.values);
  const [tab, setTab] = useState(tabOf(location.hash));
  const [asked, setAsked] = useState(null);

  useEffect(() => store.subscribe(setValues), []);
  useEffect(() => {
    const turn = () => setTab(tabOf(location.hash));
    addEventListener("hashchange", turn);
    return () => removeEventListener("hashchange", turn);
  }, []);

  const { link, state, texts } = values;
  const locked = link.link === "locked";
  useEffect(() => {
    if (locked) setAsked(readKey() ? "wrong" : "missing");
  }, [locked]);

  const unlocked = useCallback(() => {
    setAsked(null);
    feed.retry();
  }, []);
  const view = state ? viewOf(state) : null;
  const ids = view ? idsOf(view.models) : NO_IDS;
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <${Header} tab=${tab} link=${link} hasKey=${Boolean(readKey())}
      onKey=${() => setAsked("asked")} onRetry=${() => feed.retry()} />
    ${tab === "playground"
      ? html`<${Playground} ids=${ids} presets=${view?.preferences?.swarm_presets ?? {}}
          requests=${view?.requests ?? NO_REQUESTS} />`
      : html`<${Overview} view=${view} link=${link} texts=${texts} history=${history}
          moment=${momentOf(state?.windows)} ids=${ids} />`}
    <${KeyDialog} wanted=${asked} onDone=${unlocked} onClose=${() => setAsked(null)} />
    <${Notices} />
  `;
}

function tabOf(hash) {
  const name = hash.slice(1);
  return TABS.has(name) ? name : "overview";
}

function skip(event) {
  event.preventDefault(); // the hash names the view
  document.getElementById("main")?.focus();
}

startTheme();
render(html`<${App} />`, document.getElementById("page"));
feed.start();
