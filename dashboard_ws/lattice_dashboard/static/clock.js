// The server's clock, as far as this page knows it: times in State are the server's.

import { useEffect, useState } from "./html.js";

let offsetMs = 0;

/** Learn from a snapshot that says when it was made. */
export function learn(serverNowMs) {
  if (typeof serverNowMs === "number") offsetMs = serverNowMs - Date.now();
}

export const serverNow = () => Date.now() + offsetMs;

/** The time, again and again while `running`: what grows on the screen grows by this. */
export function useNow(running, everyMs = 200) {
  const [now, setNow] = useState(serverNow);
  useEffect(() => {
    if (!running) return undefined;
    const timer = setInterval(() => setNow(serverNow()), everyMs);
    return () => clearInterval(timer);
  }, [running, everyMs]);
  return running ? Math.max(now, serverNow()) : serverNow();
}
