"""What a page calls `lattice-trio` (argv[1:]), where the server that it talks of runs already.

serve ...       the settings are read, and nothing is served
top             one state instead of a screen that follows
top, bench      ask the server of `DOCS_URL` where no `--base-url` says another one
"""

from __future__ import annotations

import os
import sys

from cyclopts import CycloptsError

from lattice_http.cli.program import main, make_app


def meant(argv: list[str]) -> list[str]:
    """Return the command that is run for *argv*."""
    match argv:
        case ["serve", *flags] if "--help" not in flags:
            return ["config", *flags]
        case ["top" | "bench" as command, *flags] if "--help" not in flags:
            known = any(flag.startswith("--base-url") for flag in flags)
            inner = command == "bench" and bool(flags) and not flags[0].startswith("-")
            more = [] if known or inner else ["--base-url", os.environ["DOCS_URL"]]
            if command == "top":
                more += [flag for flag in ("--once", "--json") if flag not in flags]
            return [command, *flags, *more]
    return argv


def read(argv: list[str]) -> int:
    """Read the flags of a command; return the exit code."""
    try:
        make_app().parse_args(argv, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the front end
        return 2
    return 0


def run(argv: list[str]) -> int:
    """Run the command that is meant, or read it where no more is wanted."""
    return (read if os.environ.get("DOCS_ONLY_READ") else main)(meant(argv))


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
