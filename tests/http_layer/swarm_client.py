"""What tests ask of the swarm routes, and how they read a stream."""

from __future__ import annotations

import json
from typing import Any

from tests.http_layer.test_answers_over_asgi import HELLO, Answered, Client

ROUTES: dict[str, dict[str, Any]] = {
    "/swarm/fanout": {"models": ["a", "b"]},
    "/swarm/vote": {"models": ["a", "b"], "judge": "a"},
    "/swarm/pipeline": {"steps": [{"model": "a"}, {"model": "b"}]},
    "/swarm/debate": {"models": ["a", "b"], "judge": "a"},
    "/v1/chat/completions": {"model": "swarmCouncil", "swarm": {"models": ["a", "b"]}},
}


async def ask(client: Client, path: str, *, leave_after_s: float = 1e9, **fields: Any) -> Answered:  # noqa: ANN401
    body = {"messages": HELLO, "max_tokens": 3, **ROUTES[path], **fields}
    return await client.send("POST", path, body, leave_after_s=leave_after_s)


def events(answered: Answered) -> list[tuple[str, Any]]:
    """The frames as (name, JSON); what has no name is "data", comments are left out."""
    told: list[tuple[str, Any]] = []
    for frame in answered.frames:
        lines = dict(line.split(": ", 1) for line in frame.split("\n") if not line.startswith(":"))
        if "data" in lines:
            data = lines["data"]
            body = data if data == "[DONE]" else json.loads(data)
            told.append((lines.get("event", "data"), body))
    return told
