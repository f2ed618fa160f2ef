"""`lattice-trio doctor`: what would `serve` do here, what is wrong, and what to do about it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import attrs
import trio

from lattice_actors.capability.roles import find_roles
from lattice_actors.catalog.entry import Snapshot
from lattice_actors.engine import builtin
from lattice_actors.exit_codes import FAILED, OK
from lattice_actors.remote.cloud_plan import CloudPlan
from lattice_actors.remote.plan import UpstreamPlan
from lattice_actors.residency.machine import engine_environment
from lattice_actors.settings import SETTINGS, Effective, Settings, SettingsError, SettingsFile
from lattice_http.setup import gathering, machine_checks, serving_checks
from lattice_http.setup.machine_checks import TrialFacts
from lattice_http.setup.serving_checks import (
    CloudFacts,
    DoorFacts,
    FileFacts,
    Listener,
    ModelFacts,
    UpstreamFacts,
)
from lattice_http.setup.verdicts import Verdict, problem, stops, warning

from . import arguments, parts
from .cloud import cloud
from .verdict_table import write_json, write_table

_CORRECT = "correct it; lattice-trio config shows where each value is from"
_Part = TypeVar("_Part")


def run(values: Mapping[str, object], *, as_json: bool, ask_cloud: bool) -> int:
    """Check everything, tell it, and return the exit code."""
    try:
        effective = arguments.effective_settings(values)
        config = values.get("config")
        file = arguments.find_file(config if isinstance(config, str) else None, os.environ)
    except SettingsError as error:
        verdicts = [problem("settings", str(error), _CORRECT), *trio.run(_examine_machine)]
    else:
        verdicts = _examine(effective, file, ask_cloud=ask_cloud)
    (write_json if as_json else write_table)(verdicts)
    return FAILED if stops(verdicts) else OK


def _examine(effective: Effective, file: SettingsFile | None, *, ask_cloud: bool) -> list[Verdict]:
    """Put the parts of `serve` together as it would, and judge them."""
    settings = effective.settings
    os.environ["LATTICE_CACHE_DIR"] = str(settings.cache_dir)  # as serve does, for the engines
    made = _Parts.of(settings)
    asked = trio.run(_ask, settings, made, ask_cloud)
    platform = gathering.platform_facts()
    models = _model_facts(settings, made)
    clouds = _cloud_facts(settings, made, asked)
    needs_builtin = models.builtin and builtin.prepared() is None
    return [
        *serving_checks.check_file(_file_facts(effective, file), effective.warnings),
        *made.problems,
        *machine_checks.check_platform(platform),
        machine_checks.check_arithmetic(platform, asked.trial),
        *machine_checks.check_memory(
            gathering.memory_facts(
                parts.budget(settings).memory_bytes,
                parts.engines(settings, 1).prefix_cache_bytes,
                made.found.models,
            )
        ),
        machine_checks.check_cache(
            gathering.cache_facts(settings.cache_dir, wants_builtin=needs_builtin)
        ),
        *serving_checks.check_door(asked.door),
        *serving_checks.check_models(models),
        *_roles(settings),
        *(serving_checks.check_upstream(one) for one in asked.upstreams),
        serving_checks.check_cloud(clouds),
        serving_checks.check_answers(models, asked.upstreams, clouds, mlx=bool(asked.trial.blas)),
    ]


async def _examine_machine() -> list[Verdict]:
    """Judge what does not depend on settings."""
    platform = gathering.platform_facts()
    trial = await gathering.try_arithmetic(engine_environment(1))
    return [
        *machine_checks.check_platform(platform),
        machine_checks.check_arithmetic(platform, trial),
    ]


@attrs.frozen
class _Parts:
    """What `serve` would be made of, and what it would refuse to start with."""

    found: Snapshot
    upstreams: tuple[UpstreamPlan, ...]
    cloud: CloudPlan | None
    problems: tuple[Verdict, ...]

    @classmethod
    def of(cls, settings: Settings) -> _Parts:
        problems: list[Verdict] = []

        def tried(check: str, make: Callable[[], _Part], otherwise: _Part) -> _Part:
            try:
                return make()
            except SettingsError as error:
                problems.append(problem(check, str(error), _CORRECT))
                return otherwise

        found = parts.scanner(settings)()
        tried("models", lambda: parts.check_single(settings, found), None)
        tried("profiles", lambda: parts.profiles(settings), None)
        none: tuple[UpstreamPlan, ...] = ()
        plans = tried("upstreams", lambda: parts.upstreams(settings, os.environ), none)
        return cls(found, plans, tried("cloud", lambda: cloud(settings), None), tuple(problems))


@attrs.define
class _Asked:
    """What took asking."""

    door: DoorFacts
    trial: TrialFacts = attrs.field(factory=TrialFacts)
    upstreams: tuple[UpstreamFacts, ...] = ()
    cloud: str | None = None  # what it said against us; None: it was not asked


async def _ask(settings: Settings, made: _Parts, ask_cloud: bool) -> _Asked:
    """Ask everybody at once: each has a deadline, together they take as long as the slowest."""
    door = DoorFacts(
        settings.host,
        settings.port,
        Listener.NOBODY,
        api_key=settings.api_key,
        public_without_key=settings.allow_public_no_auth,
    )
    asked = _Asked(door)

    async def try_arithmetic() -> None:
        models = len(made.found.models)
        threads = engine_environment(min(settings.max_resident_models, max(1, models)))
        asked.trial = await gathering.try_arithmetic(threads)

    async def knock() -> None:
        listener, said = await gathering.who_listens(settings.host, settings.port)
        asked.door = attrs.evolve(door, listener=listener, said=said)

    async def ask_upstreams() -> None:
        asked.upstreams = await gathering.ask_upstreams(made.upstreams, settings.port)

    async def ask_the_cloud(plan: CloudPlan) -> None:
        asked.cloud = await gathering.ask_cloud(plan)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(try_arithmetic)
        nursery.start_soon(knock)
        nursery.start_soon(ask_upstreams)
        if ask_cloud and made.cloud is not None:
            nursery.start_soon(ask_the_cloud, made.cloud)
    return asked


def _file_facts(effective: Effective, file: SettingsFile | None) -> FileFacts:
    if file is None:
        return FileFacts(None)
    secrets = (setting.name for setting in SETTINGS.values() if setting.secret)
    return FileFacts(
        file.path,
        tuple(name for name in secrets if effective.origins[name] == str(file.path)),
        gathering.is_readable_by_others(file.path),
    )


def _model_facts(settings: Settings, made: _Parts) -> ModelFacts:
    root = settings.model_root
    return ModelFacts(
        named=root,
        found=made.found,
        there=root is None or root.is_dir(),
        builtin=parts.offers_builtin(settings, made.found) and builtin.locate() is not None,
    )


def _cloud_facts(settings: Settings, made: _Parts, asked: _Asked) -> CloudFacts:
    barred = "locality is local-only" if settings.locality == "local-only" else ""
    if settings.model is not None:
        barred = "--model answers everything"
    named = (settings.anthropic_model or "", *settings.anthropic_models)
    return CloudFacts(
        key=bool(settings.anthropic_api_key),
        models=tuple(dict.fromkeys(filter(None, named))),
        barred=barred,
        asked=asked.cloud is not None,
        refused=asked.cloud or "",
    )


def _roles(settings: Settings) -> Iterator[Verdict]:
    directories = (Path.cwd(), arguments.configuration_directory(os.environ))
    found = find_roles(
        settings.model_roles_json, settings.model_roles_file, directories, settings.roles
    )
    for said in found.warnings:
        yield warning("roles", said, f"correct it; until then they are those of: {found.source}")
