"""Who may connect, what they are shown, and how the server runs. Pure."""

# ruff: noqa: RUF009 - the calls make attrs fields, not shared defaults

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import attrs

from .fields import (
    choice,
    names,
    number,
    optional_choice,
    optional_text,
    path,
    size,
    switch,
    text,
    whole,
)

MIB = 1024 * 1024


def default_cache_dir(environ: Mapping[str, str]) -> Path:
    """Return where prepared models are kept (XDG base directory specification 0.8)."""
    cache = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME") or "~") / ".cache")
    return Path(cache).expanduser() / "lattice-trio"


@attrs.frozen(slots=False)
class Access:
    """Where it listens, and who may come in."""

    host: str = text("127.0.0.1", "Address to listen on.", aliases=("HOST",))
    port: int = whole(
        5001, "Port to listen on; 0 takes any free one.", most=65535, aliases=("PORT",)
    )
    api_key: str | None = optional_text(
        "Key that callers must send as Authorization: Bearer or X-API-Key. Unset: no key.",
        aliases=("MIDDLE_LAYER_API_KEY",),
        secret=True,
    )
    allow_public_no_auth: bool = switch(
        False,
        "Allow an address that other machines can reach although there is no key.",
        aliases=("MIDDLE_LAYER_ALLOW_PUBLIC_NO_AUTH",),
    )
    max_request_bytes: int = size(
        10 * MIB,
        "Largest request body; more is a 413.",
        least=1,
        aliases=("MIDDLE_LAYER_MAX_REQUEST_BYTES",),
    )
    cors_origins: tuple[str, ...] = names(
        "Origins whose web pages may call the server; * for all. Empty: none.",
        aliases=("CORS_ORIGINS",),
    )


@attrs.frozen(slots=False)
class Dashboard:
    """What people are shown, and what is kept of requests."""

    dashboard: bool = switch(
        True,
        "Serve the dashboard under /dashboard. Off: every path there is a 404.",
        aliases=("MLX_DASHBOARD_ENABLED",),
    )
    dashboard_clients: int = whole(
        128, "Pages and terminals that may follow at once.", least=1, most=1000
    )
    capture_prompts: bool = switch(
        False,
        "Keep what users say, in memory, while their request is shown. Off: nothing of it is kept.",
        aliases=("MLX_DASHBOARD_CAPTURE_PROMPTS",),
    )
    preview_chars: int = whole(
        200,
        "Of a captured prompt, shown in lists.",
        unit="characters",
        most=10_000,
        aliases=("MLX_DASHBOARD_PREVIEW_CHARS",),
    )
    max_prompt_chars: int = whole(
        8000,
        "Of a captured prompt, kept.",
        unit="characters",
        most=100_000,
        aliases=("MLX_DASHBOARD_MAX_PROMPT_CHARS",),
    )
    max_error_chars: int = whole(
        500,
        "Of an error's text, shown.",
        unit="characters",
        most=10_000,
        aliases=("MLX_DASHBOARD_MAX_ERROR_CHARS",),
    )
    max_events: int = whole(
        200,
        "Requests that are over and still shown by /dashboard/api/snapshot.",
        most=10_000,
        aliases=("MLX_DASHBOARD_MAX_EVENTS",),
    )


@attrs.frozen(slots=False)
class Server:
    """The process itself: its profile, its log, its end."""

    profile: str | None = optional_choice(
        ("safe", "balanced", "faster"),
        "Set of defaults for a machine that is short of memory: one model, one answer at a time.",
    )
    cache_dir: Path = path(
        lambda: default_cache_dir(os.environ),
        "Where prepared models are kept.",
        shown_default="~/.cache/lattice-trio",
    )
    shutdown_grace_s: float = number(
        30.0, "How long running answers may go on after the server was told to stop.", unit="s"
    )
    write_timeout_s: float = number(
        5.0, "A client that does not read for so long is cut off.", unit="s", least=0.1
    )
    log_format: str = choice("json", ("json", "text"), "How the log is written.")
    log_level: str = choice(
        "info", ("debug", "info", "warning", "error"), "What goes into the log."
    )
    log_timing: bool = switch(True, "One log line with the times of each request.")
