"""Short words for JSON Schema (2020-12). Values only."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
TRUTH: Schema = {"type": "boolean"}
ANYTHING: Schema = {}
NULL: Schema = {"type": "null"}
UNIX_S: Schema = {"type": "integer", "description": "Unix time, seconds."}

_MAYBE = "may be absent"  # a mark of ours, gone when the object is made


def ref(name: str) -> Schema:
    """Return a reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def said(schema: Schema, text: str) -> Schema:
    """Return *schema* with a description."""
    return {**schema, "description": text}


def nullable(schema: Schema) -> Schema:
    """Return *schema* or null."""
    kind = schema.get("type")
    if isinstance(kind, str) and "enum" not in schema and "const" not in schema:
        return {**schema, "type": [kind, "null"]}
    if "description" in schema:
        inner = {name: value for name, value in schema.items() if name != "description"}
        return {"anyOf": [inner, NULL], "description": schema["description"]}
    return {"anyOf": [schema, NULL]}


def maybe(schema: Schema) -> Schema:
    """Mark a property that may be absent; only inside of `obj`."""
    return {**schema, _MAYBE: True}


def obj(text: str = "", /, **properties: Schema) -> Schema:
    """Return an object; what is not `maybe` is always there."""
    shown = {
        name.rstrip("_"): {key: value for key, value in schema.items() if key != _MAYBE}
        for name, schema in properties.items()
    }
    required = [name.rstrip("_") for name, schema in properties.items() if _MAYBE not in schema]
    schema: Schema = {"type": "object", "properties": shown}
    if required:
        schema["required"] = required
    return said(schema, text) if text else schema


def listing(of: Schema, text: str = "") -> Schema:
    """Return an array."""
    schema: Schema = {"type": "array", "items": of}
    return said(schema, text) if text else schema


def mapping(of: Schema, text: str = "") -> Schema:
    """Return an object that is keyed by something: an id, a name."""
    schema: Schema = {"type": "object", "additionalProperties": of}
    return said(schema, text) if text else schema


def const(value: object) -> Schema:
    """Return what has only one value."""
    return {"const": value}


def one_of(*values: str) -> Schema:
    """Return one of some words."""
    return {"type": "string", "enum": list(values)}


def either(*schemas: Schema, text: str = "") -> Schema:
    """Return what is any of these."""
    schema: Schema = {"anyOf": list(schemas)}
    return said(schema, text) if text else schema
