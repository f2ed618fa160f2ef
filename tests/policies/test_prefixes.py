"""The laws of what is kept of prompts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lattice_actors.engine.prefixes import (
    SYSTEM_SHARE,
    Entry,
    Kind,
    Prefixes,
    common_prefix,
    ids_of,
)

BOUND = 40
rows = st.lists(st.integers(0, 2), min_size=1, max_size=12)
who = st.sampled_from(["one", "two"])
entries = st.builds(
    lambda principal, tokens, kind, cuttable: entry(
        *tokens, principal=principal, kind=kind, cuttable=cuttable
    ),
    who,
    rows,
    st.sampled_from(Kind),
    st.booleans(),
)


def entry(
    *tokens: int,
    principal: str = "one",
    kind: Kind = Kind.CONVERSATION,
    cuttable: bool = True,
) -> Entry[str]:
    """An entry whose state is its tokens, and that takes a byte for each."""
    ids = ids_of(tokens)
    return Entry(principal, ids, str(list(tokens)), len(ids), kind, cuttable)


def kept(prefixes: Prefixes[str], *tokens: int, principal: str = "one") -> int:
    return prefixes.match(principal, ids_of(tokens)).length


@given(rows, rows)
def test_a_common_prefix_is_common_and_no_longer_one_is(one: list[int], other: list[int]) -> None:
    length = common_prefix(ids_of(one), ids_of(other))

    assert one[:length] == other[:length]
    assert one[: length + 1] != other[: length + 1] or length == min(len(one), len(other))


@given(st.lists(entries, max_size=20), rows, who)
def test_a_match_is_true_of_the_same_principal_and_leaves_a_token(
    several: list[Entry[str]], prompt: list[int], principal: str
) -> None:
    prefixes: Prefixes[str] = Prefixes(BOUND)
    for one in several:
        prefixes.put(one)

    match = prefixes.match(principal, ids_of(prompt))

    assert 0 <= match.length < len(prompt)
    assert match.length <= match.differs_at <= len(prompt)
    if match.entry is not None:
        row = match.entry.tokens.tolist()
        assert match.entry.principal == principal
        assert row[: match.length] == prompt[: match.length]
        assert match.entry.cuttable or len(row) == match.length > 0


@given(st.lists(entries, max_size=30))
def test_the_bytes_are_bounded_and_counted(several: list[Entry[str]]) -> None:
    prefixes: Prefixes[str] = Prefixes(BOUND)
    for one in several:
        assert prefixes.put(one)
        held = list(prefixes._entries.values())

        assert prefixes.nbytes == sum(each.nbytes for each in held) <= BOUND
        assert one in held  # the newest is there


def test_what_is_larger_than_the_cache_is_not_kept() -> None:
    prefixes: Prefixes[str] = Prefixes(3)
    prefixes.put(entry(1, 2))

    assert not prefixes.put(entry(1, 2, 3, 4))
    assert kept(prefixes, 1, 2, 3) == 2


def test_the_conversation_used_least_recently_goes_first() -> None:
    prefixes: Prefixes[str] = Prefixes(6)
    for first in (1, 2, 3):
        prefixes.put(entry(first, 0))
    match = prefixes.match("one", ids_of([1, 0, 5]))
    assert match.entry is not None
    prefixes.used(match.entry)
    prefixes.put(entry(4, 0))

    assert [kept(prefixes, first, 0, 5) for first in (1, 2, 3, 4)] == [2, 0, 2, 2]


def test_a_system_prompt_outlives_conversations() -> None:
    prefixes: Prefixes[str] = Prefixes(10)
    prefixes.put(entry(7, 7, 7, 7, kind=Kind.SYSTEM))
    for first in range(6):
        prefixes.put(entry(first, 0))

    assert kept(prefixes, 7, 7, 7, 7, 1) == 4


def test_system_prompts_do_not_take_more_than_their_share_from_conversations() -> None:
    prefixes: Prefixes[str] = Prefixes(10)
    prefixes.put(entry(9, 9, 9))
    for first in range(6):
        prefixes.put(entry(first, 0, 0, kind=Kind.SYSTEM))

    assert kept(prefixes, 9, 9, 9, 1) == 3
    held = [each.nbytes for each in prefixes._entries.values() if each.kind is Kind.SYSTEM]
    assert sum(held) <= SYSTEM_SHARE * 10 + 3


def test_a_longer_turn_takes_the_place_of_those_it_goes_on_from() -> None:
    prefixes: Prefixes[str] = Prefixes(100)
    prefixes.put(entry(1, 2, kind=Kind.SYSTEM))
    prefixes.put(entry(1, 2, 3))
    prefixes.put(entry(1, 2, 3, 4, 5))

    assert prefixes.nbytes == 2 + 5


def test_what_cannot_be_cut_back_takes_nobodys_place() -> None:
    prefixes: Prefixes[str] = Prefixes(100)
    prefixes.put(entry(1, 2, cuttable=False))
    prefixes.put(entry(1, 2, 3, 4, cuttable=False))

    assert kept(prefixes, 1, 2, 3, 9) == 2
    assert kept(prefixes, 1, 2, 3, 4) == 2  # an exact one has no token left to read


def test_what_is_covered_is_not_copied_again() -> None:
    prefixes: Prefixes[str] = Prefixes(100)
    prefixes.put(entry(1, 2, 3, 4))

    assert prefixes.covers("one", ids_of([1, 2, 3]), Kind.CONVERSATION, cuttable=True)
    assert not prefixes.covers("one", ids_of([1, 2, 3]), Kind.CONVERSATION, cuttable=False)
    assert not prefixes.covers("one", ids_of([1, 2, 3]), Kind.SYSTEM, cuttable=True)
    assert not prefixes.covers("two", ids_of([1, 2, 3]), Kind.CONVERSATION, cuttable=True)
