"""From the settings to the parts of the program: what there is, what may run, how it is served."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
import structlog
import trio
from quart import Blueprint

from lattice_actors.admission.verdicts import Limits
from lattice_actors.capability.profiles import Profiles, load_profiles
from lattice_actors.capability.question import Rules
from lattice_actors.capability.roles import find_roles
from lattice_actors.capability.spec import placeholders
from lattice_actors.catalog import discovery
from lattice_actors.catalog.entry import CLOUD, Kind, ModelEntry, Snapshot, Unusable
from lattice_actors.lattice import Budget, Inventory, Lattice
from lattice_actors.metrics.metrics_handle import Shown
from lattice_actors.remote.plan import UpstreamPlan
from lattice_actors.residency.engine_plan import EnginePlan
from lattice_actors.residency.machine import engine_environment, memory_budget_bytes
from lattice_actors.settings import LM_STUDIO, SETTINGS, Settings, SettingsError, UpstreamTable
from lattice_dashboard.desk import Desk
from lattice_dashboard.routes import dashboard_routes
from lattice_http.request_line import Sizes
from lattice_http.security import SecurityPolicy
from lattice_http.server import ServeOptions

from .arguments import configuration_directory
from .cloud import cloud

log = structlog.get_logger(__name__)

LM_STUDIO_FIRST_BYTE_S = 300.0  # it may have to load the model first
PREFIX_CACHE_SHARE = 16  # one part in so many of the memory for models


def scanner(settings: Settings) -> Callable[[], Snapshot]:
    """Return what looks for models: the one named with --model, or all below a root."""
    if settings.model is not None:
        model = settings.model
        return lambda: discovery.single(model, settings.display_name)
    root = settings.model_root
    if root is None and settings.lm_studio_url is None:  # else LM Studio has those models already
        root = discovery.default_root()
    return lambda: discovery.scan(root) if root is not None else Snapshot()


def check_single(settings: Settings, found: Snapshot) -> None:
    """Refuse a model named with --model that is not there or cannot answer.

    Raises:
        SettingsError: it says why.
    """
    if settings.model is None or found.models:
        return
    reason = found.unusable[0].reason if settings.model.is_dir() else "no such folder"
    raise SettingsError(f"model: {settings.model} cannot be served: {reason}")


def inventory(settings: Settings, scan: Callable[[], Snapshot], builtin: Path | None) -> Inventory:
    """Return what there is to serve; *builtin* is the directory of the prepared SmolLM2.

    Raises:
        SettingsError: the profiles file cannot be used.
    """
    return Inventory(
        scan=scan,
        rules=rules(settings),
        profiles=profiles(settings),
        builtin=builtin_entry(builtin),
        force_builtin=settings.builtin,
        upstreams=upstreams(settings, os.environ),
        cloud=cloud(settings),
    )


def upstreams(settings: Settings, environ: Mapping[str, str]) -> tuple[UpstreamPlan, ...]:
    """Return the other servers there are, with their keys.

    Raises:
        SettingsError: the variable of a key is not set.
    """
    tables = list(settings.upstream)
    if settings.model is not None or settings.locality == "local-only":
        return ()  # one model answers everything; nothing may leave
    if settings.lm_studio_url is not None:
        said = {
            "name": LM_STUDIO,
            "url": settings.lm_studio_url,
            "kind": "lmstudio",
            "model_concurrency": settings.lm_studio_model_streams,
            "first_byte_timeout_s": LM_STUDIO_FIRST_BYTE_S,
        }
        tables.append(UpstreamTable(said))
    plans = []
    for table in tables:
        studio = table.said.get("kind") == "lmstudio"
        policy = (settings.prefer_loaded_models or "strict") if studio else "ignore"
        plan = table.plan(policy=policy, refresh_s=settings.upstream_refresh_s)
        if plan.api_key_env:
            key = environ.get(plan.api_key_env, "").strip()
            if not key:
                raise SettingsError(
                    f"upstream {plan.name}: the variable {plan.api_key_env} of its key is not set"
                )
            if not key.isascii() or not key.isprintable():
                raise SettingsError(
                    f"upstream {plan.name}: {plan.api_key_env} has signs that no header can carry"
                )
            plan = attrs.evolve(plan, api_key=key)
        plans.append(plan)
    return tuple(plans)


def rules(settings: Settings) -> Rules:
    """Return how names are resolved. Roles that cannot be read are warned of, not fatal."""
    roles = find_roles(
        settings.model_roles_json,
        settings.model_roles_file,
        (Path.cwd(), configuration_directory(os.environ)),
        settings.roles,
    )
    for warning in roles.warnings:
        log.warning("roles", problem=warning, used=roles.source)
    extra = settings.extra_placeholder_models
    only = settings.model is not None
    return Rules(
        roles=roles.roles,
        default_model=settings.display_name if only else settings.default_model,
        force_default=only or settings.force_default_model,
        on_miss="error" if settings.on_model_miss == "error" else "fallback",
        placeholders=placeholders(None if extra is None else ",".join(extra)),
        cloud_model=f"{CLOUD}/{settings.anthropic_model}" if settings.anthropic_model else None,
        aliases=tuple((name, ",".join(specs)) for name, specs in settings.model_aliases),
    )


def profiles(settings: Settings) -> Profiles:
    """Return the profiles of models. Raises SettingsError for a file that cannot be used."""
    file = settings.model_profiles_file
    try:
        return load_profiles(file, settings.default_max_tokens, settings.max_tokens_ceiling)
    except (OSError, ValueError) as error:
        raise SettingsError(f"model_profiles_file: {file} cannot be used: {error}") from None


def offers_builtin(settings: Settings, found: Snapshot) -> bool:
    """Whether the built-in model is offered: where it is wanted, or nobody else could answer."""
    if settings.model is not None:
        return False
    has_chat = any(entry.kind is Kind.CHAT for entry in found.models)
    elsewhere = bool(settings.upstream) or settings.lm_studio_url is not None
    return settings.builtin or not (has_chat or elsewhere)


def builtin_entry(directory: Path | None) -> ModelEntry | None:
    """Return the catalog's entry of the built-in model."""
    if directory is None:
        return None
    found = discovery.examine(directory, directory.name)
    if isinstance(found, Unusable):
        log.warning("the built-in model cannot be used", reason=found.reason)
        return None
    return attrs.evolve(found, builtin=True)


def budget(settings: Settings) -> Budget:
    """Return what may be in memory."""
    return Budget(
        memory_budget_bytes(settings.memory_budget_bytes),
        settings.max_resident_models,
        settings.idle_ttl_s,
        settings.pinned_models,
    )


def limits(settings: Settings) -> Limits:
    """Return the bounds of admission."""
    return Limits(
        queue_max_per_model=settings.queue_max_per_model,
        queue_max_total=settings.queue_max_total,
        streams_total=settings.max_streams_total,
        ageing_s=settings.ageing_s,
        min_residence_s=settings.min_residence_s,
        collate_s=settings.collate_s,
    )


def engines(settings: Settings, models: int) -> EnginePlan:
    """Return how engines are run, where *models* exist."""
    return EnginePlan(
        module=settings.engine_module,
        environ=engine_environment(min(settings.max_resident_models, max(1, models))),
        prefill_step_tokens=settings.prefill_step_tokens,
        target_step_ms=settings.target_itl_ms,
        max_streams=settings.max_streams_per_model,
        load_silence_s=settings.load_silence_s,
        prefix_cache_bytes=min(
            settings.prefix_cache_bytes, budget(settings).memory_bytes // PREFIX_CACHE_SHARE
        ),
    )


def security(settings: Settings) -> SecurityPolicy:
    """Return who may do what."""
    return SecurityPolicy(
        bound_host=settings.host,
        api_key=settings.api_key,
        cors_origins=settings.cors_origins,
        open_prefixes=("/dashboard",) if settings.dashboard else (),
        open_sockets=frozenset({"/dashboard/ws"} if settings.dashboard else ()),
        sizes=Sizes(body_bytes=settings.max_request_bytes),
    )


def shown(settings: Settings) -> Shown:
    """Return what is kept and shown of what happens."""
    config = {
        setting.name: getattr(settings, setting.name)
        for setting in SETTINGS.values()
        if not setting.secret and not setting.hidden
    }
    return Shown(
        config={
            name: str(value) if isinstance(value, Path) else value for name, value in config.items()
        },
        capture_prompts=settings.capture_prompts,
        preview_chars=settings.preview_chars,
        max_prompt_chars=settings.max_prompt_chars,
        max_error_chars=settings.max_error_chars,
        max_events=settings.max_events,
        secrets=(settings.api_key,) if settings.api_key else (),
    )


def dashboard(
    lattice: Lattice, settings: Settings, policy: SecurityPolicy, leaving: trio.Event
) -> tuple[Blueprint, ...]:
    """Return the dashboard's routes; none where it is off."""
    if not settings.dashboard:
        return ()
    return (dashboard_routes(Desk(lattice, settings, policy.is_key, leaving)),)


def serve_options(settings: Settings) -> ServeOptions:
    """Return how connections are treated."""
    grace_s = settings.shutdown_grace_s
    return ServeOptions(
        host=settings.host,
        port=settings.port,
        graceful_timeout_s=grace_s,
        # Below the grace, or a client that does not read would delay every stop.
        write_timeout_s=min(settings.write_timeout_s, max(0.1, grace_s - 0.1)),
    )
