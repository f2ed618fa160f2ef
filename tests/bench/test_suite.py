"""Several servers in turn over real sockets, the flags, and the reports."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
import trio

from lattice_bench import command
from lattice_bench.answers import Answer
from lattice_bench.arms import Arm, BadArm, arms
from lattice_bench.load import Target
from lattice_bench.player import ArmFailed, Player
from lattice_bench.scenarios import Deck, Request, Sizes, Wave, choose
from lattice_bench.scenarios.shape import user
from lattice_bench.source import END, HEAD, LAST, TOKEN, Source, chunk
from lattice_bench.suite import Plan, run_suite, salt, turned

SMALL = Sizes((1, 2), 3, 20, 20, 2, 30, 2, 4, 3, 2, 4)
DONE = chunk("[DONE]")


def ask(label: str = "x", after_texts: int = 0) -> Request:
    return Request(label, (user("hi"),), 4, after_texts=after_texts)


class Server:
    """Says a word every 5 ms; notes what it was asked, and who left."""

    def __init__(self) -> None:
        self.asked = list[dict[str, object]]()
        self.begun = list[float]()
        self.left = 0
        self.words = 12
        self.refusals = 0  # so many requests first

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            with suppress(trio.BrokenResourceError):
                await self._answer_all(stream)

    async def _answer_all(self, stream: trio.SocketStream) -> None:
        buffered = b""
        while data := await stream.receive_some():
            buffered += data
            head, blank, body = buffered.partition(b"\r\n\r\n")
            length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
            if not blank or len(body) < length:
                continue
            buffered = b""
            if head.startswith(b"GET /v1/state "):
                state = {
                    "models": {"a": {"ghost_tokens": 5 * self.left}, "never loaded": {}},
                    "queue": {"running_total": 0},
                }
                text = json.dumps(state).encode()
                await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(text))
                await stream.send_all(text)
                continue
            self.asked.append(json.loads(body))
            self.begun.append(trio.current_time())
            if self.refusals:
                self.refusals -= 1
                await stream.send_all(
                    b"HTTP/1.1 429 No\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n"
                )
                continue
            try:
                await stream.send_all(HEAD)
                for _ in range(self.words):
                    await trio.sleep(0.005)
                    await stream.send_all(TOKEN)
                await stream.send_all(LAST + DONE + END)
            except trio.BrokenResourceError:
                self.left += 1
                raise


@pytest.fixture
async def server(nursery: trio.Nursery) -> tuple[Server, Target]:
    made = Server()
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, made.serve, listeners)
    return made, Target(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}", "m")


async def send(target: Target, wave: Wave) -> list[Answer]:
    player = Player(Arm("a", (target, target)))
    try:
        with trio.fail_after(20):
            return await player.send(wave)
    finally:
        await player.aclose()


async def test_a_request_waits_until_the_others_have_begun(
    server: tuple[Server, Target],
) -> None:
    answers = await send(server[1], Wave((ask(), ask(), ask(after_texts=3))))

    assert all(answer.error is None for answer in answers)
    assert answers[2].began >= max(answer.texts_at[2] for answer in answers[:2])
    assert answers[2].began < min(answer.ended for answer in answers[:2])


async def test_a_request_does_not_wait_for_those_that_have_ended(
    server: tuple[Server, Target],
) -> None:
    server[0].words = 2

    answers = await send(server[1], Wave((ask(), ask(after_texts=99))))

    assert answers[1].began >= answers[0].ended


async def test_all_leave_together(server: tuple[Server, Target]) -> None:
    server[0].words = 1000

    answers = await send(server[1], Wave((ask(), ask(), ask()), leave_after_texts=2))

    assert [answer.left for answer in answers] == [True] * 3


async def test_ghost_tokens_are_those_of_the_round(server: tuple[Server, Target]) -> None:
    server[0].words = 40  # a server notices that its reader has left when it writes
    server[0].left = 100  # before this round
    (scenario,) = choose("abort", SMALL)
    player = Player(Arm("a", (server[1],)))

    one = await player.play(scenario, Deck(SMALL, "1"))
    await player.aclose()

    assert one.ghost_tokens == 5 * SMALL.aborts


async def test_the_source_never_says_a_word_twice_in_a_row() -> None:
    with Source(pause_s=0.001) as source:
        url = serve_in_thread(source)
        [one] = await send(Target(url, "auto"), Wave((Request("a", (user("hi"),), 9),)))
        source.shutdown()

    assert (len(one.parts), one.tokens) == (9, 9)
    assert all(before != after for before, after in pairwise(one.parts))


async def test_a_server_that_does_not_tell_has_no_ghosts() -> None:
    with Source() as source:
        url = serve_in_thread(source)
        player = Player(Arm("a", (Target(url, "auto"),)))
        ghosts = await player.ghost_tokens()
        await player.aclose()
        source.shutdown()

    assert ghosts is None


async def test_servers_play_in_turn_with_the_same_prompts(
    nursery: trio.Nursery, server: tuple[Server, Target]
) -> None:
    other = Server()
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, other.serve, listeners)
    second = Target(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}", "m")
    server[0].words = other.words = 2
    plan = Plan(SMALL, 3, 1, 7)

    plays = await run_suite(
        [Arm("a", (server[1],)), Arm("b", (second,))], choose("single,alternate", SMALL), plan
    )

    why = "it has no second model"
    assert [
        (play.scenario.name, play.arm.name, len(play.rounds), play.lacks) for play in plays
    ] == [
        ("single", "a", 3, None),
        ("single", "b", 3, None),
        ("alternate", "a", 0, why),
        ("alternate", "b", 0, why),
    ]
    asked = [[one["messages"] for one in side.asked] for side in (server[0], other)]
    assert asked[0] == asked[1]
    first = [ours < theirs for ours, theirs in zip(server[0].begun, other.begun, strict=True)]
    assert first == [True, True, False, True, False]  # the warm-up, then in turns


async def test_a_server_that_does_not_answer_is_named() -> None:
    arm = Arm("ours", (Target("http://127.0.0.1:9", "m"),))

    with pytest.raises(ArmFailed, match=r"ours \(http://127.0.0.1:9, model 'm'\) does not answer"):
        await run_suite([arm], [], Plan(SMALL, 1, 1, 1))


async def test_a_server_that_loads_its_model_is_asked_again(
    server: tuple[Server, Target],
) -> None:
    server[0].refusals = 2

    await run_suite([Arm("a", (server[1],))], [], Plan(SMALL, 1, 1, 1))

    assert len(server[0].asked) == 3


async def test_a_server_that_always_refuses_is_given_up(server: tuple[Server, Target]) -> None:
    server[0].refusals = 99

    with pytest.raises(ArmFailed, match="429"):
        await run_suite([Arm("a", (server[1],))], [], Plan(SMALL, 1, 1, 1))


def test_everybody_is_first_once() -> None:
    players = [Player(Arm(name, (Target("http://h", "m"),))) for name in "abc"]

    orders = ["".join(one.arm.name for one in turned(players, number)) for number in range(4)]

    assert orders == ["abc", "bca", "cab", "abc"]
    assert turned([], 3) == []


def test_a_server_that_plays_twice_gets_prompts_of_its_own() -> None:
    one, two, other = (
        Arm(name, (Target(url, "m"),))
        for name, url in (("a", "http://h"), ("b", "http://h"), ("c", "http://i"))
    )

    assert [salt([one, two, other], arm) for arm in (one, two, other)] == ["", " 1", ""]


# --- flags --------------------------------------------------------------------------------------

BASE = Target("http://h:1", "auto", "secret", 9.0)


def test_an_arm_has_models_of_its_own_or_those_of_the_first() -> None:
    found = arms(BASE, ["m", "n"], ["x=http://i:2", "y=http://j/v1,p,q"], "base", {})

    assert [[target.model for target in arm.targets] for arm in found] == [
        ["m", "n"],
        ["m", "n"],
        ["p", "q"],
    ]
    assert found[1].target.timeout_s == 9.0


def test_a_server_gets_its_own_key_and_no_other() -> None:
    keys = {"LATTICE_BENCH_KEY_MLX_LM": "theirs"}

    found = arms(BASE, ["m"], ["x=http://i:2", "mlx-lm=http://j"], "base", keys)

    assert [arm.target.api_key for arm in found] == ["secret", None, "theirs"]


@pytest.mark.parametrize(
    "text", ["http://i:2", "=http://i", "x=", "x=localhost:1", "base=http://i"]
)
def test_what_is_no_server_is_refused(text: str) -> None:
    with pytest.raises(BadArm):
        arms(BASE, ["m"], [text], "base", {})


def run(*arguments: str) -> int:
    code = command.app(arguments, result_action="return_value", exit_on_error=False)
    assert isinstance(code, int)
    return code


def serve_in_thread(source: Source) -> str:
    threading.Thread(target=source.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{source.server_address[1]}"


@pytest.fixture
def two_urls() -> Iterator[tuple[str, str]]:
    with Source() as one, Source() as two:
        yield serve_in_thread(one), serve_in_thread(two)
        one.shutdown()
        two.shutdown()


def test_the_list_names_every_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--scenario", "list") == 0

    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [
        *("single", "streams", "prefix", "turns"),
        *("long", "alternate", "crowd", "burst", "abort", "schema", "swarm"),
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--scenario", "nothing"], 2, "no scenario 'nothing'"),
        (["--against", "nothing"], 2, "not name=url"),
        (["--scenario", "single", "--rounds", "0"], 2, "--rounds: expected at least 1, not 0"),
        (["--scenario", "single", "--base-url", "http://127.0.0.1:9"], 1, "does not answer"),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == code

    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1


class Page(HTMLParser):
    """Checks that elements are closed in order, and notes what the page would fetch or run."""

    VOID = ("meta", "circle", "line", "rect", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open = list[str]()
        self.seen = list[str]()
        self.fetched = list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.fetched += [name for name, _ in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_all_scenarios_of_two_servers_in_table_json_and_html(
    tmp_path: Path, two_urls: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--max-tokens", "4", "--running-tokens", "40", "--burst", "4", "--rounds", "2"]
    files = ["--json", str(tmp_path / "r.json"), "--html", str(tmp_path / "r.html")]
    code = run(
        *("--base-url", two_urls[0], "--second-model", "b", "--against", f"<i>={two_urls[1]}/v1"),
        *("--scenario", "all", "--concurrency", "1,2", "--name", "ours", *sizes, *files),
    )

    assert code == 0
    out = capsys.readouterr().out
    assert "beside / without, gap p99: ours" in out or "beside: ttft, ms" in out
    report = json.loads((tmp_path / "r.json").read_text())
    assert [arm["name"] for arm in report["arms"]] == ["ours", "<i>"]
    assert len(report["results"]) == 11
    assert report["results"][10]["left_out"]["ours"] == "it has no /swarm/fanout"
    assert "ours: left out, it has no /swarm/fanout" in out
    assert report["machine"]["cores"] >= 1
    figure = report["results"][0]["figures"][1]
    assert (figure["arm"], figure["metric"], figure["spread"]["n"]) == ("<i>", "ttft", 2)
    assert figure["ratio_to_first"]["pairs"] == 2
    page = Page()
    text = (tmp_path / "r.html").read_text()
    page.feed(text)
    assert page.open == []
    assert page.fetched == []
    assert "script" not in page.seen
    assert page.seen.count("svg") >= 16
    assert "i" not in page.seen  # the server's name is text
    assert "url(" not in text
