"""What the program's exit code means, once for all commands. Values only.

Here, below everything, because server, command line and bench all end with them. The table in
docs/cli.md is `MEANINGS`, compared by a test. Engine processes have codes of their own: only
their actor reads those.
"""

from __future__ import annotations

from collections.abc import Mapping

OK = 0
FAILED = 1
WRONG_USE = 2
CUT_OFF = 3
HUNG = 4
INTERRUPTED = 130  # 128 + SIGINT, as shells count

MEANINGS: Mapping[int, str] = {
    OK: "It did what was asked. Of `serve`: it was told to stop, and every answer was finished.",
    FAILED: "It could not be done, or a check found something: the address is taken, no server "
    "answers, the repository is not there, every request of a measurement failed.",
    WRONG_USE: "What was written is wrong: a flag, a value, a variable or the settings file. "
    "Nothing was done.",
    CUT_OFF: "`serve` was told to stop, and at least one answer was ended before its time.",
    HUNG: "`serve` did not come to an end by itself in time and was ended by its watchdog.",
    INTERRUPTED: "Ctrl-C, except of `serve`, which takes it as the wish to stop.",
}
