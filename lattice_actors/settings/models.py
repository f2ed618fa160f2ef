"""Which models there are, which are in memory, and how their engines run. Pure."""

# ruff: noqa: RUF009 - the calls make attrs fields, not shared defaults

from __future__ import annotations

from pathlib import Path

import attrs

from .fields import (
    choice,
    named_lists,
    names,
    number,
    optional_names,
    optional_path,
    optional_text,
    size,
    switch,
    text,
    whole,
)

MIB = 1024 * 1024


@attrs.frozen(slots=False)
class Models:
    """What there is, and what names mean."""

    model_root: Path | None = optional_path(
        "Directory of model directories.",
        aliases=("MLX_MODEL_ROOT",),
        shown_default="first that exists of ~/.lmstudio/models, ~/.cache/lm-studio/models, "
        "~/.cache/mlx-models",
    )
    model: Path | None = optional_path(
        "Serve this one model directory and nothing else, whatever model a request names.",
        aliases=("MLX_GRAB_MODEL",),
        flags=("--grab",),
    )
    display_name: str = text(
        "mlx",
        "The id clients see of the model given with --model.",
        aliases=("MLX_GRAB_DISPLAY_NAME",),
    )
    builtin: bool = switch(
        False,
        "Offer the built-in SmolLM2 also when there are other models. Without any, it is "
        "offered anyway.",
    )
    default_model: str | None = optional_text(
        "What auto, default and an absent model mean: an id, a part of one, or role:name.",
        aliases=("DEFAULT_MODEL",),
    )
    force_default_model: bool = switch(
        False,
        "Answer every request with the default model, whatever model it names.",
        aliases=("MLX_FORCE_DEFAULT_MODEL",),
    )
    on_model_miss: str = choice(
        "fallback",
        ("fallback", "error"),
        "When no model answers to the name: use the first suitable one and say so in "
        "X-Model-Resolution, or answer 404 with the list.",
        aliases=("ON_MODEL_MISS",),
    )
    extra_placeholder_models: tuple[str, ...] | None = optional_names(
        "More names that mean the same as auto. Empty: none.",
        aliases=("EXTRA_PLACEHOLDER_MODELS",),
        shown_default="the old names middlelayer, mlx, lmstudio, openclaw and their spellings",
    )
    model_aliases: tuple[tuple[str, tuple[str, ...]], ...] = named_lists(
        "What the names that tools have built in mean here: a name, or a text with stars such as "
        "claude-*, and what the model field would say instead.",
    )
    model_roles_json: str | None = optional_text(
        'Roles as JSON: {"coder": ["qwen-coder", "coder"], ...}. Comes before the file.',
        aliases=("MODEL_ROLES_JSON",),
    )
    model_roles_file: Path | None = optional_path(
        "File of roles, as JSON.", aliases=("MODEL_ROLES_FILE",)
    )
    roles: tuple[tuple[str, tuple[str, ...]], ...] = named_lists(
        "Roles, each with its models or parts of their names, best first. One that is not named "
        "keeps its built-in meaning. A file of roles as JSON that is named comes before these.",
    )
    model_profiles_file: Path | None = optional_path(
        "File of model profiles, as JSON.", aliases=("MODEL_PROFILES_FILE",)
    )
    route_long_prompt_chars: int = whole(
        48_000,
        "Prompts this long go only to models whose context is large enough.",
        unit="characters",
        aliases=("MLX_ROUTE_LONG_PROMPT_CHARS",),
    )


@attrs.frozen(slots=False)
class Memory:
    """What is in memory, and for how long."""

    max_resident_models: int = whole(
        2, "Models in memory at once.", least=1, aliases=("MAX_CONCURRENT_MODELS",)
    )
    memory_budget_bytes: int = size(
        0,
        "Memory for models, their caches included, such as 8GB. 0: a share of the machine's.",
    )
    preload_models: tuple[str, ...] = names(
        "Models to load at start: ids, parts of ids, or role:name.",
        aliases=("PRELOAD_MODELS",),
        flags=("--preload",),
    )
    pinned_models: tuple[str, ...] = names("Models that are never evicted.")
    idle_ttl_s: float = number(
        0.0, "Evict a model that nobody used for so long. 0: never.", unit="s"
    )
    min_residence_s: float = number(
        2.0, "How long a loaded model stays before another may take its place.", unit="s"
    )
    collate_s: float = number(
        5.0,
        "A resident model's queue is served before a swap, but nobody waits longer than this "
        "for the swap to begin.",
        unit="s",
    )
    load_silence_s: float = number(
        60.0,
        "Give a load up when the engine shows no progress for so long.",
        unit="s",
        least=1,
    )


@attrs.frozen(slots=False)
class Engine:
    """How the processes of models work."""

    prefill_step_tokens: int = whole(
        512,
        "Prompt tokens read in one step while nobody is being answered.",
        unit="tokens",
        least=16,
    )
    target_itl_ms: float = number(
        0.0,
        "Longest step while answers are running, so that prompts of others do not stop them. "
        "0: 2.5 times the measured step.",
        unit="ms",
    )
    prefix_cache_bytes: int = size(
        1024 * MIB,
        "What each model may keep of prompts and answers, so that the next turn or the same system "
        "prompt is not read again; never more than a sixteenth of the memory for models. "
        "0: nothing.",
    )
    engine_module: str = text(
        "lattice_actors.engine.worker", "Module that is run as the engine.", hidden=True
    )
