"""The shapes of the scenarios, and what is read from their rounds: no socket, no clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice_bench.answers import Answer
from lattice_bench.figures import result
from lattice_bench.scenarios import Deck, Round, Sizes, Told, UnknownScenario, Wave, catalogue
from lattice_bench.scenarios import choose as choose_scenarios
from lattice_bench.scenarios.neighbours import BEGUN
from lattice_bench.scenarios.pressure import LEAVE_AFTER, LONGEST_WAIT_S
from lattice_bench.scenarios.schema import MOST_TOKENS, valid
from lattice_bench.scenarios.shape import DRAINED, GAP, GHOSTS, KEPT, PROMISED, REFUSED, TTFT
from lattice_bench.stats import Ratio
from lattice_bench.suite_report import ratio_text

SIZES = Sizes(concurrency=(1, 3), turns=3, running=2, burst=4, aborts=2)
KNOWN = catalogue(SIZES)


def answer(began: float = 0.0, ttft_s: float = 1.0, gaps: int = 2) -> Answer:
    """A good answer with a text each second after the first."""
    ended = began + ttft_s + gaps
    tokens = 1 + gaps
    found = Answer(began, ended, ttft_s, [1.0] * gaps, events=tokens, tokens=tokens)
    found.status, found.parts, found.done = 200, ["so", " it", " is"], True
    return found


def failure(error: str = "500: no", status: int = 500, began: float = 0.0) -> Answer:
    return Answer(began, began + 0.5, error=error, status=status)


def refusal(retry_after_s: float | None = 2.0, began: float = 0.0) -> Answer:
    found = failure("429: full", 429, began)
    found.retry_after_s = retry_after_s
    return found


def play(name: str, *answers: list[Answer], seed: str = "1") -> Round:
    """Play the shape of *name*; each wave gets the next of *answers*, or good ones."""
    shape = KNOWN[name].shape(Deck(SIZES, seed))
    given_answers, told = list(answers), list[Told]()
    wave = next(shape, None)
    while wave is not None:
        back = given_answers.pop(0) if given_answers else [answer() for _ in wave.requests]
        told.append(Told(wave, tuple(back)))
        try:
            wave = shape.send(back)
        except StopIteration:
            wave = None
    return Round(tuple(told))


def waves(one: Round) -> list[Wave]:
    return [told.wave for told in one.waves]


def contents(one: Round) -> list[str]:
    return [
        message["content"] for wave in waves(one) for r in wave.requests for message in r.messages
    ]


@pytest.mark.parametrize("name", KNOWN)
@given(seed=st.integers())
def test_the_same_seed_sends_the_same(name: str, seed: int) -> None:
    assert waves(play(name, seed=str(seed))) == waves(play(name, seed=str(seed)))


@pytest.mark.parametrize("name", KNOWN)
def test_another_seed_shares_no_prompt(name: str) -> None:
    ours, theirs = contents(play(name, seed="1")), contents(play(name, seed="2"))

    assert {text for text in ours if text in theirs} <= {"so it is"}  # what the server said


@pytest.mark.parametrize("name", KNOWN)
def test_every_scenario_reads_something_from_a_good_round(name: str) -> None:
    readings = KNOWN[name].read(play(name))

    assert any(readings.values())


@pytest.mark.parametrize("name", KNOWN)
def test_a_round_in_which_everything_failed_has_no_times(name: str) -> None:
    failed = [[failure() for _ in wave.requests] for wave in waves(play(name))]

    readings = KNOWN[name].read(play(name, *failed))

    assert not [values for (_, metric), values in readings.items() if metric is TTFT and values]


def test_streams_are_waves_of_each_concurrency() -> None:
    assert [len(wave.requests) for wave in waves(play("streams"))] == [1, 3]


def test_warm_requests_share_only_the_system_prompt() -> None:
    cold, *warm = [wave.requests[0] for wave in waves(play("prefix"))]

    assert {request.messages[0]["role"] for request in warm} == {"system"}
    assert {request.messages[0]["content"] for request in warm} == {cold.messages[0]["content"]}
    assert len({request.messages[1]["content"] for request in (cold, *warm)}) == 1 + len(warm)


def test_a_turn_sends_back_what_was_said() -> None:
    first, second, third = [wave.requests[0].messages for wave in waves(play("turns"))]

    assert second[: len(first)] == first
    assert second[1] == {"role": "assistant", "content": "so it is"}
    assert third[: len(second)] == second


def test_a_failed_turn_is_no_empty_one() -> None:
    second = play("turns", [failure()]).waves[1].wave.requests[0]

    assert second.messages[1]["content"]


def test_the_long_prompt_waits_for_the_running_streams() -> None:
    without, beside = waves(play("long"))

    assert len(beside.requests) == len(without.requests) + 1
    assert beside.requests[-1].after_texts == BEGUN
    assert len(beside.requests[-1].messages[0]["content"].split()) > SIZES.long_tokens


def test_gaps_beside_are_those_that_touch_the_reading_of_the_prompt() -> None:
    running = answer(began=0.0, ttft_s=1.0)  # texts at 1
    running.gaps_s = [1.0, 4.0, 1.0, 1.0]  # and at 2, 6, 7, 8
    long = answer(began=5.0, ttft_s=1.5)  # read from 5 to 6.5

    readings = KNOWN["long"].read(play("long", [answer(), answer()], [running, answer(), long]))

    assert readings["beside", GAP] == [4.0, 1.0]
    assert readings["without", GAP] == [1.0] * 4


def test_models_take_turns_and_each_is_asked_twice() -> None:
    requests = [wave.requests[0] for wave in waves(play("alternate"))]

    assert [(r.model, r.label) for r in requests] == [
        (0, "other model"),
        (0, "same model"),
        (1, "other model"),
        (1, "same model"),
    ]


def test_who_is_refused_comes_back_when_told_to() -> None:
    first = [answer(), refusal(2.0), refusal(1e9), answer()]
    one = play("burst", first, [answer(began=2.0), refusal(began=60.0)])

    again = one.waves[1].wave.requests
    assert [request.delay_s for request in again] == [2.0, LONGEST_WAIT_S]
    asked = one.waves[0].wave.requests
    assert [request.messages for request in again] == [asked[1].messages, asked[2].messages]
    readings = KNOWN["burst"].read(one)
    assert readings["first try", REFUSED] == [0.5]
    assert readings["first try", PROMISED] == [1.0]
    assert readings["coming back", KEPT] == [0.5]
    assert readings["all", DRAINED] == [60.5]


def test_a_refusal_without_a_promise_is_not_tried_again() -> None:
    one = play("burst", [answer(), refusal(None), answer(), answer()])

    assert len(one.waves) == 1
    assert KNOWN["burst"].read(one)["first try", PROMISED] == [0.0]


def test_a_burst_that_fits_refuses_nobody() -> None:
    one = play("burst")

    assert len(one.waves) == 1
    assert KNOWN["burst"].read(one)["first try", REFUSED] == [0.0]


def test_all_of_a_storm_leave_and_ghosts_are_shared_among_them() -> None:
    gone = [Answer(0.0, left=True), Answer(0.0, left=True)]
    one = play("abort", [answer()], gone)
    told = Round(one.waves, ghost_tokens=3)

    assert [wave.leave_after_texts for wave in waves(one)] == [None, LEAVE_AFTER, None]
    assert KNOWN["abort"].read(told)["storm", GHOSTS] == [1.5]
    assert ("storm", GHOSTS) not in KNOWN["abort"].read(one)  # the server does not tell
    assert ("storm", TTFT) not in KNOWN["abort"].read(told)


def test_scenarios_are_chosen_by_name_once_each() -> None:
    names = [one.name for one in choose_scenarios("burst, single,burst", SIZES)]

    assert names == ["burst", "single"]
    assert len(choose_scenarios("all", SIZES)) == len(KNOWN)


def test_an_unknown_scenario_lists_those_there_are() -> None:
    with pytest.raises(UnknownScenario, match="no scenario 'swimming'; there are single, streams"):
        choose_scenarios("single,swimming", SIZES)


# --- figures ------------------------------------------------------------------------------------


def singles(*ttfts_s: float) -> list[Round]:
    return [play("single", [answer(ttft_s=ttft_s)]) for ttft_s in ttfts_s]


def test_a_server_is_compared_with_the_first_round_by_round() -> None:
    one = result(KNOWN["single"], {"a": singles(1.0, 10.0), "b": singles(2.0, 20.0)})

    ours, theirs = [figure for figure in one.figures if figure.metric is TTFT]
    assert (ours.arm, ours.ratio) == ("a", None)
    assert theirs.ratio is not None
    assert (theirs.ratio.median, theirs.ratio.low, theirs.ratio.high) == (2.0, 2.0, 2.0)
    assert theirs.tail_ratio is not None
    assert theirs.medians == [2.0, 20.0]


def test_a_round_that_failed_is_no_pair() -> None:
    failed = play("single", [failure()])
    one = result(KNOWN["single"], {"a": [*singles(1.0), failed], "b": singles(2.0, 2.0)})

    theirs = [figure for figure in one.figures if figure.metric is TTFT][1]
    assert theirs.ratio is not None
    assert theirs.ratio.pairs == 1
    assert one.tallies[0].errors == {"500: no": 1}


def test_warm_is_compared_with_cold_of_the_same_server() -> None:
    rounds = [play("prefix", [answer(ttft_s=4.0)], *[[answer(ttft_s=1.0)] for _ in range(3)])] * 2

    one = result(KNOWN["prefix"], {"a": rounds})

    assert [(inner.name, inner.ratio.median) for inner in one.inner] == [
        ("warm / cold, ttft", 0.25)
    ]


def test_refusals_are_no_errors_where_they_are_wanted() -> None:
    one = play("burst", [refusal(), answer(), answer(), answer()])

    tally = result(KNOWN["burst"], {"a": [one]}).tallies[0]

    assert (tally.refused, tally.errors) == (1, {})


@pytest.mark.parametrize(("pairs", "text"), [(4, "2.00 (n=4)"), (5, "2.00 (1.50-2.50)")])
def test_a_ratio_of_few_pairs_claims_no_interval(pairs: int, text: str) -> None:
    assert ratio_text(Ratio(pairs, 2.0, 1.5, 2.5)) == text


def test_no_document_of_the_schema_is_cut_off() -> None:
    def escaped(letters: int) -> str:
        return '"' + "\\u0001" * letters + '"'

    space = " \n" * 8  # the engine allows 16 of these in a row
    members = [
        f'"title"{space}:{space}{escaped(40)}',
        f'"mood"{space}:{space}"happy"',
        f'"chapters"{space}:{space}40',
        f'"people"{space}:{space}[{space}{f"{space},{space}".join([escaped(16)] * 3)}{space}]',
        f'"sad"{space}:{space}false',
    ]
    longest = space + "{" + space + f"{space},{space}".join(members) + space + "}" + space

    assert valid(longest)
    assert len(longest.encode()) < MOST_TOKENS
