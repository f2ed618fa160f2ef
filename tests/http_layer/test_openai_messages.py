"""The messages of a chat, in the form templates take."""

from __future__ import annotations

import json

import pytest

from lattice_http.openai.chat import parse_chat
from tests.http_layer.openai_bodies import HELLO, chat, refused


def test_text_parts_make_the_same_message_as_the_string() -> None:
    parts = chat(messages=[{"role": "user", "content": [{"type": "text", "text": "Hello"}]}])

    assert parts.messages == chat().messages
    assert parts.text_bytes == 5


def test_several_parts_stand_on_lines_of_their_own() -> None:
    content = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]

    assert chat(messages=[{"role": "user", "content": content}]).messages[0]["content"] == "a\nb"


def test_templates_get_only_roles_they_know() -> None:
    roles = ["system", "developer", "user", "assistant", "tool", "function"]

    request = chat(messages=[{"role": role, "content": "x"} for role in roles])

    assert [message["role"] for message in request.messages] == [
        *("system", "system", "user", "assistant", "tool", "tool"),
    ]
    assert [message["role"] for message in json.loads(request.messages_json)] == roles


def test_a_tool_conversation_is_passed_through() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    request = chat(
        messages=[
            {"role": "user", "content": "x", "name": "ann"},
            {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
            {"role": "tool", "content": "42", "tool_call_id": "c1"},
            {"role": "assistant", "content": None, "function_call": call["function"]},
        ]
    )

    assert request.messages == (
        {"role": "user", "content": "x", "name": "ann"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"type": "function", "function": call["function"]}],
        },
    )


@pytest.mark.parametrize("image", [{"url": "data:image/png;base64,AA=="}, "https://a.example/b"])
def test_the_first_image_is_named(image: object) -> None:
    picture = {"type": "image_url", "image_url": image}
    content = [{"type": "text", "text": "what is it"}, picture, picture]

    request = chat(messages=[*HELLO, {"role": "user", "content": content}])

    assert request.image_param == "messages[1].content[1]"
    assert request.messages[1]["content"] == "what is it"
    assert json.loads(request.messages_json)[1]["content"] == content


def test_an_image_without_a_place_is_refused() -> None:
    content = [{"type": "image_url", "image_url": {"detail": "low"}}]

    error = refused(
        parse_chat, json.dumps({"messages": [{"role": "user", "content": content}]}).encode()
    )

    assert error.param == "messages[0].content[0].image_url.url"


def test_size_is_known_in_bytes() -> None:
    request = chat(messages=[{"role": "user", "content": "ä"}, {"role": "user", "content": "日本"}])

    assert request.text_bytes == 8
