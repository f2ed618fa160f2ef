"""Between the frames of the wire and the values inside: the one place that knows both."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import attrs
import msgspec

from lattice_actors.generation import (
    CallPiece,
    Chat,
    Delta,
    Embed,
    Finish,
    FinishReason,
    Job,
    Text,
    TokenLogprob,
    Tokens,
    Usage,
)

from . import frames


def command_of(rid: int, job: Job) -> frames.Gen | frames.Embed:
    """Return the command that begins *job*."""
    if not isinstance(job.prompt, Embed):
        return gen_of(rid, job)
    return frames.Embed(
        rid,
        [one.text if isinstance(one, Text) else list(one.ids) for one in job.prompt.inputs],
        job.prompt.listed,
        job.prompt.dimensions,
        job.prompt.truncate,
        job.context_tokens,
    )


def gen_of(rid: int, job: Job) -> frames.Gen:
    """Return the command that begins *job*, which generates."""
    sampling = job.sampling
    frame = frames.Gen(
        rid,
        job.max_tokens,
        sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        seed=sampling.seed,
        stop=list(job.stop),
        context_tokens=job.context_tokens,
        trim=job.trim,
        trim_buffer=job.trim_buffer,
        shorten=job.shorten,
        principal=job.principal,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        repetition_penalty=sampling.repetition_penalty,
        logit_bias=dict(sampling.logit_bias),
        logprobs=job.logprobs,
        grammar=None if job.grammar is None else frames.Grammar(*attrs.astuple(job.grammar)),
        tool_choice=job.tool_use.choice,
        tool_name=job.tool_use.name,
        parallel=job.tool_use.parallel,
        count=job.count,
    )
    match job.prompt:
        case Chat(messages, options, tools):
            return msgspec.structs.replace(
                frame,
                messages=[dict(message) for message in messages],
                template_options=dict(options),
                tools=[dict(tool) for tool in tools],
            )
        case Text(text, add_special):
            return msgspec.structs.replace(frame, text=text, add_special=add_special)
        case Tokens(ids):
            return msgspec.structs.replace(frame, tokens=list(ids))
        case Embed():
            raise AssertionError("an embedding generates nothing")


def delta_of(said: frames.Piece | frames.End) -> Delta:
    """Return what a stream gained."""
    if not (said.logprobs or said.reasoning or said.calls):
        return Delta(said.text, said.tokens)
    told = tuple(TokenLogprob(each.token, each.logprob, each.top) for each in said.logprobs)
    calls = tuple(CallPiece(each.index, each.id, each.name, each.arguments) for each in said.calls)
    return Delta(said.text, said.tokens, told, said.reasoning, calls)


def finish_of(end: frames.End) -> Finish:
    """Return the end of an answer; a reason that is not known here is an ordinary stop."""
    try:
        reason = FinishReason(end.reason)
    except ValueError:
        reason = FinishReason.STOP
    usage = Usage(end.prompt_tokens, end.completion_tokens, end.cached_tokens, end.reasoning_tokens)
    ids = struct.unpack(f"<{len(end.prompt_ids) // 4}I", end.prompt_ids)
    return Finish(reason, usage, end.trimmed_messages, end.stop, ids)


def end_of_count(gen: frames.Gen, tokens: Sequence[int]) -> frames.End:
    """Return the one report of a `Gen` that counts."""
    ids = struct.pack(f"<{len(tokens)}I", *tokens) if gen.count == "ids" else b""
    return frames.End(gen.rid, "stop", len(tokens), 0, prompt_ids=ids)
