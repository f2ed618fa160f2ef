// The actor tree itself: what lives, how much it has to read, how often it died.

import { count } from "../format.js";
import { html, still } from "../html.js";
import { Empty, Panel, State } from "./panel.js";

export const Actors = still(({ actors }) => html`
  <${Panel} id="actors" title="Actors" className="span-5 tall"
    hint="Everything that waits, loads or answers is one of these.">
    ${actors.length === 0
      ? html`<${Empty} title="No actor is known">The server did not say.<//>`
      : html`<div class="scroll" tabindex="0" role="region" aria-label="Actor tree">
          <div class="tree-head sub" aria-hidden="true"><span>name</span><span>mailbox</span><span>restarts</span><span>state</span></div>
          <ul class="tree">${actors.map((actor) => html`<${Node} key=${actor.name} actor=${actor} />`)}</ul>
        </div>`}
  <//>
`);

const Node = ({ actor }) => html`
  <li>
    <div class="node" title=${actor.error ?? ""}>
      <span class="name">${actor.name}</span>
      <span class="num ${actor.depth > 100 ? "warn-text" : actor.depth ? "" : "faint"}"
        aria-label=${`mailbox ${actor.depth}`}>${count(actor.depth)}</span>
      <span class="num ${actor.restarts ? "warn-text" : "faint"}"
        aria-label=${`restarts ${actor.restarts}`}>${count(actor.restarts)}</span>
      <${State} state=${actor.state} />
    </div>
    ${actor.children.length > 0 && html`
      <ul>${actor.children.map((child) => html`<${Node} key=${child.name} actor=${child} />`)}</ul>`}
  </li>
`;
