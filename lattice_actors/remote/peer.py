"""What the actor of a remote server speaks through: one form for each wire.

A `Peer` belongs to one incarnation of the actor; an `Asking` to one ticket, however often it is
sent. `OpenAiPeer` is for servers that speak OpenAI's protocol; the cloud's is in `cloud.py`.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Protocol, Self, TypeAlias

import attrs

from lattice_actors.admission.forecast import PRIOR_BYTES_PER_TOKEN
from lattice_actors.admission.ticket import Ticket
from lattice_actors.catalog.entry import ModelEntry
from lattice_actors.generation import Delta, Embed, Finish, Vectors

from . import listing
from .asking import request_of
from .choice_reader import ChoiceReader
from .choosing import Choosing, choosing_of
from .connection import Connection, Reply
from .embedding_wire import EmbeddingReader
from .faults import Fault, garbage, of_status
from .ledger import Ledger
from .listing import Listing
from .openai_wire import AnswerReader
from .plan import UpstreamPlan
from .probing import Probe, Probed

Piece: TypeAlias = Delta | Vectors | Finish


class Reader(Protocol):
    """Makes pieces of the bytes of one answer; they raise WireFault."""

    @property
    def done(self) -> bool: ...
    @property
    def signs_of_life(self) -> int: ...
    def feed(self, data: bytes) -> Iterable[Piece]: ...
    def end(self) -> Iterable[Piece]: ...


class Asking(Protocol):
    """The request that asks for one ticket's answer."""

    def send(self) -> AbstractAsyncContextManager[Reply]:
        """Send it; see `Connection.send`."""

    def reader(self, *, streamed: bool) -> Reader:
        """Return what reads the answer to the try just sent."""

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> Fault:
        """Return what an answer with a *status* other than 200 means."""

    def over(self) -> None:
        """It will not be sent again; called once."""


class Peer(Protocol):
    """The other side. `async with` closes what is open."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    async def list_models(self) -> Probed:
        """Ask what it has. Never raises but for being cancelled."""

    def entries(
        self, found: Listing, loaded: Mapping[str, int | None] | None
    ) -> tuple[ModelEntry, ...]:
        """Return the catalog's entries of what was found."""

    async def ask(self, ticket: Ticket, kind: str) -> Asking:
        """Return the request for *ticket*. Raises LatticeError: it cannot be asked for."""


@attrs.define(eq=False)
class OpenAiPeer:
    """A server that speaks OpenAI's protocol."""

    _plan: UpstreamPlan
    _ledger: Ledger
    _ssl: ssl.SSLContext
    _connection: Connection = attrs.field(init=False)
    _probe: Probe = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._connection = Connection(self._plan, self._ledger, self._ssl)
        self._probe = Probe(self._plan, self._connection)

    async def __aenter__(self) -> Self:
        await self._connection.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._connection.__aexit__(kind, error, traceback)

    async def list_models(self) -> Probed:
        return await self._probe.list_models()

    def entries(
        self, found: Listing, loaded: Mapping[str, int | None] | None
    ) -> tuple[ModelEntry, ...]:
        return listing.entries(self._plan, found, loaded)

    async def ask(self, ticket: Ticket, kind: str) -> Asking:
        path, body = request_of(ticket.job, self._plan.name_of(ticket.model), kind)
        choosing = choosing_of(ticket.job, kind)
        return _OpenAiAsking(self._plan, self._connection, ticket, path, body, choosing)


@attrs.frozen(eq=False)
class _OpenAiAsking:
    _plan: UpstreamPlan
    _connection: Connection
    _ticket: Ticket
    _path: str
    _body: bytes
    _choosing: Choosing | None

    def send(self) -> AbstractAsyncContextManager[Reply]:
        embeds = isinstance(self._ticket.job.prompt, Embed)
        accept = "application/json" if embeds else "text/event-stream"
        request_id = self._ticket.request_id
        return self._connection.send(self._path, self._body, request_id, "answer", accept)

    def reader(self, *, streamed: bool) -> Reader:
        prompt, name = self._ticket.job.prompt, self._plan.name
        prompt_tokens = round(self._ticket.prompt_bytes / PRIOR_BYTES_PER_TOKEN)
        if isinstance(prompt, Embed):
            if streamed:
                said = "sent a stream, where embeddings come at once"
                raise garbage(name, said)
            return EmbeddingReader(name, prompt, prompt_tokens)
        answer = AnswerReader(
            name, streamed=streamed, prompt_tokens=prompt_tokens, secret=self._plan.api_key
        )
        return answer if self._choosing is None else ChoiceReader(answer, self._choosing)

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> Fault:
        return of_status(self._plan.name, status, headers, body, secret=self._plan.api_key)

    def over(self) -> None:
        pass  # nothing was set aside for it
