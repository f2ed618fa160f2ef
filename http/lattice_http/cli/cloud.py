"""From the settings to the cloud: whether it may be asked at all, for what, and for how much."""

from __future__ import annotations

from typing import cast
from urllib.parse import urlsplit

from lattice_actors.catalog.entry import CLOUD
from lattice_actors.remote.anthropic_wire import ThinkingStyle
from lattice_actors.remote.cloud_plan import CloudPlan
from lattice_actors.remote.plan import UpstreamPlan
from lattice_actors.remote.spend import MICRO
from lattice_actors.settings import Settings, SettingsError
from lattice_http.cloud import CONTEXT, OVERLOAD
from lattice_http.hosts import is_loopback

FIRST_BYTE_S = 120.0  # before the first event, which comes before any thinking
IDLE_S = 60.0  # between two events; there are pings


def cloud(settings: Settings) -> CloudPlan | None:
    """Return how the cloud is asked; None where the settings do not allow it.

    Raises:
        SettingsError: what they say cannot be.
    """
    for word in settings.anthropic_spill_over:
        if word not in (OVERLOAD, CONTEXT):
            raise SettingsError(
                f"anthropic_spill_over: expected {OVERLOAD} or {CONTEXT}, not {word!r}"
            )
    named = [settings.anthropic_model] if settings.anthropic_model else []
    models = tuple(dict.fromkeys([*named, *settings.anthropic_models]))
    key = settings.anthropic_api_key
    if not key or not models or settings.model is not None or settings.locality == "local-only":
        return None
    if not key.isascii() or not key.isprintable():
        raise SettingsError("anthropic_api_key has signs that no header can carry")
    for model in models:
        if not model.isprintable() or "*" in model or "," in model:
            raise SettingsError(f"anthropic_models: {model!r} is not the name of a model")
    _check_address(settings)
    prices = dict(settings.anthropic_prices)
    cap_micros = round(settings.anthropic_daily_cap_usd * MICRO) or None
    unpriced = [model for model in models if model not in prices]
    if cap_micros is not None and unpriced:
        raise SettingsError(
            "anthropic_daily_cap_usd needs the price of each model; anthropic_prices has none of "
            + ", ".join(unpriced)
        )
    return CloudPlan(
        server=UpstreamPlan(
            CLOUD,
            settings.anthropic_base_url,
            api_key=key,
            kind="openai",
            models=models,
            concurrency=settings.anthropic_streams,
            first_byte_timeout_s=FIRST_BYTE_S,
            idle_timeout_s=IDLE_S,
            refresh_s=3600.0,
        ),
        model=settings.anthropic_model,
        by_name=frozenset(settings.anthropic_models),
        version=settings.anthropic_version,
        thinking=cast("ThinkingStyle", settings.anthropic_thinking),
        context_tokens=settings.anthropic_context_tokens,
        prices=prices,
        cap_micros=cap_micros,
        spend_folder=settings.cache_dir / "state",
    )


def _check_address(settings: Settings) -> None:
    """Refuse our own address: coding agents are pointed here by the same variable."""
    parts = urlsplit(settings.anthropic_base_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if port == settings.port and is_loopback(parts.hostname or ""):
        raise SettingsError(
            f"anthropic_base_url: {settings.anthropic_base_url} is this server itself"
        )
