"""The gateway's end of one engine process: its socket, its streams, its vital signs.

Owned by a model actor, run as a child task of it. Text goes straight from the reader task to
the stream it belongs to; the actor is told only of what changes a state.

Supervision is by progress, not by a living process: the engine's reader thread answers pings
with a step counter and the seconds spent in the current step. A stopped process sends no pongs,
a hung step grows old; both end in SIGKILL. Memory counts as free when `run` returns, since the
process has been reaped then.
"""

from __future__ import annotations

import signal
import socket
from collections import deque
from collections.abc import Callable, Mapping

import attrs
import structlog
import trio

from lattice_actors.errors import BadRequest, EngineFault, LatticeError
from lattice_actors.generation import Job, Prefill
from lattice_actors.metrics.news import Stepped
from lattice_actors.stream import TokenStream

from . import frames
from .border import command_of, delta_of, finish_of
from .child import Child
from .news import (
    EngineGone,
    EngineNews,
    EngineReady,
    EngineRefusedLoad,
    FirstToken,
    StreamEnded,
)
from .vitals import Vitals

PING_EVERY_S = 1.0
DUMP_S = 0.5  # what a hung engine gets to write its stacks before it is killed
REAP_S = 30.0  # giving back gigabytes takes seconds; longer means an unkillable process
LOG_LINES = 200  # last lines of stderr, kept for the crash report
READ_BYTES = 256 * 1024

log = structlog.get_logger(__name__)


@attrs.define(eq=False)
class EngineProcess:
    """One incarnation of an engine. `run` it once; the other methods never wait."""

    name: str  # of the model, for the log
    module: str  # what `python -m` runs
    load: frames.Load
    environ: Mapping[str, str]
    tell: Callable[[EngineNews], None]
    load_silence_s: float = 60.0
    pid: int | None = attrs.field(init=False, default=None)
    steps: int = attrs.field(init=False, default=0)
    decoded_tokens: int = attrs.field(init=False, default=0)
    ghost_tokens: int = attrs.field(init=False, default=0)
    stray_frames: int = attrs.field(init=False, default=0)  # for an unknown rid
    kv_bytes: int = attrs.field(init=False, default=0)  # the prefix cache included
    prefix_bytes: int = attrs.field(init=False, default=0)  # of these, the prefix cache's
    streams: dict[int, TokenStream] = attrs.field(init=False, factory=dict[int, TokenStream])
    watch: Callable[[Stepped], None] | None = attrs.field(init=False, default=None)
    _decoded_at: float = attrs.field(init=False, default=0.0)  # the last step that had tokens
    stderr: deque[str] = attrs.field(init=False, factory=lambda: deque[str](maxlen=LOG_LINES))
    _announce: set[int] = attrs.field(init=False, factory=set[int])
    _out: deque[bytes] = attrs.field(init=False, factory=deque[bytes])
    _wake_writer: trio.Event = attrs.field(init=False, factory=trio.Event)
    _child: Child | None = attrs.field(init=False, default=None)
    _scope: trio.CancelScope = attrs.field(init=False, factory=trio.CancelScope)
    _reason: str = attrs.field(init=False, default="")
    _wanted: bool = attrs.field(init=False, default=False)
    _vitals: Vitals = attrs.field(init=False)

    # --- commands ---------------------------------------------------------------------------

    def begin(self, rid: int, job: Job, stream: TokenStream, *, announce: bool = False) -> None:
        """Start an answer; its pieces go to *stream*. *announce*: tell `FirstToken` as well."""
        self.streams[rid] = stream
        if announce:
            self._announce.add(rid)
        self._send(command_of(rid, job))

    def cancel(self, rid: int) -> None:
        """Ask for the end of an answer; `StreamEnded` comes when the engine has let go of it."""
        if rid in self.streams:
            self._send(frames.Cancel(rid))

    def stop(self, reason: str) -> None:
        """End the process: politely, then not. `run` returns when it has been reaped."""
        if not self._reason:
            self._reason, self._wanted = reason, True
        self._scope.cancel(reason=reason)

    # --- life -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Start the process, serve it until it ends or `stop`, reap it, tell `EngineGone`."""
        ours, theirs = socket.socketpair()
        returncode: int | None = None
        try:
            sock = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
            try:
                self._child = await Child.start(self.name, self.module, self.environ, theirs)
                theirs.close()  # else the end of the engine would not be the end of the socket
                self.pid = self._child.pid
                self._vitals = Vitals(self.load_silence_s, trio.current_time())
                with self._scope:
                    await self._serve(self._child, sock)
            finally:
                theirs.close()
                with trio.CancelScope(shield=True, deadline=trio.current_time() + REAP_S):
                    returncode = await self._reap(sock)
        except OSError as error:
            self._reason = f"the engine process could not be started: {error}"
        self.tell(EngineGone(self._reason or _died(returncode), returncode, self._wanted))

    async def _reap(self, sock: trio.SocketStream) -> int | None:
        if self._child is None:
            await trio.aclose_forcefully(sock)
            return None
        return await self._child.end(sock, self._reason, wanted=self._wanted)

    async def _serve(self, child: Child, sock: trio.SocketStream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child.keep_log, self.stderr)
            nursery.start_soon(self._write, sock)
            nursery.start_soon(self._watch)
            try:
                await self._read(sock)
            except frames.BadFrame as error:
                self._give_up(f"the engine sent a bad frame: {error}")
            nursery.cancel_scope.cancel(reason="the engine's socket has ended")

    # --- tasks ------------------------------------------------------------------------------

    async def _read(self, sock: trio.SocketStream) -> None:
        buffer = bytearray()
        header = frames.HEADER_BYTES
        while True:
            try:
                data = await sock.receive_some(READ_BYTES)
            except trio.BrokenResourceError:
                return
            if not data:
                return
            buffer += data
            at = 0
            while len(buffer) - at >= header:
                length = frames.body_length(
                    bytes(buffer[at : at + header]), frames.MAX_REPORT_BYTES
                )
                if len(buffer) - at < header + length:
                    break
                self._hear(frames.decode_report(bytes(buffer[at + header : at + header + length])))
                at += header + length
            del buffer[:at]

    async def _write(self, sock: trio.SocketStream) -> None:
        self._send(self.load)
        while True:
            while self._out:
                try:
                    await sock.send_all(self._out.popleft())
                except trio.BrokenResourceError:
                    return  # the reader sees the end of the socket too, and it decides
            self._wake_writer = trio.Event()
            await self._wake_writer.wait()

    async def _watch(self) -> None:
        echo = 0
        while True:
            await trio.sleep(PING_EVERY_S)
            reason = self._vitals.verdict(trio.current_time())
            if reason is not None:
                if self._vitals.hung and self._child is not None:
                    self._child.write_stacks()
                    await trio.sleep(DUMP_S)
                self._give_up(reason)
            echo += 1
            self._send(frames.Ping(echo))

    # --- what the engine says ---------------------------------------------------------------

    def _hear(self, report: frames.Report) -> None:
        match report:
            case frames.Step():
                self._step(report)
            case frames.End():
                self._end(report)
            case frames.Prompt(rid, done, total, cached, differs_at):
                stream = self.streams.get(rid)
                if stream is not None:
                    stream.push_prefill(Prefill(done, total, cached, differs_at))
            case frames.Vectors(rid, content):
                stream = self.streams.get(rid)
                if stream is not None:
                    stream.push_vectors(content)
            case frames.Refused():
                # The engine's words come from tokeniser and template; the gateway types them.
                error = BadRequest(report.text, code=report.code, param=report.param)
                self._fail(report.rid, error)
            case frames.Err():
                self._fail(report.rid, EngineFault(report.text, code=report.kind))
            case frames.Pong():
                self._vitals.pong(report.busy_s, trio.current_time())
            case frames.LoadProgress():
                self._vitals.progress(trio.current_time())
            case frames.Ready():
                self._vitals.ready(trio.current_time())
                self.tell(EngineReady(report))
            case frames.LoadError():
                self._reason = self._reason or report.text
                self.tell(EngineRefusedLoad(report.text, report.permanent))
            case frames.Hello():
                if report.protocol != frames.PROTOCOL:
                    self._give_up(f"the engine speaks protocol {report.protocol}")

    def _step(self, step: frames.Step) -> None:
        self.steps = step.number
        self.decoded_tokens += step.decoded
        self.kv_bytes, self.prefix_bytes = step.kv_bytes, step.prefix_bytes
        self._vitals.step(step.took_s)
        firsts = 0  # streams whose first token this is: nobody waited for it since another one
        for piece in step.pieces:
            if piece.rid in self._announce:
                self._announce.discard(piece.rid)
                self.tell(FirstToken(piece.rid))
            stream = self.streams.get(piece.rid)
            if stream is None:
                self.stray_frames += 1
                continue
            firsts += stream.tokens == 0
            if not stream.push(delta_of(piece)):
                self._send(frames.Cancel(piece.rid))  # its reader is too slow, or gone
        if self.watch is not None:
            self._report(step, firsts, self.watch)

    def _report(self, step: frames.Step, firsts: int, watch: Callable[[Stepped], None]) -> None:
        now = trio.current_time()
        gap_s = now - self._decoded_at
        watch(
            Stepped(
                self.name, step.decoded, step.prefilled, step.took_s, gap_s, step.decoded - firsts
            )
        )
        if step.decoded:
            self._decoded_at = now

    def _end(self, end: frames.End) -> None:
        stream = self.streams.pop(end.rid, None)
        self.ghost_tokens += end.ghost_tokens
        if stream is None:
            self.stray_frames += 1
            return
        if end.text or end.tokens:
            stream.push(delta_of(end))
        stream.finish(finish_of(end))
        self.tell(StreamEnded(end.rid))

    def _fail(self, rid: int, error: LatticeError) -> None:
        stream = self.streams.pop(rid, None)
        if stream is None:
            self.stray_frames += 1
            return
        stream.fail(error)
        self.tell(StreamEnded(rid))

    def _give_up(self, reason: str) -> None:
        self._reason = self._reason or reason
        log.error("engine given up", model=self.name, pid=self.pid, reason=reason)
        if self._child is not None:
            self._child.kill()
        self._scope.cancel(reason=reason)

    def _send(self, command: frames.Command) -> None:
        self._out.append(frames.encode(command))
        self._wake_writer.set()


def _died(returncode: int | None) -> str:
    if returncode is not None and returncode < 0:
        return f"the engine was killed by {signal.Signals(-returncode).name}"
    return f"the engine exited with {returncode}"
