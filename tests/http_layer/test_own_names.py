"""What a backend blames is named as the caller's wire names it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from lattice_actors.errors import BadRequest, UpstreamFailed
from lattice_http.anthropic.bodies import OWN_NAMES as MESSAGES
from lattice_http.own_names import say_in_own_names
from lattice_http.responses.bodies import OWN_NAMES as RESPONSES


@pytest.mark.parametrize(
    ("names", "param", "own"),
    [
        (RESPONSES, "reasoning_effort", "reasoning.effort"),
        (RESPONSES, "chat_template_kwargs.reasoning_effort", "reasoning.effort"),
        (RESPONSES, "max_tokens", "max_output_tokens"),
        (RESPONSES, "messages[3].content[1]", "input"),
        (RESPONSES, "text.format", "text.format"),
        (RESPONSES, "tools[0].parameters", "tools[0].parameters"),
        (MESSAGES, "max_tokens", "max_tokens"),
        (MESSAGES, "messages[3].content", "messages"),
        (MESSAGES, "stop", "stop_sequences"),
        (MESSAGES, "chat_template_kwargs.enable_thinking", "thinking"),
        ({}, "messages[3].content", "messages[3].content"),
    ],
)
def test_a_field_has_its_own_name(names: Mapping[str, str], param: str, own: str) -> None:
    error = BadRequest(f"{param}: not so", param=param)

    say_in_own_names(error, names)

    assert (error.param, error.message) == (own, f"{own}: not so")


def test_other_errors_and_other_words_are_left_alone() -> None:
    spoken = BadRequest("stop it", param="stop")
    nameless, failed = BadRequest("stop: it"), UpstreamFailed("stop: it")

    for error in (spoken, nameless, failed):
        say_in_own_names(error, MESSAGES)

    assert (spoken.param, spoken.message) == ("stop_sequences", "stop it")
    assert (nameless.param, nameless.message, failed.message) == (None, "stop: it", "stop: it")
