"""From a job to the request that an OpenAI-compatible server takes. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from lattice_actors.errors import BadRequest
from lattice_actors.generation import Chat, Embed, Grammar, Job, Text, ToolUse

from .choosing import choosing_of
from .embedding_wire import EMBEDDINGS_PATH, body_of

CHAT_PATH = "/v1/chat/completions"
TEXT_PATH = "/v1/completions"

# Servers that take a regular expression or a grammar; for a choice there are other ways
# (`choosing.py`). llama.cpp would take both, but dies of some, and answers without those of others.
GUIDED_KINDS = frozenset({"vllm", "lattice"})
ENDINGS = ("add_generation_prompt", "continue_final_message")


def request_of(job: Job, model: str, kind: str) -> tuple[str, bytes]:
    """Return the path and the body that ask a server of this *kind* for the answer to *job*.

    It is always asked to stream, so that leaving and time limits work for whole answers too;
    embeddings come at once.

    Raises:
        BadRequest: this kind of server cannot do what the job asks for; `param` names the field.
    """
    body: dict[str, Any] = {"model": model}
    prompt = job.prompt
    if isinstance(prompt, Embed):
        return EMBEDDINGS_PATH, body_of(prompt, model, kind)
    if isinstance(prompt, Chat):
        path = CHAT_PATH
        body["messages"] = msgspec.Raw(prompt.source) if prompt.source else prompt.messages
        if prompt.tools:
            body["tools"] = prompt.tools
            body |= _tool_use(job.tool_use)
        # How the last turn ends is a field of its own for vLLM. The others know none, or settle it
        # themselves by who spoke last.
        options = {k: v for k, v in prompt.template_options.items() if k not in ENDINGS}
        if options:
            body["chat_template_kwargs"] = options
        if kind == "vllm":
            body |= {k: v for k, v in prompt.template_options.items() if k in ENDINGS}
        if job.logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": job.logprobs}
    else:
        path = TEXT_PATH
        body["prompt"] = prompt.text if isinstance(prompt, Text) else prompt.ids
        if job.logprobs is not None:
            body["logprobs"] = job.logprobs
    body["max_tokens"] = job.max_tokens
    body |= _sampling(job)
    if job.stop:
        body["stop"] = job.stop
    if (choosing := choosing_of(job, kind)) is not None:
        body["max_tokens"] = choosing.max_tokens(job.max_tokens)
        body |= choosing.fields
        if choosing.form == "schema":
            body.pop("stop", None)  # it is about the text inside
    elif job.grammar is not None:
        body |= _grammar(job.grammar, kind)
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    return path, msgspec.json.encode(body)


def _tool_use(use: ToolUse) -> dict[str, Any]:
    """Say what differs from OpenAI's defaults, since not every server knows the fields."""
    said: dict[str, Any] = {}
    if use.name:
        said["tool_choice"] = {"type": "function", "function": {"name": use.name}}
    elif use.choice != "auto":
        said["tool_choice"] = use.choice
    if use.parallel is not None:
        said["parallel_tool_calls"] = use.parallel
    return said


def _sampling(job: Job) -> dict[str, Any]:
    """Say what is drawn how; what is off is left out, since not every server knows every field."""
    sampling = job.sampling
    said: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    optional = {
        "top_k": (sampling.top_k, 0),
        "min_p": (sampling.min_p, 0.0),
        "seed": (sampling.seed, None),
        "presence_penalty": (sampling.presence_penalty, 0.0),
        "frequency_penalty": (sampling.frequency_penalty, 0.0),
        "repetition_penalty": (sampling.repetition_penalty, 1.0),
    }
    said |= {name: value for name, (value, off) in optional.items() if value != off}
    if sampling.logit_bias:
        said["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias}
    return said


def _grammar(grammar: Grammar, kind: str) -> dict[str, Any]:
    text = grammar.text
    if grammar.kind == "json_schema":
        if text == '{"type":"object"}' and kind != "lmstudio":  # it knows schemas only
            return {"response_format": {"type": "json_object"}}
        schema = {"name": "answer", "schema": msgspec.Raw(text.encode()), "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    if grammar.kind == "choice":
        return {"guided_choice": msgspec.Raw(text.encode())} if kind == "lattice" else {}
    if kind not in GUIDED_KINDS:
        raise BadRequest(
            f"{grammar.param} is not understood by the server that would answer; "
            "use response_format or guided_choice, or a model of this machine",
            code="unsupported_parameter",
            param=grammar.param,
        )
    said: dict[str, Any] = {f"guided_{grammar.kind}": text}
    if kind == "vllm":  # since 0.12 it knows this name only, and leaves the other unread
        said["structured_outputs"] = {grammar.kind: text}
    return said
