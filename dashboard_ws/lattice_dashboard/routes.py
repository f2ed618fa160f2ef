"""The dashboard's routes: the page is for anybody, data and switches for those with the key."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec
from quart import Blueprint, Response, redirect, request
from werkzeug.exceptions import NotFound

from lattice_actors.admission.verdicts import Phase
from lattice_actors.errors import BadRequest

from .desk import Desk
from .events import event
from .pages import CONTENT_SECURITY_POLICY, Page, read_pages
from .preferences import parse_model, parse_wanted
from .socket import add_socket

_encoder = msgspec.json.Encoder()


def dashboard_routes(desk: Desk) -> Blueprint:
    """Return everything below `/dashboard`."""
    routes = Blueprint("dashboard", __name__)
    _add_pages(routes, desk)
    _add_data(routes, desk)
    _add_switches(routes, desk)
    add_socket(routes, desk)
    return routes


def _add_pages(routes: Blueprint, desk: Desk) -> None:
    pages = read_pages(desk.static)

    @routes.get("/dashboard", strict_slashes=True)
    async def without_slash() -> Any:  # noqa: ANN401 - quart's redirect is werkzeug's
        return redirect("/dashboard/", 302)

    @routes.get("/dashboard/")
    async def index() -> Response:
        return _sent(pages.get("index.html"))

    @routes.get("/dashboard/<path:name>")
    async def file(name: str) -> Response:
        return _sent(pages.get(name))


def _sent(page: Page | None) -> Response:
    if page is None:
        raise NotFound
    headers = {
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "Cache-Control": page.cache_control,
        "ETag": page.etag,
    }
    if page.etag in request.headers.get("If-None-Match", ""):
        return Response(b"", 304, headers)
    return Response(page.body, 200, headers, content_type=page.content_type)


def _add_data(routes: Blueprint, desk: Desk) -> None:
    lattice = desk.lattice

    @routes.get("/dashboard/api/snapshot")
    async def snapshot() -> Response:
        return _json(await _snapshot(desk))

    @routes.get("/dashboard/api/config")
    async def config() -> Response:
        settings = desk.settings
        return _json(
            {
                "preview_chars": settings.preview_chars,
                "max_events": settings.max_events,
                "capture_prompts": settings.capture_prompts,
                "max_prompt_chars": settings.max_prompt_chars,
                **await _config(desk),
            }
        )

    @routes.get("/dashboard/api/history")
    async def history() -> Response:
        rows = await lattice.metrics.history()
        return _json(
            {
                "step_ms": 1000,
                "end_ms": [end_ms for end_ms, _ in rows],
                "tokens_per_s": [row.tokens for _, row in rows],
                "ttft_p50_ms": [_ms(row.ttft[:1]) for _, row in rows],
                "ttft_p95_ms": [_ms(row.ttft[1:]) for _, row in rows],
            }
        )


def _ms(seconds: tuple[float, ...]) -> float | None:
    return round(seconds[0] * 1000, 1) if seconds else None


def _add_switches(routes: Blueprint, desk: Desk) -> None:
    lattice = desk.lattice

    @routes.post("/dashboard/api/preferences")
    async def preferences() -> Response:
        wanted = parse_wanted(await _body())
        if wanted.default_model is not None:
            await lattice.catalog.set_default(wanted.default_model)
        if wanted.swarm_presets is not None:
            await lattice.catalog.set_presets(wanted.swarm_presets)
        return _json({"ok": True, "preferences": await _preferences(desk)})

    @routes.post("/dashboard/api/models/load")
    async def load() -> Response:
        model = parse_model(await _body())
        if desk.settings.model is not None:
            raise BadRequest("This server serves one model, which is loaded.", param="model")
        known = [entry.id for entry in (await lattice.catalog.snapshot()).models]
        if model not in known:
            return _json(_not_on_disk(model, known), 400)
        await lattice.evictor.load(model)
        resident = (await lattice.evictor.view()).resident
        return _json({"ok": True, "alias": model, "resident": resident})

    @routes.post("/dashboard/api/admin/rescan")
    async def rescan() -> Response:
        diff = await lattice.catalog.rescan()
        lattice.evictor.pardon()
        lattice.upstreams.refresh()
        return _json({"ok": True, "diff": attrs.asdict(diff)})


def _not_on_disk(model: str, known: list[str]) -> dict[str, Any]:
    error = {
        "message": f"There is no model {model!r} on disk.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
    some = ", ".join(known[:10]) or "none; set --model-root"
    return {"error": error, "hint": f"Ids are exact, as in GET /v1/models: {some}"}


async def _snapshot(desk: Desk) -> dict[str, Any]:
    """The body of contract 5."""
    lattice, settings = desk.lattice, desk.settings
    found = await lattice.catalog.snapshot()
    residents = await lattice.evictor.view()
    queue = await lattice.admission.view()
    outlook = await lattice.admission.outlook()
    barred = {
        model: seen.barred.reason for model, seen in outlook.items() if seen.barred is not None
    }
    past = await lattice.metrics.past()
    return {
        "dashboard_enabled": True,
        "note": "GET /v1/state and /dashboard/ws tell more",
        "mlx_available": True,
        "grab_mode": settings.model is not None,
        "mlx_root": str(found.root) if found.root is not None else None,
        "models_available": [entry.id for entry in found.models],
        "models_loaded": [m for m, shown in queue.models.items() if shown.phase is Phase.READY],
        "memory": {
            "loaded": list(residents.resident),
            "count": len(residents.resident),
            "max": residents.max_models,
            "reserved_bytes": residents.reserved_bytes,
            "budget_bytes": residents.budget_bytes,
        },
        "recent_load_errors": barred,
        "load_error_count": len(barred),
        "active_by_alias": {
            model: shown.running + shown.leaving
            for model, shown in queue.models.items()
            if shown.running + shown.leaving
        },
        "events": [
            event(one.over, one.timeline, one.at_ms, single=settings.model is not None)
            for one in past
        ],
        "preferences": await _preferences(desk),
        "config": await _config(desk),
    }


async def _preferences(desk: Desk) -> dict[str, Any]:
    rules = (await desk.lattice.catalog.world()).rules
    return {"default_model": rules.runtime_default or "", "swarm_presets": dict(rules.presets)}


async def _config(desk: Desk) -> dict[str, Any]:
    settings = desk.settings
    rules = (await desk.lattice.catalog.world()).rules
    return {
        "model_roles": {role: list(wanted) for role, wanted in rules.roles.items()},
        "default_model_env": settings.default_model or "",
        "max_concurrent_models": settings.max_resident_models,
        "admission": {
            "inflight_cap_per_model": settings.max_streams_per_model,
            "queue_max_per_model": settings.queue_max_per_model,
            "queue_max_total": settings.queue_max_total,
            "queue_wait_timeout_sec": settings.queue_wait_s,
        },
    }


async def _body() -> bytes:
    body = await request.get_data(as_text=False)
    return body if isinstance(body, bytes) else body.encode()


def _json(body: object, status: int = 200) -> Response:
    return Response(_encoder.encode(body), status, content_type="application/json")
