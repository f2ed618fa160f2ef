// Lists whose rows keep their places, so that nobody presses what has just slid under the pointer.

import { useRef } from "./html.js";

const AIMS_MS = 2000; // so long after it moved, a pointer may be about to press

/** Return `items` in the order of the ids `before`; those that are new come last. Pure. */
export function inPlace(items, before) {
  const places = new Map(before.map((id, index) => [id, index]));
  const placeOf = ({ id }) => places.get(id) ?? places.size;
  return [...items].sort((a, b) => placeOf(a) - placeOf(b));
}

/** Items that keep their places for as long as the page shows them. */
export function useSteady(items) {
  const order = useRef([]);
  const shown = inPlace(items, order.current);
  order.current = shown.map(({ id }) => id);
  return shown;
}

/** Items that keep their places while a pointer moves over them; and what notices that. */
export function useAimed(items) {
  const order = useRef([]);
  const moved = useRef(-Infinity);
  const aims = performance.now() - moved.current < AIMS_MS;
  const shown = aims ? inPlace(items, order.current) : items;
  order.current = shown.map(({ id }) => id);
  return [shown, {
    onPointerMove: () => { moved.current = performance.now(); },
    onPointerLeave: () => { moved.current = -Infinity; },
  }];
}
