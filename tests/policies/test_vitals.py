"""Alive is what makes progress."""

from __future__ import annotations

from lattice_actors.engine.vitals import NO_PONG_S, STEP_LEAST_S, Vitals


def watched(vitals: Vitals, until: float, since: float = 0.0) -> str | None:
    """Look once a second, as the gateway does; return the first verdict."""
    now = since
    while now < until:
        now += 1.0
        verdict = vitals.verdict(now)
        if verdict is not None:
            return f"{now:g}: {verdict}"
    return None


def test_a_load_that_is_silent_for_too_long_hangs_even_if_the_reader_answers() -> None:
    vitals = Vitals(60.0, 0.0)
    vitals.pong(0.0, 50.0)

    assert watched(vitals, 100) == "61: the load made no progress for 61 s"


def test_progress_keeps_a_slow_load_alive() -> None:
    vitals = Vitals(60.0, 0.0)
    assert watched(vitals, 50) is None
    vitals.progress(50.0)

    assert watched(vitals, 100, since=50) is None


def test_an_engine_that_does_not_answer_is_given_up_after_ten_seconds() -> None:
    vitals = Vitals(60.0, 0.0)
    vitals.ready(0.0)

    verdict = watched(vitals, 30)

    assert verdict == f"{NO_PONG_S + 1:g}: the engine did not answer for 11 s"


def test_a_stop_of_three_seconds_is_forgiven() -> None:
    vitals = Vitals(60.0, 0.0)
    vitals.ready(0.0)
    assert watched(vitals, 3) is None
    vitals.pong(0.0, 3.0)

    assert watched(vitals, 12, since=3) is None


def test_a_step_that_never_ends_is_seen_although_pongs_arrive() -> None:
    vitals = Vitals(60.0, 0.0)
    vitals.ready(0.0)
    vitals.step(0.1)
    vitals.pong(STEP_LEAST_S, 1.0)
    assert vitals.verdict(1.5) is None
    vitals.pong(STEP_LEAST_S + 1, 2.0)

    assert vitals.hung
    assert vitals.verdict(2.5) == "one engine step has taken 31 s"


def test_an_engine_of_slow_steps_gets_twenty_of_them() -> None:
    vitals = Vitals(60.0, 0.0)
    vitals.ready(0.0)
    vitals.step(5.0)
    vitals.pong(90.0, 1.0)

    assert vitals.verdict(1.5) is None


def test_after_a_sleep_of_the_machine_nobody_is_blamed_at_once() -> None:
    vitals = Vitals(60.0, 0.0)
    vitals.ready(0.0)
    vitals.verdict(1.0)

    assert vitals.verdict(3600.0) is None
    assert watched(vitals, 3620, since=3600) is not None
