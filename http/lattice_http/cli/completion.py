"""`lattice-trio completion`: the script with which a shell completes our commands and flags."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

from cyclopts import Parameter

from lattice_actors.exit_codes import OK


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="Which.")], /
) -> int:
    """Write the completion script of a shell. It is made of the commands of this release."""
    from .program import make_app  # not above: the program names this command

    sys.stdout.write(make_app().generate_completion(shell=shell))
    return OK
