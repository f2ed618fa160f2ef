// Short messages about what somebody just did; read out by screen readers.

import { ApiError } from "../api.js";
import { html, useEffect, useState } from "../html.js";

const SHOWN_MS = 6000;
const listeners = new Set();
let number = 0;

export function notice(text, tone = "good") {
  number += 1;
  for (const listener of listeners) listener({ number, text, tone });
}

/** Do something for a click; say how it ended. Returns whether it went well. */
export async function act(doing, done) {
  try {
    const answer = await doing();
    notice(typeof done === "function" ? done(answer) : done);
    return true;
  } catch (error) {
    notice(sentence(error), "bad");
    return false;
  }
}

/** What went wrong, for people. */
export function sentence(error) {
  if (!(error instanceof ApiError)) return `Something is wrong with this page: ${error.message}`;
  if (error.status === 401) return "The server wants a key, or another key than this one.";
  const again = error.retryAfterS ? ` It may work in ${error.retryAfterS} s.` : "";
  return `${error.message}${again}`;
}

export function Notices() {
  const [shown, setShown] = useState([]);
  useEffect(() => {
    const add = (one) => {
      setShown((before) => [...before.slice(-2), one]);
      setTimeout(() => setShown((now) => now.filter((other) => other !== one)), SHOWN_MS);
    };
    listeners.add(add);
    return () => listeners.delete(add);
  }, []);
  return html`
    <div class="notices" role="status" aria-live="polite">
      ${shown.map((one) => html`<p key=${one.number} class="notice ${one.tone}">${one.text}</p>`)}
    </div>
  `;
}
