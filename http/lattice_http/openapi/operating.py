"""Looking at the scheduler and steering it: plan, queue, state, health, metrics, this document."""

from __future__ import annotations

from .chat_answers import HELLO, ID
from .headers import WISHES
from .operation import Answer, Operation
from .shapes import (
    COUNT,
    NUMBER,
    TEXT,
    TRUTH,
    Schema,
    const,
    either,
    listing,
    mapping,
    maybe,
    nullable,
    obj,
    one_of,
    ref,
    said,
)
from .state import ACTOR, STATE

CLASS = one_of("interactive", "normal", "batch")

SCHEMAS: dict[str, Schema] = {
    "Plan": obj(
        "What would happen now. Without a model that could answer: `error` says why, and model, "
        "queue and load are null.",
        resolution=nullable(said(TEXT, "As `X-Model-Resolution` would say.")),
        model=nullable(TEXT),
        backend=nullable(TEXT),
        error=maybe(obj(message=TEXT, code=TEXT, param=nullable(TEXT))),
        candidates=listing(obj(id=TEXT, reason=TEXT), "Whom it was between, and why."),
        queue=nullable(
            obj(
                class_=CLASS,
                position=said(COUNT, "How many are before it."),
                predicted_wait_ms=COUNT,
            )
        ),
        load=nullable(obj(needed=TRUTH, fits=TRUTH, evicts=listing(TEXT), predicted_ms=COUNT)),
        max_tokens=maybe(COUNT),
        clamped=maybe(listing(TEXT)),
        ignored=maybe(listing(TEXT)),
    ),
    "QueuedModel": obj(
        phase=TEXT,
        running=COUNT,
        leaving=said(COUNT, "Cancelled; the engine has not said so yet."),
        waiting=COUNT,
        slots=nullable(COUNT),
        promised=COUNT,
        load=NUMBER,
    ),
    "Queue": obj(
        waiting=listing(
            obj(
                request_id=TEXT,
                model=TEXT,
                key=TEXT,
                gang=nullable(said({}, "The swarm it entered with.")),
                class_=CLASS,
                level=TEXT,
                position=COUNT,
                waited_ms=COUNT,
                predicted_wait_ms=COUNT,
            ),
            "In the order of service.",
        ),
        models=mapping(ref("QueuedModel")),
        swaps=listing(obj(model=TEXT, victims=listing(TEXT), begun=TRUTH, due_in_s=NUMBER)),
        waiting_total=COUNT,
        running_total=COUNT,
    ),
    "Actor": ACTOR,
    "State": STATE,
    "Cancelled": obj(ok=const(True), cancelled=TEXT),
    "Alive": obj(ok=const(True)),
    "Ready": obj(ok=TRUTH, reason=maybe(said(TEXT, "Why no chat would be served."))),
    "Root": obj(name=const("lattice-trio"), see=listing(TEXT)),
    "Health": obj(
        "Without the key, where the server has one, only `ok`.",
        ok=TRUTH,
        reason=maybe(TEXT),
        mode=maybe(one_of("catalog", "grab")),
        mlx_models=maybe(listing(TEXT)),
        mlx_unusable=maybe(mapping(TEXT)),
        mlx_loaded=maybe(listing(TEXT)),
        upstreams=maybe(
            mapping(obj(state=TEXT, reason=nullable(TEXT), models=COUNT, running=COUNT))
        ),
        lmstudio_models=maybe(listing(TEXT)),
        lmstudio_loaded_models=maybe(listing(TEXT)),
        lmstudio_loaded_endpoint_supported=maybe(TRUTH),
        lmstudio_error=maybe(nullable(TEXT)),
        prefer_loaded_models=maybe(TRUTH),
        strict_loaded_models=maybe(TRUTH),
        per_model_inflight_cap=maybe(COUNT),
        memory=maybe(
            obj(
                loaded=listing(TEXT),
                count=COUNT,
                max=COUNT,
                reserved_bytes=COUNT,
                budget_bytes=COUNT,
                recent_load_errors_count=COUNT,
            )
        ),
        model_roles=maybe(mapping(listing(TEXT))),
        default_model=maybe(nullable(TEXT)),
        on_model_miss=maybe(one_of("fallback", "error")),
        mlx_per_model_inflight_cap=maybe(COUNT),
        mlx_queue_max_per_model=maybe(COUNT),
        mlx_queue_max_total=maybe(COUNT),
        mlx_queue_wait_timeout_sec=maybe(NUMBER),
        mlx_context_over_budget=maybe(TEXT),
        generation_timeout_sec=maybe(NUMBER),
        max_parallel=maybe(nullable(COUNT)),
        swarm_max_branches=maybe(COUNT),
        swarm_strategies=maybe(listing(TEXT)),
        swarm_presets=maybe(mapping(listing(TEXT))),
        swarm_fanout_timeout_sec=maybe(NUMBER),
        swarm_fanout_budget_example_sec=maybe(NUMBER),
        swarm_chat_enabled=maybe(TRUTH),
        swarm_chat_default_models=maybe(listing(TEXT)),
        swarm_chat_default_strategy=maybe(TEXT),
        swarm_chat_default_judge=maybe(TEXT),
        swarm_chat_auto_max=maybe(COUNT),
        swarm_chat_auto_tokens_loaded=maybe(listing(TEXT)),
        swarm_chat_auto_tokens_available=maybe(listing(TEXT)),
        swarm_chat_canonical=maybe(TEXT),
        swarm_chat_aliases=maybe(mapping(obj(intent=TEXT, deprecated=TRUTH))),
        anthropic_enabled=maybe(TRUTH),
        anthropic_model=maybe(nullable(TEXT)),
        anthropic_auto_route=maybe(TRUTH),
        locality=maybe(TEXT),
        recent_load_errors=maybe(mapping(obj(error=TEXT, ts=COUNT))),
        admission=maybe(
            obj(
                enabled=TRUTH,
                inflight_cap_per_model=COUNT,
                queue_max_per_model=COUNT,
                queue_max_total=COUNT,
                inflight_total=COUNT,
                queued_total=COUNT,
                inflight_by_alias=mapping(COUNT),
                queued_by_alias=mapping(COUNT),
            )
        ),
    ),
}

OPERATIONS = (
    Operation(
        method="post",
        path="/v1/plan",
        name="plan",
        area="Scheduling",
        title="Tell what would happen to a request",
        text="The body of a chat, of a completion or of a request for embeddings in. Nothing is "
        "queued, loaded or generated.",
        body=either(ref("ChatBody"), ref("CompletionBody"), ref("EmbeddingBody")),
        examples={
            "chat": {"model": "role:coder,auto", "messages": HELLO},
            "completion": {"model": "auto", "prompt": "Once"},
        },
        answers={
            200: Answer(
                "The plan.",
                ref("Plan"),
                {
                    "resolution": None,
                    "model": ID,
                    "backend": "mlx",
                    "candidates": [{"id": ID, "reason": "the only one that matches"}],
                    "queue": {"class": "normal", "position": 0, "predicted_wait_ms": 0},
                    "load": {"needed": False, "fits": True, "evicts": [], "predicted_ms": 0},
                    "max_tokens": 1024,
                    "clamped": [],
                    "ignored": [],
                },
            )
        },
        headers=WISHES,
    ),
    Operation(
        method="get",
        path="/v1/queue",
        name="queue",
        area="Scheduling",
        title="Tell who waits, and what runs",
        answers={200: Answer("The queue.", ref("Queue"))},
    ),
    Operation(
        method="get",
        path="/v1/state",
        name="state",
        area="Scheduling",
        title="Tell everything that is shown",
        text="What the dashboard draws. Members without a value are left out; times are Unix "
        "milliseconds. `/dashboard/ws` sends the same, and then its changes.",
        answers={200: Answer("The state.", ref("State"))},
    ),
    Operation(
        method="delete",
        path="/v1/requests/{request_id}",
        name="cancelRequest",
        area="Scheduling",
        title="End somebody's request",
        text="Its caller gets a 400 `request_cancelled`, or the end of its stream.",
        answers={
            200: Answer("It ends.", ref("Cancelled"), {"ok": True, "cancelled": "my-request-1"})
        },
        failures=(404,),
        path_example={"request_id": "my-request-1"},
    ),
    Operation(
        method="get",
        path="/",
        name="root",
        area="Health",
        title="Tell what this is",
        needs_key=False,
        answers={200: Answer("A few routes to begin with.", ref("Root"))},
    ),
    Operation(
        method="get",
        path="/livez",
        name="livez",
        area="Health",
        title="The process runs",
        needs_key=False,
        answers={200: Answer("It does.", ref("Alive"), {"ok": True})},
    ),
    Operation(
        method="get",
        path="/readyz",
        name="readyz",
        area="Health",
        title="A chat would be served",
        needs_key=False,
        answers={
            200: Answer("It would.", ref("Ready"), {"ok": True}),
            503: Answer(
                "It would not.", ref("Ready"), {"ok": False, "reason": "there is no model"}
            ),
        },
    ),
    Operation(
        method="get",
        path="/healthz",
        name="healthz",
        area="Health",
        title="The same with details",
        text="The details are for those with the key.",
        needs_key=False,
        answers={
            200: Answer("A chat would be served.", ref("Health"), {"ok": True}),
            503: Answer("It would not.", ref("Health"), {"ok": False}),
        },
    ),
    Operation(
        method="get",
        path="/metrics",
        name="metrics",
        area="Health",
        title="The counters, for Prometheus",
        answers={
            200: Answer(
                "Prometheus' text format.",
                TEXT,
                'lattice_tokens_total{gen_ai_response_model="SmolLM2-135M-Instruct"} 8.0\n',
                media="text/plain",
            )
        },
    ),
    Operation(
        method="get",
        path="/openapi.json",
        name="openapi",
        area="Health",
        title="This document",
        text="It tells of the program, not of the machine, and needs no key.",
        needs_key=False,
        answers={200: Answer("OpenAPI 3.1.", {"type": "object"})},
    ),
    Operation(
        method="get",
        path="/llms.txt",
        name="llms",
        area="Health",
        title="How to use this server, for agents",
        text="One page of Markdown: names of models, routes, headers, errors, limits, with "
        "examples. It tells of the program, not of the machine, and needs no key.",
        needs_key=False,
        answers={200: Answer("The page.", TEXT, "# lattice-trio\n\n> ...\n", media="text/plain")},
    ),
)
