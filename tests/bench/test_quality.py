"""The task set, who is right, and the two commands beside the suite, against small servers."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from lattice_bench.arms import Arm
from lattice_bench.load import Target
from lattice_bench.player import Player
from lattice_bench.quality import ONE, Reply, answer_all, quality_text, scores, ways
from lattice_bench.scenarios import Deck, Sizes, choose
from lattice_bench.scenarios.schema import SCHEMA, valid
from lattice_bench.scenarios.shape import TOTAL
from lattice_bench.soak import soak, soak_text
from lattice_bench.stats import wilson
from lattice_bench.tasks import Task, make_tasks, right, said

CHOICE = Task("choice", "?", "B")


@given(st.integers(0, 10**6))
def test_a_seed_makes_the_same_tasks_and_every_answer_is_right(seed: int) -> None:
    tasks = make_tasks(9, seed)

    assert tasks == make_tasks(9, seed)
    assert {task.kind for task in tasks} == {"arithmetic", "string", "choice"}
    assert all(right(task, f"Well...\nAnswer: {task.answer}.") for task in tasks)


def test_arithmetic_is_what_python_makes_of_it() -> None:
    for task in make_tasks(60, 3)[::3]:
        found = re.match(r"What is ([\d +*-]+)\?", task.question)
        assert found is not None
        assert str(eval(found[1])) == task.answer  # our own digits


@pytest.mark.parametrize(
    ("reply", "given"),
    [
        ("Answer: 12.", "12"),
        ("the answer is **Paris**", "paris"),
        ("Answer: 3\nno: Answer: 4", "4"),
        ("so\n\n42\n", "42"),
        ("", ""),
        ("...", ""),
    ],
)
def test_what_a_reply_says(reply: str, given: str) -> None:
    assert said(reply) == given


@pytest.mark.parametrize(
    ("reply", "good"),
    [
        ("Answer: B", True),
        ("Answer: B) Rome", True),
        ("Answer: (B)", True),
        ("Answer: Bern", False),
    ],
)
def test_a_label_may_bring_its_text(reply: str, good: bool) -> None:
    assert right(CHOICE, reply) is good


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_interval_holds_the_share_and_stays_in_bounds(pair: tuple[int, int]) -> None:
    one = wilson(*pair)

    assert 0 <= one.low <= one.value <= one.high <= 1
    assert wilson(0, 0).high == 1


def test_wilsons_interval_is_the_published_one() -> None:
    one = wilson(8, 10)  # Agresti and Coull (1998) round it to 0.49 and 0.94

    assert (round(one.low, 2), round(one.high, 2)) == (0.49, 0.94)


def test_failures_count_as_wrong() -> None:
    replies = [Reply(ONE, "choice", True, 1.0, 5), Reply(ONE, "choice", False, 3.0, 0, "boom")]

    whole = scores(replies)[0]

    assert (whole.tasks, whole.right, whole.failed, whole.seconds) == (2, 1, 1, 2.0)
    assert "one sample failed 1 times: boom" in quality_text(scores(replies), replies)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ('{"title":"a","mood":"calm","chapters":3,"people":["x","y"],"sad":true}', True),
        ('{"title":"a","mood":"calm","chapters":41,"people":["x","y"],"sad":true}', False),
        ('{"title":"a","mood":"odd","chapters":3,"people":["x","y"],"sad":true}', False),
        ('{"title":"a","mood":"calm","chapters":3,"people":["x"],"sad":true}', False),
        ('{"title":"a","mood":"calm","chapters":3,"people":["x","y"],"sad":true,"z":1}', False),
        ('{"title":"a', False),
        ("", False),
        ("[" * 100_000, False),
    ],
)
def test_a_document_is_checked_as_the_schema_says(text: str, good: bool) -> None:
    assert valid(text) is good
    assert SCHEMA["additionalProperties"] is False


# --- a server that has swarms -------------------------------------------------------------------


class Swarms:
    """Answers fan-out and vote; the majority is right, a single sample is not."""

    def __init__(self) -> None:
        self.asked = list[tuple[str, dict[str, Any]]]()

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            buffered = b""
            while data := await stream.receive_some():
                buffered += data
                head, blank, body = buffered.partition(b"\r\n\r\n")
                length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
                if not blank or len(body) < length:
                    continue
                buffered = b""
                status, answer = self.answer(head.split()[1].decode(), json.loads(body))
                text = json.dumps(answer).encode()
                line = b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n" % (status, len(text))
                await stream.send_all(line + text)

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, object]]:
        if not body:
            return 400, {"error": {"message": "models is missing"}}
        self.asked.append((path, body))
        usage = {"prompt_tokens": 9, "completion_tokens": 5}
        if path == "/swarm/fanout":
            (entry,) = body["models"]
            row = {"ok": True, "text": "Answer: no idea", "response": {"usage": usage}}
            return 200, {"responses": [row] * entry["samples"]}
        if body["strategy"] == "synthesis":
            return 502, {"error": {"message": "all failed"}}
        choice = {"message": {"content": "Answer: 7"}, "finish_reason": "stop"}
        return 200, {"choices": [choice], "usage": usage}


@pytest.fixture
async def swarms(nursery: trio.Nursery) -> tuple[Swarms, Target]:
    made = Swarms()
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, made.serve, listeners)
    return made, Target(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/v1", "m")


async def test_each_task_goes_to_one_sample_and_to_every_strategy(
    swarms: tuple[Swarms, Target],
) -> None:
    tasks = [Task("arithmetic", "What is 3 + 4?", "7")] * 2
    told = list[str]()

    replies = await answer_all(swarms[1], tasks, ways(5), 32, 0.7, 1, told.append)

    whole = {score.way: score for score in scores(replies) if score.kind == "all"}
    assert {way: (score.right, score.failed) for way, score in whole.items()} == {
        ONE: (0, 0),
        "majority of 5": (2, 0),
        "best-of-n of 5": (2, 0),
        "synthesis of 5": (0, 2),
    }
    assert len(told) == 8
    path, body = next(one for one in swarms[0].asked if one[1].get("strategy") == "majority")
    assert path == "/swarm/vote"
    assert body["models"] == [{"model": "m", "samples": 5}]
    seeds = {body["seed"] for _, body in swarms[0].asked}
    assert len(seeds) == 2  # one a task: its ways differ in nothing else


async def test_the_swarm_scenario_is_played_where_there_are_swarms(
    swarms: tuple[Swarms, Target],
) -> None:
    sizes = Sizes(samples=3)
    (scenario,) = choose("swarm", sizes)
    player = Player(Arm("a", (swarms[1],)))

    assert await player.lacks(scenario) is None
    one = await player.play(scenario, Deck(sizes, "1"))
    await player.aclose()

    assert [path for path, _ in swarms[0].asked] == [
        "/swarm/fanout",
        "/swarm/fanout",
        "/swarm/vote",
    ]
    assert [answer.tokens for told in one.waves for answer in told.answers] == [5, 15, 5]
    assert len(scenario.read(one)["3 samples", TOTAL]) == 1


# --- the soak -----------------------------------------------------------------------------------


async def test_the_soak_counts_what_it_sends_and_looks_at_memory() -> None:
    def source(model: Path | None) -> list[str]:
        del model
        return [sys.executable, "-m", "lattice_bench.source"]

    figures = await soak(None, 20, 2, 3, lambda _: None, source)

    assert [mark.requests for mark in figures.marks] == [0, 5, 10, 20]
    assert all(mark.gateway_bytes > 2**20 for mark in figures.marks)
    # It refuses nothing, so what should have been refused was answered.
    assert figures.answered + figures.left == 20
    assert "after 5 requests: gateway" in soak_text(figures)
