"""The answers of swarms: one row for each branch, and the bodies round them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from lattice_actors.generation import FinishReason
from lattice_actors.swarm.asks import Debate, Ensemble, Pipeline, Strategy, SwarmAsk
from lattice_actors.swarm.events import Outcome, Row, Verdict
from lattice_actors.swarm.failure import SwarmFailed
from lattice_http.openai.answers import Whole, chat_completion, new_chat_id, usage_object

from .asking import SwarmRequest

ROUND = "round "  # how the stage of a debate's answer begins


def new_swarm_id() -> str:
    """Return ``swarm_<hex>``."""
    return f"swarm_{uuid.uuid4().hex}"


def row_object(row: Row, created: int) -> dict[str, Any]:
    """Return everything there is to say of a branch; *created* is Unix time."""
    response = None
    if row.ok:
        whole = Whole(row.text, row.finish_reason or FinishReason.STOP)
        response = chat_completion(new_chat_id(), created, row.model, [whole], row.usage)
    return {**row_summary(row), "response": response, "text": row.text}


def row_summary(row: Row) -> dict[str, Any]:
    """Return a row without what its model said."""
    return {
        "branch": row.branch,
        "agent_id": row.agent_id,
        "model": row.model,
        "backend": row.backend,
        **({"stage": row.stage} if row.stage else {}),
        "ok": row.ok,
        "error": row.error,
        "error_kind": row.error_kind,
        "http_status": row.http_status,
        "error_detail": row.error_detail,
        "latency_ms": row.latency_ms,
        "finish_reason": None if row.finish_reason is None else row.finish_reason.value,
        "usage": usage_object(row.usage),
    }


def row_objects(rows: Sequence[Row], created: int) -> list[dict[str, Any]]:
    """Return all rows, in the order of the request."""
    return [row_object(row, created) for row in rows]


def verdict_object(verdict: Verdict, models: Mapping[int, str]) -> dict[str, Any]:
    """Return who won and why; *models* are those of the branches."""
    return {
        "strategy": verdict.strategy.value,
        "winner": None if verdict.winner is None else models.get(verdict.winner),
        "winner_branch": verdict.winner,
        "rationale": verdict.rationale,
        "votes": [
            {"branch": vote.branch, "model": vote.model, "share": round(vote.share, 6)}
            for vote in verdict.votes
        ],
        "judge": verdict.judge,
        "label_mass": None if verdict.label_mass is None else round(verdict.label_mass, 6),
    }


def fanout_object(session: str, created: int, outcome: Outcome) -> dict[str, Any]:
    """Return the body of a fan-out."""
    return {
        "id": session,
        "object": "swarm.fanout",
        "created": created,
        "responses": row_objects(outcome.rows, created),
        "usage": usage_object(outcome.usage),
    }


def swarm_object(outcome: Outcome, created: int) -> dict[str, Any]:
    """Return what a ``chat.completion`` says of the swarm that made it."""
    said: dict[str, Any]
    match outcome.strategy:
        case "pipeline":
            said = {"strategy": "pipeline", "history": history(outcome.rows)}
        case "debate":
            verdict = outcome.verdict
            said = {
                "strategy": "debate",
                "rounds": outcome.rounds,
                "judge": None if verdict is None else verdict.judge,
                "rationale": None if verdict is None else verdict.rationale,
                "transcript": transcript(outcome.rows),
            }
        case strategy:
            verdict = outcome.verdict or Verdict(Strategy(strategy), None, "")
            said = {
                **verdict_object(verdict, {row.branch: row.model for row in outcome.rows}),
                "candidates": row_objects(outcome.rows, created),
            }
    return {**said, **({"notes": list(outcome.notes)} if outcome.notes else {})}


def answer_object(
    asked: SwarmRequest, session: str, created: int, outcome: Outcome
) -> dict[str, Any]:
    """Return the whole body of an answer."""
    ask = asked.ask
    if isinstance(ask, Ensemble) and ask.strategy is Strategy.FANOUT and asked.meta is None:
        return fanout_object(session, created, outcome)
    told = told_in_a_chat(asked, session) if asked.meta is not None else {"session": session}
    body = completion_object(new_chat_id(), created, outcome)
    return body | {"swarm": swarm_object(outcome, created) | told}


def told_in_a_chat(asked: SwarmRequest, session: str) -> dict[str, Any]:
    """Return what ``swarm`` says only where a chat was asked."""
    return {"requested_model": asked.request.spec, "session": session}


def completion_object(answer_id: str, created: int, outcome: Outcome) -> dict[str, Any]:
    """Return a vote, a pipeline or a debate as a ``chat.completion``, without ``swarm``."""
    whole = Whole(outcome.text, outcome.finish_reason)
    return chat_completion(answer_id, created, answering(outcome), [whole], outcome.usage)


def answering(outcome: Outcome) -> str:
    """Return the ``model`` of the answer: ``swarm/<winner>``, ``swarm/debate/<judge>``."""
    if outcome.strategy in ("pipeline", "debate"):
        return f"swarm/{outcome.strategy}/{outcome.model}"
    return f"swarm/{outcome.model}"


def history(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the steps of a pipeline that have an answer."""
    return [
        {
            "name": row.stage,
            "model": row.model,
            "text": row.text,
            "latency_ms": row.latency_ms,
            "usage": usage_object(row.usage),
        }
        for row in rows
        if row.ok
    ]


def transcript(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return what was said in a debate, round after round; who failed is in it with the reason."""
    return [
        {
            "round": int(row.stage.removeprefix(ROUND)),
            "branch": row.branch,
            "model": row.model,
            "text": row.text,
            "latency_ms": row.latency_ms,
            "ok": row.ok,
            "error_kind": row.error_kind,
        }
        for row in rows
        if row.stage.startswith(ROUND)
    ]


def failure(ask: SwarmAsk, failed: SwarmFailed, created: int) -> dict[str, Any]:
    """Return what the body of a failure says beside ``error``: how far it came, and why not."""
    said: dict[str, Any] = {"error_details": _error_details(failed)}
    match ask:
        case Ensemble():
            said["candidates"] = row_objects(failed.rows, created)
        case Pipeline():
            said["history"] = history(failed.rows)
        case Debate():
            said["transcript"] = transcript(failed.rows)
    return said


def error_kinds(failed: SwarmFailed) -> str:
    """Return the value of ``X-Swarm-Error-Kinds``: ``model_crashed=1,timeout=2``."""
    return ",".join(f"{kind}={count}" for kind, count in failed.kinds.items())


def _error_details(failed: SwarmFailed) -> dict[str, Any]:
    rows = failed.failed
    return {
        "summary": failed.message,
        "agent_count": len(failed.rows),
        "kinds": failed.kinds,
        "upstream_statuses": sorted({row.http_status for row in rows if row.http_status}),
        "agents": [row_summary(row) for row in rows],
    }
