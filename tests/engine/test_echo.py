"""The echo engine, spoken to as a gateway does: a process behind a socket pair."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from lattice_actors.engine import frames
from lattice_actors.engine.frames import Cancel, End, Gen, Load, LoadError, Ping, Pong, Step

R = TypeVar("R", bound=frames.Report)


class Engine:
    """One echo process and our end of its socket."""

    def __init__(self) -> None:
        self.sock, theirs = socket.socketpair()
        with theirs:
            fd = theirs.fileno()
            command = [sys.executable, "-m", "lattice_actors.engine.echo", str(fd)]
            self.process = subprocess.Popen(command, pass_fds=[fd], stderr=subprocess.PIPE)
        self.sock.settimeout(10)
        self.stream = self.sock.makefile("rb")

    def send(self, *commands: frames.Command) -> None:
        self.sock.sendall(b"".join(map(frames.encode, commands)))

    def receive(self) -> frames.Report:
        length = frames.body_length(self.stream.read(4), frames.MAX_REPORT_BYTES)
        return frames.decode_report(self.stream.read(length))

    def until(self, kind: type[R], rid: int | None = None) -> R:
        while True:
            report = self.receive()
            if isinstance(report, kind) and rid in (None, getattr(report, "rid", None)):
                return report

    def load(self, path: Path, **script: object) -> None:
        if script:
            (path / "echo.json").write_text(json.dumps(script))
        self.send(Load(str(path), 512, 8, 0))

    def answer(self, rid: int) -> tuple[str, End]:
        text = ""
        while True:
            match self.receive():
                case Step(pieces=pieces):
                    text += "".join(piece.text for piece in pieces if piece.rid == rid)
                case End() as end if end.rid == rid:
                    return text + end.text, end

    def exit_code(self) -> int:
        return self.process.wait(10)

    def close(self) -> None:
        self.stream.close()
        self.sock.close()
        self.process.wait(10)
        assert self.process.stderr is not None
        self.process.stderr.close()


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    if engine.process.poll() is None:
        engine.process.kill()
    engine.close()


def say(rid: int, text: str, max_tokens: int = 4) -> Gen:
    turns = [{"role": "system", "content": "be brief"}, {"role": "user", "content": text}]
    return Gen(rid, max_tokens, 0.0, messages=turns)


def test_it_greets_loads_and_echoes_the_last_turn(engine: Engine, tmp_path: Path) -> None:
    hello = engine.until(frames.Hello)
    engine.load(tmp_path)
    ready = engine.until(frames.Ready)
    engine.send(say(1, "say hi", 5))

    text, end = engine.answer(1)

    assert (hello.protocol, hello.pid) == (frames.PROTOCOL, engine.process.pid)
    assert ready.resident_bytes > 2**20
    assert text == "echo: say hi say hi"
    assert (end.reason, end.prompt_tokens, end.completion_tokens) == ("length", 4, 5)


@pytest.mark.parametrize(
    ("gen", "answer"),
    [
        (Gen(1, 3, 0.0, text="a b"), "echo: a b"),
        (Gen(1, 3, 0.0, tokens=[7, 8]), "echo: 7 8"),
        (Gen(1, 2, 0.0, messages=[{"role": "user", "content": None}]), "echo: nothing"),
        (Gen(1, 1, 0.0, text="a b"), "echo:"),
    ],
)
def test_every_kind_of_prompt_is_echoed(
    engine: Engine, tmp_path: Path, gen: Gen, answer: str
) -> None:
    engine.load(tmp_path)
    engine.send(gen)

    assert engine.answer(1)[0] == answer


def test_all_streams_advance_in_one_step(engine: Engine, tmp_path: Path) -> None:
    engine.load(tmp_path, step_ms=50)
    engine.send(*(say(rid, "a b c", 6) for rid in range(1, 33)))

    while len((step := engine.until(Step)).pieces) < 32:
        pass

    assert {piece.rid for piece in step.pieces} == set(range(1, 33))
    assert step.decoded == 32


def test_tokens_of_the_pieces_and_the_end_add_up(engine: Engine, tmp_path: Path) -> None:
    engine.load(tmp_path, flood=3, kv_bytes_per_token=10)
    engine.send(say(1, "a b", 8))
    tokens = decoded = 0
    kv_bytes = []

    while not isinstance(report := engine.receive(), End):
        if isinstance(report, Step):
            tokens += sum(piece.tokens for piece in report.pieces)
            decoded += report.decoded
            kv_bytes.append(report.kv_bytes)

    assert tokens + report.tokens == decoded == report.completion_tokens == 8
    assert kv_bytes == [70, 100, 0]  # 4 prompt tokens, then 3 a step; the end frees them


def test_an_answer_of_some_cycles_stops_by_itself(engine: Engine, tmp_path: Path) -> None:
    engine.load(tmp_path, cycles=2)
    engine.send(say(1, "a b", 100), say(2, "a b", 5))

    ends = {end.rid: end for end in (engine.until(End), engine.until(End))}

    assert (ends[1].reason, ends[1].completion_tokens) == ("stop", 5)
    assert (ends[2].reason, ends[2].completion_tokens) == ("length", 5)


def test_a_cancel_is_acknowledged_within_a_step_with_its_ghosts(
    engine: Engine, tmp_path: Path
) -> None:
    engine.load(tmp_path, step_ms=50)
    engine.send(say(1, "a b", 1000), say(2, "a b", 3))
    engine.until(Step)

    engine.send(Cancel(1), Cancel(1), Cancel(99))
    pieces: list[frames.Piece] = []
    while not isinstance(end := engine.receive(), End):
        assert isinstance(end, Step)
        pieces += end.pieces

    assert end.rid == 1
    assert end.reason == "cancelled"
    assert end.ghost_tokens in (0, 1)  # a step may have been under way when the cancel came
    assert not [piece for piece in pieces if piece.rid == 1]
    assert engine.until(End, 2).reason == "length"


def test_a_cancel_before_the_first_token_costs_nothing(engine: Engine, tmp_path: Path) -> None:
    engine.load(tmp_path, ttft_ms=60_000)
    engine.send(say(1, "a b"))
    assert engine.until(frames.Prompt).done == 0

    engine.send(Cancel(1))

    end = engine.until(End, 1)
    assert (end.completion_tokens, end.ghost_tokens) == (0, 0)


def test_the_first_token_waits_for_ttft(engine: Engine, tmp_path: Path) -> None:
    engine.load(tmp_path, ttft_ms=100)
    engine.until(frames.Ready)
    begun = time.monotonic()
    engine.send(say(1, "a b"))

    engine.until(Step)

    assert time.monotonic() - begun >= 0.1


def test_a_hanging_step_shows_in_the_pongs(engine: Engine, tmp_path: Path) -> None:
    engine.load(tmp_path, hang_on="poison")
    engine.send(say(1, "a poison pill"))
    busy_s = 0.0
    deadline = time.monotonic() + 10

    while busy_s < 0.05 and time.monotonic() < deadline:
        engine.send(Ping(7))
        pong = engine.until(Pong)
        busy_s = pong.busy_s

    assert pong == Pong(7, 1, busy_s)
    assert busy_s >= 0.05


def test_an_idle_engine_is_not_busy(engine: Engine, tmp_path: Path) -> None:
    engine.load(tmp_path)
    engine.send(say(1, "a b", 2))
    engine.until(End)

    engine.send(Ping(1))

    assert engine.until(Pong) == Pong(1, 2, 0.0)


def test_a_deaf_engine_still_generates(engine: Engine, tmp_path: Path) -> None:
    engine.load(tmp_path, deaf=True)
    engine.until(frames.Ready)
    engine.send(Ping(1), say(1, "a b", 2))
    reports = []

    while not isinstance(report := engine.receive(), End):
        reports.append(report)

    assert not [report for report in reports if isinstance(report, Pong)]


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ({"crash_on": "poison"}, 9),
        ({"exit_zero_on": "poison"}, 0),
        ({"crash_after_steps": 3}, 9),
        ({"load_crash": True}, 9),
    ],
)
def test_scripted_exits(
    engine: Engine, tmp_path: Path, script: dict[str, object], code: int
) -> None:
    engine.load(tmp_path, **script)
    engine.send(say(1, "a poison pill", 1000))

    assert engine.exit_code() == code


def test_a_fault_with_once_does_not_come_back_after_a_restart(tmp_path: Path) -> None:
    codes: list[int] = []
    for _ in range(2):
        engine = Engine()
        engine.load(tmp_path, crash_on="poison", once=True)
        engine.send(say(1, "poison", 3))
        if not codes:
            codes.append(engine.exit_code())
        else:
            assert engine.answer(1)[0] == "echo: poison poison"
        engine.close()

    assert codes == [9]


@pytest.mark.parametrize(
    ("script", "report"),
    [
        ({"error_on": "poison"}, frames.Err(1, "scripted", "scripted")),
        (
            {"refuse_on": "poison"},
            frames.Refused(1, "invalid_prompt", "scripted", "messages"),
        ),
        (
            {"context_tokens": 7},  # 2 + 2 of the prompt, 4 of the answer
            frames.Refused(
                1, "context_length_exceeded", "4 + 4 tokens; the context has 7", "messages"
            ),
        ),
    ],
)
def test_one_stream_fails_and_its_neighbour_does_not(
    engine: Engine, tmp_path: Path, script: dict[str, object], report: frames.Report
) -> None:
    engine.load(tmp_path, **script)
    engine.send(say(1, "poison pill"), say(2, "a", 2))

    assert engine.until(type(report)) == report
    assert engine.until(End).rid == 2


def test_garbage_is_sent_as_it_stands(engine: Engine, tmp_path: Path) -> None:
    engine.load(tmp_path, garbage_on="poison", garbage="ffffffff")
    engine.until(frames.Ready)
    engine.send(say(1, "poison"))

    with pytest.raises(frames.BadFrame, match="4294967295 bytes"):
        engine.until(End)


@pytest.mark.parametrize("text", ['{"step_msec": 1}', '{"step_ms": "x"}', "{"])
def test_a_wrong_script_is_a_permanent_load_error(
    engine: Engine, tmp_path: Path, text: str
) -> None:
    (tmp_path / "echo.json").write_text(text)
    engine.load(tmp_path)

    error = engine.until(LoadError)

    assert error.permanent
    assert error.text.startswith("echo.json: ")
    assert engine.exit_code() == 0


def test_a_scripted_load_error(engine: Engine, tmp_path: Path) -> None:
    engine.load(tmp_path, load_error={"text": "no room", "permanent": False})

    assert engine.until(LoadError) == LoadError("no room", permanent=False)


def test_bye_ends_it_with_zero(engine: Engine, tmp_path: Path) -> None:
    engine.load(tmp_path)
    engine.send(say(1, "a", 8000), frames.Bye())

    while engine.stream.read(65536):
        pass

    assert engine.exit_code() == 0


def test_the_end_of_the_socket_ends_it_with_three(engine: Engine, tmp_path: Path) -> None:
    engine.load(tmp_path)
    engine.until(frames.Ready)

    engine.stream.close()
    engine.sock.close()

    assert engine.exit_code() == 3


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x00\x01\x01",
        b"\xff\xff\xff\xff",
        frames.encode(frames.Hello(1, 1)),
    ],
)
def test_a_frame_it_cannot_read_ends_it_with_four(engine: Engine, data: bytes) -> None:
    engine.until(frames.Hello)
    engine.sock.sendall(data)

    assert engine.exit_code() == 4
    assert engine.process.stderr is not None
    assert b"unreadable frame" in engine.process.stderr.read()


def test_it_imports_nothing_heavy() -> None:
    code = "import sys, lattice_actors.engine.echo as e; print(*sys.modules)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    modules = subprocess.run(
        [sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True
    ).stdout.split()

    assert not {"mlx", "numpy", "trio", "attrs", "asyncio"} & set(modules)
