"""``GET /v1/state``: a large object, described as docs/dashboard.md tells of it. Values only."""

from __future__ import annotations

from .shapes import (
    ANYTHING,
    COUNT,
    NUMBER,
    TEXT,
    TRUTH,
    Schema,
    listing,
    mapping,
    maybe,
    obj,
    one_of,
    said,
)

UNIX_MS = {"type": "integer", "description": "Unix time, milliseconds."}
CLASS = one_of("interactive", "normal", "batch")

_PERCENTILES = maybe(obj(p50=NUMBER, p95=NUMBER, p99=NUMBER, count=NUMBER))
_RATES: dict[str, Schema] = {
    "ttft_ms": _PERCENTILES,
    "itl_ms": _PERCENTILES,
    "queue_ms": _PERCENTILES,
    "load_ms": _PERCENTILES,
    "predicted_off_ms": _PERCENTILES,
    "tokens_per_s": maybe(NUMBER),
    "prefilled_per_s": maybe(NUMBER),
    "requests_per_s": maybe(NUMBER),
    "refused": maybe(NUMBER),
    "stops": maybe(NUMBER),
    "failures": maybe(NUMBER),
    "cached": maybe(NUMBER),
    "prompt": maybe(NUMBER),
}
_WINDOW = obj(**_RATES, by=mapping(mapping(obj(**_RATES)), "By model, class, key and backend."))

_MODEL = obj(
    model=TEXT,
    state=one_of(
        *("cold", "loading", "ready", "restarting", "stopping", "failed", "quarantined"),
        *("draining", "unavailable"),
    ),
    backend=TEXT,
    kind=maybe(TEXT),
    builtin=maybe(TRUTH),
    weights_bytes=maybe(COUNT),
    reserved_bytes=maybe(COUNT),
    context_tokens=maybe(COUNT),
    pinned=maybe(TRUTH),
    running=maybe(COUNT),
    leaving=maybe(COUNT),
    waiting=maybe(COUNT),
    promised=maybe(COUNT),
    slots=maybe(COUNT),
    tokens_per_s=NUMBER,
    pid=maybe(COUNT),
    live=maybe(COUNT),
    waiting_for_engine=maybe(COUNT),
    restarts=maybe(COUNT),
    steps=maybe(COUNT),
    decoded_tokens=maybe(COUNT),
    ghost_tokens=maybe(COUNT),
    stray_frames=maybe(COUNT),
    kv_bytes=maybe(COUNT),
    prefix_bytes=maybe(COUNT),
    barred=maybe(said(TEXT, "Why it cannot be had.")),
)
_REQUEST = obj(
    key=TEXT,
    swarm=maybe(obj(request_id=TEXT, session=TEXT, branch=maybe(COUNT))),
    spec=maybe(said(TEXT, "As what it was asked; within a swarm, its own name there.")),
    stream=TRUTH,
    preview=maybe(said({"type": "object"}, "Only with `--capture-prompts`.")),
    arrived_ms=UNIX_MS,
    phase=one_of("resolve", "queue", "load", "prefill", "decode", "ended"),
    model=maybe(TEXT),
    backend=maybe(TEXT),
    class_=maybe(CLASS),
    resolution=maybe(TEXT),
    resolved_ms=maybe(UNIX_MS),
    granted_ms=maybe(UNIX_MS),
    load_ms=maybe(COUNT),
    predicted_wait_ms=maybe(COUNT),
    prefill=maybe(obj(done=COUNT, total=COUNT, cached=COUNT)),
    first_ms=maybe(UNIX_MS),
    tokens=COUNT,
    prompt_tokens=maybe(COUNT),
    ended_ms=maybe(UNIX_MS),
    route=maybe(TEXT),
    status=maybe(COUNT),
    outcome=maybe(TEXT),
    finish_reason=maybe(TEXT),
    error=maybe(obj(code=TEXT, message=TEXT)),
)
_QUEUE = obj(
    classes=mapping(obj(waiting=COUNT, predicted_wait_ms=maybe(COUNT))),
    waiting=mapping(
        obj(
            model=TEXT,
            key=TEXT,
            gang=maybe(ANYTHING),
            class_=CLASS,
            level=TEXT,
            position=COUNT,
            arrived_ms=UNIX_MS,
            predicted_wait_ms=COUNT,
        )
    ),
    models=mapping(
        obj(
            phase=TEXT,
            running=COUNT,
            leaving=COUNT,
            waiting=COUNT,
            slots=maybe(COUNT),
            promised=COUNT,
            load=NUMBER,
        )
    ),
    swaps=listing(obj(model=TEXT, victims=listing(TEXT), begun=TRUTH)),
    waiting_total=COUNT,
    running_total=COUNT,
)
_UPSTREAM = obj(
    url=TEXT,
    kind=TEXT,
    state=one_of("up", "down", "trial"),
    reason=maybe(TEXT),
    retry_at_ms=maybe(UNIX_MS),
    models=listing(TEXT),
    loaded=maybe(listing(TEXT)),
    running=COUNT,
    limit=maybe(NUMBER),
    failures_in_a_row=COUNT,
    ejections=COUNT,
    answered=COUNT,
    failed=COUNT,
)
_SENT = {"requests": COUNT, "sent_bytes": COUNT, "received_bytes": COUNT}
_PLACE = {"upstream": TEXT, "host": TEXT, "purpose": one_of("answer", "models")}

ACTOR: Schema = obj(
    name=TEXT,
    state=TEXT,
    mailbox_depth=COUNT,
    restarts=COUNT,
    since_ms=UNIX_MS,
    last_error=maybe({"type": ["string", "null"]}),
    children=listing({"$ref": "#/components/schemas/Actor"}),
)

STATE: Schema = obj(
    seq=said(COUNT, "The number of this state; deltas of the socket name the one before."),
    server=obj(version=TEXT, started_ms=UNIX_MS),
    actors=listing({"$ref": "#/components/schemas/Actor"}, "The tree."),
    models=mapping(_MODEL, "By id, cold ones and those of upstreams too."),
    memory=maybe(
        obj(reserved_bytes=COUNT, budget_bytes=said(COUNT, "0: no limit."), max_models=COUNT)
    ),
    queue=maybe(_QUEUE),
    upstreams=mapping(_UPSTREAM),
    cloud=maybe({"type": "object"}),
    egress=maybe(
        obj(
            "What has left the machine; bytes of bodies.",
            sums=mapping(obj(**_PLACE, **_SENT)),
            newest=listing(obj(**_PLACE, request_id=TEXT, sent_bytes=COUNT, received_bytes=COUNT)),
        )
    ),
    requests=mapping(_REQUEST, "By `x-request-id`: those that run, and the last that ended."),
    windows=obj(**{"1s": _WINDOW, "10s": _WINDOW, "1m": _WINDOW, "15m": _WINDOW}),
    errors=mapping(
        obj(
            at_ms=UNIX_MS,
            code=TEXT,
            message=TEXT,
            status=maybe(COUNT),
            request_id=maybe(TEXT),
            route=maybe(TEXT),
            model=maybe(TEXT),
            class_=maybe(TEXT),
            key=maybe(TEXT),
        ),
        "The last refusals and failures, by number.",
    ),
    swarms=mapping(
        obj(
            strategy=TEXT,
            request_id=TEXT,
            started_ms=UNIX_MS,
            ended_ms=maybe(UNIX_MS),
            outcome=maybe(TEXT),
            judge=maybe(
                obj(model=TEXT, state=one_of("judging", "writing", "ok", "failed", "cancelled"))
            ),
            verdict=maybe({"type": "object"}),
            branches=mapping(
                obj(
                    model=maybe(TEXT),
                    stage=maybe(TEXT),
                    state=one_of(*("waiting", "thinking", "running", "ok", "failed", "cancelled")),
                    tokens=COUNT,
                    error=maybe(ANYTHING),
                )
            ),
        ),
        "By session.",
    ),
    totals=obj(
        requests=NUMBER,
        refused=NUMBER,
        tokens=NUMBER,
        prefilled_tokens=NUMBER,
        cache_hits=NUMBER,
        ghost_tokens=NUMBER,
        restarts=NUMBER,
        stops=NUMBER,
        failures=NUMBER,
        evictions=NUMBER,
    ),
    preferences=obj(default_model=maybe(TEXT), swarm_presets=mapping(listing(TEXT))),
    config={"type": "object", "description": "The settings, keys left out."},
    dashboard=obj(subscribers=COUNT, slow=COUNT, dropped_news=COUNT),
)
