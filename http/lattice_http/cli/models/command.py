"""The commands of `lattice-trio models`: flags in, lines and an exit code out."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from lattice_actors.catalog.entry import ModelEntry, Unusable
from lattice_actors.exit_codes import FAILED, INTERRUPTED, OK, WRONG_USE
from lattice_actors.settings import Settings
from lattice_http.cli.arguments import effective_settings
from lattice_http.cli.examples import epilogue
from lattice_http.cli.terminal import say
from lattice_http.hosts import own_url

from . import here, listing, live

Config = Annotated[str | None, Parameter(help="Read this file instead of lattice.toml.")]
Root = Annotated[str | None, Parameter(help="The folder of models. [LATTICE_MODEL_ROOT]")]
Switch = partial(Parameter, negative="", show_default=False)
Json = Annotated[bool, Switch(help="Write JSON.")]

app = App(
    name="models",
    help="What models there are, what they take, and getting more.",
    help_format="plaintext",
    help_epilogue=epilogue("models"),
)


@app.default
def show(
    *,
    base_url: Annotated[
        str | None, Parameter(help="A server to ask for states; default: where serve listens.")
    ] = None,
    api_key: Annotated[str | None, Parameter(help="Its key. [LATTICE_API_KEY]")] = None,
    model_root: Root = None,
    config: Config = None,
    json: Json = False,
) -> int:
    """List the models: state, size on disk and in memory, context; and what cannot answer, and why.

    Needs no server. States are those of the server that answers at the configured address.
    """
    settings = _settings(model_root=model_root, api_key=api_key, config=config)
    if base_url is not None and not base_url.startswith(("http://", "https://")):
        say(f"--base-url begins with http:// or https://, unlike {base_url!r}")
        return WRONG_USE
    served, problem = None, None
    try:
        served = live.ask(base_url or own_url(settings.host, settings.port), settings.api_key)
    except live.NotServed as error:
        problem = str(error)
    found = here.scan(settings)
    rows = listing.merged(here.rows(found, settings), served)
    if json:
        _write(listing.as_json(rows, found.root, served, problem))
        return OK
    _write(listing.as_table(rows, found.root, served, problem))
    if base_url is not None and problem is not None:
        say(problem)
        return FAILED
    return OK


@app.command(help_epilogue=epilogue("models pull"))
def pull(
    repo: Annotated[str, Parameter(help="OWNER/NAME on the hub.")],
    /,
    *,
    revision: Annotated[str | None, Parameter(help="A branch, tag or commit.")] = None,
    to: Annotated[
        Path | None, Parameter(help="The folder of models it goes into; default: the first there.")
    ] = None,
    config: Config = None,
) -> int:
    """Download a model: only what MLX needs of it, checked, and only if it can be run here.

    An interrupted download goes on where it was.
    HF_TOKEN opens gated repositories, HF_ENDPOINT names another hub.
    """
    from rich.console import Console

    from .files import is_repository
    from .hub import HubProblem, the_hub
    from .progress import PullProgress
    from .pull import PullFailed
    from .pull import pull as get

    if not is_repository(repo):
        say(f"{repo!r} is no repository: write OWNER/NAME, as in the address of its page")
        return WRONG_USE
    root = to.expanduser().absolute() if to else here.root_of(_settings(config=config))
    try:
        with PullProgress(Console(stderr=True)) as progress:
            pulled = get(repo, revision, root, the_hub(), progress)
    except (PullFailed, HubProblem) as error:
        say(str(error))
        return FAILED
    except OSError as error:
        say(f"cannot write to {root}: {error.strerror or error}; what is there is kept")
        return FAILED
    except KeyboardInterrupt:
        say("interrupted; the same command goes on from here")
        return INTERRUPTED
    if isinstance(pulled.entry, Unusable):
        say(f"{pulled.path} is whole, but cannot answer: {pulled.entry.reason}")
        return FAILED
    verb = "got" if pulled.got_bytes else "is all there:"
    _write(f"{repo} {verb} {pulled.path}")
    say("a running server sees it after a rescan (dashboard), or when it is started again")
    return OK


@app.command(help_epilogue=epilogue("models inspect"))
def inspect(
    model: Annotated[str, Parameter(help="An id, a part of one, or a model directory.")],
    /,
    *,
    model_root: Root = None,
    config: Config = None,
    json: Json = False,
) -> int:
    """Tell everything about one model: architecture, quantisation, memory, template, what is wrong.

    Exit code 1: there is none, or it cannot answer.
    """
    from . import inspecting
    from .facts import as_json, as_text

    settings = _settings(model_root=model_root, config=config)
    found = _find(model, settings)
    if isinstance(found, str):
        say(found)
        return FAILED
    reserved = here.reserved_bytes(found, settings) if isinstance(found, ModelEntry) else None
    facts = inspecting.inspect(found, reserved)
    _write(as_json(facts) if json else as_text(facts))
    return OK if facts.reason is None else FAILED


@app.command(help_epilogue=epilogue("models clean"))
def clean(
    *,
    all: Annotated[  # noqa: A002 - the flag's name
        bool, Switch(help="Also the prepared built-in model in use.")
    ] = False,
    incomplete: Annotated[bool, Switch(help="Also downloads that were not finished.")] = False,
    dry_run: Annotated[bool, Switch(help="Only tell what would go.")] = False,
    yes: Annotated[bool, Switch(help="Do not ask.")] = False,
    model_root: Root = None,
    config: Config = None,
) -> int:
    """Remove prepared models that no start looks for any more; never a model of yours."""
    from . import clean as tidying
    from .text import size, table

    settings = _settings(model_root=model_root, config=config)
    here.use_cache(settings)
    leftovers = list(tidying.prepared(also_current=all))
    if incomplete:
        leftovers += tidying.pulls(here.root_of(settings))
    if not leftovers:
        _write("nothing to remove")
        return OK
    going = [one for one in leftovers if not one.busy]
    rows = [
        (size(one.bytes), one.what + (" (in use: it stays)" if one.busy else ""), str(one.path))
        for one in leftovers
    ]
    lines = table(("size", "what", "where"), rows)
    _write("\n".join([*lines, "", f"{size(sum(one.bytes for one in going))} to remove"]))
    if dry_run or not going:
        return OK
    if not yes and not _agreed():
        return FAILED
    for one in going:
        try:
            tidying.remove(one)
        except OSError as error:
            say(f"cannot remove {one.path}: {error.strerror or error}")
            return FAILED
    _write("removed")
    return OK


def _agreed() -> bool:
    """Ask the person at the terminal; without one, nothing is removed."""
    if not sys.stdin.isatty():
        say("nothing was removed: nobody is there to be asked, so say --yes")
        return False
    sys.stderr.write("remove? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _find(wanted: str, settings: Settings) -> ModelEntry | Unusable | str:
    """Return the model that *wanted* means, or the sentence that says why there is none."""
    path = Path(wanted).expanduser()
    if path.is_dir():
        return here.examine(path)
    found = here.find(here.scan(settings), wanted)
    if not isinstance(found, list):
        return found
    if found:
        return f"{wanted!r} may be {', '.join(found[:5])}"
    return f"there is no model {wanted!r}; `lattice-trio models` lists what there is"


def _settings(**values: str | None) -> Settings:
    """Return the settings as the flags, the environment and the file have them."""
    return effective_settings(values).settings


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
