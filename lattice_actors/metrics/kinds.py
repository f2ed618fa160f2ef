"""What kind of request an event is about: its `route_kind`. Pure.

chat_mlx[_stream] | chat_grab[_stream] | chat_anthropic[_stream] | chat_upstream[_stream]
swarm_fanout | swarm_pipeline
swarm_vote[_judge] | chat_swarm_vote[_judge]
swarm_debate | swarm_debate_round_<n> | swarm_debate_judge
refused
"""

from __future__ import annotations

from .timelines import LOCAL

_PLAIN = ("fanout", "pipeline", "debate")  # every other strategy is a way to vote
_ELSEWHERE = {"anthropic": "chat_anthropic"}


def kind_of_chat(backend: str, *, stream: bool, single: bool) -> str:
    """Return the kind of a request that one model answered; *single*: the only one there is."""
    if backend == LOCAL:
        kind = "chat_grab" if single else "chat_mlx"
    else:
        kind = _ELSEWHERE.get(backend, "chat_upstream")
    return f"{kind}_stream" if stream else kind


def kind_of_swarm(strategy: str, *, chat: bool) -> str:
    """Return the kind of a request that asked a swarm; *chat*: by the name of its model."""
    if strategy in _PLAIN:
        return f"swarm_{strategy}"
    return "chat_swarm_vote" if chat else "swarm_vote"


def kind_of_answer(strategy: str, *, stage: str, judge: bool, chat: bool) -> str:
    """Return the kind of one answer within a swarm; *stage* as rows have it, "round 2"."""
    kind = kind_of_swarm(strategy, chat=chat)
    if judge:
        return f"{kind}_judge"
    return f"{kind}_{stage.replace(' ', '_')}" if strategy == "debate" else kind
