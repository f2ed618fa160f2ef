"""Which requests may go to the cloud though they do not name it."""

from __future__ import annotations

import pytest

from lattice_actors.capability.question import Bound
from lattice_actors.errors import BadRequest, LatticeError, QueueRefused, UpstreamFailed
from lattice_actors.generation import JsonObject
from lattice_actors.settings import Settings
from lattice_http.cloud import Escalation, bound_of, unheard
from lattice_http.openai.request import ModelRequest
from lattice_http.openai.wishes import Locality, Wishes, read_wishes

BIG: list[JsonObject] = [{"role": "user", "content": "words " * 100}]
OPEN = Escalation.of(
    Settings(anthropic_auto_route=True, anthropic_spill_over=("overload", "context"))
)
SHUT = Escalation.of(Settings())
STAY = Wishes(auto_route=False)
LONG = ("min_context_window>=9000",)


@pytest.mark.parametrize(
    ("ours", "theirs", "bound"),
    [
        ("any", None, "any"),
        ("any", "prefer-local", "prefer-local"),
        ("any", "local-only", "local-only"),
        ("prefer-local", None, "prefer-local"),
        ("prefer-local", "any", "any"),
        ("prefer-local", "local-only", "local-only"),
        ("local-only", None, "local-only"),
        ("local-only", "any", "local-only"),
        ("local-only", "prefer-local", "local-only"),
    ],
)
def test_nothing_loosens_local_only(ours: str, theirs: Locality | None, bound: Bound) -> None:
    assert bound_of(Wishes(locality=theirs), Settings(locality=ours)) == bound


def test_big_tasks_are_opt_in_and_can_opt_out() -> None:
    assert OPEN.at_once(Wishes(), BIG) == "big task: 100 words"
    assert OPEN.at_once(STAY, BIG) is None
    assert OPEN.at_once(Wishes(), []) is None  # no chat
    assert SHUT.at_once(Wishes(), BIG) is None
    strict = Escalation.of(Settings(anthropic_auto_route=True, big_task_min_words=101))
    assert strict.at_once(Wishes(), BIG) == "big task: 599 characters"


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (QueueRefused("full", code="queue_overloaded_model"), "overload"),
        (QueueRefused("full", code="queue_overloaded_total"), "overload"),
        (QueueRefused("late", code="queue_timeout"), None),
        (QueueRefused("late", code="deadline_exceeded"), None),
        (BadRequest("long", code="context_length_exceeded"), "context"),
        (BadRequest("odd"), None),
        (UpstreamFailed("gone"), None),
    ],
)
def test_what_spills_over(error: LatticeError, why: str | None) -> None:
    assert OPEN.after(error, Wishes()) == why
    assert OPEN.after(error, STAY) is None
    assert SHUT.after(error, Wishes()) is None


def test_each_kind_of_spilling_is_allowed_by_its_own_word() -> None:
    full = QueueRefused("full", code="queue_overloaded_model")
    long = BadRequest("long", code="context_length_exceeded")
    overload = Escalation.of(Settings(anthropic_spill_over=("overload",)))
    context = Escalation.of(Settings(anthropic_spill_over=("context",)))

    assert (overload.after(full, Wishes()), overload.after(long, Wishes())) == ("overload", None)
    assert (context.after(full, Wishes()), context.after(long, Wishes())) == (None, "context")
    assert context.fits(LONG, Wishes())
    assert not overload.fits(LONG, Wishes())


def test_a_pool_that_is_empty_for_its_context_alone_spills_over() -> None:
    assert OPEN.fits(LONG, Wishes())
    assert not OPEN.fits((), Wishes())
    assert not OPEN.fits((*LONG, "needs_vision"), Wishes())
    assert not OPEN.fits(LONG, STAY)


@pytest.mark.parametrize("word", ["off", "OFF", "0", "false", "no"])
def test_the_header_that_keeps_a_request_here(word: str) -> None:
    assert not read_wishes(None, {"X-Lattice-Auto-Route": word}, 0.0).auto_route
    assert read_wishes(None, {"X-Lattice-Auto-Route": "on"}, 0.0).auto_route
    assert read_wishes(None, {}, 0.0).auto_route
    with pytest.raises(BadRequest) as refused:
        read_wishes(None, {"X-Lattice-Auto-Route": "maybe"}, 0.0)
    assert refused.value.param == "X-Lattice-Auto-Route"


def test_a_seed_without_an_effect_is_said() -> None:
    assert unheard("anthropic", ModelRequest(spec=None, seed=1)) == ("seed",)
    assert unheard("anthropic", ModelRequest(spec=None)) == ()
    assert unheard("mlx", ModelRequest(spec=None, seed=1)) == ()
