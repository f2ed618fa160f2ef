"""A pass that ends early when everybody it is for has left.

On a CPU a pass takes long, half a second and more for a long prompt, and mlx cannot be stopped
in it. But it is built layer by layer: where a part of the layers is sent off as soon as it is
there, building keeps step with computing, and to stop building is to stop. What remains is the
little that had been sent off.

Sending off costs: each layer by itself made a step of decoding 2 to 5 % dearer, so a pass has
only some such places. On a GPU a pass is short and there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import mlx.core as mx

PLACES = 6  # in a pass, about, where it can be left


class Abandoned(Exception):
    """Nobody waits any more for the pass under way."""


@attrs.define(eq=False)
class Exit:
    """The way out of the passes of one model."""

    _abandoned: Callable[[], bool] | None = None

    @classmethod
    def of(cls, model: Any) -> Exit:  # noqa: ANN401
        """Prepare a loaded model; done once, whoever asks again. It does nothing on a GPU."""
        way_out = cls()
        layers = list(getattr(model, "layers", ()))
        if mx.default_device() != mx.Device(mx.cpu) or len(layers) < 2:
            return way_out
        for layer in layers:
            if isinstance(known := getattr(type(layer), "lattice_exit", None), cls):
                return known
        apart = max(1, len(layers) // PLACES)
        # Not the last one: of a chunk of a prompt, all of it need not be computed.
        for layer in layers[apart - 1 : -1 : apart]:
            way_out._watch(layer)
        return way_out

    @contextmanager
    def when(self, abandoned: Callable[[], bool]) -> Iterator[None]:
        """Inside, passes raise `Abandoned` soon after *abandoned* says yes."""
        self._abandoned = abandoned
        try:
            yield
        finally:
            self._abandoned = None

    def _watch(self, layer: Any) -> None:  # noqa: ANN401
        plain = type(layer)
        call = plain.__call__

        def watched(it: Any, *inputs: Any, **more: Any) -> Any:  # noqa: ANN401
            if self._abandoned is None:
                return call(it, *inputs, **more)
            if self._abandoned():
                raise Abandoned
            result = call(it, *inputs, **more)
            mx.async_eval(result)  # type: ignore[no-untyped-call]  # mlx does not type it
            if self._abandoned():
                raise Abandoned
            return result

        layer.__class__ = type(
            plain.__name__, (plain,), {"__call__": watched, "lattice_exit": self}
        )
