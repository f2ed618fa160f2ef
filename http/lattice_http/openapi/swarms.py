"""Several models, one answer: the swarm routes, and what chats say of swarms."""

from __future__ import annotations

from typing import Any

from lattice_http.swarm.bodies import DebateBody, FanoutBody, PipelineBody, SwarmOptions, VoteBody

from .chats import HELLO, ID, SAID, USAGE
from .errors import GENERATING
from .fields import FIELDS, RAW
from .headers import FAILED_SWARM, ROUTING, SWARM, TIMING, WISHES
from .operation import Answer, Operation, Stream
from .shapes import (
    COUNT,
    NUMBER,
    TEXT,
    TRUTH,
    UNIX_S,
    Schema,
    const,
    listing,
    mapping,
    maybe,
    nullable,
    obj,
    one_of,
    ref,
    said,
)
from .structs import Described

KINDS = (
    *("no_models_loaded", "model_not_resolved", "oom", "model_crashed", "empty_response"),
    *("timeout", "connection_error", "upstream_4xx", "upstream_5xx", "config_error"),
    *("anthropic_error", "litellm_error", "queue_rejected", "model_unavailable"),
    *("invalid_request", "cancelled", "unknown"),
)
_KIND_TEXT = "One of " + ", ".join(KINDS) + "; take others for `unknown`."
STRATEGY = one_of("best-of-n", "first-success", "longest", "majority", "synthesis", "fanout")

_SUMMARY: dict[str, Schema] = {
    "branch": said(COUNT, "Its number."),
    "agent_id": said(TEXT, "The name as sent."),
    "model": said(TEXT, "Who answered."),
    "backend": nullable(TEXT),
    "stage": maybe(said(TEXT, "`round 2`, or the name of a step.")),
    "ok": said(TRUTH, "It has text."),
    "error": nullable(TEXT),
    "error_kind": nullable(said(TEXT, _KIND_TEXT)),
    "http_status": nullable(COUNT),
    "error_detail": nullable(TEXT),
    "latency_ms": COUNT,
    "finish_reason": {"enum": ["stop", "length", "tool_calls", "cancelled", None]},
    "usage": ref("Usage"),
}
_VERDICT: dict[str, Schema] = {
    "strategy": STRATEGY,
    "winner": nullable(said(TEXT, "The model of the winning branch.")),
    "winner_branch": nullable(COUNT),
    "rationale": TEXT,
    "votes": listing(obj(branch=COUNT, model=TEXT, share=NUMBER)),
    "judge": nullable(TEXT),
    "label_mass": nullable(
        said(NUMBER, "How much of the judge's probability fell on the labels.")
    ),
}
_TOLD = {
    "session": TEXT,
    "notes": maybe(listing(TEXT, "What was left out.")),
}

ANSWERS: dict[str, Schema] = {
    "SwarmRowSummary": obj(**_SUMMARY),
    "SwarmRow": obj(
        "What became of one branch.",
        **_SUMMARY,
        response=nullable(ref("ChatCompletion")),
        text=said(TEXT, "What it said, also where it was cut short."),
    ),
    "SwarmVerdict": obj(**_VERDICT),
    "VoteReport": obj(
        **_VERDICT,
        **_TOLD,
        candidates=listing(ref("SwarmRow")),
        requested_model=maybe(said(TEXT, "Only in a chat.")),
    ),
    "SwarmStepAnswer": obj(name=TEXT, model=TEXT, text=TEXT, latency_ms=COUNT, usage=ref("Usage")),
    "PipelineReport": obj(
        **_TOLD, strategy=const("pipeline"), history=listing(ref("SwarmStepAnswer"))
    ),
    "SwarmTurn": obj(
        round=COUNT,
        branch=COUNT,
        model=TEXT,
        text=TEXT,
        latency_ms=COUNT,
        ok=TRUTH,
        error_kind=nullable(said(TEXT, _KIND_TEXT)),
    ),
    "DebateReport": obj(
        **_TOLD,
        strategy=const("debate"),
        rounds=nullable(COUNT),
        judge=nullable(TEXT),
        rationale=nullable(TEXT),
        transcript=listing(ref("SwarmTurn")),
    ),
    "SwarmFanout": obj(
        id=said(TEXT, "The session."),
        object=const("swarm.fanout"),
        created=UNIX_S,
        responses=listing(ref("SwarmRow"), "In the order of the request."),
        usage=ref("Usage"),
    ),
    "SwarmErrorDetails": obj(
        summary=TEXT,
        agent_count=COUNT,
        kinds=mapping(COUNT),
        upstream_statuses=listing(COUNT),
        agents=listing(ref("SwarmRowSummary")),
    ),
    "SwarmError": obj(
        "The rows are there where the swarm failed as a whole.",
        error=ref("ErrorObject"),
        error_details=maybe(ref("SwarmErrorDetails")),
        candidates=maybe(listing(ref("SwarmRow"))),
        history=maybe(listing(ref("SwarmStepAnswer"))),
        transcript=maybe(listing(ref("SwarmTurn"))),
    ),
    "SwarmSessionEvent": obj(session=TEXT, strategy=TEXT),
    "SwarmBranchEvent": obj(
        "The next piece of one branch.",
        branch=COUNT,
        model=TEXT,
        delta=obj(content=maybe(TEXT), reasoning_content=maybe(TEXT)),
        stage=maybe(TEXT),
    ),
    "SwarmAnswerEvent": obj(
        "The next piece of the answer, as soon as it is certain.", delta=obj(content=TEXT)
    ),
    "SwarmModels": obj(
        models=listing(TEXT),
        loaded=listing(TEXT),
        roles=mapping(listing(TEXT)),
        default_model=nullable(TEXT),
        max_concurrent_models=COUNT,
        max_parallel=nullable(COUNT),
        swarm_max_branches=COUNT,
        swarm_strategies=listing(TEXT),
        swarm_presets=mapping(listing(TEXT)),
        swarm_fanout_timeout_sec=NUMBER,
        swarm_fanout_budget_example_sec=NUMBER,
        swarm_chat_enabled=TRUTH,
        swarm_chat_default_models=listing(TEXT),
        swarm_chat_default_strategy=STRATEGY,
        swarm_chat_default_judge=TEXT,
        swarm_chat_auto_max=COUNT,
        swarm_chat_auto_tokens_loaded=listing(TEXT),
        swarm_chat_auto_tokens_available=listing(TEXT),
        swarm_chat_canonical=TEXT,
        swarm_chat_aliases=mapping(obj(intent=TEXT, deprecated=TRUTH)),
        anthropic_available=TRUTH,
        anthropic_model=nullable(TEXT),
    ),
    "BranchStopped": obj(ok=const(True), session=TEXT, branch=COUNT),
}

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


def described() -> dict[str, Schema]:
    """Return the schemas of this area."""
    bodies = Described(raw=RAW, texts=FIELDS)
    bodies.add(FanoutBody, VoteBody, PipelineBody, DebateBody, SwarmOptions)
    return {**bodies.schemas, **ANSWERS}


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
