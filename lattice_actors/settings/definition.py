"""Every setting there is, once: default, meaning, unit, and the names it can be given by. Pure.

The command line, `docs/configuration.md` and the reader of the environment and `lattice.toml`
are all made from this class. A field without an effect has no place here.
"""

# ruff: noqa: RUF009 - the calls make attrs fields, not shared defaults

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import attrs

from .fields import (
    Setting,
    choice,
    named_lists,
    names,
    number,
    optional_choice,
    optional_loaded_policy,
    optional_names,
    optional_path,
    optional_text,
    optional_url,
    path,
    prices,
    servers,
    setting_of,
    size,
    switch,
    text,
    url,
    whole,
)
from .prices import Prices
from .upstreams import UpstreamTable

MIB = 1024 * 1024


def default_cache_dir(environ: Mapping[str, str]) -> Path:
    """Return where prepared models are kept (XDG base directory specification 0.8)."""
    cache = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME") or "~") / ".cache")
    return Path(cache).expanduser() / "lattice-trio"


@attrs.frozen
class Settings:
    """The settings a server runs with. Made by `lattice_actors.settings.read`."""

    # --- address and access -----------------------------------------------------------------

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

    # --- models -----------------------------------------------------------------------------

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
    model_profiles_file: Path | None = optional_path(
        "File of model profiles, as JSON.", aliases=("MODEL_PROFILES_FILE",)
    )
    route_long_prompt_chars: int = whole(
        48_000,
        "Prompts this long go only to models whose context is large enough.",
        unit="characters",
        aliases=("MLX_ROUTE_LONG_PROMPT_CHARS",),
    )

    # --- memory -----------------------------------------------------------------------------

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

    # --- answers ----------------------------------------------------------------------------

    default_max_tokens: int = whole(
        1024,
        "Length of an answer when the request does not say; never above max_tokens_ceiling.",
        unit="tokens",
        least=1,
        aliases=("DEFAULT_MAX_TOKENS",),
    )
    max_tokens_ceiling: int = whole(
        16_384,
        "Longest answer a request can ask for.",
        unit="tokens",
        least=1,
        aliases=("MAX_TOKENS_CEILING",),
    )
    generation_timeout_s: float = number(
        300.0,
        'An answer that takes longer ends there, with finish_reason "length".',
        unit="s",
        least=1,
        aliases=("GENERATION_TIMEOUT",),
    )
    context_over_budget: str = choice(
        "error",
        ("error", "trim"),
        "When prompt and answer do not fit the context: answer 400, or drop the oldest turns.",
        aliases=("MLX_CONTEXT_OVER_BUDGET",),
    )
    context_trim_buffer: int = whole(
        8,
        "Kept free beside prompt and answer.",
        unit="tokens",
        aliases=("MLX_CONTEXT_TRIM_BUFFER",),
    )
    keepalive_s: float = number(
        10.0,
        "A stream without a token for so long is opened, and gets a comment this often.",
        unit="s",
        least=0.05,
    )
    responses_stored: int = whole(
        256,
        "Responses kept for each caller, so that the next can go on from one. 0: none.",
    )
    responses_stored_bytes: int = size(
        64 * MIB, "What those of one caller may take, the conversations before them included."
    )
    responses_stored_s: float = number(
        86_400.0, "How long a response is kept, at the most.", unit="s", least=1
    )

    # --- queue ------------------------------------------------------------------------------

    max_streams_per_model: int = whole(
        8,
        "Answers that one model works on at once. 0: no limit.",
        aliases=("MLX_PER_MODEL_INFLIGHT_CAP", "MLX_PER_MODEL_ADMISSION_CAP"),
    )
    max_streams_total: int = whole(0, "Answers in work at once over all models. 0: no limit.")
    queue_max_per_model: int = whole(
        32, "Requests waiting for one model. 0: no limit.", aliases=("MLX_QUEUE_MAX_PER_MODEL",)
    )
    queue_max_total: int = whole(
        128, "Requests waiting over all models. 0: no limit.", aliases=("MLX_QUEUE_MAX_TOTAL",)
    )
    queue_wait_s: float = number(
        20.0,
        "How long a request waits for its turn when it does not say.",
        unit="s",
        aliases=("MLX_QUEUE_WAIT_TIMEOUT_SEC",),
    )
    queue_retry_jitter_s: float = number(
        1.0,
        "Random delay that refused clients are told to add, so that they do not return at once.",
        unit="s",
        aliases=("MLX_QUEUE_RETRY_JITTER_SEC",),
    )
    queue_priority_min: int = whole(
        -10,
        "Lowest priority a request can have; lower ones are raised to it.",
        least=-1000,
        most=1000,
        aliases=("MLX_QUEUE_PRIORITY_MIN",),
    )
    queue_priority_max: int = whole(
        10,
        "Highest priority a request can have; higher ones are lowered to it.",
        least=-1000,
        most=1000,
        aliases=("MLX_QUEUE_PRIORITY_MAX",),
    )
    queue_priority_default: int = whole(
        0,
        "Priority of a request that does not say.",
        least=-1000,
        most=1000,
        aliases=("MLX_QUEUE_DEFAULT_PRIORITY",),
    )
    ageing_s: float = number(
        5.0,
        "A waiting request is lifted by one class (batch, normal, interactive) this often.",
        unit="s",
        least=0.1,
    )

    # --- swarms -----------------------------------------------------------------------------

    swarm_chat: bool = switch(
        True,
        "Take swarmCouncil, swarm/fanout and their like as swarms in a chat. Off: they are "
        "ordinary names of models.",
        aliases=("SWARM_CHAT_ENABLED",),
    )
    swarm_models: tuple[str, ...] = names(
        "Whom a swarm in a chat asks when the request does not say. Empty: auto.",
        default=("role:reasoner", "role:coder", "role:fast"),
        aliases=("SWARM_CHAT_DEFAULT_MODELS",),
    )
    swarm_strategy: str = choice(
        "best-of-n",
        ("best-of-n", "first-success", "longest", "fanout", "majority", "synthesis"),
        "How swarmCouncil makes one answer of several when the request does not say.",
        aliases=("SWARM_CHAT_DEFAULT_STRATEGY",),
    )
    swarm_judge: str = text(
        "role:reasoner",
        "Who judges when the request does not say.",
        aliases=("SWARM_CHAT_DEFAULT_JUDGE",),
    )
    swarm_auto_max: int = whole(
        3,
        "Most models that auto, loaded or available stand for in a swarm. 0: no limit of its own.",
        aliases=("SWARM_CHAT_AUTO_MAX",),
    )
    swarm_max_branches: int = whole(
        16, "Most answers a swarm may ask for at once; more is a 400.", least=1, most=64
    )
    swarm_presets: tuple[tuple[str, tuple[str, ...]], ...] = named_lists(
        "Lists of models that requests can name as preset:NAME.",
    )
    swarm_parallel: int = whole(
        0,
        "Most branches of one swarm that are asked at once. 0: as many as the queue lets in.",
        aliases=("MAX_PARALLEL_MODEL_CALLS",),
    )
    swarm_call_timeout_s: float = number(
        180.0,
        "What the time for a swarm is made of: so long for each agent, together at most an hour.",
        unit="s",
        least=1,
        aliases=("SWARM_PER_CALL_TIMEOUT",),
    )
    swarm_timeout_s: float = number(
        0.0,
        "Branches of a swarm that take longer are cancelled. 0: made of swarm_call_timeout_s.",
        unit="s",
        aliases=("SWARM_FANOUT_TIMEOUT",),
    )

    # --- other servers ----------------------------------------------------------------------

    upstream: tuple[UpstreamTable, ...] = servers(
        "Other OpenAI-compatible servers. In the file: tables [[upstream]], see below.",
    )
    upstream_refresh_s: float = number(
        30.0,
        "How often other servers are asked which models they have.",
        unit="s",
        least=1.0,
        aliases=("MODEL_LIST_TTL",),
    )
    lm_studio_url: str | None = optional_url(
        "Address of an LM Studio: the upstream lmstudio. Without a model_root only its models "
        "are offered.",
        aliases=("LM_STUDIO_URL",),
    )
    prefer_loaded_models: str | None = optional_loaded_policy(
        "Of LM Studio's models: strict, only loaded ones can be chosen while there are any; "
        "prefer (1), loaded ones go first; ignore (0).",
        aliases=("PREFER_LOADED_MODELS",),
        shown_default="strict",
    )
    lm_studio_model_streams: int = whole(
        1,
        "Answers at once of one model of lm_studio_url. 0: no limit.",
        aliases=("LM_STUDIO_PER_MODEL_INFLIGHT_CAP",),
    )

    # --- the cloud --------------------------------------------------------------------------

    locality: str = choice(
        "any",
        ("any", "prefer-local", "local-only"),
        "Where requests may be answered. local-only holds for all of them, and no other server is "
        "ever connected to; the other two are for requests without X-Lattice-Locality.",
    )
    anthropic_api_key: str | None = optional_text(
        "Key of Anthropic's API. Without it, or without a model, nothing goes there.",
        aliases=("ANTHROPIC_API_KEY",),
        secret=True,
    )
    anthropic_base_url: str = url(
        "https://api.anthropic.com",
        "Address of a server that speaks Anthropic's Messages API.",
        aliases=("ANTHROPIC_BASE_URL",),
    )
    anthropic_version: str = text(
        "2023-06-01", "Version of the API that is asked for.", aliases=("ANTHROPIC_VERSION",)
    )
    anthropic_model: str | None = optional_text(
        "The model that anthropic means in a request, as Anthropic names it.",
        aliases=("ANTHROPIC_MODEL",),
    )
    anthropic_models: tuple[str, ...] = names(
        "More models that may be asked: as anthropic/NAME, and by their bare names. Bare names "
        "that are not here never leave this machine.",
    )
    anthropic_streams: int = whole(8, "Answers of the cloud at once. 0: no limit.", most=4096)
    anthropic_context_tokens: int = whole(
        200_000, "Context of the models in the cloud.", unit="tokens", least=1
    )
    anthropic_thinking: str = choice(
        "adaptive",
        ("adaptive", "budget"),
        "How a model is asked to think: as much as it likes, or with a budget of tokens, which "
        "older models need.",
    )
    anthropic_prices: Prices = prices(
        "Dollars for a million tokens, by model. In the file: the table [anthropic.prices].",
    )
    anthropic_daily_cap_usd: float = number(
        0.0,
        "Requests that could cost more than is left of this are refused until midnight UTC. "
        "0: no cap. Counted from the start of the server.",
        unit="dollars",
        most=1_000_000,
    )
    anthropic_auto_route: bool = switch(
        False,
        "Send big tasks to the cloud when the request names no model, or a role. Not those with "
        "X-Lattice-Auto-Route: off.",
        aliases=("ANTHROPIC_AUTO_ROUTE",),
    )
    anthropic_spill_over: tuple[str, ...] = names(
        "When such requests go to the cloud as well: overload, instead of a 429; context, when "
        "the prompt fits no other model. Empty: never.",
    )
    big_task_min_words: int = whole(
        80, "A task is big from so many words,", least=1, aliases=("BIG_TASK_MIN_WORDS",)
    )
    big_task_min_chars: int = whole(
        500, "or so many characters,", least=1, aliases=("BIG_TASK_MIN_CHARS",)
    )
    big_task_min_bullets: int = whole(
        4, "or so many lines of a list,", least=1, aliases=("BIG_TASK_MIN_BULLETS",)
    )
    big_task_min_step_markers: int = whole(
        3,
        "or so many words such as phase, milestone, rollout.",
        least=1,
        aliases=("BIG_TASK_MIN_STEP_MARKERS",),
    )

    # --- engine -----------------------------------------------------------------------------

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

    # --- dashboard --------------------------------------------------------------------------

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

    # --- server -----------------------------------------------------------------------------

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


SETTINGS: Mapping[str, Setting] = {
    field.name: setting_of(field) for field in attrs.fields(Settings)
}

# The order and the headings of help and documentation: each group begins with this field.
GROUPS: Mapping[str, str] = {
    "host": "Address and access",
    "model_root": "Models",
    "max_resident_models": "Memory",
    "default_max_tokens": "Answers",
    "max_streams_per_model": "Queue",
    "swarm_chat": "Swarms",
    "upstream": "Other servers",
    "locality": "The cloud",
    "prefill_step_tokens": "Engine",
    "dashboard": "Dashboard",
    "profile": "Server",
}


def grouped() -> Mapping[str, tuple[Setting, ...]]:
    """Return all settings, the hidden ones too, under their headings."""
    groups: dict[str, list[Setting]] = {}
    heading = ""
    for setting in SETTINGS.values():
        heading = GROUPS.get(setting.name, heading)
        groups.setdefault(heading, []).append(setting)
    return {heading: tuple(members) for heading, members in groups.items()}
