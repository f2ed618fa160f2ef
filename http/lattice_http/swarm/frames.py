"""What the streams of swarms are made of: named events, and the chunks of a chat."""

from __future__ import annotations

from typing import Any, Protocol

import attrs

from lattice_actors.generation import Delta, FinishReason
from lattice_actors.swarm.events import (
    AnswerPiece,
    BranchDelta,
    BranchDone,
    Event,
    Outcome,
    Verdict,
)
from lattice_http import sse
from lattice_http.json_bytes import encode, well_formed
from lattice_http.openai.answers import new_chat_id
from lattice_http.openai.chunks import ChunkEncoder

from .exchange import SwarmExchange
from .rows import answer_object, row_object, swarm_object, told_in_a_chat, verdict_object


class SwarmFrames(Protocol):
    """How one stream is written. `write` gets every event, in order, the `Outcome` last."""

    def begin(self) -> bytes: ...
    def shows(self, event: Event) -> bool: ...
    def write(self, event: Event) -> bytes: ...
    def error(self, error: dict[str, Any]) -> bytes: ...


@attrs.define(eq=False)
class NamedFrames:
    """The frames of ``/swarm/*``: named events, then the answer as it would be without a stream."""

    exchange: SwarmExchange
    created: int  # Unix time

    def begin(self) -> bytes:
        """Return the first event, which tells the session."""
        return _named("session", {"session": self.exchange.id, "strategy": self.exchange.strategy})

    def shows(self, event: Event) -> bool:
        """Whether the reader is told of *event*: of all."""
        return True

    def write(self, event: Event) -> bytes:
        """Return the frames of one event."""
        match event:
            case AnswerPiece(text):
                return _named("answer", {"delta": {"content": well_formed(text)}})
            case Outcome():
                exchange = self.exchange
                body = answer_object(exchange.asked, exchange.id, self.created, event)
                return sse.data(encode(body))
            case _:
                return named(event, self.exchange, self.created)

    def error(self, error: dict[str, Any]) -> bytes:
        """Return the end of a stream that failed; *error* is a whole body."""
        return _named("error", error)


@attrs.define(eq=False)
class ChatFrames:
    """The chunks of a chat, with the named events between them only for those who ask."""

    exchange: SwarmExchange
    created: int  # Unix time
    _chunks: _Chunks | None = attrs.field(init=False, default=None)

    def begin(self) -> bytes:
        """Return the first event, for those who ask."""
        if not self.exchange.asked.events:
            return b""
        return NamedFrames(self.exchange, self.created).begin()

    def shows(self, event: Event) -> bool:
        """Whether the reader is told of *event*: without the named ones, only of the answer."""
        return self.exchange.asked.events or isinstance(event, AnswerPiece | Outcome)

    def write(self, event: Event) -> bytes:
        """Return the frames of one event."""
        match event:
            case AnswerPiece(text):
                return self.chunks().delta(Delta(text)) if text else b""
            case Outcome():
                return self._end(event)
            case _ if self.exchange.asked.events:
                return named(event, self.exchange, self.created)
            case _:
                return b""

    def error(self, error: dict[str, Any]) -> bytes:
        """Return the last chunk of a stream that failed; *error* is a whole body."""
        return self.chunks().failed(error)

    def chunks(self) -> _Chunks:
        """Return what writes chunks. All have one ``model``: the winner, where it is known."""
        if self._chunks is None:
            meta, winner = self.exchange.asked.meta, self.exchange.winner
            assert meta is not None, "chunks are for chats"
            model = meta.canonical if winner is None else f"swarm/{winner}"
            usage = self.exchange.asked.request.include_usage
            self._chunks = _Chunks(new_chat_id(), self.created, model, usage)
        return self._chunks

    def _end(self, outcome: Outcome) -> bytes:
        chunks = self.chunks()
        request = self.exchange.asked.request
        told = told_in_a_chat(self.exchange.asked, self.exchange.id)
        last = chunks.end(outcome.finish_reason, swarm_object(outcome, self.created) | told)
        return last + (chunks.usage(outcome.usage) if request.include_usage else b"")


@attrs.define(eq=False)
class _Chunks(ChunkEncoder):
    """Chunks of which the last one tells of the swarm."""

    def end(self, reason: FinishReason, swarm: dict[str, Any]) -> bytes:
        """Return the chunk that ends the answer."""
        return self._with(self.finish(reason), {"swarm": swarm})

    def failed(self, error: dict[str, Any]) -> bytes:
        """Return the last chunk of an answer that failed, with all that *error* tells."""
        said = {name: value for name, value in error.items() if name != "error"}
        return self._with(self.error(error["error"]), said)

    @staticmethod
    def _with(frame: bytes, more: dict[str, Any]) -> bytes:
        if not more:
            return frame
        # The frame is one JSON object on one line: ours go in before its last brace.
        return frame.removesuffix(b"}\n\n") + b"," + encode(more)[1:] + b"\n\n"


def named(event: Event, exchange: SwarmExchange, created: int) -> bytes:
    """Return the named event of what a branch or the judge has said."""
    match event:
        case BranchDelta():
            delta = {}
            if event.reasoning:
                delta["reasoning_content"] = well_formed(event.reasoning)
            if event.text:
                delta["content"] = well_formed(event.text)
            said: dict[str, Any] = {"branch": event.branch, "model": event.model, "delta": delta}
            return _named("branch", said | ({"stage": event.stage} if event.stage else {}))
        case BranchDone(row):
            return _named("branch_done", row_object(row, created))
        case Verdict():
            return _named("verdict", verdict_object(event, exchange.models))
        case _:
            return b""


def _named(name: str, body: dict[str, Any]) -> bytes:
    return sse.event(name, encode(body))
