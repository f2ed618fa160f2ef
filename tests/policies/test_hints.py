from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.capability.hints import Hints, infer

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["content", "type"]), inner),
    max_leaves=5,
)


def user(content: object) -> dict[str, Any]:
    return {"role": "user", "content": content}


def test_a_plain_request_has_no_hints() -> None:
    assert infer([user("hello")]) == Hints()


def test_the_first_image_is_a_hard_hint_with_its_place() -> None:
    text = {"type": "text", "text": "look"}
    image = {"type": "image_url", "image_url": {"url": "data:"}}

    hints = infer([user("hi"), user([text, image, image])])

    assert hints.needs_vision
    assert hints.vision_part == "messages[1].content[1]"
    assert infer([user(image)]).vision_part == "messages[0].content"


@pytest.mark.parametrize(
    ("chars", "window"),
    [(47_999, None), (48_000, 20_096), (48_001, 20_096), (9_000_000, 2_000_000)],
)
def test_a_long_prompt_needs_a_window(chars: int, window: int | None) -> None:
    halves = chars // 2, chars - chars // 2 - 1
    parts = [{"type": "text", "text": "x" * halves[0]}]

    hints = infer([user(parts), user("x" * halves[1])], prompt="x")

    assert hints.min_context_window == window


def test_a_small_threshold_still_asks_for_the_floor() -> None:
    assert infer([user("xx")], long_prompt_chars=1).min_context_window == 8192


@pytest.mark.parametrize(
    ("tier", "fast"), [("fast", True), (" FAST ", True), ("slow", False), (None, False)]
)
def test_the_header_is_a_wish(tier: str | None, fast: bool) -> None:
    assert infer([], latency_tier=tier).prefers_fast is fast


@given(st.lists(JSON | st.fixed_dictionaries({"content": JSON}), max_size=3))
def test_nothing_a_caller_sends_raises(messages: list[Any]) -> None:
    assert infer(messages).prefers_fast is False
