"""The body of ``POST /v1/completions``: text or token ids to continue, one prompt or several."""

from __future__ import annotations

from typing import Annotated

import attrs
import msgspec
from msgspec import Meta, Raw

from lattice_actors.generation import Chat, Text, Tokens
from lattice_http.prompted import Prompted

from .bodies import decode, decode_part, is_empty, is_null, unsupported, wrong
from .request import ModelBody, ModelRequest, shared_fields
from .wishes import Headers

MAX_LOGPROBS = 5  # as at OpenAI; 0 tells those of the answer itself
MAX_PROMPTS = 128  # each is a ticket of its own, and by default 128 may wait in all

NonEmpty = Annotated[str, Meta(min_length=1)]
TokenIds = Annotated[
    list[Annotated[int, Meta(ge=0, le=2**31 - 1)]], Meta(min_length=1)
]  # the engine knows the vocabulary, and checks again


class CompletionBody(ModelBody, frozen=True, kw_only=True):
    prompt: Raw = Raw()
    logprobs: Annotated[int, Meta(ge=0, le=MAX_LOGPROBS)] | bool | None = None


_BODY: msgspec.json.Decoder[CompletionBody] = msgspec.json.Decoder(CompletionBody)
_TEXT: msgspec.json.Decoder[str] = msgspec.json.Decoder(NonEmpty)
_TEXTS: msgspec.json.Decoder[list[str]] = msgspec.json.Decoder(list[NonEmpty])
_IDS: msgspec.json.Decoder[list[int]] = msgspec.json.Decoder(TokenIds)
_LISTS: msgspec.json.Decoder[list[list[int]]] = msgspec.json.Decoder(list[TokenIds])


@attrs.frozen(kw_only=True)
class CompletionRequest(ModelRequest):
    """Each prompt is `n` choices of the answer, in this order."""

    prompts: tuple[Text | Tokens, ...]

    @property
    def text_chars(self) -> int:
        """Characters of all prompts; token ids count none."""
        return sum(len(prompt.text) for prompt in self.prompts if isinstance(prompt, Text))


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
    prompts = _prompts(form.prompt)
    if len(prompts) * shared["n"] > MAX_PROMPTS:
        raise wrong("n", f"more than {MAX_PROMPTS} answers: {len(prompts)} prompts x {form.n}")
    return CompletionRequest(prompts=prompts, logprobs=logprobs, **shared)


def _prompts(raw: Raw) -> tuple[Text | Tokens, ...]:
    """The first byte, and in a list that of the first item, tell which of four forms it is."""
    if is_null(raw):
        raise wrong("prompt", "prompt required")
    content = bytes(raw)
    if content[:1] != b"[":
        return (Text(decode_part(content, _TEXT, "prompt")),)
    match content[1:].lstrip(b" \t\r\n")[:1]:
        case b"]":
            raise wrong("prompt", "prompt required")
        case b'"':
            texts = decode_part(content, _TEXTS, "prompt")
            _count(len(texts))
            return tuple(Text(text) for text in texts)
        case b"[":
            _count(content.count(b"[") - 1)  # before the lists are built: millions take a second
            lists = decode_part(content, _LISTS, "prompt")
            return tuple(Tokens(tuple(each)) for each in lists)
        case _:
            ids = decode_part(content, _IDS, "prompt")
            return (Tokens(tuple(ids)),)


def _count(prompts: int) -> None:
    if prompts > MAX_PROMPTS:
        raise wrong("prompt", f"more than {MAX_PROMPTS} prompts")


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
        prompt_bytes=tuple(
            len(prompt.text.encode()) if isinstance(prompt, Text) else 4 * len(prompt.ids)
            for prompt in parsed.prompts
        ),
        text="\n".join(texts),
    )
