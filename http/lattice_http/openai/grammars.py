"""What an answer must keep to: ``response_format``, and vLLM's names for more than JSON.

Only the form is checked here. Whether a grammar makes sense, the engine says before it begins.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw

from lattice_actors.generation import Grammar

from .bodies import OBJECT, decode_part, is_null, wrong

MAX_GRAMMAR_BYTES = 64 * 1024  # of UTF-8; compiling takes a fraction of a second up to here
MAX_CHOICES = 1000

GrammarText = Annotated[str, Meta(min_length=1, max_length=MAX_GRAMMAR_BYTES)]
ChoiceTexts = Annotated[
    list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1, max_length=MAX_CHOICES)
]


class JsonSchema(msgspec.Struct, frozen=True):
    """The ``json_schema`` object of a ``response_format``. A schema is kept to, strict or not."""

    schema: Raw
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct, frozen=True):
    """The ``response_format`` object."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


_TEXT: msgspec.json.Decoder[str] = msgspec.json.Decoder(str)


def read_grammar(
    response_format: ResponseFormat | None,
    guided_json: Raw,
    guided_regex: str | None,
    guided_choice: list[str] | None,
    guided_grammar: str | None,
) -> Grammar | None:
    """Return the one grammar that is asked for, if any. Raises `BadRequest`."""
    found: list[Grammar] = []
    if response_format is not None and response_format.type != "text":
        found.append(_of_format(response_format))
    if not is_null(guided_json):
        text = bytes(guided_json)
        if text[:1] == b'"':  # vLLM takes the schema as a text, too
            text = decode_part(text, _TEXT, "guided_json").encode(errors="replace")
        found.append(schema_grammar(text, "guided_json", "guided_json"))
    if guided_regex is not None:
        found.append(Grammar("regex", guided_regex, "guided_regex"))
    if guided_choice is not None:
        texts = msgspec.json.encode(guided_choice).decode()
        found.append(Grammar("choice", texts, "guided_choice"))
    if guided_grammar is not None:
        found.append(Grammar("grammar", guided_grammar, "guided_grammar"))
    if len(found) > 1:
        raise wrong(found[1].param, f"an answer cannot keep to {found[0].param} as well")
    for grammar in found:
        if len(grammar.text.encode(errors="replace")) > MAX_GRAMMAR_BYTES:
            raise wrong(grammar.param, f"more than {MAX_GRAMMAR_BYTES} bytes")
    return found[0] if found else None


def _of_format(response_format: ResponseFormat) -> Grammar:
    name = "response_format"
    if response_format.type == "json_object":
        return Grammar("json_schema", '{"type":"object"}', name)
    if response_format.json_schema is None:
        raise wrong(f"{name}.json_schema", "required with this type")
    return schema_grammar(response_format.json_schema.schema, f"{name}.json_schema.schema", name)


def schema_grammar(schema: bytes | Raw, where: str, param: str) -> Grammar:
    """Return the grammar of the JSON schema at *where*; *param* is the field to blame later.

    Raises:
        BadRequest: it is no JSON object, or too large.
    """
    text = bytes(schema)
    if len(text) > MAX_GRAMMAR_BYTES:
        raise wrong(param, f"more than {MAX_GRAMMAR_BYTES} bytes")
    decode_part(text, OBJECT, where)
    return Grammar("json_schema", text.decode(), param)
