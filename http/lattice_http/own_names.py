"""The names of fields on wires that call them otherwise: backends know those of a chat only."""

from __future__ import annotations

from collections.abc import Mapping

from lattice_actors.errors import BadRequest


def say_in_own_names(error: BaseException, names: Mapping[str, str]) -> None:
    """Let *error* blame the field as the caller's wire calls it, by *names* of a chat's fields.

    A name stands for all places inside of it too, since these need not be those of the caller.
    """
    if not isinstance(error, BadRequest) or error.param is None:
        return
    param = error.param
    field = param.partition("[")[0].partition(".")[0]
    own = names.get(param) or names.get(field) or param
    if error.message.startswith(f"{param}: "):
        error.message = own + error.message.removeprefix(param)
    error.param = own
