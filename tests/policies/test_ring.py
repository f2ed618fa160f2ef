"""The laws of where news wait for the metrics actor."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.metrics.news import Loaded
from lattice_actors.metrics.ring import Ring

TAKE = -1
LIMIT = 3


@given(st.lists(st.integers(TAKE, 50), max_size=40))
def test_the_newest_are_kept_the_rest_is_counted_and_the_reader_is_woken_once(
    steps: list[int],
) -> None:
    ring = Ring(LIMIT)
    put: list[Loaded] = []
    read = woken = 0

    def wake() -> None:
        nonlocal woken
        woken += 1

    for step in steps:
        if step == TAKE:
            taken = list(ring.take(wake))
            assert taken == put[-LIMIT:]
            read, woken, put = read + len(taken), 0, []
        else:
            put.append(Loaded("m", float(step)))
            ring.put(put[-1])
            assert woken <= 1

    everything = sum(step != TAKE for step in steps)
    assert ring.dropped + read + min(len(put), LIMIT) == everything
    assert woken == (bool(put) and TAKE in steps)
