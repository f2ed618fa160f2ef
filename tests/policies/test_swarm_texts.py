"""Templates, transcripts that fit, and the words for what went wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.capability.question import NoRoute
from lattice_actors.errors import (
    ActorStopped,
    BadRequest,
    EngineFault,
    LatticeError,
    LoadFailed,
    ModelCrashed,
    ModelNotFound,
    ModelQuarantined,
    OutOfMemory,
    QueueRefused,
    RequestCancelled,
    RequestCrashesEngine,
)
from lattice_actors.swarm.faults import KINDS, fault_of, fault_of_miss, fault_of_text
from lattice_actors.swarm.templates import substitute
from lattice_actors.swarm.trimming import CUT, LEAST_BYTES, room_bytes, shorten
from lattice_actors.swarm.turns import next_turn


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{a}} {{ a }} {{previous}}", "1 1 last"),
        ("{{b}} {a} {{}} {{{a}}} {{A}}", "{{previous}} {a} {{}} {1} {{A}}"),
        ("{{unknown}} }} {{", "{{unknown}} }} {{"),
    ],
)
def test_known_names_are_replaced_once(template: str, text: str) -> None:
    assert substitute(template, {"a": "1", "b": "{{previous}}"}, "last") == text


@given(st.text(), st.dictionaries(st.text(min_size=1), st.text()))
def test_a_text_without_braces_stays(text: str, outputs: dict[str, str]) -> None:
    plain = text.replace("{{", "{ {")

    assert substitute(plain, outputs, "previous") == plain


@given(st.text(), st.text())
def test_outputs_are_put_in_as_they_are(one: str, two: str) -> None:
    filled = substitute("<{{one}}|{{two}}>", {"one": one, "two": two}, "")

    assert filled == f"<{one}|{two}>"


@given(st.lists(st.text(max_size=400), max_size=8), st.integers(0, 4000))
def test_shortened_texts_fit_and_short_ones_stay(texts: list[str], room: int) -> None:
    short, cut = shorten(texts, room)
    sizes = [len(text.encode()) for text in short]

    assert sum(sizes) <= max(room, LEAST_BYTES * len(texts))
    assert cut == sum(before != after for before, after in zip(texts, short, strict=True))
    for before, after in zip(texts, short, strict=True):
        assert after == before or after.endswith(CUT)
        if len(before.encode()) <= room // max(1, len(texts)):
            assert after == before


def test_room_is_what_the_rest_leaves() -> None:
    message = {"role": "user", "content": "x" * 100}

    assert room_bytes(1000, 100, []) - room_bytes(1000, 100, [message]) == 100
    assert room_bytes(100, 100, [message]) == 0


@given(st.text(max_size=300), st.lists(st.text(max_size=300), max_size=4), st.integers(0, 4000))
def test_a_turn_only_adds_to_a_conversation(answer: str, others: list[str], context: int) -> None:
    before = ({"role": "system", "content": "s"}, {"role": "user", "content": "u"})

    turn = next_turn(
        before, answer, others, number=2, rounds=3, context_tokens=context, answer_tokens=50
    )

    assert turn.messages[:2] == before
    assert [message["role"] for message in turn.messages[2:]] == ["assistant", "user"]
    assert turn.messages[2]["content"] == answer


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ModelNotFound("x"), "model_not_resolved"),
        (ModelCrashed("x"), "model_crashed"),
        (ModelQuarantined("x"), "model_crashed"),
        (RequestCrashesEngine("x"), "model_crashed"),
        (OutOfMemory("x"), "oom"),
        (QueueRefused("x"), "queue_rejected"),
        (LoadFailed("x"), "model_unavailable"),
        (ActorStopped("x"), "model_unavailable"),
        (RequestCancelled("x"), "cancelled"),
        (BadRequest("x"), "invalid_request"),
        (EngineFault("timed out"), "unknown"),  # the words of our own errors mean nothing
        (LatticeError("x", code="upstream_5xx"), "upstream_5xx"),
    ],
)
def test_our_own_errors_are_known_by_their_type(error: LatticeError, kind: str) -> None:
    fault = fault_of(error)

    assert (fault.kind, fault.message) == (kind, "x" if kind != "unknown" else "timed out")


@pytest.mark.parametrize(
    ("text", "kind", "status"),
    [
        ("LM Studio 400: bad", "upstream_4xx", 400),
        ("Anthropic 529: overloaded", "upstream_5xx", 529),
        ("endpoint returned 503", "upstream_5xx", 503),
        ("LM Studio 500: out of memory", "oom", 500),
        ("LM Studio 404: no models loaded", "no_models_loaded", 404),
        ("connection refused after a timeout", "connection_error", None),
        ("read timed out", "timeout", None),
        ("killed by peer", "unknown", None),
        ("the zoom room", "unknown", None),
        ("", "unknown", None),
    ],
)
def test_another_servers_words_are_read_in_order(text: str, kind: str, status: int | None) -> None:
    fault = fault_of_text(text)

    assert (fault.kind, fault.http_status) == (kind, status)


def test_the_detail_is_without_the_prefix() -> None:
    assert fault_of_text("LM Studio 400: bad").detail == "bad"
    assert fault_of(LatticeError("LM Studio 502: gone"), foreign=True).http_status == 502


@given(st.text(max_size=300))
def test_every_kind_is_known(text: str) -> None:
    assert fault_of_text(text).kind in KINDS


@pytest.mark.parametrize(
    ("code", "kind"),
    [("model_not_found", "model_not_resolved"), ("model_unavailable", "model_unavailable")],
)
def test_a_miss_says_whether_waiting_helps(code: str, kind: str) -> None:
    assert fault_of_miss(NoRoute("x", code)).kind == kind
