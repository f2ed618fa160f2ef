"""From a job to the request that Anthropic's Messages API takes. Pure.

What a job asks for and this API cannot do is refused with the name of the field, because leaving
it out would change the answer. Only `seed` is dropped (`UNHEARD`): it changes which answer comes,
not what may come, and swarms give one to every branch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from lattice_actors.errors import BadRequest
from lattice_actors.generation import Chat, Grammar, Job, JsonObject, Sampling, ToolUse

from .anthropic_turns import turns_of

ThinkingStyle: TypeAlias = Literal["adaptive", "budget"]

# Of older models only: today's refuse them, and the SDK has no arguments for them.
SAMPLING = ("temperature", "top_p", "top_k")

UNHEARD = ("seed",)  # accepted, without an effect
LEAST_BUDGET = 1024  # tokens of thinking; Anthropic's own minimum

_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 32_768}
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh"}


def request_of(job: Job, model: str, thinking: ThinkingStyle = "adaptive") -> dict[str, Any]:
    """Return the arguments of ``messages.create`` that ask *model* for the answer to *job*.

    *thinking* is how a model is asked to think, where the job wants that: ``adaptive``, or with
    a ``budget`` of tokens, which models before the adaptive ones take.

    Raises:
        BadRequest: it cannot be asked that way; `param` names the field.
    """
    chat = job.prompt
    if not isinstance(chat, Chat):
        raise _refused("prompt", "models in the cloud answer chats only")
    _refuse(job)
    system, messages = turns_of(chat)
    request: dict[str, Any] = {
        "model": model,
        "max_tokens": job.max_tokens,
        "messages": messages,
        "stream": True,
        **_sampling(job.sampling),
        **_thinking(chat, job.max_tokens, thinking),
    }
    if system:
        request["system"] = system
    if job.stop:
        request["stop_sequences"] = list(job.stop)
    if job.grammar is not None:
        form = {"format": _format(job.grammar)}
        request["output_config"] = {**request.get("output_config", {}), **form}
    if chat.tools:
        request["tools"] = [_tool(tool) for tool in chat.tools]
        choice = _choice(job.tool_use)
        if choice is not None:
            request["tool_choice"] = choice
    return request


def _refused(param: str, reason: str) -> BadRequest:
    return BadRequest(f"{param}: {reason}", code="unsupported_parameter", param=param)


def _refuse(job: Job) -> None:
    sampling = job.sampling
    neutral: Mapping[str, tuple[object, object]] = {
        "min_p": (sampling.min_p, 0.0),
        "presence_penalty": (sampling.presence_penalty, 0.0),
        "frequency_penalty": (sampling.frequency_penalty, 0.0),
        "repetition_penalty": (sampling.repetition_penalty, 1.0),
        "logit_bias": (sampling.logit_bias, ()),
        "logprobs": (job.logprobs, None),
    }
    for param, (value, off) in neutral.items():
        if value != off:
            raise _refused(param, "models in the cloud do not take it")
    if sampling.temperature > 1.0:
        raise _refused("temperature", "models in the cloud take 0 to 1")


def _sampling(sampling: Sampling) -> dict[str, Any]:
    """Say what differs from Anthropic's defaults: who wishes nothing must not be refused."""
    defaults = {"temperature": 1.0, "top_p": 1.0, "top_k": 0}
    said = {name: getattr(sampling, name) for name in SAMPLING}
    return {name: value for name, value in said.items() if value != defaults[name]}


def _thinking(chat: Chat, max_tokens: int, style: ThinkingStyle) -> dict[str, Any]:
    options = dict(chat.template_options)
    wanted = options.pop("enable_thinking", None)
    effort = options.pop("reasoning_effort", None)
    for key in options:
        raise _refused(f"chat_template_kwargs.{key}", "models in the cloud have no chat template")
    if effort is not None and effort != "none" and effort not in _EFFORTS:
        raise _refused("chat_template_kwargs.reasoning_effort", "not one of Anthropic's")
    if wanted is None and effort is None:
        return {}
    if effort == "none" or wanted is False:
        return {"thinking": {"type": "disabled"}}
    # Thoughts are only taken back with their signature, which no OpenAI client keeps. In the
    # middle of a turn that uses tools they would be asked for, so it goes on without.
    if chat.messages and chat.messages[-1].get("role") == "tool":
        return {}
    if style == "adaptive":
        said: dict[str, Any] = {"thinking": {"type": "adaptive"}}
        return said if effort is None else {**said, "output_config": {"effort": _EFFORTS[effort]}}
    if max_tokens <= LEAST_BUDGET:
        raise _refused("max_tokens", f"thinking needs more than {LEAST_BUDGET}")
    budget = min(_BUDGETS[effort or "medium"], max(LEAST_BUDGET, max_tokens // 2))
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def _format(grammar: Grammar) -> dict[str, Any]:
    if grammar.kind != "json_schema":
        raise _refused(grammar.param, "models in the cloud keep to JSON schemas only")
    schema = msgspec.json.decode(grammar.text)
    if not isinstance(schema, dict):
        raise _refused(grammar.param, "models in the cloud take an object as the schema")
    return {"type": "json_schema", "schema": schema}


def _tool(tool: JsonObject) -> dict[str, Any]:
    function = tool["function"]
    said = {"name": function["name"], "input_schema": {"type": "object", "properties": {}}}
    if function.get("parameters"):
        said["input_schema"] = {"type": "object", **function["parameters"]}
    for key in ("description", "strict"):
        if function.get(key) is not None:
            said[key] = function[key]
    return said


def _choice(use: ToolUse) -> dict[str, Any] | None:
    said: dict[str, Any]
    if use.choice == "none":
        return {"type": "none"}
    if use.choice == "required":
        said = {"type": "tool", "name": use.name} if use.name else {"type": "any"}
    elif use.parallel is None:
        return None
    else:
        said = {"type": "auto"}
    if use.parallel is not None:
        said["disable_parallel_tool_use"] = not use.parallel
    return said
