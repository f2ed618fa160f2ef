"""What a request needs of a model, read from the request itself. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

LONG_PROMPT_CHARS = 48_000
_CHARS_PER_TOKEN = 3  # deliberately low; the exact check is made with real tokens
_ANSWER_TOKENS = 4096
_CONTEXT_FLOOR, _CONTEXT_CEILING = 8192, 2_000_000
_IMAGE_TYPES = frozenset({"image_url", "input_image", "image"})


@attrs.frozen
class Hints:
    """The first two are hard: a model without them is never taken. The last one is a wish."""

    needs_vision: bool = False
    min_context_window: int | None = None  # tokens
    prefers_fast: bool = False
    vision_part: str | None = None  # the first image, ``messages[0].content[1]``


def infer(
    messages: Sequence[Any],
    prompt: str | None = None,
    latency_tier: str | None = None,
    long_prompt_chars: int = LONG_PROMPT_CHARS,
) -> Hints:
    """Return the hints of a request, given as decoded JSON; what has no meaning is passed over.

    *latency_tier* is the text of the header `X-MLX-Latency-Tier`.
    """
    chars = len(prompt) if isinstance(prompt, str) else 0
    image: str | None = None
    for place, part in _parts(messages):
        if isinstance(part, str):
            chars += len(part)
        elif isinstance(part, Mapping):
            if isinstance(text := part.get("text"), str):
                chars += len(text)
            if image is None and _is_image(part):
                image = place
    return Hints(
        needs_vision=image is not None,
        min_context_window=_window(chars) if chars >= long_prompt_chars else None,
        prefers_fast=(latency_tier or "").strip().casefold() == "fast",
        vision_part=image,
    )


def _window(chars: int) -> int:
    wanted = chars // _CHARS_PER_TOKEN + _ANSWER_TOKENS
    return max(_CONTEXT_FLOOR, min(wanted, _CONTEXT_CEILING))


def _is_image(part: Mapping[Any, Any]) -> bool:
    kind = part.get("type")
    return isinstance(kind, str) and kind in _IMAGE_TYPES


def _parts(messages: Sequence[Any]) -> Iterable[tuple[str, object]]:
    for index, message in enumerate(messages):
        content = message.get("content") if isinstance(message, Mapping) else None
        place = f"messages[{index}].content"
        if isinstance(content, list | tuple):
            yield from ((f"{place}[{at}]", part) for at, part in enumerate(content))
        else:
            yield place, content
