"""From requests to what the batch takes: the threads that make prompts and compile grammars.

Both are slow beside a step of decoding, so they have threads of their own: the *tokeniser* makes
prompts, the *grammar* thread compiles what answers must keep to. What comes of a request, also a
refusal, goes to the main thread.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING

import attrs

from . import frames
from .prompts import Prepared, PromptMaker
from .thread_news import Failed

if TYPE_CHECKING:  # it imports mlx, which must not happen before `Hello` and the BLAS
    from .grammar import Grammars

COMPILE_S = 10.0  # for a grammar, its wait for the one before and half a second of a first one
Told = Prepared | frames.Refused | Failed


@attrs.define(eq=False)
class Preparing:
    """The requests on their way to the batch. `add` may be called before the threads `start`."""

    _tell: Callable[[Told], None]
    _untokenised: SimpleQueue[frames.Gen] = attrs.field(
        init=False, factory=SimpleQueue["frames.Gen"]
    )
    _uncompiled: SimpleQueue[tuple[Prepared, threading.Timer]] = attrs.field(
        init=False, factory=SimpleQueue["tuple[Prepared, threading.Timer]"]
    )

    def add(self, gen: frames.Gen) -> None:
        """Take a request, from any thread."""
        self._untokenised.put(gen)

    def start(self, maker: PromptMaker, grammars: Grammars) -> None:
        """Begin; the threads end with the process."""
        for name, run in (
            ("tokeniser", lambda: self._tokenise(maker)),
            ("grammar", lambda: self._compile(grammars)),
        ):
            threading.Thread(target=run, name=name, daemon=True).start()

    # --- the tokeniser thread ------------------------------------------------------------------

    def _tokenise(self, maker: PromptMaker) -> None:
        while True:
            gen = self._untokenised.get()
            try:
                prepared = maker.prepare(gen)
                if isinstance(prepared, Prepared) and (grammar := prepared.gen.grammar):
                    self._uncompiled.put((prepared, self._timer(gen.rid, grammar)))
                else:
                    self._tell(prepared)
            except Exception as error:  # noqa: BLE001 - the next request deserves its prompt
                self._tell(_failed(gen.rid, error))

    def _timer(self, rid: int, grammar: frames.Grammar) -> threading.Timer:
        """Begin to count; whichever of the refusal and the grammar comes second is ignored."""
        text = f"its grammar did not compile within {COMPILE_S:g} s"
        refusal = frames.Refused(rid, "grammar_too_complex", text, grammar.param)
        timer = threading.Timer(COMPILE_S, self._tell, [refusal])
        timer.daemon = True
        timer.start()
        return timer

    # --- the grammar thread --------------------------------------------------------------------

    def _compile(self, grammars: Grammars) -> None:
        from .grammar import GrammarProblem

        while True:
            prepared, timer = self._uncompiled.get()
            gen = prepared.gen
            assert gen.grammar is not None
            try:
                compiled = grammars.compile(gen.grammar)
                self._tell(attrs.evolve(prepared, grammar=compiled))
            except GrammarProblem as problem:
                param = gen.grammar.param
                self._tell(frames.Refused(gen.rid, "invalid_grammar", str(problem), param))
            except Exception as error:  # noqa: BLE001 - the next request deserves its grammar
                self._tell(_failed(gen.rid, error))
            finally:
                timer.cancel()


def _failed(rid: int, error: Exception) -> Failed:
    traceback.print_exception(error)
    return Failed(rid, f"{type(error).__name__}: {error}"[:500])
