"""Schemas of the structs that decode bodies, so that the reference cannot differ from the code.

`msgspec.json.schema_components` stops at a field whose default is `Raw()`, and bodies keep what
they decode later in such fields. So the types are walked here, and what a raw field holds is
looked up in *raw*.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import msgspec
from msgspec import inspect

from .shapes import NULL, Schema, ref


@attrs.define
class Described:
    """The schemas of structs and of those inside them, by name."""

    prefix: str = ""  # of the names: two wires may have a `Message`
    raw: Mapping[str, Schema] = attrs.field(factory=dict[str, Schema])  # "Struct.field", "field"
    texts: Mapping[str, str] = attrs.field(factory=dict[str, str])  # the same keys, and "Struct"
    schemas: dict[str, Schema] = attrs.field(init=False, factory=dict[str, Schema])

    def add(self, *structs: type[msgspec.Struct]) -> dict[str, Schema]:
        """Describe *structs*; return all schemas so far."""
        for struct in structs:
            self._of(inspect.type_info(struct))
        return self.schemas

    def _struct(self, info: inspect.StructType) -> Schema:
        own = info.cls.__name__
        name = own if own.startswith(self.prefix) else self.prefix + own
        if name not in self.schemas:
            self.schemas[name] = {}  # it may be inside of itself
            properties: dict[str, Schema] = {}
            if info.tag_field is not None:
                properties[info.tag_field] = {"const": info.tag}
            for field in info.fields:
                properties[field.encode_name] = self._field(own, field)
            required = [field.encode_name for field in info.fields if field.required]
            if info.tag_field is not None:
                required.insert(0, info.tag_field)
            schema: Schema = {"type": "object", "properties": properties}
            if required:
                schema["required"] = required
            if own in self.texts:
                schema["description"] = self.texts[own]
            self.schemas[name] = schema
        return ref(name)

    def _field(self, struct: str, field: inspect.Field) -> Schema:
        places = (f"{struct}.{field.encode_name}", field.encode_name)
        if isinstance(field.type, inspect.RawType):
            schema = next((self.raw[place] for place in places if place in self.raw), {})
        else:
            schema = self._of(field.type)
        text = next((self.texts[place] for place in places if place in self.texts), None)
        return schema if text is None else {**schema, "description": text}

    def _of(self, info: inspect.Type) -> Schema:
        match info:
            case inspect.StructType():
                return self._struct(info)
            case inspect.StrType():
                return _bounded("string", minLength=info.min_length, maxLength=info.max_length)
            case inspect.IntType():
                return _bounded("integer", minimum=info.ge, maximum=info.le)
            case inspect.FloatType():
                bounds = {"minimum": info.ge, "exclusiveMinimum": info.gt, "maximum": info.le}
                return _bounded("number", **bounds)
            case inspect.BoolType():
                return {"type": "boolean"}
            case inspect.NoneType():
                return dict(NULL)
            case inspect.LiteralType():
                return {"enum": list(info.values)}
            case inspect.ListType():
                items = {"items": self._of(info.item_type)}
                return _bounded(
                    "array", **items, minItems=info.min_length, maxItems=info.max_length
                )
            case inspect.DictType():
                return self._dict(info)
            case inspect.UnionType():
                return _any_of([self._of(one) for one in info.types])
            case inspect.AnyType() | inspect.RawType():
                return {}
            case _:
                raise TypeError(f"no schema for {info}")

    def _dict(self, info: inspect.DictType) -> Schema:
        values = self._of(info.value_type)
        schema = _bounded("object", maxProperties=info.max_length)
        if isinstance(info.key_type, inspect.StrType) and info.key_type.max_length is not None:
            schema["propertyNames"] = {"maxLength": info.key_type.max_length}
        return schema | ({"additionalProperties": values} if values else {})


def _bounded(kind: str, **bounds: object) -> Schema:
    return {"type": kind} | {name: value for name, value in bounds.items() if value is not None}


def _any_of(schemas: list[Schema]) -> Schema:
    """Join what can be joined: a plain type and null are one schema."""
    others = [schema for schema in schemas if schema != NULL]
    if len(others) == 1 and len(schemas) == 2:
        [schema] = others
        if "enum" in schema:
            return {**schema, "enum": [*schema["enum"], None]}
        if isinstance(schema.get("type"), str):
            return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": schemas}
