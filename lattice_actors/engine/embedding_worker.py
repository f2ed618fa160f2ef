"""The engine process of an embedding model: one model, one queue of texts, one socket.

    python -m lattice_actors.engine.embedding_worker FD

As `worker`, less what only a generating model needs. Threads: the main one loads and computes;
the reader takes commands and answers pings, also during a long step; the tokeniser makes rows of
token ids. Between two steps, and inside a long one, the main thread takes what has arrived. The
vectors of a request are kept until its last one is there, so a crash loses nothing half.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import traceback
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, NoReturn

import attrs

from . import frames
from .embedding_inputs import InputReader, Tokenised
from .embedding_queue import EmbeddingQueue, Place
from .outbox import Outbox
from .shell import EXIT_STEPS_FAIL, OFFLINE, exit_with_parent, listen, main
from .thread_news import Accepted, CancelSeen, Failed

if TYPE_CHECKING:  # it imports mlx, which must not happen before `Hello` and the BLAS
    from .embedding import Embedder, Vectors

CHUNK_BYTES = 512 * 1024  # of vectors in one frame; a report has at most 1 MiB
MOST_FAILURES = 3  # steps in a row
GENERATES_NOTHING = "this model embeds text, and generates none"


News = frames.Load | Accepted | CancelSeen | Tokenised | frames.Refused | Failed


class Abandoned(Exception):
    """Nobody wants anything of this step any more."""


@attrs.define(eq=False)
class Job:
    """One request that is being embedded."""

    asked: Tokenised
    vectors: Vectors  # (texts, width); rows are filled in any order
    tokens: int  # of all texts
    done_tokens: int = 0
    missing: int = 0  # texts without a vector


class EmbeddingWorker:
    """The process behind one socket. `run` does not return."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._outbox = Outbox(sock)
        self._news: SimpleQueue[News] = SimpleQueue()
        self._untokenised: SimpleQueue[frames.Embed] = SimpleQueue()
        self._wanted: set[int] = set()  # rids for the tokeniser; those that were cancelled left
        self._tokenising: set[int] = set()  # rids; main thread only
        self._jobs: dict[int, Job] = {}
        self._steps = 0
        self._failures = 0  # of steps, in a row
        self._busy_since: float | None = None  # monotonic; None: between two steps

    def run(self) -> NoReturn:
        self._outbox.send(frames.Hello(frames.PROTOCOL, os.getpid()))
        threading.Thread(target=listen, args=(self._sock, self._take), daemon=True).start()
        threading.Thread(target=exit_with_parent, args=(os.getppid(),), daemon=True).start()
        while not isinstance(load := self._news.get(), frames.Load):
            self._handle(load)
        self._model = self._load(load)
        self._queue = EmbeddingQueue(load.prefill_step_tokens)
        while True:
            self._take_news(wait=not self._queue)
            if step := self._queue.next_step():
                self._step(step)

    # --- the reader thread ---------------------------------------------------------------------

    def _take(self, command: frames.Command) -> None:
        match command:
            case frames.Ping(echo=echo):
                since = self._busy_since
                busy_s = 0.0 if since is None else time.monotonic() - since
                self._outbox.send(frames.Pong(echo, self._steps, busy_s), may_wait=False)
            case frames.Embed():
                self._wanted.add(command.rid)
                self._news.put(Accepted(command.rid))
                self._untokenised.put(command)
            case frames.Gen(rid=rid):
                self._outbox.send(
                    frames.Refused(rid, "unsupported_model", GENERATES_NOTHING, "model")
                )
            case frames.Cancel(rid=rid):
                self._wanted.discard(rid)
                self._news.put(CancelSeen(rid, time.monotonic()))
            case frames.Load():
                self._news.put(command)
            case frames.Bye():
                os._exit(0)

    # --- the tokeniser thread ------------------------------------------------------------------

    def _tokenise(self, reader: InputReader) -> None:
        while True:
            asked = self._untokenised.get()
            try:
                read = reader.read(asked, self._wanted.__contains__)
                self._wanted.discard(asked.rid)
                if read is not None:
                    self._news.put(read)
            except Exception as error:  # noqa: BLE001 - the next request deserves its tokens
                traceback.print_exc()
                self._news.put(Failed(asked.rid, f"{type(error).__name__}: {error}"[:500]))

    # --- the main thread -----------------------------------------------------------------------

    def _load(self, load: frames.Load) -> Embedder:
        """Load the model and report `Ready`; or `LoadError`, and exit."""
        begun = time.monotonic()
        os.environ.update(OFFLINE)
        self._outbox.send(frames.LoadProgress("import"))
        from . import blas

        blas_name = blas.prepare()
        from .embedding import LoadProblem, load_embedder

        try:
            model = load_embedder(
                Path(load.path), lambda stage: self._outbox.send(frames.LoadProgress(stage))
            )
        except LoadProblem as problem:
            self._outbox.send(frames.LoadError(problem.text, problem.permanent))
            self._outbox.flush()
            os._exit(0)
        threading.Thread(target=self._tokenise, args=(InputReader(model),), daemon=True).start()
        self._outbox.send(
            frames.Ready(
                context_tokens=model.longest_tokens,
                vocab=model.vocab,
                kv_bytes_per_token=0,
                resident_bytes=model.resident_bytes,
                load_s=time.monotonic() - begun,
                decode_step_s=model.short_step_s,
                prefill_tokens_per_s=model.tokens_per_s,
                blas=blas_name,
            )
        )
        return model

    def _take_news(self, *, wait: bool) -> None:
        """Handle what has arrived; *wait*: for the first of it."""
        try:
            self._handle(self._news.get(wait))
            while True:
                self._handle(self._news.get_nowait())
        except Empty:
            pass

    def _handle(self, news: News) -> None:
        match news:
            case Accepted(rid=rid):
                self._tokenising.add(rid)
            case CancelSeen(rid=rid):
                self._cancel(rid)
            case Tokenised(rid=rid):
                if self._is_awaited(rid):
                    self._begin(news)
            case frames.Refused(rid=rid):
                if self._is_awaited(rid):
                    self._outbox.send(news)
            case Failed(rid=rid, text=text):
                if self._is_awaited(rid):
                    self._outbox.send(frames.Err(rid, "generation_failed", text))
            case frames.Load():
                pass  # a second one

    def _is_awaited(self, rid: int) -> bool:
        """Say whether the tokeniser's word on *rid* is wanted; it gives only one."""
        awaited = rid in self._tokenising
        self._tokenising.discard(rid)
        return awaited

    def _begin(self, asked: Tokenised) -> None:
        import numpy as np

        lengths = [len(row) for row in asked.rows]
        width = asked.dimensions or self._model.width
        vectors = np.zeros((len(lengths), width), dtype=np.float32)
        self._jobs[asked.rid] = Job(asked, vectors, sum(lengths), missing=len(lengths))
        self._queue.add(asked.rid, lengths)

    def _cancel(self, rid: int) -> None:
        known = self._is_awaited(rid)
        if self._jobs.pop(rid, None):
            self._queue.drop(rid)
            known = True
        if known:  # else it has ended, and its last report is under way
            self._outbox.send(frames.End(rid, "cancelled", prompt_tokens=0, completion_tokens=0))

    # --- one step ------------------------------------------------------------------------------

    def _step(self, step: list[Place]) -> None:
        rows = [self._jobs[place.rid].asked.rows[place.index] for place in step]
        begun = self._busy_since = time.monotonic()
        try:
            vectors = self._model.embed(rows, lambda: self._tick(step))
        except Abandoned:
            return
        except Exception as error:  # noqa: BLE001 - the requests of other steps go on
            self._step_failed(step, error)
            return
        finally:
            self._steps += 1
            self._busy_since = None
        self._failures = 0
        self._take_news(wait=False)  # a cancel that came meanwhile is obeyed before its vectors
        for place, row, vector in zip(step, rows, vectors, strict=True):
            if (job := self._jobs.get(place.rid)) is not None:
                self._keep(job, place, len(row), vector)
        took_s, tokens = time.monotonic() - begun, sum(map(len, rows))
        self._outbox.send(frames.Step(self._steps, took_s, 0, tokens, 0, []))
        for rid in {place.rid for place in step}:
            self._tell(rid)

    def _keep(self, job: Job, place: Place, tokens: int, vector: Vectors) -> None:
        import numpy as np

        from .embedding import shortened

        if not np.isfinite(vector).all():
            self._fail(place.rid, "the model computed NaN (not a number)")
            return
        if job.asked.dimensions is not None:
            vector = shortened(vector[None, :], job.asked.dimensions)[0]
        job.vectors[place.index] = vector
        job.done_tokens += tokens
        job.missing -= 1

    def _tell(self, rid: int) -> None:
        """Report how far a request has come, and its vectors when they are all there."""
        if (job := self._jobs.get(rid)) is None:
            return
        self._outbox.send(frames.Prompt(rid, job.done_tokens, job.tokens))
        if job.missing:
            return
        del self._jobs[rid]
        content = job.vectors.astype("<f4", copy=False).tobytes()
        for at in range(0, len(content), CHUNK_BYTES):
            self._outbox.send(frames.Vectors(rid, content[at : at + CHUNK_BYTES]))
        self._outbox.send(frames.End(rid, "stop", job.tokens, 0))

    def _tick(self, step: list[Place]) -> None:
        """Say that a long step goes on; end it where nobody wants it."""
        self._busy_since = time.monotonic()
        self._take_news(wait=False)
        if not any(place.rid in self._jobs for place in step):
            raise Abandoned

    def _step_failed(self, step: list[Place], error: Exception) -> None:
        traceback.print_exc()
        self._failures += 1
        if self._failures >= MOST_FAILURES:
            os._exit(EXIT_STEPS_FAIL)
        for rid in {place.rid for place in step}:
            self._fail(rid, f"{type(error).__name__}: {error}"[:500])

    def _fail(self, rid: int, text: str) -> None:
        if self._jobs.pop(rid, None) is not None:
            self._queue.drop(rid)
            self._outbox.send(frames.Err(rid, "generation_failed", text))


if __name__ == "__main__":
    main(EmbeddingWorker)
