// The API key of this tab: kept in session storage, so it goes when the tab is closed.

const NAME = "lattice-key";

export function readKey() {
  try {
    return sessionStorage.getItem(NAME) ?? "";
  } catch {
    return kept; // storage is switched off
  }
}

let kept = "";

export function writeKey(key) {
  kept = key;
  try {
    if (key) sessionStorage.setItem(NAME, key);
    else sessionStorage.removeItem(NAME);
  } catch {
    // kept above, until the page is left
  }
}
