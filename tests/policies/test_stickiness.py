from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lattice_actors.catalog.stickiness import ConversationKeys, Stickiness, conversation_keys

SYSTEM = {"role": "system", "content": "be brief"}
TURN_1 = [SYSTEM, {"role": "user", "content": "a"}]
TURN_2 = [*TURN_1, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]


def test_the_next_turn_looks_where_this_one_remembered() -> None:
    first, second = conversation_keys("key", TURN_1), conversation_keys("key", TURN_2)

    assert first.look_up is None
    assert second.look_up == first.remember
    assert second.remember not in (None, first.remember)


def test_a_changed_answer_is_the_same_conversation() -> None:
    changed = [*TURN_1, {"role": "assistant", "content": "…"}, TURN_2[-1]]

    assert conversation_keys("k", changed).look_up == conversation_keys("k", TURN_2).look_up


def test_a_tool_result_stays_in_its_turn() -> None:
    call = [*TURN_1, {"role": "assistant", "tool_calls": []}, {"role": "tool", "content": "5"}]

    keys = conversation_keys("k", call)

    assert keys.look_up == keys.remember == conversation_keys("k", TURN_1).remember


def test_nobody_shares_a_conversation_with_another_principal() -> None:
    assert conversation_keys("a", TURN_2).look_up != conversation_keys("b", TURN_2).look_up


@pytest.mark.parametrize("messages", [[], [5], [SYSTEM], [{"role": ["user"]}]])
def test_without_a_user_turn_there_is_no_conversation(messages: list[Any]) -> None:
    assert conversation_keys("k", messages) == ConversationKeys(None, None)


def test_messages_too_deep_to_hash_are_no_conversation() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    keys = conversation_keys("k", [{"role": "user", "content": deep}])

    assert keys == ConversationKeys(None, None)


class StickinessMachine(RuleBasedStateMachine):
    """Against the plainest model: a list of uses, newest last."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.sticky = Stickiness(capacity=3, ttl_s=10)
        self.uses: dict[str, tuple[str, float]] = {}

    @rule(key=st.sampled_from("abcde"), model=st.sampled_from("xy"))
    def remember(self, key: str, model: str) -> None:
        self.sticky.remember(key, model, self.now)
        self.uses.pop(key, None)
        self.uses[key] = (model, self.now)
        self.uses = dict(list(self.uses.items())[-3:])

    @rule(key=st.sampled_from("abcde"))
    def look_up(self, key: str) -> None:
        model, at = self.uses.pop(key, (None, 0.0))
        expected = model if model is not None and self.now < at + 10 else None
        if expected is not None:
            self.uses[key] = (expected, self.now)

        assert self.sticky.look_up(key, self.now) == expected

    @rule(seconds=st.sampled_from([1.0, 5.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def it_is_bounded(self) -> None:
        assert len(self.sticky) == len(self.uses) <= 3


TestStickiness = StickinessMachine.TestCase
