"""Requests, loads and unloads in any order: each is answered, and nothing stays held."""

from __future__ import annotations

from contextlib import suppress

import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from lattice_actors.admission.verdicts import Limits
from lattice_actors.errors import LatticeError
from tests.actors.house import House, open_house

WISHES = st.tuples(
    st.sampled_from(["ask", "ask", "load", "unload"]),
    st.sampled_from("abc"),
    st.integers(1, 6),  # tokens
    st.sampled_from([0, 0, 0.5, 1, 3, 6]),  # seconds until the next wish
)
# b is unloaded while a is to give way for c: an operator's load of a was never answered.
ROOM_FROM_ELSEWHERE = [
    ("ask", "a", 6, 0.0),
    ("ask", "b", 4, 0.0),
    ("ask", "a", 6, 0.0),
    ("ask", "c", 2, 6.0),
    ("unload", "b", 1, 0.0),
    ("ask", "a", 6, 6.0),
    ("load", "a", 1, 0.0),
]
LONG_S = 3000.0  # far beyond any wait: whoever is not answered by then never will be


async def fulfil(house: House, kind: str, model: str, tokens: int, answered: list[str]) -> None:
    with suppress(LatticeError):  # a refusal is an answer
        if kind == "ask":
            await house.ask(model, tokens)
        elif kind == "load":
            await house.lattice.evictor.load(model)
        else:
            await house.lattice.evictor.unload(model)
    answered.append(kind)


@example(places=2, wishes=ROOM_FROM_ELSEWHERE)
@given(places=st.integers(1, 2), wishes=st.lists(WISHES, min_size=1, max_size=20))
@settings(max_examples=40)
def test_everybody_is_answered(places: int, wishes: list[tuple[str, str, int, float]]) -> None:
    answered: list[str] = []

    async def story() -> None:
        limits = Limits(min_residence_s=5, collate_s=20, ageing_s=100)
        async with (
            open_house(max_models=places, limits=limits) as house,
            trio.open_nursery() as nursery,
        ):
            for kind, model, tokens, pause_s in wishes:
                nursery.start_soon(fulfil, house, kind, model, tokens, answered)
                await trio.sleep(pause_s)
            await trio.sleep(LONG_S)
            assert len(answered) == len(wishes), answered
            assert set((await house.running()).values()) <= {0}
            assert len((await house.lattice.evictor.view()).resident) <= places

    trio.run(story, clock=MockClock(autojump_threshold=0))
