"""The difference of two JSON documents as a merge patch (RFC 7396). Pure.

A merge patch says "gone" with null and replaces arrays whole. So a document that is to be patched
has no null in its objects, and whatever changes one by one in it is an object keyed by id.
"""

from __future__ import annotations

from typing import Any, TypeAlias

Document: TypeAlias = dict[str, Any]


def without_nulls(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return *value* less the members of objects that are null; arrays keep theirs."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return value


def difference(before: Document, after: Document) -> Document:
    """Return the patch that makes *after* of *before*; neither has a null in an object."""
    patch: Document = {}
    for key, new in after.items():
        old = before.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            inner = difference(old, new)
            if inner:
                patch[key] = inner
        elif type(old) is not type(new) or old != new:
            patch[key] = new
    for key in before:
        if key not in after:
            patch[key] = None
    return patch


def apply(document: Document, patch: Document) -> Document:
    """Return *document* with *patch* applied; both stay as they are."""
    result = dict(document)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            old = result.get(key)
            result[key] = apply(old if isinstance(old, dict) else {}, value)
        else:
            result[key] = value
    return result
