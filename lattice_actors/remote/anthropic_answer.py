"""The answer of Anthropic's Messages API, from its bytes to our pieces. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

from lattice_actors.admission.forecast import PRIOR_BYTES_PER_TOKEN
from lattice_actors.generation import CallPiece, Delta, Finish, FinishReason, Usage

from .faults import Blame, Fault, WireFault, cut_off, garbage, of_event, of_status, retry_after
from .sse import EventReader, EventTooLong

_REASONS = {
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
}  # all others (end_turn, stop_sequence, pause_turn, refusal) are STOP
_BUSY = frozenset({"overloaded_error", "rate_limit_error"})
_OVERLOADED = 529  # of Anthropic's own: everybody's limit, not the caller's


class _Details(msgspec.Struct, gc=False):
    thinking_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    input_tokens: int | None = None  # without those of the next two
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_details: _Details | None = None


class _Message(msgspec.Struct, gc=False):
    usage: _Usage | None = None


class _Block(msgspec.Struct, gc=False):
    type: str = ""
    text: str = ""
    thinking: str = ""
    id: str = ""
    name: str = ""
    input: dict[str, Any] | None = None


class _Piece(msgspec.Struct, gc=False):
    """The ``delta`` of a block, or of the message."""

    type: str = ""
    text: str = ""
    thinking: str = ""
    partial_json: str = ""
    stop_reason: str | None = None


class _Event(msgspec.Struct, gc=False):
    type: str
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Piece | None = None
    usage: _Usage | None = None
    error: Any = None


_EVENT: msgspec.json.Decoder[_Event] = msgspec.json.Decoder(_Event)


@attrs.define
class Counted:
    """The tokens of one answer that have to be paid for, as far as they are known."""

    plain: int = 0  # of the prompt, neither read from a cache nor written to one
    cached: int = 0
    written: int = 0
    output: int = 0
    reasoning: int = 0  # of `output`
    told: bool = False  # the server has said so; else nothing is known

    @property
    def usage(self) -> Usage:
        """The same in our terms: cached tokens are part of the prompt's."""
        prompt = self.plain + self.cached + self.written
        return Usage(prompt, self.output, self.cached, min(self.reasoning, self.output))


@attrs.define
class MessageReader:
    """Feed it the bytes of one stream; it returns the pieces, and at the end one `Finish`."""

    upstream: str
    secret: str | None = attrs.field(default=None, repr=False)
    done: bool = attrs.field(init=False, default=False)  # the `Finish` has been returned
    counted: Counted = attrs.field(init=False, factory=Counted)
    _events: EventReader = attrs.field(init=False, factory=EventReader)
    _reason: FinishReason | None = attrs.field(init=False, default=None)
    _calls: dict[int, CallPiece] = attrs.field(init=False, factory=dict[int, CallPiece])
    _bytes: int = attrs.field(init=False, default=0)  # of the answer so far, thoughts too

    @property
    def output_tokens(self) -> int:
        """What it has generated: as told at the end, estimated before."""
        guess = 0 if self.done else round(self._bytes / PRIOR_BYTES_PER_TOKEN)
        return max(self.counted.output, guess)

    @property
    def signs_of_life(self) -> int:
        """Grows with each whole line, those of a ``ping`` too."""
        return self._events.lines

    def feed(self, data: bytes) -> list[Delta | Finish]:
        """Return what is complete with *data*. After the `Finish` nothing comes.

        Raises:
            WireFault: it is no answer, or one that says that it failed.
        """
        if self.done:
            return []
        try:
            events = self._events.feed(data)
        except EventTooLong as error:
            raise garbage(self.upstream, f"sent {error}") from None
        return self._take(events)

    def end(self) -> list[Delta | Finish]:
        """The bytes have ended. Raises WireFault when the answer has not."""
        if self.done:
            return []
        pieces = self._take(self._events.end())
        if not self.done:
            raise cut_off(self.upstream)
        return pieces

    def _take(self, events: list[bytes]) -> list[Delta | Finish]:
        pieces: list[Delta | Finish] = []
        for data in events:
            try:
                event = _EVENT.decode(data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise garbage(self.upstream, f"sent something that is no answer: {error}") from None
            pieces += self._read(event)
            if self.done:
                break
        return pieces

    def _read(self, event: _Event) -> list[Delta | Finish]:
        match event.type:
            case "message_start" if event.message is not None:
                self._count(event.message.usage)
            case "content_block_start" if event.content_block is not None:
                return self._begin(event.index, event.content_block)
            case "content_block_delta" if event.delta is not None:
                return self._piece(event.index, event.delta)
            case "content_block_stop":
                call = self._calls.get(event.index)
                if call is not None and not call.arguments:  # a call without arguments
                    return self._call(event.index, "{}")
            case "message_delta":
                if event.delta is not None and event.delta.stop_reason is not None:
                    reason = event.delta.stop_reason
                    self._reason = _REASONS.get(reason, FinishReason.STOP)
                self._count(event.usage)
            case "message_stop":
                if not self.counted.output:
                    self.counted.output = self.output_tokens
                self.done = True
                return [Finish(self._reason or FinishReason.STOP, self.counted.usage)]
            case "error":
                raise WireFault(fault_of_event(self.upstream, event.error, self.secret))
            case _:
                pass  # a ping, or what is newer than this
        return []

    def _begin(self, index: int, block: _Block) -> list[Delta | Finish]:
        if block.type == "tool_use":
            if index in self._calls:
                raise garbage(self.upstream, f"began block {index} twice")
            call = CallPiece(len(self._calls), block.id, block.name)
            self._calls[index] = call
            begun = self._delta(calls=(call,))
            if block.input:  # servers that know the whole call at once
                begun += self._call(index, msgspec.json.encode(block.input).decode())
            return begun
        if block.type in ("text", "thinking") and (block.text or block.thinking):
            return self._delta(block.text, block.thinking)
        return []

    def _piece(self, index: int, piece: _Piece) -> list[Delta | Finish]:
        match piece.type:
            case "text_delta" if piece.text:
                return self._delta(piece.text)
            case "thinking_delta" if piece.thinking:
                return self._delta(reasoning=piece.thinking)
            case "input_json_delta" if piece.partial_json:
                if index not in self._calls:
                    raise garbage(
                        self.upstream, f"sent arguments for block {index}, which is no call"
                    )
                return self._call(index, piece.partial_json)
            case _:
                return []  # a signature, a citation

    def _call(self, index: int, arguments: str) -> list[Delta | Finish]:
        call = self._calls[index]
        # Whether there are any is all that has to be known of them later.
        self._calls[index] = attrs.evolve(call, arguments="+")
        return self._delta(calls=(CallPiece(call.index, arguments=arguments),))

    def _delta(
        self, text: str = "", reasoning: str = "", calls: tuple[CallPiece, ...] = ()
    ) -> list[Delta | Finish]:
        self._bytes += len(text.encode()) + len(reasoning.encode())
        self._bytes += sum(len(call.arguments.encode()) for call in calls)
        return [Delta(text, 1, (), reasoning, calls)]

    def _count(self, told: _Usage | None) -> None:
        """Take what is said; later words are the sums, and need not repeat all."""
        if told is None:
            return
        counted = self.counted
        counted.told = True
        counted.plain = _known(told.input_tokens, counted.plain)
        counted.cached = _known(told.cache_read_input_tokens, counted.cached)
        counted.written = _known(told.cache_creation_input_tokens, counted.written)
        counted.output = _known(told.output_tokens, counted.output)
        if told.output_tokens_details is not None:
            thought = told.output_tokens_details.thinking_tokens
            counted.reasoning = _known(thought, counted.reasoning)


def _known(told: int | None, before: int) -> int:
    return before if told is None else max(0, told)


def fault_of_status(
    upstream: str, status: int, headers: Mapping[str, str], body: bytes, secret: str | None
) -> Fault:
    """Return what a refusal means: as any upstream's, but for what only Anthropic says."""
    fault = of_status(upstream, status, headers, body, secret=secret)
    if status == _OVERLOADED:
        after_s = retry_after(headers, 0.0)
        return Fault(Blame.BUSY, fault.message, "upstream_overloaded", after_s)
    if status == 402:  # no credit
        return Fault(Blame.SETTINGS, fault.message, "upstream_refused_key")
    return fault


def fault_of_event(upstream: str, error: object, secret: str | None) -> Fault:
    """Return what an ``error`` event means."""
    fault = of_event(upstream, error, secret)
    if isinstance(error, dict) and error.get("type") in _BUSY:
        return Fault(Blame.BUSY, fault.message, "upstream_overloaded")
    return fault
