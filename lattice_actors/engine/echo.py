"""An engine process without a model: it echoes the prompt through the real frames.

    python -m lattice_actors.engine.echo FD

For drills, for tests of actors and to measure the gateway alone. The answer to "say hi" is
"echo: say hi say hi ...", a word a token, all streams one token a step. Sampling parameters and
stop strings are ignored. An optional ``echo.json`` in the directory of `Load` is the script of
its speed and its faults (`echo_script`). It starts in some 40 ms: import nothing heavy.

The main thread steps; a reader thread takes commands, so pings are answered during a long step.
Exit codes: 0 told to, 3 the gateway is gone, 4 a frame it cannot read, 9 a scripted crash.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
import threading
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NoReturn

import msgspec

from . import frames
from .echo_script import SCRIPT, Script
from .echo_stream import Stream, parts_of, words_of
from .frames import PROTOCOL
from .outbox import EXIT_GATEWAY_GONE
from .shell import listen, main

DECODE_STEP_S = 1e-4  # reported when steps take no time: forecasts divide by it
PREFILL_TOKENS_PER_S = 1e6
MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss


class EchoEngine:
    """The engine behind one socket. `run` never returns: the process exits from a thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sending = threading.Lock()  # reports are sent by both threads
        self._commands: SimpleQueue[frames.Command] = SimpleQueue()
        self._cancelled: set[int] = set()  # written by the reader the moment it has the Cancel
        self._live: dict[int, Stream] = {}
        self._script = Script()
        self._path = Path()
        self._steps = 0
        self._busy_since: float | None = None  # monotonic, seconds; None: between two steps

    def run(self) -> NoReturn:
        self._send(frames.Hello(PROTOCOL, os.getpid()))
        reading = (self._sock, self._take)
        threading.Thread(target=listen, args=reading, name="reader", daemon=True).start()
        while True:
            self._take_commands()
            if self._wait_s() == 0.0:
                self._step()

    # --- the reader thread ---------------------------------------------------------------------

    def _take(self, command: frames.Command) -> None:
        match command:
            case frames.Ping(echo=echo):
                busy_since = self._busy_since
                busy_s = 0.0 if busy_since is None else time.monotonic() - busy_since
                if not self._script.deaf:
                    self._send(frames.Pong(echo, self._steps, busy_s))
            case frames.Bye():
                os._exit(0)
            case frames.Cancel(rid=rid):
                self._cancelled.add(rid)
                self._commands.put(command)
            case _:
                self._commands.put(command)

    # --- the main thread -----------------------------------------------------------------------

    def _wait_s(self) -> float | None:
        """Return 0 if some stream can step; None if only a command can change anything."""
        if not self._live:
            return None
        return max(0.0, min(stream.ready_at for stream in self._live.values()) - time.monotonic())

    def _take_commands(self) -> None:
        """Handle what has arrived; wait for it when there is nothing else to do."""
        wait_s = self._wait_s()
        try:
            self._handle(self._commands.get(wait_s != 0.0, wait_s))
            while True:
                self._handle(self._commands.get_nowait())
        except Empty:
            pass

    def _handle(self, command: frames.Command) -> None:
        match command:
            case frames.Load():
                self._load(Path(command.path))
            case frames.Gen():
                self._begin(command)
            case frames.Cancel(rid=rid):
                if stream := self._live.pop(rid, None):
                    self._send(stream.end("cancelled"))
                self._cancelled.discard(rid)

    def _load(self, path: Path) -> None:
        begun = time.monotonic()
        self._path = path
        self._send(frames.LoadProgress("import"))
        try:
            self._script = script = Script.read(path)
        except (OSError, msgspec.DecodeError) as error:
            self._send(frames.LoadError(f"{SCRIPT}: {error}", permanent=True))
            os._exit(0)
        self._send(frames.LoadProgress("weights"))
        time.sleep(script.load_ms / 1e3)
        if script.load_crash and script.fires(self._path):
            os._exit(9)
        if (fault := script.load_error) and script.fires(self._path):
            self._send(frames.LoadError(fault.text, fault.permanent))
            os._exit(0)
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_BYTES
        self._send(
            frames.Ready(
                context_tokens=script.context_tokens,
                vocab=script.vocab,
                kv_bytes_per_token=script.kv_bytes_per_token,
                resident_bytes=script.resident_bytes or peak_bytes,
                load_s=time.monotonic() - begun,
                decode_step_s=script.step_ms / 1e3 or DECODE_STEP_S,
                prefill_tokens_per_s=PREFILL_TOKENS_PER_S,
            )
        )

    def _begin(self, gen: frames.Gen) -> None:
        turns = [str(turn.get("content") or "") for turn in gen.messages or []]
        turns += [gen.text] if gen.text is not None else []
        turns += [" ".join(map(str, gen.tokens))] if gen.tokens is not None else []
        prompt = "\n".join(turns)
        prompt_tokens = len(prompt.split())
        words = [f" {word}" for word in (turns[-1] if turns else "").split()] or [" nothing"]
        script = self._script
        if gen.count:
            from .border import end_of_count

            self._send(end_of_count(gen, range(prompt_tokens)))
            return
        limit = min(gen.context_tokens or script.context_tokens, script.context_tokens)
        if gen.shorten:
            most = max(1, limit - prompt_tokens)
            gen = msgspec.structs.replace(gen, max_tokens=min(gen.max_tokens, most))
        if script.refuse_on and script.refuse_on in prompt and script.fires(self._path):
            self._send(frames.Refused(gen.rid, "invalid_prompt", "scripted", "messages"))
        elif prompt_tokens + gen.max_tokens > limit:
            text = f"{prompt_tokens} + {gen.max_tokens} tokens; the context has {limit}"
            self._send(frames.Refused(gen.rid, "context_length_exceeded", text, "messages"))
        else:
            ready_at = time.monotonic() + self._script.ttft_ms / 1e3
            stream = Stream(gen, prompt, words, prompt_tokens, ready_at)
            if script.say:
                stream.words, stream.parts = words_of(script.say), parts_of(gen)
            self._live[gen.rid] = stream
            if self._script.ttft_ms:
                self._send(frames.Prompt(gen.rid, 0, prompt_tokens))

    def _step(self) -> None:
        """Advance every stream that is through its prefill, and send one write for all."""
        self._busy_since = begun = time.monotonic()
        if self._script.step_ms:
            time.sleep(self._script.step_ms / 1e3)
        self._steps += 1
        if self._steps == self._script.crash_after_steps and self._script.fires(self._path):
            os._exit(9)
        prompts: list[frames.Prompt] = []
        ends: list[frames.Report] = []
        pieces: list[frames.Piece] = []
        decoded = prefilled = 0
        for stream in list(self._live.values()):
            if stream.ready_at > begun:
                continue
            rid = stream.gen.rid
            if not stream.prefilled:
                stream.prefilled = True
                prefilled += stream.prompt_tokens
                prompts.append(frames.Prompt(rid, stream.prompt_tokens, stream.prompt_tokens))
            if stream.done == 0 and self._fault_of(stream):
                del self._live[rid]
                continue
            tokens, reason = stream.next(self._script)
            decoded += tokens
            if stream.parts is not None:
                self._say(stream, tokens, reason, pieces, ends)
                continue
            text = stream.text(tokens)
            stream.done += tokens
            if rid in self._cancelled:  # its End is due before the next step
                stream.ghosts += tokens
            elif reason:
                del self._live[rid]
                ends.append(stream.end(reason, text, tokens))
            else:
                pieces.append(frames.Piece(rid, text, tokens))
        kept = sum(stream.prompt_tokens + stream.done for stream in self._live.values())
        kv_bytes = kept * self._script.kv_bytes_per_token
        took_s = time.monotonic() - begun
        step = frames.Step(self._steps, took_s, decoded, prefilled, kv_bytes, pieces)
        self._busy_since = None
        self._send(*prompts, step, *ends)

    def _say(
        self,
        stream: Stream,
        tokens: int,
        reason: str,
        pieces: list[frames.Piece],
        ends: list[frames.Report],
    ) -> None:
        """Say the next of a scripted answer."""
        from .parts import Reasoning, Said

        assert stream.parts is not None
        thinking = stream.parts.thinking
        text = "".join(stream.words[stream.done : stream.done + tokens])
        events = stream.parts.feed(text)
        stream.reasoning_tokens += tokens * (thinking or stream.parts.thinking)
        if stream.parts.done:
            reason = "stop"
        elif reason:
            events += stream.parts.end(cut=reason == "length")
        stream.done += tokens
        rid, said = stream.gen.rid, "".join(e.text for e in events if isinstance(e, Said))
        reasoning = "".join(e.text for e in events if isinstance(e, Reasoning))
        calls = [event for event in events if isinstance(event, frames.CallPiece)]
        if not reason:
            pieces.append(frames.Piece(rid, said, tokens, [], reasoning, calls))
            return
        del self._live[rid]
        reason = "tool_calls" if reason == "stop" and stream.parts.calls else reason
        end = stream.end(reason, said, tokens)
        ends.append(
            msgspec.structs.replace(
                end,
                reasoning=reasoning,
                calls=calls,
                reasoning_tokens=stream.reasoning_tokens,
            )
        )

    def _fault_of(self, stream: Stream) -> bool:
        """Carry out what the script has for this prompt; True: the stream has ended."""
        script = self._script

        def is_due(on: str) -> bool:
            return bool(on) and on in stream.prompt and script.fires(self._path)

        if is_due(script.crash_on):
            os._exit(9)
        if is_due(script.exit_zero_on):
            os._exit(0)
        if is_due(script.hang_on):
            threading.Event().wait()
        if is_due(script.garbage_on):
            self._write(bytes.fromhex(script.garbage))
        if is_due(script.error_on):
            self._send(frames.Err(stream.gen.rid, "scripted", "scripted"))
            return True
        return False

    def _send(self, *reports: frames.Report) -> None:
        self._write(b"".join(map(frames.encode, reports)))

    def _write(self, data: bytes) -> None:
        try:
            with self._sending:
                self._sock.sendall(data)  # blocks while the gateway does not read: back-pressure
        except OSError:
            os._exit(EXIT_GATEWAY_GONE)


if __name__ == "__main__":
    main(EchoEngine)
