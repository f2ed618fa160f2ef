"""The headers that are read and sent, each described once."""

from __future__ import annotations

from collections.abc import Iterable

from .shapes import COUNT, NUMBER, TEXT, WHOLE, Schema, one_of

# --- of requests ----------------------------------------------------------------------------------

REQUEST_HEADERS: dict[str, tuple[str, Schema, str | int]] = {
    "x-request-id": (
        (
            "Taken over where it is plain: up to 128 letters, digits, dots, underscores, dashes. "
            "Otherwise one is made."
        ),
        TEXT,
        "my-request-1",
    ),
    "X-Lattice-Priority": (
        (
            "`interactive`, `normal` or `batch`, or a number: above 0 is interactive, below 0 "
            "batch. `queue.priority` in the body wins over it."
        ),
        TEXT,
        "interactive",
    ),
    "X-MLX-Priority": ("The same as a number; its old name.", WHOLE, 0),
    "X-MLX-Max-Queue-Wait-Ms": ("The longest wait for a turn; 0 is now or never.", COUNT, 20000),
    "X-Lattice-Deadline-Ms": (
        (
            "Milliseconds from now (more than 3,000,000,000: Unix time in milliseconds) by which "
            "the answer must be over. Refused at once where even its first token would have to "
            "wait longer, else cut off in time."
        ),
        {"type": "integer", "minimum": 1},
        60000,
    ),
    "X-MLX-Deadline-Ms": ("The same by its old name.", {"type": "integer", "minimum": 1}, 60000),
    "X-MLX-Latency-Tier": (
        "`fast` prefers a fast model; the other words ask for nothing.",
        one_of("fast", "medium", "slow"),
        "fast",
    ),
    "X-Lattice-Locality": (
        "Where it may be answered.",
        one_of("local-only", "prefer-local", "any"),
        "any",
    ),
    "X-Lattice-Auto-Route": (
        "`off` keeps a request that names no model away from the cloud.",
        one_of("on", "1", "true", "yes", "off", "0", "false", "no"),
        "on",
    ),
    "X-Swarm-Events": (
        "Of a streamed chat that names a swarm: also send the named events of its branches.",
        one_of("on", "1", "true", "yes", "off", "0", "false", "no"),
        "off",
    ),
}
WISHES = tuple(name for name in REQUEST_HEADERS if name != "X-Swarm-Events")  # of every answer

# --- of answers -----------------------------------------------------------------------------------

EVERY = ("x-request-id",)
ROUTING = (
    "X-Model-Routed-To",
    "X-Model-Resolution",
    "X-Lattice-Ignored-Params",
    "X-Lattice-Clamped-Params",
)
TIMING = (
    "X-Lattice-Resolve-Ms",
    "X-Lattice-Queue-Ms",
    "X-Lattice-Load-Ms",
    "X-Lattice-Upstream-Ms",
    "X-Lattice-Ttft-Ms",
    "X-Lattice-Total-Ms",
    "X-MLX-Latency-Ms",
    "X-MLX-Queue-Wait-Ms",
    "Server-Timing",
)
ANSWERED = (
    *ROUTING,
    "X-Lattice-Cache",
    "X-Lattice-Trimmed-Messages",
    "X-Lattice-Cut",
    *TIMING,
)
SWARM = (
    "X-Swarm-Session",
    "X-Swarm-Strategy",
    "X-Swarm-Models",
    "X-Swarm-Winner",
    "X-Swarm-Intent",
    "X-Swarm-Canonical-Name",
    "X-Swarm-Steps",
    "X-Swarm-Rounds",
)
BUSY = ("Retry-After", "X-MLX-Retry-Jitter-Sec", "X-MLX-Queue-Depth", "X-MLX-InFlight")
FAILED_SWARM = ("X-Swarm-Session", "X-Swarm-Strategy", "X-Swarm-Error-Kinds")

ANSWER_HEADERS: dict[str, tuple[str, Schema]] = {
    "x-request-id": ("On every answer: what to name when something is to be looked up.", TEXT),
    "X-Model-Routed-To": (
        (
            "Who answered: `mlx/<id>`, `<upstream>/<id>`, `anthropic/<id>`, `swarm/<id>`. "
            "Percent-encoded where it is not plain."
        ),
        TEXT,
    ),
    "X-Model-Resolution": ("Only where the model is not the one named: why.", TEXT),
    "X-Lattice-Ignored-Params": ("Fields that had no effect, between commas.", TEXT),
    "X-Lattice-Clamped-Params": ("Fields that were lowered, and to what.", TEXT),
    "X-Lattice-Cache": (
        (
            "`hit=117/127`: so many of the prompt's tokens were in the prefix cache. "
            "`miss; first-difference=12`: none; the token with this index is the first to differ."
        ),
        TEXT,
    ),
    "X-Lattice-Trimmed-Messages": ("So many of the oldest messages were left out.", COUNT),
    "X-Lattice-Cut": ("`timeout`: the deadline or the generation timeout ended it.", TEXT),
    "X-Lattice-Resolve-Ms": ("Finding the model.", COUNT),
    "X-Lattice-Queue-Ms": ("Waiting for the turn, a load included.", COUNT),
    "X-Lattice-Load-Ms": ("The part of that in which the model was not ready.", COUNT),
    "X-Lattice-Upstream-Ms": ("What the model took; of a stream to its first token.", COUNT),
    "X-Lattice-Ttft-Ms": ("From arrival to the first token.", COUNT),
    "X-Lattice-Total-Ms": ("From arrival to the end; of a stream to its first token.", COUNT),
    "X-MLX-Latency-Ms": ("`X-Lattice-Upstream-Ms`, where it is not 0.", COUNT),
    "X-MLX-Queue-Wait-Ms": ("`X-Lattice-Queue-Ms`, where it is not 0.", COUNT),
    "Server-Timing": ("The same times for browsers.", TEXT),
    "X-Swarm-Session": ("The session's id.", TEXT),
    "X-Swarm-Strategy": ("How the answer was made.", TEXT),
    "X-Swarm-Models": ("The models of the rows, between commas.", TEXT),
    "X-Swarm-Winner": ("The model whose answer it is.", TEXT),
    "X-Swarm-Intent": ("Of a chat: `council` or `fanout`.", TEXT),
    "X-Swarm-Canonical-Name": ("Of a chat that used another name: the usual one.", TEXT),
    "X-Swarm-Steps": ("The names of a pipeline's steps, between commas.", TEXT),
    "X-Swarm-Rounds": ("The rounds of a debate.", COUNT),
    "X-Swarm-Error-Kinds": ("`model_crashed=1,timeout=2`.", TEXT),
    "Retry-After": ("Seconds, predicted from measured rates.", {"type": "integer", "minimum": 1}),
    "X-MLX-Retry-Jitter-Sec": ("Add up to so much, so that not all come back together.", NUMBER),
    "X-MLX-Queue-Depth": ("Requests that wait for this model.", COUNT),
    "X-MLX-InFlight": ("Requests that this model is answering.", COUNT),
    "Location": ("Where it is.", TEXT),
    "WWW-Authenticate": ("`Bearer`.", TEXT),
}


def header_refs(names: Iterable[str]) -> Schema:
    """Return the ``headers`` of an answer: *names*, and those of all."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*EVERY, *names)}


def parameter_refs(names: Iterable[str]) -> list[Schema]:
    """Return the ``parameters`` for request headers."""
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def header_components() -> Schema:
    """Return all headers of answers."""
    return {
        name: {"description": text, "schema": schema}
        for name, (text, schema) in ANSWER_HEADERS.items()
    }


def parameter_components() -> Schema:
    """Return all headers of requests."""
    return {
        name: {
            "name": name,
            "in": "header",
            "description": text,
            "schema": schema,
            "example": example,
        }
        for name, (text, schema, example) in REQUEST_HEADERS.items()
    }
