"""The laws of trust, of second tries and of how much at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.remote.faults import Blame, Fault
from lattice_actors.remote.health import (
    BUDGET_FLOOR,
    BUDGET_SHARE,
    BUDGET_WINDOW_S,
    LONGEST_EJECTION_S,
    Health,
    Limit,
    RetryBudget,
    State,
)
from lattice_actors.remote.trying import Again, GiveUp, after

NEWS = st.lists(
    st.tuples(st.sampled_from(["succeeded", "failed", "reached", "unreached"]), st.floats(0, 400)),
    max_size=60,
)


def tell(health: Health, what: str, now: float) -> bool:
    match what:
        case "succeeded":
            return health.succeeded(now)
        case "failed":
            return health.failed("oh", now)
        case "reached":
            return health.reached(now)
    return health.unreached("nobody", now)


@given(NEWS)
def test_whatever_happens_health_keeps_its_laws(news: list[tuple[str, float]]) -> None:
    health, now = Health(eject_after=3, eject_s=30), 0.0
    for what, pause_s in news:
        now += pause_s
        before = health.state
        changed = tell(health, what, now)

        assert changed == (health.state is not before)
        assert health.failures < 3 or health.state is State.DOWN
        # Never from DOWN to UP: in between one request has to work.
        assert (before, health.state) != (State.DOWN, State.UP)
        if health.state is State.DOWN:
            assert health.reason
            assert health.until - now <= LONGEST_EJECTION_S
        if what == "succeeded" and before is not State.DOWN:
            assert health.state is State.UP


@given(st.integers(1, 20))
def test_each_ejection_is_longer_up_to_a_bound(times: int) -> None:
    health, now, lengths = Health(1, 30), 0.0, []
    for _ in range(times):
        health.failed("oh", now)
        lengths.append(health.until - now)
        now = health.until
        health.reached(now)

    assert lengths == [min(30.0 * n, LONGEST_EJECTION_S) for n in range(1, times + 1)]


def test_failures_count_only_in_a_row() -> None:
    health = Health(3)
    for now in range(100):
        health.failed("oh", now)
        health.failed("oh", now)
        health.succeeded(now)

    assert health.state is State.UP


def test_an_ejected_server_is_not_trusted_because_it_lists_its_models() -> None:
    health = Health(1, 30)
    health.failed("oh", 0)

    assert not health.reached(29)
    assert health.reached(30)
    assert health.state is State.TRIAL
    assert health.failed("oh", 31)  # one is enough now


def test_nobody_there_is_asked_again_soon_and_then_less_often() -> None:
    health, waits = Health(), []
    now = 0.0
    for _ in range(8):
        health.unreached("nobody", now)
        waits.append(health.until - now)
        now = health.until

    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=300))
def test_second_tries_stay_within_their_share(moves: list[tuple[bool, float]]) -> None:
    budget, now = RetryBudget(), 0.0
    asked: list[float] = []
    spent: list[float] = []
    for retry, pause_s in moves:
        now += pause_s
        asked = [at for at in asked if at > now - BUDGET_WINDOW_S]
        spent = [at for at in spent if at > now - BUDGET_WINDOW_S]
        if not retry:
            budget.asked(now)
            asked.append(now)
        elif budget.spend(now):
            spent.append(now)
        else:
            assert len(spent) >= BUDGET_FLOOR

        assert len(spent) <= max(BUDGET_FLOOR, BUDGET_SHARE * len(asked) + 1) or not retry


@given(st.integers(0, 50), st.lists(st.integers(0, 60), max_size=100))
def test_the_limit_stays_between_one_and_the_most(most: int, news: list[int]) -> None:
    limit = Limit(most)
    for running in news:
        before = limit.current
        changed = limit.overloaded(running) if running else limit.succeeded()

        assert changed == (limit.current != before)
        assert limit.current == 0 if most == 0 else 1 <= limit.current <= most
        assert not running or limit.current <= before


def test_the_limit_recovers() -> None:
    limit = Limit(8)
    limit.overloaded(8)
    assert limit.current == 4
    for _ in range(60):
        limit.succeeded()
    assert limit.current == 8


FAULTS = st.builds(
    Fault,
    st.sampled_from(Blame),
    st.just("oh"),
    st.sampled_from(["upstream_failed", "upstream_timeout", "upstream_unreachable"]),
    st.none() | st.floats(0, 100),
)


@given(FAULTS, st.integers(1, 5), st.integers(0, 3), st.booleans(), st.floats(0, 50))
def test_nothing_is_tried_again_that_must_not(
    fault: Fault, tries: int, retries: int, begun: bool, patience_s: float
) -> None:
    what = after(
        fault,
        tries=tries,
        retries=retries,
        begun=begun,
        now=0,
        patience_until=patience_s,
        budget=RetryBudget(),
    )

    if begun or fault.blame is Blame.CALLER:
        assert what == GiveUp(elsewhere=False)
    if isinstance(what, Again):
        assert tries <= retries
        assert what.pause_s < patience_s
        assert what.pause_s >= (fault.retry_after_s or 0) or fault.blame is not Blame.BUSY
        assert fault.blame is not Blame.UNABLE  # it would be as unable the next time
    else:
        assert what.elsewhere or begun or fault.blame is Blame.CALLER
