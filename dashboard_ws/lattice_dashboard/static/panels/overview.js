// One screen that explains itself.

import { html } from "../html.js";
import { serverNow } from "../clock.js";
import { Actors } from "./actors.js";
import { Models } from "./models.js";
import { Preferences } from "./preferences.js";
import { Problems } from "./problems.js";
import { Queue } from "./queue.js";
import { Requests } from "./requests.js";
import { Stats } from "./stats.js";
import { Swarms } from "./swarms.js";
import { Trends } from "./trends.js";
import { Upstreams } from "./upstreams.js";

const NOTHING = {
  actors: [], models: [], requests: [], queue: { classes: [], waiting: [] }, swarms: [], upstreams: [], egress: [], problems: [], preferences: null,
  memory: null, totals: null,
};

export function Overview({ view, link, texts, history, moment, ids }) {
  const shown = view ?? NOTHING;
  const away = view === null || link.link !== "live";
  const running = shown.models.reduce((sum, model) => sum + model.running, 0);
  const slots = slotsOf(shown.models.filter((model) => model.running));
  return html`
    <main class="overview ${away ? "away" : ""}" id="main" tabindex="-1" aria-busy=${view === null}>
      <h1 class="hidden">Overview</h1>
      ${away && html`<p class="banner" role="status">${whyAway(view, link)}</p>`}
      <${Stats} now=${moment} memory=${shown.memory} running=${running} slots=${slots}
        waiting=${shown.queue.waiting.length} nextMs=${longest(shown.queue.waiting)} totals=${totalsOf(shown)} />
      <${Requests} requests=${shown.requests} />
      <${Queue} queue=${shown.queue} />
      <${Models} models=${shown.models} budget=${shown.memory?.budget_bytes ?? null} />
      <${Upstreams} upstreams=${shown.upstreams} egress=${shown.egress} />
      <${Trends} history=${history} />
      <${Swarms} swarms=${shown.swarms} texts=${texts} />
      <${Actors} actors=${shown.actors} />
      <${Problems} problems=${shown.problems} />
      <${Preferences} preferences=${shown.preferences} ids=${ids} />
    </main>
  `;
}

/** The slots of models that answer; null where one has no bound, as elsewhere. */
const slotsOf = (models) =>
  models.some((model) => !model.slots) ? null : models.reduce((sum, model) => sum + model.slots, 0);

const longest = (waiting) =>
  waiting.length ? Math.max(...waiting.map((one) => serverNow() - (one.arrivedMs ?? serverNow()))) : null;

const totalsOf = (view) => ({
  tokens: view.totals?.tokens ?? null,
  requests: view.totals?.requests ?? null,
});

function whyAway(view, { link }) {
  if (link === "locked") return "This server has a key. Enter it to see what happens here.";
  if (view === null) return link === "waiting" ? "The server does not answer. Trying again." : "Connecting …";
  return "The connection is gone. What you see is the last that was known; it comes back by itself.";
}
