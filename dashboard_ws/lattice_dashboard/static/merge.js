// RFC 7396 JSON merge patch. Pure: neither argument is changed, and whatever a patch does not
// touch stays the same object, so that panels can tell by identity what is new.

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

/** Return `target` as `patch` leaves it; null removes a member. */
export function merge(target, patch) {
  if (!isObject(patch)) return patch;
  const merged = isObject(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (name === "__proto__") continue; // would set the prototype, not a member
    if (value === null) delete merged[name];
    else merged[name] = merge(merged[name], value);
  }
  return merged;
}
