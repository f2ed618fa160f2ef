"""The entries of ``models`` and ``steps``, and the messages in them; all raise `BadRequest`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Raw

from lattice_actors.capability.words import fold
from lattice_actors.errors import BadRequest
from lattice_actors.generation import JsonObject
from lattice_actors.swarm.asks import Agent, Manner, Step
from lattice_http.openai.bodies import (
    decode_part,
    fields_of,
    is_null,
    unknown_names,
    unsupported,
    wrong,
)
from lattice_http.openai.chat import parse_chat
from lattice_http.openai.request import ModelRequest

from .bodies import AgentBody, MannerBody, StepBody

_ENTRIES = msgspec.json.Decoder(list[Raw])


def read_messages(raw: Raw, param: str) -> tuple[JsonObject, ...]:
    """Read messages as a chat does; what is wrong is named below *param*."""
    try:
        chat = parse_chat(b'{"messages":' + bytes(raw) + b"}", {}, 0.0)
    except BadRequest as error:
        place = param + (error.param or "messages").removeprefix("messages")
        reason = error.message.removeprefix(f"{error.param}: ")
        raise wrong(place, reason, code=error.code) from None
    if chat.image_param is not None:
        place = param + chat.image_param.removeprefix("messages")
        raise unsupported(place, "a swarm takes no images")
    return chat.messages


def read_agent(body: AgentBody, param: str) -> Agent:
    """Return the agent of an object in ``models``; what is wrong is named below *param*."""
    return Agent(
        spec=checked_spec(body.model, f"{param}.model"),
        plain=False,
        samples=1 if body.samples is None else body.samples,
        system=body.system,
        messages=None
        if is_null(body.messages)
        else read_messages(body.messages, f"{param}.messages"),
        manner=manner_of(body),
        timeout_s=body.timeout,
    )


def read_steps(bodies: Sequence[StepBody]) -> tuple[Step, ...]:
    """Return the steps, each with a name of its own that a template and a header can hold."""
    steps: list[Step] = []
    for index, body in enumerate(bodies):
        place = f"steps[{index}].name"
        name = f"step_{index + 1}" if body.name is None else body.name.strip()
        if not name or not name.isprintable():
            raise wrong(place, "expected visible characters")
        if fold(name) == "previous":
            raise wrong(place, "previous stands for the step before")
        if any(name == step.name for step in steps):
            raise wrong(place, f"{name!r} is the name of a step before")
        steps.append(
            Step(
                name=name,
                spec="auto"
                if body.model is None
                else checked_spec(body.model, f"steps[{index}].model"),
                system=body.system,
                user=body.user,
                manner=manner_of(body),
            )
        )
    return tuple(steps)


def manner_of(said: MannerBody | ModelRequest) -> Manner:
    """Return how a completion is to be made, as far as it is said."""
    return Manner(said.max_tokens, said.temperature, said.top_p, said.seed)


def checked_spec(text: str, param: str) -> str:
    """Return a spec without the space round it, of which something must be left."""
    if not text.strip():
        raise wrong(param, "expected the name of a model")
    return text.strip()


def branches_of(agents: Sequence[Agent]) -> int:
    """Return how many answers *agents* ask for; a token counts once, it is not expanded yet."""
    plain = {agent.spec for agent in agents if agent.plain}
    return len(plain) + sum(agent.samples for agent in agents if not agent.plain)


def unknown_of_entries(
    raw: Raw, param: str, form: type[msgspec.Struct] = AgentBody
) -> Iterator[str]:
    """Yield the fields in the objects of a list that have no effect."""
    if bytes(raw).lstrip()[:1] != b"[":
        return
    entries: list[Raw] = decode_part(raw, _ENTRIES, param)
    for index, entry in enumerate(entries):
        if bytes(entry)[:1] == b"{":
            place = f"{param}[{index}]"
            yield from unknown_names(fields_of(entry, place), form, f"{place}.")
