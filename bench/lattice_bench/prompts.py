"""Prompts of a wanted length that share no beginning, so no prefix cache answers for the model."""

from __future__ import annotations

import random

# Each is one token in the usual vocabularies, with the space before it.
_TEXT = """time year people way day man thing woman life child world school state family student
group country problem hand part place case week company system program question work government
number night point home water room mother area money story fact month lot right study book eye job
word business issue side kind head house service friend father power hour game line end member law
car city community name president team minute idea kid body information back parent face others
level office door health person art war history party result change morning reason research girl
guy moment air teacher force education"""
WORDS = tuple(_TEXT.split())
TASK = "Tell a long story about:"


def prompt(number: int, words: int) -> str:
    """Return prompt *number* with *words* words drawn for it, at its beginning and its end."""
    draw = random.Random(number)
    drawn = draw.choices(WORDS, k=max(1, words))
    return " ".join([*drawn[:2], TASK, *drawn[2:]])


def fit_words(wanted_tokens: int, words: int, measured_tokens: int) -> int:
    """Return how many words give *wanted_tokens*, when *words* were measured to give so many.

    The difference is the model's template; a word more is a token more.
    """
    return max(1, words + wanted_tokens - measured_tokens)
