"""A busy moment of a house, as State tells it: everything the page can show is in it."""

from __future__ import annotations

import json
from typing import Any

GB = 10**9


def _actor(name: str, *children: dict[str, Any], **other: object) -> dict[str, Any]:
    return {
        "name": name,
        "state": "running",
        "mailbox_depth": 0,
        "restarts": 0,
        "last_error": None,
        "children": list(children),
        **other,
    }


def _actors() -> list[dict[str, Any]]:
    return [
        _actor("metrics", mailbox_depth=3),
        _actor("catalog"),
        _actor(
            "upstreams",
            _actor("studio", state="backing off", restarts=2, last_error="connection refused"),
        ),
        _actor(
            "models",
            _actor("Qwen3-8B-4bit", mailbox_depth=2),
            _actor("SmolLM2-135M-Instruct"),
            _actor("Qwen3-Coder-30B-A3B-4bit"),
            _actor("Mistral-Small-24B-4bit", restarts=1, last_error="engine exited with 9"),
        ),
        _actor("evictor"),
        _actor("admission", mailbox_depth=1),
    ]


def _models() -> dict[str, Any]:
    def model(state: str, **other: object) -> dict[str, Any]:
        return {
            "state": state, "pinned": False, "backend": "mlx", "running": 0, "leaving": 0,
            "waiting": 0, "slots": 8, "reserved_bytes": 0, "kv_bytes": 0, "restarts": 0,
            "tokens_per_s": 0.0, "barred": None, **other,
        }  # fmt: skip

    return {
        "Qwen3-8B-4bit": model(
            "ready", pinned=True, running=5, waiting=2, reserved_bytes=6.2 * GB,
            kv_bytes=1.1 * GB, tokens_per_s=212.4,
        ),
        "SmolLM2-135M-Instruct": model(
            "ready", running=1, reserved_bytes=0.4 * GB, kv_bytes=0.05 * GB, tokens_per_s=143.0,
        ),
        "Qwen3-Coder-30B-A3B-4bit": model("loading", waiting=1, reserved_bytes=18.1 * GB),
        "Mistral-Small-24B-4bit": model(
            "quarantined", restarts=1, barred="crashed 3 times in a minute; again in 42 s",
            slots=None,
        ),
        "gemma-3-4b-it-4bit": model("cold", reserved_bytes=2.6 * GB, slots=None),
    }  # fmt: skip


def _requests(now_ms: float) -> dict[str, Any]:
    def request(model: str, ago_ms: float, **other: object) -> dict[str, Any]:
        times = {
            name: None if value is None else now_ms - float(str(value))
            for name, value in other.items()
            if name.endswith("_ms") and name != "load_ms"
        }
        return {
            "model": model, "spec": "auto", "resolution": None, "backend": "mlx",
            "class": "interactive", "arrived_ms": now_ms - ago_ms, "resolved_ms": now_ms - ago_ms,
            "granted_ms": None, "load_ms": None, "first_ms": None, "ended_ms": None,
            "prefill": None, "tokens": 0, "outcome": None, "error": None, **other, **times,
        }  # fmt: skip

    coder = "Qwen3-Coder-30B-A3B-4bit"
    qwen, smol = "Qwen3-8B-4bit", "SmolLM2-135M-Instruct"
    return {
        "a1": request(qwen, 5200, granted_ms=5150, first_ms=4400, tokens=188, phase="decode"),
        "a2": request(
            qwen, 3100, granted_ms=2500, first_ms=1700, tokens=71, phase="decode",
            **{"class": "normal"},
        ),
        "a3": request(
            qwen, 1400, granted_ms=1380, prefill={"done": 1536, "total": 4096, "cached": 0},
            phase="prefill",
        ),
        "a4": request(
            coder, 4200, load_ms=None, phase="load", spec="role:coder",
            resolution="role:coder -> Qwen3-Coder-30B-A3B-4bit",
        ),
        "a5": request(qwen, 2400, phase="queue", **{"class": "batch"}),
        "a6": request(smol, 900, granted_ms=890, first_ms=820, tokens=101, phase="decode"),
        "b1": request(
            qwen, 14200, granted_ms=11200, load_ms=2600, first_ms=10400, ended_ms=6400,
            tokens=402, outcome="ok", phase="ended",
        ),
        "b2": request(
            smol, 16000, granted_ms=15990, first_ms=15900, ended_ms=14400, tokens=256,
            outcome="ok", phase="ended", **{"class": "batch"},
        ),
        "b3": request(
            qwen, 22000, ended_ms=19000, outcome="queue_timeout", phase="ended",
            error={"code": "queue_timeout", "message": "waited for 3 s, as long as allowed"},
        ),
        "b4": request(
            qwen, 31000, granted_ms=30500, first_ms=29800, ended_ms=24900, tokens=320,
            outcome="client_left", phase="ended", **{"class": "normal"},
        ),
    }  # fmt: skip


def _queue(now_ms: float) -> dict[str, Any]:
    def waiting(model: str, klass: str, position: int, wait_ms: int, **other: object) -> Any:  # noqa: ANN401
        return {
            "model": model, "key": "key:4be1", "class": klass, "level": klass,
            "position": position, "predicted_wait_ms": wait_ms, "arrived_ms": now_ms - 2000,
            **other,
        }  # fmt: skip

    return {
        "classes": {
            "interactive": {"waiting": 1, "predicted_wait_ms": 6400},
            "normal": {"waiting": 1, "predicted_wait_ms": 2600},
            "batch": {"waiting": 1, "predicted_wait_ms": 8100},
        },
        "waiting": {
            "a4": waiting("Qwen3-Coder-30B-A3B-4bit", "interactive", 0, 6400),
            "a5": waiting("Qwen3-8B-4bit", "batch", 1, 8100, level="normal"),
            "a7": waiting("Qwen3-8B-4bit", "normal", 0, 2600),
        },
    }


def _swarms(now_ms: float) -> dict[str, Any]:
    def branch(model: str, state: str) -> dict[str, Any]:
        return {"model": model, "stage": None, "state": state, "tokens": 90, "error": None}

    return {
        "s1": {
            "strategy": "best-of-n", "started_ms": now_ms - 6000, "ended_ms": None,
            "outcome": None,
            "branches": {
                "0": branch("Qwen3-8B-4bit", "ok"),
                "1": branch("SmolLM2-135M-Instruct", "ok"),
                "2": branch("Mistral-Small-24B-4bit", "running"),
            },
            "verdict": {
                "winner": 0, "judge": "Qwen3-8B-4bit", "votes": {"0": 0.71, "1": 0.18, "2": 0.11},
                "rationale": "The judge put 71 % of its weight on branch 1, over all rotations.",
            },
        }
    }  # fmt: skip


TEXTS = {
    "s1": {
        "0": "A supervisor that restarts a child without limit hides the fault. Count the restarts "
        "in a window; beyond it, give up and let the parent decide. The state that led to the "
        "crash must not survive it, so the child begins from what its owner knows is true.",
        "1": "You should restart the process when it fails and then wait a little longer each "
        "time, so that a broken thing does not use all of the processor.",
        "2": "Think of three layers: detection, isolation, recovery. Detection by progress and "
        "not by a heartbeat, since a process that hangs may still answer pings",
    }
}


def _upstreams(now_ms: float) -> dict[str, Any]:
    return {
        "mini": {
            "url": "http://mini.local:5001", "kind": "lattice", "state": "up", "running": 2,
            "limit": 16, "models": ["mini/gemma-3-27b-it", "mini/qwen3-14b"],
            "answered": 412, "failed": 3,
        },
        "studio": {
            "url": "http://192.168.1.20:1234", "kind": "lmstudio", "state": "down", "running": 0,
            "limit": 4, "models": [], "answered": 96, "failed": 11,
            "reason": "upstream studio cannot be reached", "retry_at_ms": now_ms + 12_000,
        },
    }  # fmt: skip


def _sums() -> dict[str, Any]:
    def row(upstream: str, host: str, purpose: str, requests: int, sent: int, received: int) -> Any:  # noqa: ANN401
        return {
            "upstream": upstream, "host": host, "purpose": purpose, "requests": requests,
            "sent_bytes": sent, "received_bytes": received,
        }  # fmt: skip

    rows = (
        row("mini", "mini.local:5001", "answer", 415, 1_840_233, 9_202_114),
        row("studio", "192.168.1.20:1234", "answer", 107, 402_118, 2_410_876),
        row("mini", "mini.local:5001", "models", 96, 0, 51_840),
    )
    return {f"{one['upstream']} {one['purpose']}": one for one in rows}


def _problems(now_ms: float) -> dict[str, Any]:
    def problem(ago_s: int, status: int, code: str, message: str, model: str | None) -> Any:  # noqa: ANN401
        return {
            "at_ms": now_ms - ago_s * 1000, "request_id": f"p{ago_s}", "status": status,
            "code": code, "message": message, "model": model, "class": "normal",
        }  # fmt: skip

    problems = [
        problem(412, 404, "model_not_found", "There is no model 'gpt-9', but 5 others.", None),
        problem(
            190, 503, "model_quarantined",
            "Mistral-Small-24B-4bit crashed 3 times in a minute; it is tried again in 42 s.",
            "Mistral-Small-24B-4bit",
        ),
        problem(
            64, 400, "context_length_exceeded",
            "The prompt has 9120 tokens and max_tokens is 512; the context is 8192.",
            "SmolLM2-135M-Instruct",
        ),
        problem(
            19, 429, "queue_timeout", "It waited for 3.0 s, as long as it was allowed to.",
            "Qwen3-8B-4bit",
        ),
    ]  # fmt: skip
    return {str(number): one for number, one in enumerate(problems)}


def scene(now_ms: float) -> dict[str, Any]:
    """Return the State of that moment, with times round *now_ms*."""
    window = {
        "ttft_ms": {"p50": 212.0, "p95": 840.0, "p99": 1900.0},
        "tokens_per_s": 355.4,
        "requests_per_s": 4.2,
    }
    return {
        "actors": _actors(),
        "memory": {"reserved_bytes": 24.7 * GB, "budget_bytes": 32 * GB, "max_models": 4},
        "models": _models(),
        "queue": _queue(now_ms),
        "requests": _requests(now_ms),
        "windows": {"1s": window, "10s": window, "1m": window, "15m": window},
        "errors": _problems(now_ms),
        "swarms": _swarms(now_ms),
        "upstreams": _upstreams(now_ms),
        "egress": {"sums": _sums()},
        "totals": {"requests": 1284, "tokens": 913_442},
        "preferences": {
            "default_model": "Qwen3-8B-4bit",
            "swarm_presets": {"council": ["role:reasoner", "role:coder"]},
        },
    }


def vote() -> str:
    """Return the stream of a vote in the playground, among the branches of `scene`."""
    session = scene(0)["swarms"]["s1"]
    events: list[tuple[str, Any]] = [("session", {"session": "s1", "strategy": "best-of-n"})]
    for name, one in session["branches"].items():
        said: Any = {"branch": int(name), "model": one["model"]}
        events.append(("branch", {**said, "delta": {"content": TEXTS["s1"][name]}}))
        events.append(("branch_done", {**said, "ok": True}))
    votes = [{"branch": int(n), "share": share} for n, share in session["verdict"]["votes"].items()]
    verdict = {**session["verdict"], "winner_branch": 0, "votes": votes}
    events.append(("verdict", verdict))
    return "".join(f"event: {name}\ndata: {json.dumps(body)}\n\n" for name, body in events)
