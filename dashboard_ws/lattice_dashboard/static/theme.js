// Dark or light: as the system says, until somebody chooses.

const NAME = "lattice-theme";
const dark = matchMedia("(prefers-color-scheme: dark)");

export function theme() {
  return document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light");
}

function remembered() {
  try {
    return localStorage.getItem(NAME);
  } catch {
    return null;
  }
}

export function startTheme() {
  const chosen = remembered();
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
}

export function toggleTheme() {
  const next = theme() === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem(NAME, next);
  } catch {
    // the choice holds until the page is left
  }
  dispatchEvent(new Event("theme"));
}

/** Call `listener` when the colours change; returns what ends it. */
export function onTheme(listener) {
  dark.addEventListener("change", listener);
  addEventListener("theme", listener);
  return () => {
    dark.removeEventListener("change", listener);
    removeEventListener("theme", listener);
  };
}
