"""The engine process: one model, one batch, one socket.

    python -m lattice_actors.engine.worker FD

Threads: the main one loads the model and steps the batch, and nobody else touches mlx; the
*reader* takes commands and answers pings, so they are answered during a long step, too; two
threads prepare what the batch takes (`preparing.py`); the *outbox* writes what the socket did not
take at once.

Between two steps the main thread takes what has arrived, without waiting while streams are
alive. A `Gen` is announced to it before it goes to the tokeniser, so that a `Cancel` finds it in
every phase. After a step it looks for cancels once more, before the step's report goes out.

Exit codes: 0 told to (or the load failed, after `LoadError`), 3 the gateway is gone, 4 a frame
it cannot read, 5 steps keep failing, 1 any other error. SIGUSR1 writes all stacks to stderr;
SIGINT is ignored, as Ctrl-C is for the gateway, which says `Bye`.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, NoReturn

from . import frames
from .border import end_of_count
from .frames import PROTOCOL
from .outbox import Outbox
from .preparing import Preparing
from .prompts import Prepared, PromptMaker
from .shell import EXIT_STEPS_FAIL, OFFLINE, exit_with_parent, listen, main
from .thread_news import Accepted, CancelSeen, Failed

if TYPE_CHECKING:  # they import mlx, which must not happen before `Hello` and the BLAS
    from .batch import Batch, Outcome

TOKENISING_S = 0.01  # how long a first step waits for what is being tokenised already
GATHER_MOST_S = 0.05  # and for newcomers, however long the burst goes on
News = frames.Load | Accepted | CancelSeen | Prepared | frames.Refused | Failed


class Worker:
    """The process behind one socket. `run` does not return."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._outbox = Outbox(sock)
        self._news: SimpleQueue[News] = SimpleQueue()
        self._preparing = Preparing(self._news.put)
        self._tokenising: set[int] = set()  # rids; main thread only
        self._steps = 0
        self._busy_since: float | None = None  # monotonic; None: between two steps
        self._batch: Batch | None = None  # None: the model is not loaded yet

    def run(self) -> NoReturn:
        self._outbox.send(frames.Hello(PROTOCOL, os.getpid()))
        _start_thread("reader", listen, self._sock, self._take)
        _start_thread("parent", exit_with_parent, os.getppid())
        while not isinstance(load := self._news.get(), frames.Load):
            self._before_load(load)
        batch = self._batch = self._load(load)
        while True:
            idle = not batch
            if idle:
                self._settle_in_peace(batch)
            self._take_news(batch, wait=idle)
            if idle and batch:
                self._gather(batch)
            if batch:
                self._step(batch)

    # --- the reader thread ---------------------------------------------------------------------

    def _take(self, command: frames.Command) -> None:
        match command:
            case frames.Ping(echo=echo):
                since = self._busy_since
                busy_s = 0.0 if since is None else time.monotonic() - since
                self._outbox.send(frames.Pong(echo, self._steps, busy_s), may_wait=False)
            case frames.Gen():
                self._news.put(Accepted(command.rid))
                self._preparing.add(command)
            case frames.Cancel(rid=rid):
                if self._batch is not None:
                    self._batch.will_cancel(rid)
                self._news.put(CancelSeen(rid, time.monotonic()))
            case frames.Load():
                self._news.put(command)
            case frames.Embed(rid=rid):
                text = "this model generates text, and embeds none"
                self._outbox.send(frames.Refused(rid, "unsupported_model", text, "model"))
            case frames.Bye():
                os._exit(0)

    # --- the main thread -----------------------------------------------------------------------

    def _load(self, load: frames.Load) -> Batch:
        """Load the model and report `Ready`; or `LoadError`, and exit."""
        begun = time.monotonic()
        os.environ.update(OFFLINE)
        self._outbox.send(frames.LoadProgress("import"))
        from . import blas

        blas_name = blas.prepare()
        from .batch import Batch
        from .grammar import Grammars
        from .loading import LoadProblem
        from .loading import load as load_model
        from .pacing import Pacing

        try:
            loaded = load_model(Path(load.path), self._report_progress)
        except LoadProblem as problem:
            self._outbox.send(frames.LoadError(problem.text, problem.permanent))
            self._outbox.flush()
            os._exit(0)
        pacing = Pacing(
            idle_tokens=load.prefill_step_tokens,
            target_step_s=load.target_step_ms / 1e3,
            first_decode_s=loaded.decode_step_s,
            tokens_per_s=loaded.prefill_tokens_per_s,
        )
        batch = Batch(loaded, pacing, load.max_streams, prefix_cache_bytes=load.prefix_cache_bytes)
        maker = PromptMaker(loaded.tokenizer, loaded.context_tokens, loaded.vocab, batch.keeps)
        grammars = Grammars(loaded.tokenizer, loaded.eos_token_ids, loaded.vocab)
        self._preparing.start(maker, grammars)
        gc.collect()
        gc.freeze()  # a million objects of transformers need not be walked between two tokens
        self._outbox.send(
            frames.Ready(
                context_tokens=loaded.context_tokens,
                vocab=loaded.vocab,
                kv_bytes_per_token=loaded.kv_bytes_per_token,
                resident_bytes=loaded.resident_bytes,
                load_s=time.monotonic() - begun,
                decode_step_s=loaded.decode_step_s,
                prefill_tokens_per_s=loaded.prefill_tokens_per_s,
                blas=blas_name,
            )
        )
        return batch

    def _report_progress(self, stage: str) -> None:
        self._outbox.send(frames.LoadProgress(stage))

    def _before_load(self, news: News) -> None:
        match news:
            case Accepted(rid=rid):
                self._tokenising.add(rid)
            case CancelSeen(rid=rid):
                self._cancel_tokenising(rid)

    def _settle_in_peace(self, batch: Batch) -> None:
        """Keep what streams have left, one at a time: a newcomer does not wait for them all."""
        while batch.unsettled and not self._tokenising and self._news.empty():
            batch.settle_some()

    def _take_news(self, batch: Batch, *, wait: bool) -> None:
        """Handle what has arrived; *wait*: for the first of it."""
        try:
            self._handle(batch, self._news.get(wait))
            while True:
                self._handle(batch, self._news.get_nowait())
        except Empty:
            pass

    def _gather(self, batch: Batch) -> None:
        """Before the first step after a rest: a burst is worth one common prefill."""
        began = time.monotonic()
        while batch:
            patience_s = TOKENISING_S if self._tokenising else batch.worth_waiting_s
            left_s = min(patience_s, began + GATHER_MOST_S - time.monotonic())
            if left_s <= 0:
                return
            try:
                self._handle(batch, self._news.get(timeout=left_s))
            except Empty:
                return

    def _handle(self, batch: Batch, news: News) -> None:
        match news:
            case Accepted(rid=rid):
                self._tokenising.add(rid)
            case CancelSeen(rid=rid, at=at):
                if end := batch.cancel(rid, at):
                    self._outbox.send(end)
                else:
                    self._cancel_tokenising(rid)
            case Prepared():
                if news.gen.rid in self._tokenising:
                    self._tokenising.remove(news.gen.rid)
                    if news.gen.count:
                        self._outbox.send(end_of_count(news.gen, news.tokens))
                    else:
                        batch.add(news)
            case frames.Refused(rid=rid):
                if rid in self._tokenising:
                    self._tokenising.remove(rid)
                    self._outbox.send(news)
            case Failed(rid=rid, text=text):
                if rid in self._tokenising:
                    self._tokenising.remove(rid)
                    self._outbox.send(frames.Err(rid, "generation_failed", text))
            case frames.Load():
                sys.stderr.write("engine: a second Load is ignored\n")

    def _cancel_tokenising(self, rid: int) -> None:
        if rid in self._tokenising:  # else it has ended, and its last report is under way
            self._tokenising.remove(rid)
            self._outbox.send(frames.End(rid, "cancelled", prompt_tokens=0, completion_tokens=0))

    def _step(self, batch: Batch) -> None:
        from .batch import TooManyRebuilds

        self._busy_since = time.monotonic()
        try:
            outcome = batch.step()
        except TooManyRebuilds:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(EXIT_STEPS_FAIL)
        finally:
            self._steps += 1
            self._busy_since = None
        self._take_news(batch, wait=False)
        self._send(batch, outcome)

    def _send(self, batch: Batch, outcome: Outcome) -> None:
        step = frames.Step(
            self._steps,
            outcome.took_s,
            outcome.decoded,
            outcome.prefilled,
            batch.kv_bytes,
            [piece for piece in outcome.pieces if piece.rid in batch],  # not of cancelled ones
            batch.prefix_bytes,
        )
        prompts = [prompt for prompt in outcome.prompts if prompt.rid in batch]
        self._outbox.send(*prompts, step, *outcome.endings)


def _start_thread(name: str, target: object, *inputs: object) -> None:
    assert callable(target)
    threading.Thread(target=target, args=inputs, name=name, daemon=True).start()


if __name__ == "__main__":
    main(Worker)
