"""The servers that are compared, and how their addresses are written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import attrs

from .load import Target

FIRST = "base"  # the name of the arm of --base-url
KEY = "LATTICE_BENCH_KEY_"  # and the name of another arm, in capitals: the variable with its key


class BadArm(ValueError):
    """What --against says is no server; the text says why."""


@attrs.frozen
class Arm:
    """One server under its name in the report."""

    name: str
    targets: tuple[Target, ...]  # the same server, once a model
    bare: bool = False  # no server: mlx-lm in a bare loop, its target's model is a directory

    @property
    def target(self) -> Target:
        """The server with its first model."""
        return self.targets[0]


def arms(
    first: Target,
    models: Sequence[str],
    against: Sequence[str],
    name: str,
    environment: Mapping[str, str],
) -> list[Arm]:
    """Return the first arm, which is called *name*, and those of ``name=url[,model[,second]]``.

    An arm that names no models asks for those of the first one. The key of the first one goes to
    no other server; theirs are in the variables that `KEY` begins.

    Raises:
        BadArm: two have the same name, or one is no such text.
    """
    found = [Arm(name, tuple(attrs.evolve(first, model=model) for model in models))]
    for text in against:
        called, equals, rest = text.partition("=")
        url, *named = (part.strip() for part in rest.split(","))
        if not equals or not called.strip() or not url:
            raise BadArm(f"not name=url[,model]: {text!r}")
        key = environment.get(KEY + re.sub(r"\W", "_", called.strip()).upper())
        plain = Target(url, "", key, first.timeout_s)
        try:
            assert plain.path
        except ValueError as error:
            raise BadArm(str(error)) from None
        used = [model for model in named if model] or models
        found.append(Arm(called.strip(), tuple(attrs.evolve(plain, model=model) for model in used)))
    names = [arm.name for arm in found]
    if twice := next((one for one in names if names.count(one) > 1), None):
        raise BadArm(f"two servers are called {twice!r}")
    return found
