// The WebSocket: a snapshot, then numbered deltas; reconnects by itself, with back-off.
//
// It tells `on.link({link, retryAtMs, attempt, reason})`, `on.state(state, atMs)`, `on.pieces(pieces)` and
// `on.tails(tails)` of what swarms say. Links: "connecting", "live", "waiting" (for the next
// attempt), "locked" (the key is missing or wrong; waits for `retry`).

import { delay } from "./backoff.js";
import { readKey } from "./key.js";
import { merge } from "./merge.js";

const SILENCE_MS = 35_000; // heartbeats come far more often; beyond this the connection is dead
const LOCKED = 4401; // the close code for a key that is missing or wrong

export class Feed {
  #socket = null;
  #timer = null;
  #watch = null;
  #attempt = 0;
  #state = null;
  #seq = -1;
  #live = false; // a snapshot has come over this connection

  constructor(url, on) {
    this.url = url;
    this.on = on;
  }

  start() {
    this.#open();
    addEventListener("online", () => this.retry());
  }

  /** Connect at once: with another key, or because somebody asked. */
  retry() {
    clearTimeout(this.#timer);
    this.#attempt = 0;
    this.#drop();
    this.#open();
  }

  #open() {
    this.on.link({ link: "connecting", attempt: this.#attempt });
    this.#live = false;
    const socket = new WebSocket(this.url);
    this.#socket = socket;
    socket.onopen = () => socket.send(JSON.stringify({ type: "key", key: readKey() }));
    socket.onmessage = ({ data }) => this.#heard(socket, data);
    socket.onclose = ({ code, reason }) => socket === this.#socket && this.#lost(code, reason);
    this.#listen();
  }

  #heard(socket, data) {
    if (socket !== this.#socket) return;
    this.#listen();
    const message = JSON.parse(data);
    if (message.type === "snapshot") this.#fresh(message);
    else if (message.type === "delta") this.#change(message);
    else if (message.type === "swarm") this.on.pieces(message.events);
    else if (message.type === "swarm_snapshot") this.on.tails(message.swarms);
  }

  #fresh({ seq, at_ms: atMs, state }) {
    this.#attempt = 0;
    this.#seq = seq;
    this.#state = state;
    if (!this.#live) this.on.link({ link: "live", attempt: 0 });
    this.#live = true;
    this.on.state(state, atMs);
  }

  #change({ seq, base, at_ms: atMs, patch }) {
    if (base !== this.#seq) {
      this.retry(); // something was missed: only a snapshot helps
      return;
    }
    this.#seq = seq;
    this.#state = merge(this.#state, patch);
    this.on.state(this.#state, atMs);
  }

  /** Start the clock of silence anew. */
  #listen() {
    clearTimeout(this.#watch);
    this.#watch = setTimeout(() => {
      this.#drop();
      this.#lost(1006, "nothing came for too long");
    }, SILENCE_MS);
  }

  #lost(code, reason) {
    clearTimeout(this.#watch);
    this.#socket = null;
    if (code === LOCKED) {
      this.on.link({ link: "locked", reason });
      return;
    }
    const after = delay(this.#attempt);
    this.#attempt += 1;
    const retryAtMs = Date.now() + after;
    this.on.link({ link: "waiting", attempt: this.#attempt, retryAtMs, reason });
    this.#timer = setTimeout(() => this.#open(), after);
  }

  #drop() {
    clearTimeout(this.#watch);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }
}
