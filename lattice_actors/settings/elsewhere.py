"""Other servers, and the cloud. Pure."""

# ruff: noqa: RUF009 - the calls make attrs fields, not shared defaults

from __future__ import annotations

import attrs

from .fields import (
    choice,
    names,
    number,
    optional_loaded_policy,
    optional_text,
    optional_url,
    prices,
    servers,
    switch,
    text,
    url,
    whole,
)
from .prices import Prices
from .upstreams import UpstreamTable


@attrs.frozen(slots=False)
class OtherServers:
    """Compute beside this machine's."""

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


@attrs.frozen(slots=False)
class Cloud:
    """What may leave this machine, and what it may cost."""

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
