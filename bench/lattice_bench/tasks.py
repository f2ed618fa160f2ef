"""Small tasks with answers that can be checked: arithmetic, strings, multiple choice. Pure.

The same seed makes the same tasks. Each asks for a last line ``Answer: ...``; a reply is right
when what stands there, or else its last line, is the answer.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import attrs

FORM = "Think briefly if you must. End with one line: Answer: <answer>"
WORDS = [
    "apple",
    "river",
    "stone",
    "cloud",
    "tiger",
    "piano",
    "candle",
    "garden",
    "silver",
    "winter",
    "orange",
    "bridge",
]
CAPITALS = {
    "France": "Paris",
    "Japan": "Tokyo",
    "Italy": "Rome",
    "Egypt": "Cairo",
    "Spain": "Madrid",
    "Peru": "Lima",
    "Norway": "Oslo",
    "Greece": "Athens",
    "Cuba": "Havana",
    "Kenya": "Nairobi",
    "Austria": "Vienna",
    "Poland": "Warsaw",
}
LABELS = "ABCD"

_ANSWER = re.compile(r"answer\s*(?:is)?\s*[:=]?\s*(.+)", re.IGNORECASE)
_EDGES = " \t.,;:!?\"'`*_()[]{}<>$"


@attrs.frozen
class Task:
    """One question and its only right answer."""

    kind: str
    question: str
    answer: str


def make_tasks(count: int, seed: int) -> list[Task]:
    """Return *count* tasks, the kinds in turn."""
    draw = random.Random(f"tasks {seed}")
    kinds: tuple[Callable[[random.Random], Task], ...] = (_arithmetic, _string, _choice)
    return [kinds[number % len(kinds)](draw) for number in range(count)]


def said(reply: str) -> str:
    """Return the answer that *reply* gives, normalised; "" where it gives none."""
    found = _ANSWER.findall(reply)
    lines = [line for line in reply.splitlines() if line.strip(_EDGES)]
    text = found[-1] if found else (lines[-1] if lines else "")
    return " ".join(text.strip(_EDGES).casefold().split())


def right(task: Task, reply: str) -> bool:
    """Say whether *reply* answers *task*. Of a choice, its label with its text is right, too."""
    given, wanted = said(reply), task.answer.casefold()
    if task.kind == "choice":
        return re.match(rf"{wanted}(?:$|[\s.):])", given) is not None
    return given == wanted


def _task(kind: str, question: str, answer: str) -> Task:
    return Task(kind, f"{question}\n{FORM}", answer)


def _arithmetic(draw: random.Random) -> Task:
    one, two, three = draw.randint(2, 30), draw.randint(2, 30), draw.randint(2, 9)
    text, value = draw.choice(
        (
            (f"{one} + {two}", one + two),
            (f"{one + two} - {two}", one),
            (f"{one} * {three}", one * three),
            (f"{one} + {two} * {three}", one + two * three),
        )
    )
    return _task("arithmetic", f"What is {text}?", str(value))


def _string(draw: random.Random) -> Task:
    word, other = draw.sample(WORDS, 2)
    question, answer = draw.choice(
        (
            (f"How many letters does the word {word!r} have?", str(len(word))),
            (f"What is the last letter of the word {word!r}?", word[-1]),
            (f"Write the word {word!r} backwards.", word[::-1]),
            (f"Which of {word!r} and {other!r} comes first in a dictionary?", min(word, other)),
        )
    )
    return _task("string", question, answer)


def _choice(draw: random.Random) -> Task:
    country = draw.choice(sorted(CAPITALS))
    wrong = draw.sample(sorted(set(CAPITALS.values()) - {CAPITALS[country]}), len(LABELS) - 1)
    options = [*wrong, CAPITALS[country]]
    draw.shuffle(options)
    shown = "\n".join(f"{label}) {option}" for label, option in zip(LABELS, options, strict=True))
    question = f"What is the capital of {country}?\n{shown}\nAnswer with the letter."
    return _task("choice", question, LABELS[options.index(CAPITALS[country])])
