"""What a chat template can show a model: tools, and whether it is to reason. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
from jinja2 import Environment, TemplateSyntaxError, meta

# The pairs that mlx-lm looks for in a vocabulary (`mlx_lm.tokenizer_utils`, `_infer_thinking`).
THINKING = (
    ("<think>", "</think>"),
    ("<longcat_think>", "</longcat_think>"),
    ("<|think:start|>", "<|think:end|>"),
    ("<|channel>", "<channel|>"),
)
SWITCHES = ("enable_thinking", "thinking", "reasoning_effort")
_TRAINING = re.compile(r"{%-?\s*(end)?generation\s*-?%}")  # marks of transformers, no output
_WORD = re.compile(r"\w+")


@attrs.frozen
class Features:
    """What the template of one model takes."""

    tools: bool = False  # else the tools of a request are described in the system message
    thinking: tuple[str, str] | None = None  # the tokens its reasoning stands between
    switches: tuple[str, ...] = ()  # variables by which reasoning is asked for


def features(template: str, vocabulary: Iterable[str]) -> Features:
    """Return what *template* does with the variables of a request.

    *vocabulary*: all tokens, or those that are special.
    """
    names, known = variables(template), set(vocabulary)
    thinking = next((pair for pair in THINKING if known.issuperset(pair)), None)
    return Features("tools" in names, thinking, tuple(one for one in SWITCHES if one in names))


def variables(template: str) -> set[str]:
    """Return the names that *template* takes from outside; all its words where it is no Jinja."""
    text = _TRAINING.sub("", template)
    environment = Environment(autoescape=False, extensions=["jinja2.ext.loopcontrols"])
    try:
        return meta.find_undeclared_variables(environment.parse(text))
    except TemplateSyntaxError:
        return set(_WORD.findall(text))


def default_template(said: object) -> str | None:
    """Return the template in what ``chat_template`` of a tokenizer config says."""
    if isinstance(said, str):
        return said or None
    if isinstance(said, list):  # several, by name
        by_name = {one.get("name"): one.get("template") for one in said if isinstance(one, dict)}
        chosen = by_name.get("tool_use") or by_name.get("default")
        return chosen if isinstance(chosen, str) else None
    return None


def tokens_of(tokenizer: Mapping[str, Any]) -> set[str]:
    """Return the tokens in a tokenizer.json that THINKING may name."""
    added = tokenizer.get("added_tokens")
    model = tokenizer.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    special = {str(one.get("content")) for one in added or () if isinstance(one, dict)}
    return special | (set(vocabulary) if isinstance(vocabulary, dict) else set())
