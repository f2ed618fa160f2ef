"""The dashboard: its page, its data for scripts, and its socket."""

from __future__ import annotations

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
    ref,
    said,
)

_CONFIG: dict[str, Schema] = {
    "model_roles": mapping(listing(TEXT)),
    "default_model_env": TEXT,
    "max_concurrent_models": COUNT,
    "admission": obj(
        inflight_cap_per_model=COUNT,
        queue_max_per_model=COUNT,
        queue_max_total=COUNT,
        queue_wait_timeout_sec=NUMBER,
    ),
}
_NAMED = said(TEXT, "The exact id, as in `GET /v1/models`.")
_RATE = listing(nullable(NUMBER))

SCHEMAS: dict[str, Schema] = {
    "DashboardEvent": obj(
        "One of the last requests.",
        request_id=TEXT,
        parent_request_id=nullable(said(TEXT, "Of an answer within a swarm: the swarm's.")),
        agent_slot=nullable(said(COUNT, "The branch.")),
        route_kind=TEXT,
        route=TEXT,
        requested_model=nullable(TEXT),
        resolved_model=nullable(TEXT),
        backend=nullable(TEXT),
        stream=nullable(TRUTH),
        prompt_tokens=nullable(COUNT),
        completion_tokens=nullable(COUNT),
        cached_tokens=nullable(COUNT),
        latency_ms=COUNT,
        tokens_per_sec=nullable(NUMBER),
        status=nullable(COUNT),
        outcome=TEXT,
        error=nullable(TEXT),
        ts=said(NUMBER, "Unix time, seconds."),
        preview=maybe(said({"type": "object"}, "Only with `--capture-prompts`.")),
    ),
    "Preferences": obj(default_model=TEXT, swarm_presets=mapping(listing(TEXT))),
    "Snapshot": obj(
        dashboard_enabled=TRUTH,
        note=TEXT,
        mlx_available=TRUTH,
        grab_mode=TRUTH,
        mlx_root=nullable(TEXT),
        models_available=listing(TEXT),
        models_loaded=listing(TEXT),
        memory=obj(
            loaded=listing(TEXT),
            count=COUNT,
            max=COUNT,
            reserved_bytes=COUNT,
            budget_bytes=COUNT,
        ),
        recent_load_errors=mapping(TEXT),
        load_error_count=COUNT,
        active_by_alias=mapping(COUNT),
        events=listing(ref("DashboardEvent")),
        preferences=ref("Preferences"),
        config=obj(**_CONFIG),
    ),
    "DashboardConfig": obj(
        preview_chars=COUNT,
        max_events=COUNT,
        capture_prompts=TRUTH,
        max_prompt_chars=COUNT,
        **_CONFIG,
    ),
    "History": obj(
        "Arrays with a place for each of the last seconds that had anything.",
        step_ms=COUNT,
        end_ms=listing(COUNT),
        tokens_per_s=_RATE,
        ttft_p50_ms=_RATE,
        ttft_p95_ms=_RATE,
    ),
    "PreferencesBody": obj(
        default_model=maybe(
            nullable(said({**TEXT, "maxLength": 256}, "Empty clears it; null leaves it."))
        ),
        swarm_presets=maybe(
            nullable(mapping({}, "Lists of models by name; replaces all that were there."))
        ),
    ),
    "PreferencesSet": obj(ok=const(True), preferences=ref("Preferences")),
    "LoadBody": obj("Either of the two.", model=maybe(_NAMED), alias=maybe(_NAMED)),
    "LoadedHere": obj(ok=const(True), alias=TEXT, resident=listing(TEXT)),
    "Rescanned": obj(
        ok=const(True),
        diff=obj(added=listing(TEXT), removed=listing(TEXT), unchanged=listing(TEXT)),
    ),
    "SocketMessage": either(
        obj(type=const("snapshot"), seq=COUNT, state=ref("State")),
        {"type": "object"},
        text="See docs/dashboard.md: a whole state, its changes as merge patches (RFC 7396), and "
        "the text of swarms.",
    ),
}

OPERATIONS = (
    Operation(
        method="get",
        path="/dashboard",
        name="dashboardRedirect",
        area="Dashboard",
        title="Go to the page",
        needs_key=False,
        answers={302: Answer("To `/dashboard/`.", headers=("Location",))},
    ),
    Operation(
        method="get",
        path="/dashboard/",
        name="dashboardPage",
        area="Dashboard",
        title="The page",
        needs_key=False,
        answers={200: Answer("It holds no data.", TEXT, media="text/html")},
        failures=(404,),
    ),
    Operation(
        method="get",
        path="/dashboard/{name}",
        name="dashboardFile",
        area="Dashboard",
        title="A file of the page",
        needs_key=False,
        answers={
            200: Answer("The file.", TEXT, media="*/*"),
            304: Answer("It has not changed."),
        },
        failures=(404,),
        path_example={"name": "app.js"},
    ),
    Operation(
        method="get",
        path="/dashboard/ws",
        name="dashboardSocket",
        area="Dashboard",
        title="Follow the state over a WebSocket",
        text="The key comes as a header, as the subprotocol `lattice.key.<base64url>`, or in the "
        'first message, `{"key": "..."}`. Then text messages come, each a `SocketMessage`; '
        "nothing has to be sent. Closed with 4401 for a wrong key, 1013 where too many follow, "
        "1001 when the server goes.",
        needs_key=False,
        answers={
            101: Answer("It is open; subprotocol `lattice.v1`, where that is asked for."),
        },
        failures=(400,),
    ),
    Operation(
        method="get",
        path="/dashboard/api/snapshot",
        name="dashboardSnapshot",
        area="Dashboard",
        title="One object for scripts, with the last requests",
        answers={200: Answer("The object.", ref("Snapshot"))},
    ),
    Operation(
        method="get",
        path="/dashboard/api/config",
        name="dashboardConfig",
        area="Dashboard",
        title="Limits, roles, admission",
        answers={200: Answer("The facts.", ref("DashboardConfig"))},
    ),
    Operation(
        method="get",
        path="/dashboard/api/history",
        name="dashboardHistory",
        area="Dashboard",
        title="The last quarter of an hour, second by second",
        answers={200: Answer("The rates.", ref("History"))},
    ),
    Operation(
        method="post",
        path="/dashboard/api/preferences",
        name="setPreferences",
        area="Dashboard",
        title="Set the default model and the presets of swarms",
        text="Kept while the server runs.",
        body=ref("PreferencesBody"),
        examples={
            "both": {"default_model": "role:fast", "swarm_presets": {"wise": ["role:reasoner"]}},
            "clear": {"default_model": ""},
        },
        answers={
            200: Answer(
                "What holds now.",
                ref("PreferencesSet"),
                {
                    "ok": True,
                    "preferences": {
                        "default_model": "role:fast",
                        "swarm_presets": {"wise": ["role:reasoner"]},
                    },
                },
            )
        },
    ),
    Operation(
        method="post",
        path="/dashboard/api/models/load",
        name="loadModelHere",
        area="Dashboard",
        title="Load a model",
        body=ref("LoadBody"),
        examples={"plain": {"model": "SmolLM2-135M-Instruct"}},
        answers={
            200: Answer(
                "It is loaded.",
                ref("LoadedHere"),
                {
                    "ok": True,
                    "alias": "SmolLM2-135M-Instruct",
                    "resident": ["SmolLM2-135M-Instruct"],
                },
            )
        },
        failures=(503,),
    ),
    Operation(
        method="post",
        path="/dashboard/api/admin/rescan",
        name="rescan",
        area="Dashboard",
        title="Look for models again",
        answers={
            200: Answer(
                "What changed.",
                ref("Rescanned"),
                {
                    "ok": True,
                    "diff": {
                        "added": [],
                        "removed": [],
                        "unchanged": ["SmolLM2-135M-Instruct"],
                    },
                },
            )
        },
    ),
)
