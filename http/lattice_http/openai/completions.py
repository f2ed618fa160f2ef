"""The body of ``POST /v1/completions``: text or token ids to continue, one prompt or several."""

from __future__ import annotations

from typing import Annotated

import attrs
import msgspec
from msgspec import Meta, Raw

from lattice_actors.generation import Chat, Text, Tokens
from lattice_http.prompted import Prompted

from .bodies import decode, is_empty, is_null, unsupported, wrong
from .inputs import bytes_of, read_inputs
from .request import ModelBody, ModelRequest, shared_fields
from .wishes import Headers

MAX_LOGPROBS = 5  # as at OpenAI; 0 tells those of the answer itself
MAX_PROMPTS = 128  # each is a ticket of its own, and by default 128 may wait in all


class CompletionBody(ModelBody, frozen=True, kw_only=True):
    prompt: Raw = Raw()
    logprobs: Annotated[int, Meta(ge=0, le=MAX_LOGPROBS)] | bool | None = None


_BODY: msgspec.json.Decoder[CompletionBody] = msgspec.json.Decoder(CompletionBody)


@attrs.frozen(kw_only=True)
class CompletionRequest(ModelRequest):
    """Each prompt is `n` choices of the answer, in this order."""

    prompts: tuple[Text | Tokens, ...]


def parse_completion(body: bytes, headers: Headers, unix_now: float) -> CompletionRequest:
    """Check one body that arrived at *unix_now* (Unix time, seconds).

    Raises:
        BadRequest: with the `param` to blame.
    """
    form, sent = decode(body, _BODY)
    if form.logprobs is True:
        raise wrong("logprobs", f"expected an integer up to {MAX_LOGPROBS}")
    if not is_empty(form.tools, b"[]", "tools"):
        raise unsupported("tools", "only chats call tools")
    if not is_null(form.tool_choice) and bytes(form.tool_choice) not in (b'"none"', b'"auto"'):
        raise unsupported("tool_choice", "only chats call tools")
    logprobs = None if form.logprobs is False else form.logprobs
    shared = shared_fields(form, sent, headers, unix_now)
    prompts, _ = read_inputs(form.prompt, "prompt", MAX_PROMPTS)
    if len(prompts) * shared["n"] > MAX_PROMPTS:
        raise wrong("n", f"more than {MAX_PROMPTS} answers: {len(prompts)} prompts x {form.n}")
    return CompletionRequest(prompts=prompts, logprobs=logprobs, **shared)


def of_completion(parsed: CompletionRequest) -> Prompted:
    """Return a completion as the scheduler needs it.

    A text goes through the chat template as one user message, as clients of the predecessor
    expect (docs/design/0006-completions.md); token ids are taken as they are.
    """
    prompts = tuple(
        Chat(({"role": "user", "content": prompt.text},)) if isinstance(prompt, Text) else prompt
        for prompt in parsed.prompts
    )
    texts = [prompt.text if isinstance(prompt, Text) else "" for prompt in parsed.prompts]
    return Prompted(
        request=parsed,
        prompts=prompts,
        prompt_bytes=tuple(map(bytes_of, parsed.prompts)),
        text="\n".join(texts),
    )
