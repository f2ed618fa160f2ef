"""Who wins without a judge. Pure.

``longest`` takes the longest text, ``majority`` the short answer that most branches gave
(self-consistency: Wang et al., arXiv 2203.11171).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

import attrs

from .events import Row, Vote

_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\}){1,400})\}")
_MARK = re.compile(
    r"\b(?:final\s+|correct\s+|right\s+)?answer\s*(?:is|would\s+be|:|=)[ \t]*:?[ \t]*",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")
_NUMBER = re.compile(r"[-+]?[$€£]?(?:\d{1,3}(?:,\d{3})+|\d{1,60})?(?:\.\d{0,60})?")
_DECORATION = " \t\r\n*_`~\"'\u201c\u201d\u2018\u2019()[]<>$"
_ARTICLE = re.compile(r"^(?:the|an?)\s+(?=\S{2})")


@attrs.frozen
class Tally:
    """A majority vote: who answers for the largest group, and the share of each group."""

    winner: Row
    agree: int  # branches in the winner's group
    of: int
    votes: tuple[Vote, ...]  # one a group, by the branch that answers for it; largest first


def longest(rows: Sequence[Row]) -> Row:
    """Return the row with the longest text, of equals the earlier one. *rows* is not empty."""
    return max(rows, key=lambda row: (len(row.text), -row.branch))


def majority(rows: Sequence[Row]) -> Tally:
    """Return whose answer most gave. Ties go to the shorter answer, then to the earlier one."""
    groups: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.branch):
        groups.setdefault(short_answer(row.text), []).append(row)
    ranked = sorted(
        groups.items(), key=lambda item: (-len(item[1]), len(item[0]), item[1][0].branch)
    )
    speakers = [(min(group, key=lambda row: (len(row.text), row.branch))) for _, group in ranked]
    votes = tuple(
        Vote(speaker.branch, speaker.model, len(group) / len(rows))
        for speaker, (_, group) in zip(speakers, ranked, strict=True)
    )
    return Tally(speakers[0], len(ranked[0][1]), len(rows), votes)


def majority_is_clear(rows: Sequence[Row], still_out: int) -> bool:
    """Whether *still_out* more answers cannot change which answer most gave."""
    counts: dict[str, int] = {}
    for row in rows:
        key = short_answer(row.text)
        counts[key] = counts.get(key, 0) + 1
    first, second, *_ = *sorted(counts.values(), reverse=True), 0, 0
    return first > second + still_out


def short_answer(text: str) -> str:
    """Return what *text* answers, so that equal answers are equal texts.

    A ``\\boxed{}`` comes before "the answer is ...", the last of each counts; else it is the
    whole text. Case, outer punctuation, articles and the way a number is written do not count.
    """
    return _plain(_stated(unicodedata.normalize("NFKC", text)))


def _stated(text: str) -> str:
    if boxed := _BOXED.findall(text):
        return str(boxed[-1])
    marks = [found.end() for found in _MARK.finditer(text)]
    if marks and (line := text[marks[-1] :].partition("\n")[0]).strip():
        end = _SENTENCE_END.search(line)
        return line[: end.start()] if end and line[: end.start()].strip(_DECORATION) else line
    return text


def _plain(text: str) -> str:
    folded = " ".join(text.casefold().split())
    bare = folded
    while (stripped := bare.strip(_DECORATION).rstrip(".,;:!?")) != bare:
        bare = stripped
    bare = _ARTICLE.sub("", bare) or folded  # an answer of nothing but signs is those signs
    return _number(bare) or bare


def _number(text: str) -> str | None:
    """Return a number the one way we write it: 1,234.50 and $1234.5 are 1234.5."""
    if not _NUMBER.fullmatch(text):
        return None
    try:
        value = Decimal(re.sub(r"[,$€£+]", "", text))
    except InvalidOperation:
        return None
    return f"{value.normalize():f}" if value else "0"
