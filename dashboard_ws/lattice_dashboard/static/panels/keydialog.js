// Asking for the key, kindly.

import { ask } from "../api.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { readKey, writeKey } from "../key.js";

/** `wanted`: why it opened ("missing", "wrong", "asked"), or null for closed. */
export function KeyDialog({ wanted, onDone, onClose }) {
  const dialog = useRef(null);
  const [typed, setTyped] = useState("");
  const [trouble, setTrouble] = useState("");
  const [busy, setBusy] = useState(false);

  useEffect(() => {
    if (wanted && !dialog.current.open) {
      setTyped("");
      setTrouble(wanted === "wrong" ? WRONG : "");
      dialog.current.showModal();
    }
    if (!wanted && dialog.current.open) dialog.current.close();
  }, [wanted]);

  const enter = async (event) => {
    event.preventDefault();
    const before = readKey();
    writeKey(typed.trim());
    setBusy(true);
    try {
      await ask("/v1/models");
      onDone();
    } catch (error) {
      writeKey(before);
      setTrouble(error.status === 401 ? WRONG : error.message);
    } finally {
      setBusy(false);
    }
  };

  return html`
    <dialog ref=${dialog} class="key-dialog" aria-labelledby="key-title" onClose=${onClose}>
      <form onSubmit=${enter}>
        <h2 id="key-title">${wanted === "asked" ? "The API key" : "This server has a key"}</h2>
        <p>It is the one the server was started with (<code>LATTICE_API_KEY</code>). It stays in this
          tab and is forgotten when the tab is closed.</p>
        <label>Key
          <input type="password" autocomplete="current-password" value=${typed}
            aria-invalid=${trouble ? "true" : undefined} aria-describedby="key-trouble"
            onInput=${({ target }) => setTyped(target.value)} />
        </label>
        <p id="key-trouble" class="bad-text" role="alert">${trouble}</p>
        <div class="actions">
          <button class="primary" type="submit" disabled=${busy || !typed.trim()}>Unlock</button>
          <button type="button" onClick=${() => dialog.current.close()}>Not now</button>
        </div>
      </form>
    </dialog>
  `;
}

const WRONG = "That is not the key of this server.";
