"""A judge at work: it picks one of several answers, or writes one of its own from them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import partial

import attrs
import trio

from lattice_actors.admission.ticket import Ticket
from lattice_actors.capability.question import NoRoute, Route
from lattice_actors.errors import LatticeError
from lattice_actors.generation import Delta, FinishReason, JsonObject, TokenLogprob

from . import judge as rules
from .asks import Manner
from .crew import Crew, put_job
from .events import AnswerPiece, Row, Vote
from .failure import SwarmFailed
from .judge import Ballot, Count, Order
from .letters import read_letter
from .trimming import room_bytes, shorten

WRITER_TOKENS = 1024  # of a judge that writes, where the request says nothing
WRITER_TEMPERATURE = 0.3
NAME_BYTES = 24  # "Answer A" and the lines round it, and the letter in the question


class Undecided(Exception):
    """The judge gave no vote that counts; the text says why."""


@attrs.frozen
class Pick:
    """Who has won, and why."""

    row: Row
    rationale: str
    votes: tuple[Vote, ...] = ()
    judge: str | None = None  # its model
    label_mass: float | None = None  # how much of the judge's probability fell on the labels


@attrs.define(eq=False)
class Judge:
    """One judge of one session, with the tickets it may need."""

    _crew: Crew
    route: Route
    _request: tuple[JsonObject, ...]
    _system: str | None
    _manner: Manner  # of the request
    _tickets: list[Ticket] = attrs.field(init=False, factory=list[Ticket])
    notes: list[str] = attrs.field(init=False, factory=list[str])

    @property
    def model(self) -> str:
        """Its id."""
        return self.route.model

    def votes_on(self, candidates: int, *, rationale: bool) -> list[Ticket]:
        """Return tickets for a vote on so many answers at the most; they are for *later*."""
        count = rules.most_questions(candidates) + (1 if rationale else 0)
        return self._reserve(count, Manner(max_tokens=rules.LETTER_TOKENS))

    def writes(self) -> list[Ticket]:
        """Return a ticket for one answer; it is for *later*."""
        return self._reserve(1, self._writing)

    async def pick(self, rows: Sequence[Row], *, rationale: bool) -> Pick:
        """Return which of *rows*, at least two, is the best.

        Raises:
            Undecided: there is no vote, or none that can be trusted.
        """
        texts = {row.branch: row.text for row in rows}
        texts = dict(
            zip(texts, self._fitted(list(texts.values()), rules.LETTER_TOKENS), strict=True)
        )
        lengths = {row.branch: len(row.text) for row in rows}
        seed = self._seed()
        remaining = sorted(texts)
        while True:
            heats = rules.heats(remaining, seed)
            counts = [await self._count(heat, texts) for heat in heats]
            remaining = [rules.winner(count.shares, lengths) for count in counts]
            if len(remaining) == 1:
                break
        last, best = counts[0], remaining[0]
        if not last.trusted:
            raise Undecided(f"only {last.mass:.1%} of the judge's probability was on a choice")
        votes = sorted(last.shares.items(), key=lambda item: -item[1])
        models = {row.branch: row.model for row in rows}
        told = f"{self.model} preferred it ({last.shares[best]:.0%} of its vote)"
        if rationale:
            told = await self._say_why(heats[0], best, texts) or told
        return Pick(
            next(row for row in rows if row.branch == best),
            told,
            tuple(Vote(branch, models[branch], share) for branch, share in votes),
            self.model,
            last.mass,
        )

    async def write(self, rows: Sequence[Row]) -> tuple[str, FinishReason]:
        """Write one answer from *rows*, telling its pieces as they come.

        Raises:
            Undecided: it wrote nothing.
            SwarmFailed: it failed in the middle of its answer.
        """
        texts = self._fitted([row.text for row in rows], self._writing.max_tokens or 0)
        messages = rules.writing_messages(self._asked(), texts, self._system)
        ticket = self._tickets.pop()
        self._crew.fill(ticket, self.route, messages, self._writing)
        written: list[str] = []
        told = 0

        def take(delta: Delta) -> None:
            nonlocal told
            written.append(delta.text)
            text = "".join(written[told:])
            if text and (told or text.strip()):
                self._crew.feed.tell(AnswerPiece(text))
                told = len(written)

        try:
            finish = await self._crew.read_apart(ticket, take)
        except LatticeError as error:
            if told:
                message = f"the judge {self.model} failed in its answer: {error.message}"
                raise SwarmFailed(message, self._crew.rows, code=error.code) from error
            raise Undecided(f"the judge {self.model} failed: {error.message}") from error
        if not told:
            raise Undecided(f"the judge {self.model} wrote nothing")
        return "".join(written), finish.reason

    # --- one vote ---------------------------------------------------------------------------

    async def _count(self, heat: Sequence[int], texts: dict[int, str]) -> Count:
        orders = rules.orders(heat)
        if not orders:
            return Count({heat[0]: 1.0}, 1.0)
        ballots: list[Ballot] = []
        problems: list[str] = []

        async def ask(order: Order) -> None:
            try:
                ballots.append(await self._ask(order, texts))
            except LatticeError as error:
                problems.append(f"the judge {self.model} failed: {error.message}")
            except Undecided as unclear:
                problems.append(str(unclear))

        async with trio.open_nursery() as nursery:
            for order in orders:
                nursery.start_soon(ask, order)
        if problems:
            raise Undecided(problems[0])
        return rules.count(sorted(ballots, key=lambda ballot: ballot.order.shown))

    async def _ask(self, order: Order, texts: dict[int, str]) -> Ballot:
        messages = self._question(order, texts)
        forced = self._crew.host.constrains(self.route)
        ticket = self._tickets.pop()
        put_job(
            ticket,
            self._crew.host.ticket(
                self.route,
                messages,
                Manner(max_tokens=1 if forced else rules.LETTER_TOKENS, temperature=0.0),
                grammar=rules.choice(order) if forced else None,
                logprobs=rules.LOGPROBS if forced else None,
                thinking=not forced,
            ),
        )
        text, told = await self._read(ticket)
        if forced and told:
            return rules.ballot(order, told[0])
        letter = read_letter(text, order.labels)
        if letter is None:
            raise Undecided(f"the judge {self.model} named no answer")
        return rules.plain_ballot(order, letter)

    async def _say_why(self, heat: Sequence[int], best: int, texts: dict[int, str]) -> str | None:
        order = rules.orders(heat)[0]
        label = order.labels[order.shown.index(best)]
        messages = rules.rationale_messages(self._question(order, texts), label)
        manner = Manner(max_tokens=rules.RATIONALE_TOKENS, temperature=0.0)
        ticket = self._tickets.pop()
        self._crew.fill(ticket, self.route, messages, manner)
        try:
            text, _ = await self._read(ticket)
        except LatticeError as error:
            self.notes.append(f"the judge gave no rationale: {error.message}")
            return None
        return text.strip() or None

    async def _read(self, ticket: Ticket) -> tuple[str, list[TokenLogprob]]:
        text: list[str] = []
        logprobs: list[TokenLogprob] = []

        def take(delta: Delta) -> None:
            text.append(delta.text)
            logprobs.extend(delta.logprobs)

        await self._crew.read_apart(ticket, take)
        return "".join(text), logprobs

    def _question(self, order: Order, texts: dict[int, str]) -> tuple[JsonObject, ...]:
        shown = [texts[candidate] for candidate in order.shown]
        return rules.voting_messages(self._asked(), shown, self._system)

    # --- what it is shown -------------------------------------------------------------------

    @property
    def _writing(self) -> Manner:
        manner = self._manner
        tokens = manner.max_tokens or WRITER_TOKENS
        return Manner(tokens, WRITER_TEMPERATURE, manner.top_p, manner.seed)

    def _asked(self) -> str:
        return rules.request_text(self._request)

    def _fitted(self, texts: list[str], answer_tokens: int) -> list[str]:
        empty = rules.writing_messages(self._asked(), [], self._system)
        room = room_bytes(self._crew.host.context_tokens(self.route), answer_tokens, empty)
        fitted, cut = shorten(texts, room - NAME_BYTES * len(texts))
        if cut:
            self.notes.append(f"{cut} answers were shortened for the judge {self.model}")
        return fitted

    def _seed(self) -> int:
        if self._manner.seed is not None:
            return self._manner.seed
        return zlib.crc32(self._asked().encode())  # the same question, the same orders

    def _reserve(self, count: int, manner: Manner) -> list[Ticket]:
        make = partial(self._crew.host.ticket, self.route, self._request, manner)
        self._tickets = [make() for _ in range(count)]
        return list(self._tickets)


async def find_judge(
    crew: Crew,
    spec: str,
    request: Sequence[JsonObject],
    system: str | None,
    manner: Manner,
) -> Judge | str:
    """Return the judge that *spec* means, or why there is none."""
    route = await crew.host.route(spec, request)
    if isinstance(route, NoRoute):
        return f"no judge: {route.message}"
    return Judge(crew, route, tuple(request), system, manner)
