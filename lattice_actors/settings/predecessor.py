"""Variables of Local Lattice that are accepted and change nothing, and why. Pure.

Those that mean something here are `aliases` of the settings in `definition`.
"""

from __future__ import annotations

from collections.abc import Mapping

_GROUPS: Mapping[str, str] = {
    "Retry-After is predicted from measured rates": "MLX_QUEUE_RETRY_AFTER_SEC",
    "an evicted model's process ends, which returns all of its memory": "MLX_FORCE_GC_ON_EVICT",
    "the server never asks questions at start": """
        MLX_SKIP_STARTUP_MODEL_PROMPT MLX_SKIP_STARTUP_ROOT_PROMPT""",
    "requests are tasks, not threads of a pool": "MAX_WORKERS",
    "litellm/<model> goes to the upstream that is named litellm, and nothing else to LiteLLM": """
        USE_LITELLM_FOR_ANTHROPIC ENABLE_LITELLM_PREFIX_ROUTING LITELLM_TIMEOUT_SECONDS""",
    "serve downloads nothing; lattice-trio models pull does, into the folder of models": """
        MLX_GRAB_CACHE""",
    "swarms stream as their models do": "SWARM_STREAM_CHUNK_CHARS",
}

NO_EFFECT: Mapping[str, str] = {
    variable: reason for reason, variables in _GROUPS.items() for variable in variables.split()
}
