"""Lists of models of several makes, what LM Studio has loaded, and what errors say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.catalog.entry import Kind, Standing
from lattice_actors.errors import BadRequest, UpstreamBusy, UpstreamFailed
from lattice_actors.remote.faults import MAX_SAID_CHARS, Blame, of_status, redacted, retry_after
from lattice_actors.remote.listing import MAX_MODELS, Listing, chats, entries, read_listing
from lattice_actors.remote.lmstudio import read_own, standing
from lattice_actors.remote.plan import UpstreamPlan

PLAN = UpstreamPlan("gpu", "http://127.0.0.1:1")


def listed(*models: dict[str, Any], plan: UpstreamPlan = PLAN, key: str = "data") -> Listing:
    return read_listing(json.dumps({key: list(models)}).encode(), plan)


@pytest.mark.parametrize(
    ("model", "context"),
    [
        ({"id": "m", "owned_by": "vllm", "max_model_len": 4096}, 4096),
        ({"id": "m", "owned_by": "llamacpp", "meta": {"n_ctx_train": 2048}}, 2048),
        ({"id": "m", "context_length": 8192}, 8192),
        ({"id": "m", "context_length": -1}, None),
        ({"id": "m", "object": "model", "created": 1e30}, None),
    ],
)
def test_the_context_is_read_from_every_make(model: dict[str, Any], context: int | None) -> None:
    (entry,) = entries(PLAN, listed(model), None)

    assert (entry.id, entry.name, entry.backend) == ("gpu/m", "m", "gpu")
    assert entry.context_tokens == context


def test_the_kind_is_guessed_where_it_matters() -> None:
    assert listed({"id": "m", "owned_by": "vllm"}).kind == "vllm"
    assert listed({"id": "m", "owned_by": "mlx", "kind": "chat"}).kind == "lattice"
    assert listed({"id": "m", "owned_by": "library"}).kind == "openai"


def test_a_server_that_can_do_one_thing_at_a_time_is_known() -> None:
    """llama-cpp-python: by default a second request, even for the list, interrupts the first."""
    assert listed({"id": "m", "object": "model", "owned_by": "me", "permissions": []}).kind == (
        "alone"
    )
    assert listed({"id": "m", "owned_by": "me"}, {"id": "n", "owned_by": "you"}).kind == "openai"


def test_what_a_lattice_has_from_elsewhere_is_left_out_unless_it_is_named() -> None:
    """Two that point at each other would list each other's lists for ever."""
    models = (
        {"id": "own", "owned_by": "mlx", "kind": "chat"},
        {"id": "other/m", "owned_by": "other", "kind": "chat"},
    )
    named = UpstreamPlan("n", "http://x", models=("own", "other/m"))

    assert [model.name for model in listed(*models).models] == ["own"]
    assert [model.name for model in listed(*models, plan=named).models] == ["own", "other/m"]


@pytest.mark.parametrize(
    ("name", "does"),
    [
        ("text-embedding-3-small", False),
        ("nomic-embed-text", False),
        ("BAAI/bge-m3", False),
        ("intfloat/e5-large", False),
        ("qwen_embed", False),
        ("qwen3-8b", True),
        ("bgentle-7b", True),
        ("e50-model", True),
        ("embedded-coder", True),
    ],
)
def test_embedding_models_are_told_by_whole_words(name: str, does: bool) -> None:
    assert chats(name) is does
    (entry,) = entries(PLAN, listed({"id": name}), None)
    assert (entry.kind is Kind.CHAT) is does


def test_names_that_cannot_be_shown_and_too_many_are_left_out() -> None:
    many = [{"id": f"m{number}"} for number in range(MAX_MODELS + 10)]
    odd = [{"id": ""}, {"id": "a\nb"}, {"id": "x" * 300}, {"id": " a"}, {"id": "m0"}]

    assert [model.name for model in listed(*odd).models] == ["m0"]
    assert len(listed(*odd, *many).models) == MAX_MODELS


def test_patterns_choose() -> None:
    plan = UpstreamPlan("gpu", "http://x", models=("qwen*", "GPT-4o"))
    found = listed({"id": "Qwen3-8b"}, {"id": "gpt-4o"}, {"id": "llama"}, plan=plan)

    assert [model.name for model in found.models] == ["Qwen3-8b", "gpt-4o"]
    assert plan.named_models == ("GPT-4o",)


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: json.dumps(text).encode()))
def test_what_is_no_list_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of whatever kind
        read_listing(data, PLAN)


# --- LM Studio ------------------------------------------------------------------------------------


def test_what_is_loaded_is_read_with_its_context() -> None:
    body = {
        "data": [
            {"id": "a", "state": "loaded", "max_context_length": 9, "loaded_context_length": 5},
            {"id": "b", "state": "not-loaded"},
        ]
    }
    assert read_own(json.dumps(body).encode()).loaded == {"a": 5}


NAMES = st.sampled_from("abc")


@given(NAMES, st.none() | st.frozensets(NAMES), st.sampled_from(["strict", "prefer", "ignore"]))
def test_standing(model: str, loaded: frozenset[str] | None, policy: Any) -> None:  # noqa: ANN401
    found = standing(model, loaded, policy)

    assert (found is Standing.CLOSED) == (
        policy == "strict" and bool(loaded) and model not in (loaded or ())
    )
    if policy == "ignore" or loaded is None or model in loaded:
        assert found is Standing.OPEN


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "family", "code"),
    [
        (400, BadRequest, "upstream_bad_request"),
        (413, BadRequest, "upstream_bad_request"),
        (422, BadRequest, "upstream_bad_request"),
        (401, UpstreamFailed, "upstream_refused_key"),
        (403, UpstreamFailed, "upstream_refused_key"),
        (404, UpstreamFailed, "upstream_has_no_model"),
        (408, UpstreamFailed, "upstream_failed"),
        (429, UpstreamBusy, "upstream_overloaded"),
        (500, UpstreamFailed, "upstream_failed"),
        (503, UpstreamFailed, "upstream_failed"),
        (301, UpstreamFailed, "upstream_failed"),
        (204, UpstreamFailed, "upstream_failed"),
    ],
)
def test_statuses_are_families(status: int, family: type[Exception], code: str) -> None:
    fault = of_status("gpu", status, {}, b'{"error": {"message": "why"}}')

    assert isinstance(fault.error(), family)
    assert fault.code == code
    assert "why" in fault.message


def test_a_500_that_tells_what_is_wrong_with_the_request_is_the_callers() -> None:
    """llama-cpp-python's words. As a failure of the server, five of them would take it out."""
    said = (
        "1 validation error:\n  {'type': 'literal_error', 'loc': ('body', 'response_format', "
        "'type'), 'msg': \"Input should be 'text' or 'json_object'\"}"
    )
    body = json.dumps({"error": {"message": said, "type": "internal_server_error"}}).encode()

    fault = of_status("gpu", 500, {}, body)

    assert (fault.blame, fault.param) == (Blame.CALLER, "response_format")
    assert of_status("gpu", 500, {}, b'{"error": "validation"}').blame is Blame.SERVER


def test_a_503_with_a_time_is_busy() -> None:
    assert of_status("gpu", 503, {"retry-after": "3"}, b"").blame is Blame.BUSY


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3),
        ("2.5", 2.5),
        ("99999999", 3600),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0),
        ("-1", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(text: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": text}, 10.0) == seconds


@given(st.text())
def test_words_of_others_are_short_and_on_one_line(text: str) -> None:
    said = redacted(text)

    assert len(said) <= MAX_SAID_CHARS + 1
    assert "\n" not in said
    assert "\x00" not in said


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: sk-proj-abcdefgh12345.",
        "Authorization: Bearer abcdefgh12345",
        "api_key=abcdefgh12345 is wrong",
        'x-api-key: "abcdefgh12345"',
        "hunter2hunter2-abcdefgh12345",
    ],
)
def test_keys_are_blackened(text: str) -> None:
    assert "abcdefgh12345" not in redacted(text, secret="hunter2hunter2-abcdefgh12345")


@given(st.integers(100, 599), st.binary(max_size=100))
def test_no_body_breaks_the_reading_of_an_error(status: int, body: bytes) -> None:
    assert of_status("gpu", status, {"retry-after": "x"}, body).message.startswith("upstream gpu")
