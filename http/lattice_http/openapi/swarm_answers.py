"""What swarms answer, and the schemas of what they take."""

from __future__ import annotations

from lattice_http.swarm.bodies import DebateBody, FanoutBody, PipelineBody, SwarmOptions, VoteBody

from .fields import FIELDS, RAW
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
    "label_mass": nullable(said(NUMBER, "How much of the judge's probability fell on the labels.")),
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


def described() -> dict[str, Schema]:
    """Return the schemas of this area."""
    bodies = Described(raw=RAW, texts=FIELDS)
    bodies.add(FanoutBody, VoteBody, PipelineBody, DebateBody, SwarmOptions)
    return {**bodies.schemas, **ANSWERS}
