"""The judge: what it is shown, how it is made to choose, and what its choice means. Pure.

It is asked for one letter and its next token is read over the letters alone, so a model of any
size gives a valid vote. Small models prefer a place (Zheng et al., arXiv 2306.05685, section 3.3),
so every question is asked in several orders, in which each candidate stands at other places, and
the mean of the log-probabilities counts: a preference for a letter cancels out of it.
"""

from __future__ import annotations

import json
import math
import random
import string
from collections.abc import Mapping, Sequence

import attrs

from lattice_actors.generation import Grammar, JsonObject, TokenLogprob

LABELS = string.ascii_uppercase  # one token each in every vocabulary
ROTATIONS = 4  # orders of more than two candidates; both orders of two
LOGPROBS = 1000  # likeliest tokens that are looked through for letters
LETTER_TOKENS = 200  # for a judge that cannot be forced to choose
RATIONALE_TOKENS = 120
# Of the judge's probability on the letters together. Below it, it was about to say something
# else, and what is left over for the letters is noise.
LEAST_MASS = 0.05
TIE = 0.01  # shares that are no further apart are equal

_SYSTEM = (
    "You are an impartial judge. You are shown a request and several answers to it. Find the "
    "answer that is most correct, complete and helpful. Neither its place nor its length counts."
)
_WRITER = (
    "You are shown a request and several answers to it, which may be wrong or incomplete. Write "
    "the one best answer to the request. Use what is right in the answers, correct what is wrong, "
    "and do not mention that there were several."
)


@attrs.frozen
class Order:
    """One question to the judge: the candidates in the order they are shown in."""

    shown: tuple[int, ...]  # candidates; the first is A

    @property
    def labels(self) -> str:
        """Their letters."""
        return LABELS[: len(self.shown)]


@attrs.frozen
class Ballot:
    """What the judge made of one `Order`."""

    order: Order
    logprobs: tuple[float, ...]  # of each label, natural; as shown
    mass: float  # probability of all labels together, 0 to 1


@attrs.frozen
class Count:
    """The scores of candidates, and whether they mean anything."""

    shares: Mapping[int, float]  # by candidate; together 1
    mass: float  # mean over the ballots

    @property
    def trusted(self) -> bool:
        """Whether the judge wanted to choose at all."""
        return self.mass >= LEAST_MASS


# --- which questions ------------------------------------------------------------------------------


def heats(candidates: Sequence[int], seed: int) -> list[tuple[int, ...]]:
    """Return *candidates* shuffled, in as few groups of about the same size as letters allow.

    More than one group: the winners of the groups are candidates again.
    """
    shuffled = list(candidates)
    random.Random(seed).shuffle(shuffled)
    count = max(1, math.ceil(len(shuffled) / len(LABELS)))
    return [tuple(shuffled[index::count]) for index in range(count)]


def orders(heat: Sequence[int]) -> list[Order]:
    """Return the orders in which the candidates of one heat are shown; none for a single one."""
    count = len(heat)
    if count < 2:
        return []
    turns = count if count <= ROTATIONS else ROTATIONS
    starts = [turn * count // turns for turn in range(turns)]
    return [Order((*heat[start:], *heat[:start])) for start in starts]


def most_questions(candidates: int) -> int:
    """Return how often a judge is asked about so many candidates at the most."""
    groups = heats(range(candidates), 0)
    asked = sum(len(orders(group)) for group in groups)
    return asked if len(groups) == 1 else asked + most_questions(len(groups))


# --- what it is shown -----------------------------------------------------------------------------


def voting_messages(
    request: str, answers: Sequence[str], system: str | None = None
) -> tuple[JsonObject, ...]:
    """Return the conversation whose next token is the letter of the best of *answers*."""
    labels = ", ".join(LABELS[: len(answers)])
    shown = _shown(request, answers, [f"Answer {label}" for label in LABELS[: len(answers)]])
    ask = f"Which answer is the best? Reply with one letter only: {labels}."
    return _conversation(system or _SYSTEM, f"{shown}\n\n{ask}")


def rationale_messages(voting: Sequence[JsonObject], label: str) -> tuple[JsonObject, ...]:
    """Return the conversation that goes on after the vote and asks why."""
    ask = "In one or two sentences, without naming letters: why is this answer the best?"
    return (
        *voting,
        {"role": "assistant", "content": label},
        {"role": "user", "content": ask},
    )


def writing_messages(
    request: str, answers: Sequence[str], system: str | None = None
) -> tuple[JsonObject, ...]:
    """Return the conversation in which one answer is made of several."""
    names = [f"Answer {number}" for number in range(1, len(answers) + 1)]
    ask = "Write the best answer to the request."
    return _conversation(system or _WRITER, f"{_shown(request, answers, names)}\n\n{ask}")


def request_text(messages: Sequence[JsonObject]) -> str:
    """Return what was asked, for the judge: one message as it is, several with their roles."""
    said = [(str(m.get("role")), _text(m.get("content"))) for m in messages]
    said = [(role, text) for role, text in said if text]
    if [role for role, _ in said] == ["user"]:
        return said[0][1]
    return "\n\n".join(f"[{role}] {text}" for role, text in said)


def choice(order: Order) -> Grammar:
    """Return the grammar that allows the labels of *order* only."""
    return Grammar("choice", json.dumps(list(order.labels)), "judge")


# --- what it said ---------------------------------------------------------------------------------


def ballot(order: Order, said: TokenLogprob) -> Ballot:
    """Return the vote in the judge's one token.

    A letter with a space before it is that letter. One that is not among the likeliest tokens is
    as likely as the least of them, at the most.
    """
    seen = {said.token: said.logprob} | dict(said.top)
    floor = min((logprob for _, logprob in said.top), default=said.logprob)
    found: dict[str, list[float]] = {}
    for token, logprob in seen.items():
        found.setdefault(token.decode(errors="replace").strip(), []).append(logprob)
    masses = [found.get(label, []) for label in order.labels]
    logprobs = tuple(_log_sum(each) if each else floor for each in masses)
    mass = sum(math.exp(logprob) for each in masses for logprob in each)
    return Ballot(order, logprobs, min(1.0, mass))


def plain_ballot(order: Order, label: str) -> Ballot:
    """Return the vote of a judge of which only the chosen letter is known."""
    others = math.log(1e-3)
    logprobs = tuple(0.0 if each == label else others for each in order.labels)
    return Ballot(order, logprobs, 1.0)


def count(ballots: Sequence[Ballot]) -> Count:
    """Return the shares over *ballots* on the same candidates; there is at least one."""
    sums: dict[int, float] = {}
    for each in ballots:
        whole = _log_sum(each.logprobs)
        for candidate, logprob in zip(each.order.shown, each.logprobs, strict=True):
            sums[candidate] = sums.get(candidate, 0.0) + logprob - whole
    means = {candidate: total / len(ballots) for candidate, total in sums.items()}
    whole = _log_sum(list(means.values()))
    shares = {candidate: math.exp(mean - whole) for candidate, mean in means.items()}
    return Count(shares, sum(each.mass for each in ballots) / len(ballots))


def winner(shares: Mapping[int, float], lengths: Mapping[int, int]) -> int:
    """Return the best candidate; of those within `TIE` the shortest, then the first."""
    most = max(shares.values())
    equal = [candidate for candidate, share in shares.items() if share >= most - TIE]
    return min(equal, key=lambda candidate: (lengths[candidate], candidate))


def _conversation(system: str, user: str) -> tuple[JsonObject, ...]:
    return ({"role": "system", "content": system}, {"role": "user", "content": user})


def _shown(request: str, answers: Sequence[str], names: Sequence[str]) -> str:
    parts = [f"Request:\n{request}"]
    parts += [f"{name}:\n{answer}" for name, answer in zip(names, answers, strict=True)]
    return "\n\n".join(parts)


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return "\n".join(text for text in texts if isinstance(text, str))
    return ""


def _log_sum(logprobs: Sequence[float]) -> float:
    most = max(logprobs)
    return most + math.log(sum(math.exp(each - most) for each in logprobs))
