"""The laws of who must go to make room in memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.residency.room import Resident, Room, Stage
from lattice_actors.residency.verdicts import CannotFit

NEW = "new"
residents = st.builds(
    Resident,
    needs_bytes=st.integers(1, 60),
    last_used=st.integers(0, 5).map(float),
    stage=st.sampled_from(Stage),
    busy=st.booleans(),
)


@st.composite
def rooms(draw: st.DrawFn) -> Room:
    room = Room(draw(st.sampled_from([0, 60, 100])), draw(st.integers(1, 4)))
    room.residents |= draw(st.dictionaries(st.sampled_from("abcd"), residents))
    room.pins |= draw(st.sets(st.sampled_from("abcd")))
    return room


@given(room=rooms(), needs=st.integers(1, 120))
def test_the_victims_make_room_and_none_of_them_could_have_stayed(room: Room, needs: int) -> None:
    victims = room.victims(NEW, needs)
    going = {model for model, resident in room.residents.items() if resident.yields}

    if isinstance(victims, CannotFit):
        unpinned = {m for m in room.residents if m in going or m not in room.pins}
        assert not room.fits(needs, without=unpinned)
        return
    assert going <= set(victims)
    assert room.fits(needs, without=victims)
    for chosen in set(victims) - going:
        assert chosen not in room.pins
        assert not room.fits(needs, without=set(victims) - {chosen})


@given(room=rooms(), needs=st.integers(1, 120))
def test_nobody_goes_before_those_who_are_idle_or_were_used_less_recently(
    room: Room, needs: int
) -> None:
    victims = room.victims(NEW, needs)
    going = {model for model, resident in room.residents.items() if resident.yields}
    free_to_go = [m for m in room.residents if m not in going | room.pins]

    def turn(model: str) -> tuple[bool, float]:
        return (room.residents[model].busy, room.residents[model].last_used)

    for chosen in () if isinstance(victims, CannotFit) else set(victims) - going:
        earlier = {m for m in free_to_go if turn(m) < turn(chosen)}
        assert not room.fits(needs, without=going | earlier)


@given(room=rooms(), needs=st.integers(1, 120))
def test_looking_for_room_changes_nothing(room: Room, needs: int) -> None:
    before = repr(room)

    room.victims(NEW, needs)

    assert repr(room) == before
