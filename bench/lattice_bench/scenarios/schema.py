"""Answers that must keep to a JSON schema, beside free ones of the same length. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .shape import (
    RATE,
    TTFT,
    VALID,
    Deck,
    Readings,
    Request,
    Round,
    Scenario,
    Shape,
    Wave,
    Within,
    reading,
)

# A token is a byte or more, and the longest document, with 16 spaces or line breaks wherever
# JSON allows them and every letter escaped, has fewer bytes than this. So none is ever cut off.
MOST_TOKENS = 1100
Name = Annotated[str, Meta(max_length=16)]


class Story(msgspec.Struct, forbid_unknown_fields=True):
    """What is asked for: a bit of everything, and bounded, so that an answer can end."""

    title: Annotated[str, Meta(max_length=40)]
    mood: Literal["calm", "happy", "tense"]
    chapters: Annotated[int, Meta(ge=1, le=40)]
    people: Annotated[list[Name], Meta(min_length=2, max_length=3)]
    sad: bool


# By hand: one made from the class would use $defs, which not every server knows.
SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 40},
        "mood": {"enum": ["calm", "happy", "tense"]},
        "chapters": {"type": "integer", "minimum": 1, "maximum": 40},
        "people": {
            "type": "array",
            "items": {"type": "string", "maxLength": 16},
            "minItems": 2,
            "maxItems": 3,
        },
        "sad": {"type": "boolean"},
    },
    "required": ["title", "mood", "chapters", "people", "sad"],
    "additionalProperties": False,
}
FORMAT = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "story", "schema": SCHEMA, "strict": True},
    }
}


def valid(text: str) -> bool:
    """Say whether *text* is JSON that keeps to `SCHEMA`."""
    try:
        msgspec.json.decode(text, type=Story)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def documents(deck: Deck) -> Shape:
    """Ask for documents; then for free text, each as long as one of them came out."""
    sizes = deck.sizes
    answers = yield Wave(
        tuple(
            Request("schema", deck.ask(sizes.prompt_tokens), MOST_TOKENS, fields=FORMAT)
            for _ in range(sizes.schema_streams)
        )
    )
    yield Wave(
        tuple(
            Request("free", deck.ask(sizes.prompt_tokens), max(1, answer.tokens))
            for answer in answers
        )
    )


def read_documents(one: Round) -> Readings:
    """Read rates, and of each document 1 where it keeps to the schema, else 0."""
    readings = reading(TTFT, RATE)(one)
    readings["schema", VALID] = [
        float(answer.error is None and valid(answer.text)) for answer in one.of("schema")
    ]
    return readings


DOCUMENTS = Scenario(
    "schema",
    "Answers constrained by a JSON schema, then as many free ones of the same lengths.",
    documents,
    read_documents,
    (Within("schema", "free", RATE),),
)
