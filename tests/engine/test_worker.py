"""The real engine process on a real (tiny) model, driven over its socket."""

# ruff: noqa: ANN401  a Gen has many fields
from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from lattice_actors.engine import frames
from lattice_actors.engine.border import finish_of

WAIT_S = 60.0  # a busy machine may take long to import; a hang must still end
LONG = {"text": "the user is a " * 70, "max_tokens": 400}
R = TypeVar("R", bound=frames.Frame)


class Engine:
    """One engine process and our end of its socket."""

    def __init__(self, module: str = "lattice_actors.engine.worker") -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        self.sock = ours
        ours.settimeout(WAIT_S)
        self.stream = ours.makefile("rb")
        self.early: list[frames.Report] = []
        self.rid = 0

    def tell(self, command: frames.Command) -> None:
        self.sock.sendall(frames.encode(command))

    def hear(self) -> frames.Report:
        header = self.stream.read(frames.HEADER_BYTES)
        assert len(header) == frames.HEADER_BYTES, self.process.wait(WAIT_S)
        length = frames.body_length(header, frames.MAX_REPORT_BYTES)
        return frames.decode_report(self.stream.read(length))

    def hear_until(self, kind: type[R]) -> tuple[R, list[frames.Report]]:
        """Return the next report of this kind, and all before it."""
        before: list[frames.Report] = []
        while not isinstance(report := self.hear(), kind):
            before.append(report)
        return report, before

    def load(self, path: Path, prefill_step_tokens: int = 512) -> None:
        load = frames.Load(str(path), prefill_step_tokens, 8, 0.0, prefix_cache_bytes=2**24)
        self.tell(load)

    def begin(self, **fields: Any) -> int:
        self.rid += 1
        if not {"messages", "text", "tokens"} & set(fields):
            fields["messages"] = [{"role": "user", "content": "hello world"}]
        # A principal of its own: nothing is reused unless a test is about that.
        usual: dict[str, Any] = {
            "max_tokens": 8,
            "temperature": 0.0,
            "principal": f"key:{self.rid}",
        }
        self.tell(frames.Gen(self.rid, **(usual | fields)))
        return self.rid

    def answer(self, rid: int) -> tuple[str, frames.Report]:
        """Return the whole text of a stream and its last report."""
        text = ""
        while True:
            report = self.hear()
            if isinstance(report, frames.Step):
                text += "".join(piece.text for piece in report.pieces if piece.rid == rid)
            elif isinstance(report, frames.End) and report.rid == rid:
                return text + report.text, report
            elif isinstance(report, frames.Refused | frames.Err) and report.rid == rid:
                return text, report

    def exit_code(self) -> int:
        return self.process.wait(WAIT_S)

    def close(self) -> tuple[bytes, bytes]:
        """End the process, whatever it does, and return its stdout and stderr."""
        self.stream.close()
        self.sock.close()
        self.process.kill()
        return self.process.communicate(timeout=WAIT_S)


@pytest.fixture
def fresh() -> Iterator[Engine]:
    """A process that has not been told to load anything."""
    engine = Engine()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def shared(tiny_model: Path) -> Iterator[Engine]:
    """One loaded process for the tests that leave it as they found it."""
    engine = Engine()
    engine.load(tiny_model, prefill_step_tokens=32)
    engine.hear_until(frames.Ready)
    yield engine
    engine.close()


@pytest.fixture
def engine(shared: Engine) -> Iterator[Engine]:
    pid = shared.process.pid
    yield shared
    shared.tell(frames.Ping(99))
    pong, _ = shared.hear_until(frames.Pong)
    assert (pong.echo, pong.busy_s) == (99, 0.0)  # idle again
    assert shared.process.pid == pid
    assert shared.process.poll() is None


# --- start and end -------------------------------------------------------------------------------


def test_it_greets_loads_answers_and_says_bye(fresh: Engine, tiny_model: Path) -> None:
    hello = fresh.hear()
    fresh.load(tiny_model)
    ready, progress = fresh.hear_until(frames.Ready)
    text, end = fresh.answer(fresh.begin(max_tokens=12))
    fresh.tell(frames.Bye())

    assert hello == frames.Hello(frames.PROTOCOL, fresh.process.pid)
    assert progress
    assert all(isinstance(report, frames.LoadProgress) for report in progress)
    assert (ready.context_tokens, ready.vocab) == (1024, 290)
    assert min(ready.kv_bytes_per_token, ready.resident_bytes) > 0
    assert min(ready.load_s, ready.decode_step_s, ready.prefill_tokens_per_s) > 0
    assert ready.blas
    assert text
    assert isinstance(end, frames.End)
    assert (end.reason, end.completion_tokens) == ("length", 12)
    assert fresh.exit_code() == 0


def test_hello_comes_before_the_heavy_imports(fresh: Engine) -> None:
    fresh.hear()

    mapped = Path(f"/proc/{fresh.process.pid}/maps")
    if mapped.exists():
        assert "libmlx" not in mapped.read_text()
    fresh.tell(frames.Bye())
    assert fresh.exit_code() == 0


def test_a_broken_directory_is_a_permanent_load_error(fresh: Engine, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    fresh.load(tmp_path)

    error, _ = fresh.hear_until(frames.LoadError)

    assert error.permanent
    assert error.text
    assert fresh.exit_code() == 0


def test_requests_sent_during_the_load_are_answered_or_cancelled_after_it(
    fresh: Engine, tiny_model: Path
) -> None:
    fresh.load(tiny_model)
    kept, left = fresh.begin(), fresh.begin()
    fresh.tell(frames.Cancel(left))

    _, end = fresh.answer(left)
    text, _ = fresh.answer(kept)

    assert isinstance(end, frames.End)
    assert end.reason == "cancelled"
    assert text


@pytest.mark.parametrize(
    "garbage", [b"\x00\x00\x00\x03abc", b"\xff\xff\xff\xff", frames.encode(frames.Pong(1, 1, 0.0))]
)
def test_a_frame_it_cannot_read_ends_it_with_4(fresh: Engine, garbage: bytes) -> None:
    fresh.sock.sendall(garbage)

    assert fresh.exit_code() == 4


@pytest.mark.parametrize("sent", [b"", b"\x00\x00", b"\x00\x00\x00\x09half"])
def test_it_does_not_outlive_its_gateway(fresh: Engine, sent: bytes) -> None:
    fresh.hear()
    fresh.sock.sendall(sent)
    fresh.sock.shutdown(socket.SHUT_WR)

    assert fresh.exit_code() == 3


def test_it_ends_while_it_loads_when_the_gateway_goes(fresh: Engine, tiny_model: Path) -> None:
    fresh.load(tiny_model)
    fresh.hear_until(frames.LoadProgress)
    fresh.stream.close()
    fresh.sock.close()

    assert fresh.exit_code() == 3


def test_ctrl_c_is_not_for_it_and_stacks_come_on_request(fresh: Engine) -> None:
    fresh.tell(frames.Ping(1))
    fresh.hear_until(frames.Pong)  # all its threads run
    fresh.process.send_signal(signal.SIGINT)
    fresh.process.send_signal(signal.SIGUSR1)

    assert fresh.process.stderr is not None
    stacks = iter(fresh.process.stderr.readline, b"")
    assert any(b"in listen" in line for line in stacks)

    fresh.tell(frames.Bye())
    assert fresh.exit_code() == 0


# --- answers -------------------------------------------------------------------------------------


def test_every_step_is_one_frame_and_every_token_is_counted(engine: Engine) -> None:
    rids = {engine.begin(max_tokens=20) for _ in range(3)}
    steps: list[frames.Step] = []
    ends: dict[int, frames.End] = {}
    while len(ends) < 3:
        report = engine.hear()
        if isinstance(report, frames.Step):
            steps.append(report)
        elif isinstance(report, frames.End):
            ends[report.rid] = report

    numbers = [step.number for step in steps]
    assert numbers == list(range(numbers[0], numbers[0] + len(steps)))
    assert set(ends) == rids
    assert sum(step.decoded for step in steps) == 60
    assert sum(step.prefilled for step in steps) == sum(e.prompt_tokens for e in ends.values())
    for rid, end in ends.items():
        pieces = [piece for step in steps for piece in step.pieces if piece.rid == rid]
        assert sum(piece.tokens for piece in pieces) + end.tokens == end.completion_tokens == 20
        assert all(piece.text for piece in pieces)
    assert max(step.kv_bytes for step in steps) > 0
    assert steps[-1].kv_bytes == 0


def test_a_seed_gives_the_same_answer_again(engine: Engine) -> None:
    how: dict[str, Any] = {"temperature": 1.0, "top_p": 0.9, "max_tokens": 30}

    first, again, other = (engine.answer(engine.begin(seed=seed, **how))[0] for seed in (7, 7, 8))

    assert first == again != other


def test_no_seed_is_random(engine: Engine) -> None:
    answers = {engine.answer(engine.begin(temperature=1.5, max_tokens=30))[0] for _ in range(3)}

    assert len(answers) == 3


def test_a_stop_string_ends_the_answer(engine: Engine) -> None:
    whole, _ = engine.answer(engine.begin(max_tokens=30))

    text, end = engine.answer(engine.begin(max_tokens=30, stop=[whole[10:14]]))

    assert text == whole[: whole.index(whole[10:14])]
    assert isinstance(end, frames.End)
    assert end.reason == "stop"


def test_a_long_prompt_reports_its_progress(engine: Engine) -> None:
    rid = engine.begin(**(LONG | {"max_tokens": 1}))

    end, before = engine.hear_until(frames.End)

    progress = [r for r in before if isinstance(r, frames.Prompt)]
    assert {report.rid for report in progress} == {rid}
    assert len(progress) > 5
    assert [r.done for r in progress] == sorted({r.done for r in progress})
    assert all(r.total == end.prompt_tokens for r in progress)
    steps = [r for r in before if isinstance(r, frames.Step)]
    assert max(step.prefilled for step in steps) <= 32


def test_pings_are_answered_between_the_steps_of_others(engine: Engine) -> None:
    rid = engine.begin(max_tokens=200)
    engine.hear_until(frames.Step)
    engine.tell(frames.Ping(5))
    pong, _ = engine.hear_until(frames.Pong)
    engine.answer(rid)

    assert (pong.echo, pong.step > 0) == (5, True)


# --- cancellation --------------------------------------------------------------------------------


def steps_to_end(engine: Engine, rid: int) -> tuple[int, int, frames.End]:
    """Return how many steps and tokens of the stream came before its end, and the end."""
    end, before = engine.hear_until(frames.End)
    assert end.rid == rid
    steps = [r for r in before if isinstance(r, frames.Step)]
    return len(steps), sum(p.tokens for s in steps for p in s.pieces if p.rid == rid), end


def test_a_cancelled_answer_ends_within_a_step(engine: Engine) -> None:
    rid = engine.begin(max_tokens=400)
    while not engine.hear_until(frames.Step)[0].pieces:
        pass
    time.sleep(0.05)
    engine.tell(frames.Cancel(rid))

    _, _, end = steps_to_end(engine, rid)

    assert end.reason == "cancelled"
    assert end.ghost_tokens <= 1
    assert 0 < end.completion_tokens < 400


def test_a_cancelled_prompt_ends_before_its_first_token(engine: Engine) -> None:
    rid = engine.begin(**LONG)
    engine.hear_until(frames.Prompt)
    engine.tell(frames.Cancel(rid))

    _, tokens, end = steps_to_end(engine, rid)

    assert (end.reason, end.completion_tokens, end.ghost_tokens, tokens) == ("cancelled", 0, 0, 0)


def test_a_cancel_right_behind_its_request_is_heard(engine: Engine) -> None:
    rid = engine.begin(**LONG)
    engine.tell(frames.Cancel(rid))

    _, tokens, end = steps_to_end(engine, rid)

    assert (end.reason, tokens) == ("cancelled", 0)


def test_cancels_of_unknown_and_ended_streams_are_ignored(engine: Engine) -> None:
    rid = engine.begin()
    engine.answer(rid)
    engine.tell(frames.Cancel(rid))
    engine.tell(frames.Cancel(10**9))

    text, _ = engine.answer(engine.begin())

    assert text


def test_a_neighbour_does_not_notice_a_cancel(engine: Engine) -> None:
    alone, _ = engine.answer(engine.begin(max_tokens=60))
    kept = engine.begin(max_tokens=60)
    left = engine.begin(text="the user is", max_tokens=300)
    engine.hear_until(frames.Step)
    engine.tell(frames.Cancel(left))

    text, _ = engine.answer(kept)

    assert text.endswith(alone[-20:])


# --- bad requests --------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [-1, 290, 10**6, 2**40, float("nan"), "x", None, []])
def test_bad_ids_are_refused_and_the_process_lives(engine: Engine, bad: object) -> None:
    _, refusal = engine.answer(engine.begin(tokens=[5, bad]))

    assert isinstance(refusal, frames.Refused)
    assert (refusal.code, refusal.param) == ("invalid_token", "prompt")


def test_too_long_a_prompt_is_refused_with_the_numbers(engine: Engine) -> None:
    _, refusal = engine.answer(engine.begin(tokens=[5] * 2000))

    assert isinstance(refusal, frames.Refused)
    assert refusal.code == "context_length_exceeded"
    assert "1024" in refusal.text


def test_a_refused_request_hurts_no_neighbour(engine: Engine) -> None:
    kept = engine.begin(max_tokens=40)
    bad = engine.begin(messages=[{"role": "user", "content": 5}])

    _, refusal = engine.answer(bad)
    _, end = engine.answer(kept)

    assert isinstance(refusal, frames.Refused)
    assert isinstance(end, frames.End)


# --- a gateway that does not read ----------------------------------------------------------------


def test_nothing_is_lost_on_a_gateway_that_reads_late(engine: Engine) -> None:
    engine.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    rids = [engine.begin(max_tokens=500) for _ in range(8)]
    time.sleep(1.5)

    counted = dict.fromkeys(rids, 0)
    left = set(rids)
    while left:
        report = engine.hear()
        if isinstance(report, frames.Step):
            for piece in report.pieces:
                counted[piece.rid] += piece.tokens
        elif isinstance(report, frames.End):
            counted[report.rid] += report.tokens
            left.remove(report.rid)

    assert set(counted.values()) == {500}


def test_what_libraries_print_goes_to_the_log(fresh: Engine, tiny_model: Path) -> None:
    fresh.load(tiny_model)
    fresh.hear_until(frames.Ready)

    stdout, _ = fresh.close()

    assert stdout == b""
    assert not os.path.exists(f"/proc/{fresh.process.pid}")


# --- what is reused -------------------------------------------------------------------------------


def test_a_hit_is_told_before_the_first_text_and_counted_at_the_end(engine: Engine) -> None:
    for expected in (False, True):
        rid = engine.begin(text="hello " * 30, principal="key:one")
        prompt, before = engine.hear_until(frames.Prompt)
        step, _ = engine.hear_until(frames.Step)
        _, end = engine.answer(rid)

        assert not any(isinstance(report, frames.Step) for report in before)
        assert prompt.rid == rid
        assert prompt.cached is not None
        assert (prompt.cached > 0) is expected
        assert isinstance(end, frames.End)
        assert end.cached_tokens == prompt.cached
        assert (prompt.cached == prompt.total - 1) is expected

    assert step.kv_bytes >= step.prefix_bytes > 0


def test_what_one_key_asked_is_unknown_to_another(engine: Engine) -> None:
    secret = "the user is hello world and nobody knows it"
    engine.answer(engine.begin(text=secret, principal="key:one"))

    engine.begin(text=secret, principal="key:two")
    prompt, _ = engine.hear_until(frames.Prompt)
    engine.hear_until(frames.End)

    assert (prompt.cached, prompt.differs_at) == (0, 0)


def test_a_count_is_answered_without_a_step(engine: Engine) -> None:
    text = {"text": "hello world"}
    answered = engine.begin(**text, max_tokens=1)
    _, usual = engine.answer(answered)
    assert isinstance(usual, frames.End)

    counted = engine.begin(**text, count="ids")
    first = engine.hear()

    assert isinstance(first, frames.End)
    assert (first.rid, first.reason, first.completion_tokens) == (counted, "stop", 0)
    assert first.prompt_tokens == usual.prompt_tokens
    ids = finish_of(first).prompt_ids
    assert len(ids) == first.prompt_tokens
    again = engine.begin(tokens=list(ids), count="total")
    end = engine.hear()
    assert isinstance(end, frames.End)
    assert (end.rid, end.prompt_tokens, end.prompt_ids) == (again, len(ids), b"")


def test_a_model_that_generates_embeds_nothing(engine: Engine) -> None:
    engine.rid += 1
    engine.tell(frames.Embed(engine.rid, ["hello"]))

    refused, _ = engine.hear_until(frames.Refused)

    assert (refused.rid, refused.code) == (engine.rid, "unsupported_model")
