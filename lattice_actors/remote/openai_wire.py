"""The answer of an OpenAI-compatible server, from its bytes to our pieces. Pure.

Servers differ: reasoning comes as ``reasoning_content`` or ``reasoning``, usage with the last
piece or after it, some leave out ``[DONE]``, some send a whole answer though a stream was asked
for. What they all must do is to say that the answer is over: bytes that just stop are a failure.
"""

from __future__ import annotations

from typing import Any

import attrs
import msgspec

from lattice_actors.generation import (
    CallPiece,
    Delta,
    Finish,
    FinishReason,
    TokenLogprob,
    Usage,
)

from .faults import WireFault, cut_off, garbage, of_event
from .sse import EventReader, EventTooLong

MAX_WHOLE_BYTES = 8 * 1024 * 1024  # of an answer that is not streamed

_REASONS = {
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
}  # all others, content_filter too, end an answer as far as we can say: STOP


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _Call(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Said(msgspec.Struct, gc=False):
    """A ``delta`` or a ``message``."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None


class _Top(msgspec.Struct, gc=False):
    token: str = ""
    logprob: float = 0.0
    bytes: list[int] | None = None


class _Logprob(_Top, gc=False):
    top_logprobs: list[_Top] | None = None


class _Logprobs(msgspec.Struct, gc=False):
    content: list[_Logprob] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int | None = 0
    delta: _Said | None = None
    message: _Said | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _CachedTokens(msgspec.Struct, gc=False):
    cached_tokens: int | None = None


class _ReasoningTokens(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _CachedTokens | None = None
    completion_tokens_details: _ReasoningTokens | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_CHUNK: msgspec.json.Decoder[_Chunk] = msgspec.json.Decoder(_Chunk)


@attrs.define
class AnswerReader:
    """Feed it the bytes of one answer; it returns the pieces, and at the end one `Finish`."""

    upstream: str
    streamed: bool  # server-sent events; else one JSON object
    prompt_tokens: int = 0  # what is told where the server does not: an estimate
    secret: str | None = attrs.field(default=None, repr=False)
    done: bool = attrs.field(init=False, default=False)  # the `Finish` has been returned
    _events: EventReader = attrs.field(init=False, factory=EventReader)
    _whole: bytearray = attrs.field(init=False, factory=bytearray)
    _reason: FinishReason | None = attrs.field(init=False, default=None)
    _usage: Usage | None = attrs.field(init=False, default=None)
    _tokens: int = attrs.field(init=False, default=0)
    _calls: int = attrs.field(init=False, default=0)  # tool calls begun

    @property
    def signs_of_life(self) -> int:
        """Grows with each whole line, comments too; an endless line is no sign of life."""
        return self._events.lines

    def feed(self, data: bytes) -> list[Delta | Finish]:
        """Return what is complete with *data*. After the `Finish` nothing comes.

        Raises:
            WireFault: it is no answer, or one that says that it failed.
        """
        if self.done:
            return []
        if not self.streamed:
            self._whole += data
            if len(self._whole) > MAX_WHOLE_BYTES:
                raise garbage(self.upstream, f"sent an answer of more than {MAX_WHOLE_BYTES} bytes")
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
        pieces = self._take([bytes(self._whole)] if not self.streamed else self._events.end())
        if not self.done:
            if self._reason is None:
                raise cut_off(self.upstream)
            pieces.append(self._finish())
        return pieces

    def _take(self, events: list[bytes]) -> list[Delta | Finish]:
        pieces: list[Delta | Finish] = []
        for event in events:
            if event == b"[DONE]" and self.streamed:
                # llama-cpp-python says so, and nothing else, when another request interrupts it.
                if self._reason is None and self._usage is None:
                    raise cut_off(self.upstream)
                pieces.append(self._finish())
                break
            try:
                chunk = _CHUNK.decode(event)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise garbage(self.upstream, f"sent something that is no answer: {error}") from None
            if chunk.error:
                raise WireFault(of_event(self.upstream, chunk.error, self.secret))
            if chunk.usage is not None:
                self._usage = self._read_usage(chunk.usage)
            for choice in chunk.choices or ():
                if choice.index in (0, None):  # nobody asked for more
                    pieces += self._read(choice)
        return pieces

    def _read(self, choice: _Choice) -> list[Delta]:
        said = choice.delta or choice.message or _Said()
        text = said.content or choice.text or ""
        reasoning = said.reasoning_content or said.reasoning or ""
        calls = self._read_calls(said)
        logprobs: tuple[TokenLogprob, ...] = ()
        if choice.logprobs is not None and choice.logprobs.content:
            logprobs = tuple(map(_logprob, choice.logprobs.content))
        if choice.finish_reason is not None:
            if choice.finish_reason == "error":
                raise WireFault(of_event(self.upstream, "its answer ended with an error"))
            self._reason = _REASONS.get(choice.finish_reason, FinishReason.STOP)
        if not (text or reasoning or calls or logprobs):
            return []
        tokens = len(logprobs) or 1
        self._tokens += tokens
        return [Delta(text, tokens, logprobs, reasoning, calls)]

    def _read_calls(self, said: _Said) -> tuple[CallPiece, ...]:
        pieces = []
        for place, call in enumerate(said.tool_calls or ()):
            function = call.function or _Function()
            index = call.index
            if index is None:  # a server that sends whole calls, and does not count them
                index = self._calls if call.id or function.name else max(0, self._calls - 1)
            elif not 0 <= index <= self._calls + place:
                raise garbage(self.upstream, f"sent tool call {index} before those in front of it")
            self._calls = max(self._calls, index + 1)
            pieces.append(
                CallPiece(index, call.id or "", function.name or "", _text(function.arguments))
            )
        if said.function_call is not None:
            self._calls = max(self._calls, 1)
            called = said.function_call
            pieces.append(CallPiece(0, "", called.name or "", _text(called.arguments)))
        return tuple(pieces)

    def _read_usage(self, told: _Usage) -> Usage:
        cached = told.prompt_tokens_details
        reasoning = told.completion_tokens_details
        return Usage(
            prompt_tokens=max(0, told.prompt_tokens or 0) or self.prompt_tokens,
            completion_tokens=max(0, told.completion_tokens or 0),
            cached_tokens=max(0, cached.cached_tokens or 0) if cached else 0,
            reasoning_tokens=max(0, reasoning.reasoning_tokens or 0) if reasoning else 0,
        )

    def _finish(self) -> Finish:
        self.done = True
        reason = self._reason or FinishReason.STOP
        if reason is FinishReason.STOP and self._calls:
            reason = FinishReason.TOOL_CALLS  # several servers say stop all the same
        return Finish(reason, self._usage or Usage(self.prompt_tokens, self._tokens))


def _logprob(told: _Logprob) -> TokenLogprob:
    top = tuple((_bytes(one), one.logprob) for one in told.top_logprobs or ())
    return TokenLogprob(_bytes(told), told.logprob, top)


def _bytes(told: _Top) -> bytes:
    if told.bytes is not None and all(0 <= value < 256 for value in told.bytes):
        return bytes(told.bytes)
    return told.token.encode(errors="replace")


def _text(arguments: str | dict[str, Any] | None) -> str:
    if arguments is None:
        return ""
    if isinstance(arguments, str):
        return arguments
    return msgspec.json.encode(arguments).decode()  # an object, where the protocol wants its text
