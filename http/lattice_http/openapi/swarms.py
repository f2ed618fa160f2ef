"""Several models, one answer: the swarm routes, and what chats say of swarms."""

from __future__ import annotations

from typing import Any

from .chat_answers import HELLO, ID, SAID, USAGE
from .errors import GENERATING
from .headers import FAILED_SWARM, ROUTING, SWARM, TIMING, WISHES
from .operation import Answer, Operation, Stream
from .shapes import Schema, ref

_EVENTS = {
    "session": ref("SwarmSessionEvent"),
    "branch": ref("SwarmBranchEvent"),
    "branch_done": ref("SwarmRow"),
    "verdict": ref("SwarmVerdict"),
    "answer": ref("SwarmAnswerEvent"),
    "error": ref("SwarmError"),
}
_STREAM_TEXT = (
    "Named events in the order in which things happen, then the whole answer as it would be "
    "without a stream as plain `data:`, and `data: [DONE]`."
)
_STREAM = """\
event: session
data: {"session":"swarm_1f","strategy":"majority"}

event: branch
data: {"branch":0,"model":"SmolLM2-135M-Instruct","delta":{"content":"12"}}

data: [DONE]

"""
_HEADERS = (*ROUTING, *SWARM, *TIMING)
_ROW: dict[str, Any] = {
    "branch": 0,
    "agent_id": "auto",
    "model": ID,
    "backend": "mlx",
    "ok": True,
    "error": None,
    "error_kind": None,
    "http_status": None,
    "error_detail": None,
    "latency_ms": 210,
    "finish_reason": "stop",
    "usage": USAGE,
    "response": None,
    "text": SAID,
}
_COMPLETION: dict[str, Any] = {
    "id": "chatcmpl_1f",
    "object": "chat.completion",
    "created": 1770000000,
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": SAID, "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": USAGE,
}
_VOTE = {
    "strategy": "majority",
    "winner": ID,
    "winner_branch": 0,
    "rationale": "2 of 3 gave this answer.",
    "votes": [{"branch": 0, "model": ID, "share": 0.666667}],
    "judge": None,
    "label_mass": None,
    "candidates": [_ROW],
    "session": "swarm_1f",
}


def _asking(
    name: str,
    title: str,
    body: str,
    examples: dict[str, Any],
    answer: tuple[Schema, Any],
    text: str = "",
) -> Operation:
    schema, example = answer
    return Operation(
        method="post",
        path=f"/swarm/{name}",
        name=f"swarm{name.capitalize()}",
        area="Swarms",
        title=title,
        text=text,
        body=ref(body),
        examples=examples,
        answers={
            200: Answer(
                "The answer.",
                schema,
                example,
                stream=Stream(_STREAM_TEXT, {**_EVENTS, "data": schema}, _STREAM),
                headers=_HEADERS,
            ),
            502: Answer("All failed: `swarm_failed`.", ref("SwarmError"), headers=FAILED_SWARM),
        },
        failures=GENERATING,
        headers=WISHES,
    )


_SEVEN = [{"role": "user", "content": "What is 7 + 5? Answer with the number."}]

OPERATIONS = (
    _asking(
        "fanout",
        "Ask several models",
        "FanoutBody",
        {"plain": {"models": ["auto", "role:fast"], "messages": HELLO, "max_tokens": 20}},
        (
            ref("SwarmFanout"),
            {
                "id": "swarm_1f",
                "object": "swarm.fanout",
                "created": 1770000000,
                "responses": [_ROW],
                "usage": USAGE,
            },
        ),
        "A row for each branch, whatever became of it: a 200 also when all failed.",
    ),
    _asking(
        "vote",
        "Ask several models for one answer",
        "VoteBody",
        {
            "majority": {
                "models": [{"model": "auto", "samples": 3}],
                "strategy": "majority",
                "messages": _SEVEN,
                "max_tokens": 20,
            },
            "streamed": {
                "models": [{"model": "auto", "samples": 2}],
                "judge": "auto",
                "messages": _SEVEN,
                "max_tokens": 20,
                "stream": True,
            },
        },
        (
            ref("ChatCompletion"),
            {**_COMPLETION, "model": f"swarm/{ID}", "swarm": _VOTE},
        ),
    ),
    _asking(
        "pipeline",
        "Ask one model after the other",
        "PipelineBody",
        {
            "plain": {
                "steps": [
                    {"name": "draft", "model": "auto"},
                    {"name": "short", "user": "Say it shorter: {{draft}}", "max_tokens": 10},
                ],
                "messages": HELLO,
                "max_tokens": 20,
            }
        },
        (
            ref("ChatCompletion"),
            {
                **_COMPLETION,
                "model": f"swarm/pipeline/{ID}",
                "swarm": {
                    "strategy": "pipeline",
                    "history": [
                        {
                            "name": "draft",
                            "model": ID,
                            "text": SAID,
                            "latency_ms": 210,
                            "usage": USAGE,
                        }
                    ],
                    "session": "swarm_1f",
                },
            },
        ),
    ),
    _asking(
        "debate",
        "Let models answer each other, and a judge conclude",
        "DebateBody",
        {
            "plain": {
                "models": [{"model": "auto", "samples": 2}],
                "rounds": 2,
                "judge": "auto",
                "messages": HELLO,
                "max_tokens": 20,
            }
        },
        (
            ref("ChatCompletion"),
            {
                **_COMPLETION,
                "model": f"swarm/debate/{ID}",
                "swarm": {
                    "strategy": "debate",
                    "rounds": 2,
                    "judge": ID,
                    "rationale": "the judge wrote the answer from the last round",
                    "transcript": [
                        {
                            "round": 1,
                            "branch": 0,
                            "model": ID,
                            "text": SAID,
                            "latency_ms": 210,
                            "ok": True,
                            "error_kind": None,
                        }
                    ],
                    "session": "swarm_1f",
                },
            },
        ),
    ),
    Operation(
        method="get",
        path="/swarm/models",
        name="swarmModels",
        area="Swarms",
        title="Tell whom swarms can ask, and their defaults",
        answers={200: Answer("The facts.", ref("SwarmModels"))},
    ),
    Operation(
        method="delete",
        path="/swarm/sessions/{session}/branches/{branch}",
        name="stopSwarmBranch",
        area="Swarms",
        title="Stop one branch",
        text="Its row says `cancelled`; the others do not change.",
        answers={
            200: Answer(
                "It stops.",
                ref("BranchStopped"),
                {"ok": True, "session": "swarm_1f", "branch": 0},
            )
        },
        failures=(404,),
        path_example={"session": "swarm_1f", "branch": 0},
    ),
)
