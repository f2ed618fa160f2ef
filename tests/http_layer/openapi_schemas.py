"""The reference as tests use it: validators of single schemas, and a stricter copy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]


def complaints(document: dict[str, Any], schema: dict[str, Any], value: object) -> list[str]:
    """What *schema*, which may refer to others of *document*, has against *value*."""
    whole = {**schema, "components": document["components"]}
    found = Draft202012Validator(whole).iter_errors(value)
    return [f"{error.json_path}: {error.message[:300]}" for error in found]


def strict(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """Return *schema* in which objects have only the properties that are named.

    Clients may meet new fields at any time; our own answers have none that is not described.
    """
    if isinstance(schema, list):
        return [strict(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: strict(inner) for name, inner in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


def resolved(document: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """Return what *part* refers to, if it is a reference."""
    while "$ref" in part:
        found: Any = document
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        part = found
    return part


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield method, path and operation of all routes."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def events(text: str) -> Iterator[tuple[str, Any]]:
    """Yield the events of a stream as name and JSON; comments and ``[DONE]`` are left out."""
    for frame in text.split("\n\n"):
        lines = [line for line in frame.split("\n") if line and not line.startswith(":")]
        fields = dict(line.split(": ", 1) for line in lines)
        if "data" in fields and fields["data"] != "[DONE]":
            yield fields.get("event", "data"), json.loads(fields["data"])
