"""How long answers are, how long requests wait, and what swarms do. Pure."""

from __future__ import annotations

import attrs

from lattice_actors.swarm.asks import Strategy

from .fields import (
    choice,
    named_lists,
    names,
    number,
    size,
    switch,
    text,
    whole,
)

MIB = 1024 * 1024


@attrs.frozen(slots=False)
class Answers:
    """How long an answer is, and what is kept of it."""

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


@attrs.frozen(slots=False)
class Queue:
    """Who waits for how long."""

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


@attrs.frozen(slots=False)
class Swarms:
    """What a swarm does where the request does not say."""

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
        tuple(one.value for one in Strategy),
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
