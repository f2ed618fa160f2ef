"""Who begins again after a crash, and with whom."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lattice_actors.residency.poison import POISON_MOST, POISON_S, Poison
from lattice_actors.residency.runs import MOST_RETRIES, Loss, Runs


def unread(_: str) -> bool:
    return True


def begun(*tickets: str) -> Runs[str]:
    runs = Runs[str]()
    for ticket in tickets:
        runs.enter(ticket)
    runs.starts()
    return runs


def test_fresh_tickets_start_together_and_once() -> None:
    runs = Runs[str]()
    runs.enter("a")
    runs.enter("b")

    assert [(start.ticket, start.suspect) for start in runs.starts()] == [
        ("a", False),
        ("b", False),
    ]
    assert runs.starts() == []


def test_after_a_crash_each_begins_again_alone_and_fresh_ones_join_after_its_first_token() -> None:
    runs = begun("a", "b")
    assert runs.crashed(unread) == []
    runs.enter("fresh")

    (first,) = runs.starts()
    assert (first.ticket, first.suspect) == ("a", True)
    assert runs.starts() == []
    runs.first_token(first.rid)
    assert runs.starts() == []  # another suspect waits: nobody joins before its turn
    runs.end("a")
    (second,) = runs.starts()
    assert second.ticket == "b"
    runs.first_token(second.rid)
    assert [start.ticket for start in runs.starts()] == ["fresh"]


def test_what_was_read_is_lost_and_the_rest_is_not() -> None:
    runs = begun("read", "unread")

    assert runs.crashed(lambda ticket: ticket == "unread") == [("read", Loss.READ)]


def test_only_what_ran_alone_and_not_for_the_first_time_is_poison() -> None:
    runs = begun("a")
    assert runs.crashed(unread) == []  # perhaps somebody killed the engine
    runs.starts()

    assert runs.crashed(unread) == [("a", Loss.POISON)]


def test_a_neighbour_of_crashes_is_tried_again_a_few_times_only() -> None:
    runs = begun("a")
    losses: list[tuple[str, Loss]] = []
    for number in range(MOST_RETRIES + 1):
        for start in runs.starts():
            runs.first_token(start.rid)
        runs.enter(f"companion {number}")
        runs.starts()
        losses += runs.crashed(lambda ticket: ticket == "a")

    assert ("a", Loss.TIRED) in losses


def test_poison_is_forgotten_after_a_while_and_bounded() -> None:
    poison = Poison()
    for number in range(POISON_MOST + 1):
        poison.remember(str(number).encode(), now=5.0)

    assert not poison.has(b"0", now=5.0)
    assert poison.has(b"1", now=5.0 + POISON_S - 1)
    assert not poison.has(b"1", now=5.0 + POISON_S)


class RunsMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runs = Runs[int]()
        self.alive: set[int] = set()
        self.inside: dict[int, int] = {}  # rid to ticket
        self.numbers = iter(range(10_000))
        self.rids: set[int] = set()

    @rule()
    def enter(self) -> None:
        ticket = next(self.numbers)
        self.alive.add(ticket)
        self.runs.enter(ticket)

    @rule()
    def pump(self) -> None:
        for start in self.runs.starts():
            assert start.rid not in self.rids, "a number was used twice"
            self.rids.add(start.rid)
            if start.suspect:
                assert not self.inside, "a suspect was not alone"
            self.inside[start.rid] = start.ticket

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.alive)))
        self.alive.discard(ticket)
        self.inside = {rid: t for rid, t in self.inside.items() if t != ticket}
        assert self.runs.end(ticket)
        assert not self.runs.end(ticket)

    @precondition(lambda self: self.inside)
    @rule(data=st.data())
    def first_token(self, data: st.DataObject) -> None:
        self.runs.first_token(data.draw(st.sampled_from(sorted(self.inside))))

    @rule(read=st.sets(st.integers(0, 50)))
    def crash(self, read: set[int]) -> None:
        for ticket, _ in self.runs.crashed(lambda ticket: ticket not in read):
            assert ticket in self.inside.values()
            self.alive.discard(ticket)
            self.runs.end(ticket)
        self.inside.clear()

    @invariant()
    def everybody_is_in_the_engine_or_waits(self) -> None:
        assert set(self.runs.tickets) == self.alive
        assert self.runs.in_engine == len(self.inside)
        assert self.runs.in_engine + self.runs.waiting == len(self.alive)

    def teardown(self) -> None:
        """With an engine that works, everybody gets a turn."""
        for _ in range(3 * len(self.alive) + 3):
            self.pump()
            for rid, ticket in list(self.inside.items()):
                self.runs.first_token(rid)
                del self.inside[rid]
                self.alive.discard(ticket)
                self.runs.end(ticket)
        assert not self.alive


TestRuns = RunsMachine.TestCase
