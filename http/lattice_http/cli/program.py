"""The `lattice-trio` program: its commands, and what becomes of its errors.

What a command needs is imported when it runs. So `--help` answers at once, and asks for neither
a web server nor MLX.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence

from cyclopts import App, CycloptsError

from lattice_actors.settings import SettingsError

from . import arguments
from .examples import PROGRAM, epilogue
from .terminal import INTERRUPTED, NAME, WRONG_USE, say, version


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    tokens = list(sys.argv[1:] if argv is None else argv)
    try:
        code = make_app()(tokens, exit_on_error=False, print_error=False)
    except (CycloptsError, SettingsError) as error:
        say(" ".join(str(error).split()))
        return WRONG_USE
    except KeyboardInterrupt:
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def make_app() -> App:
    """Return the command line application."""
    app = App(
        name=NAME,
        help="One OpenAI-compatible server in front of all the models you have.",
        help_format="plaintext",
        help_epilogue=epilogue(PROGRAM),
        version=version,
        backend="trio",
        result_action="return_value",
    )
    app.command(_with_settings(serve), name="serve", help_epilogue=epilogue("serve"))
    app.command(
        _with_settings(config, _JSON, _MARKDOWN), name="config", help_epilogue=epilogue("config")
    )
    app.command(
        "lattice_http.cli.init:init",
        name="init",
        help="Find models and servers, and write a lattice.toml with upstreams and roles.",
        help_epilogue=epilogue("init"),
    )
    app.command(
        _with_settings(doctor, _JSON, _CLOUD), name="doctor", help_epilogue=epilogue("doctor")
    )
    app.command(
        "lattice_http.cli.top:top",
        name="top",
        help="Watch a server: models, queue, running requests, refusals.",
        help_epilogue=epilogue("top"),
    )
    app.command(
        "lattice_http.cli.models.command:app",
        name="models",
        help="What models there are, what they take, and getting more.",
    )
    app.command(
        "lattice_http.cli.completion:completion",
        name="completion",
        help="Write the completion script of a shell.",
        help_epilogue=epilogue("completion"),
    )
    app.command(
        "lattice_bench.command:app",
        name="bench",
        help="Measure a server: time to first token, inter-token time, tokens per second.",
    )
    return app


def serve(**values: object) -> int:
    """Start the server."""
    effective = arguments.effective_settings(values)
    for warning in effective.warnings:
        say(f"warning: {warning}")
    from .serve import run

    return run(effective.settings)


def config(**values: object) -> int:
    """Show the settings in effect and where each comes from. Takes every flag of serve."""
    from . import config as pages

    if values.get("markdown"):
        sys.stdout.write(pages.as_markdown())
    else:
        effective = arguments.effective_settings(values)
        sys.stdout.write(pages.show(effective, as_json=bool(values.get("json"))) + "\n")
    return 0


def doctor(**values: object) -> int:
    """Check machine, settings, models and servers, and say what to do. Takes every flag of serve.

    Exits with 0 when nothing is in the way of serving, with 1 when something is.
    """
    from .doctor import run

    return run(values, as_json=bool(values.get("json")), ask_cloud=bool(values.get("cloud")))


_JSON = arguments.flag("json", bool, "Write JSON.")
_CLOUD = arguments.flag("cloud", bool, "Ask the cloud whether it takes key and models.")
_MARKDOWN = arguments.flag("markdown", bool, "Write the handbook of all settings, as Markdown.")


def _with_settings(command: Callable[..., int], *extra: inspect.Parameter) -> Callable[..., int]:
    signature = arguments.signature(extra)
    command.__signature__ = signature  # type: ignore[attr-defined]  # PEP 362
    command.__annotations__ = {
        name: parameter.annotation for name, parameter in signature.parameters.items()
    }
    return command
