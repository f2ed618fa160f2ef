"""`lattice-trio init`: look at what there is, propose settings, show the difference, write them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import attrs
import trio
from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from lattice_actors.capability.roles import find_roles
from lattice_actors.catalog import discovery
from lattice_actors.engine import builtin
from lattice_actors.exit_codes import FAILED
from lattice_actors.settings import KEYS, LM_STUDIO, Effective
from lattice_actors.settings.upstreams import read_url
from lattice_actors.settings.values import WrongValue
from lattice_http.setup.looking import USUAL, look
from lattice_http.setup.proposal import Folder, Known, Proposal, make_proposal
from lattice_http.setup.servers import Address, Server, place_of
from lattice_http.setup.telling import diff_lines, found_lines, next_steps, nothing_steps
from lattice_http.setup.writing import CannotAdd, added, fresh

from .arguments import configuration_directory
from .target import Target
from .terminal import WRONG_USE, say

_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def init(
    *,
    output: Annotated[
        Path | None,
        Parameter(help="The file; else the one that serve would read, or ./lattice.toml."),
    ] = None,
    url: Annotated[
        list[str] | None,
        Parameter(
            name=("--url", "--lmstudio-url"),
            help="A server to look at besides the usual ports. May be given several times.",
            negative="",
        ),
    ] = None,
    key_env: Annotated[
        str,
        Parameter(
            help="The environment variable with the key of the servers named by --url.",
            show_default=False,
        ),
    ] = "",
    model_root: Annotated[
        list[Path] | None,
        Parameter(
            help="A folder of models instead of the usual ones. May be given several times.",
            negative="",
        ),
    ] = None,
    no_search: Annotated[
        bool,
        Parameter(
            help="Look only at what is named here or in the file.", negative="", show_default=False
        ),
    ] = False,
    dry_run: Annotated[
        bool, Parameter(help="Write nothing.", negative="", show_default=False)
    ] = False,
    force: Annotated[
        bool,
        Parameter(help="Change the file if it is there already.", negative="", show_default=False),
    ] = False,
) -> int:
    """Find models and servers, and write a lattice.toml with upstreams and roles."""
    environ = os.environ
    flag = "--key-env"
    try:
        key_env = key_env and str(KEYS["api_key_env"].read(key_env))
        flag = "--url"
        named = tuple(Address(read_url(one), key_env=key_env) for one in url or ())
    except WrongValue as error:
        say(f"{flag} {error}")
        return WRONG_USE
    target = Target.find(output, environ)
    settings = target.settings(environ)
    folders = tuple(_folders(model_root or (), settings, search=not no_search))
    addresses = _addresses(named, settings, search=not no_search)
    looked = trio.run(look, addresses, environ)
    servers = [one for one in looked if isinstance(one, Server)]
    has_builtin = builtin.locate() is not None
    known = _known(settings, model_root or ())
    proposal = make_proposal(folders, servers, known, builtin=has_builtin)
    home = Path(environ.get("HOME", "/"))
    _print(found_lines(folders, looked, home, builtin=has_builtin))
    if not any(server.models for server in servers) and not (
        proposal.builtin or any(folder.found.models for folder in folders)
    ):
        _print(nothing_steps(builtin.INSTALL))
        return FAILED
    keep = target.text is not None and settings is not None
    return _write(target, proposal, home, environ, keep=keep, dry_run=dry_run, force=force)


def _folders(
    named: Sequence[Path], settings: Effective | None, *, search: bool
) -> Iterable[Folder]:
    """Look into the folders that are named, or else into the usual ones that are there."""
    own = settings.settings.model_root if settings is not None else None
    roots = [root.expanduser().absolute() for root in named] or ([own] if own is not None else [])
    if search and not named:
        roots += [root for root in discovery.roots() if root.is_dir()]
    for root in dict.fromkeys(roots):
        yield Folder(root, discovery.scan(root), root.is_dir())


def _addresses(
    named: Sequence[Address], settings: Effective | None, *, search: bool
) -> list[Address]:
    """Return where to look, each place once; what the settings say of it comes first."""
    known = _upstreams(settings)
    expected = {address.place: address.expected for address in USUAL}
    every = [*known, *named, *(USUAL if search else ())]
    places = {address.place: address for address in reversed(every)}
    return [
        attrs.evolve(places[place], expected=expected.get(place, ""))
        for place in dict.fromkeys(address.place for address in every)
    ]


def _upstreams(effective: Effective | None) -> list[Address]:
    if effective is None:
        return []
    settings = effective.settings
    plans = [table.plan() for table in settings.upstream]
    found = [Address(plan.url, "", plan.name, plan.api_key_env) for plan in plans]
    if settings.lm_studio_url is not None:
        found.append(Address(settings.lm_studio_url, "", LM_STUDIO))
    return found


def _known(effective: Effective | None, named: Sequence[Path]) -> Known:
    if effective is None:
        return Known()
    settings = effective.settings
    directories = (Path.cwd(), configuration_directory(os.environ))
    roles = find_roles(settings.model_roles_json, settings.model_roles_file, directories)
    return Known(
        {place_of(address.url): address.name for address in _upstreams(effective)},
        # A folder that is named now is meant to take the place of the other.
        None if named else settings.model_root,
        own_roles=roles.source != "built in" and not settings.roles,
    )


def _write(
    target: Target,
    proposal: Proposal,
    home: Path,
    environ: Mapping[str, str],
    *,
    keep: bool,
    dry_run: bool,
    force: bool,
) -> int:
    """Show the difference, and write the file where that is allowed. *keep* what stands in it."""
    try:
        text = added(target.text or "", proposal, home) if keep else fresh(proposal, home)
        effective = target.read(text, environ)  # what is written is always accepted
    except CannotAdd as error:
        say(f"{target.path}: {error}; --output FILE writes the proposal elsewhere")
        return FAILED
    for note in (*proposal.notes, *_overruled(effective, text, target)):
        say(f"note: {note}")
    if text == target.text:
        _print([f"{target.path} has all of it already"])
        return 0
    _print(diff_lines(target.text, text, str(target.path)), styles=_STYLES)
    if dry_run:
        say("nothing is written (--dry-run)")
        return 0
    if target.text is not None and not force:
        say(f"{target.path} is there already; --force makes the change")
        return FAILED
    try:
        target.put(text)
    except OSError as error:
        say(f"cannot write {target.path}: {error.strerror or error}")
        return FAILED
    say(f"wrote {target.path}")
    file = None if target.is_found(environ) else target.path
    _print(next_steps(file, effective.settings.host, effective.settings.port))
    return 0


def _overruled(effective: Effective, text: str, target: Target) -> Iterable[str]:
    """Say what of the file has no effect, since a variable goes before it."""
    for name in ("model_root", "upstream", "roles"):
        origin = effective.origins[name]
        if origin not in ("default", str(target.path)) and name in text:
            yield f"{origin} is set in the environment and goes before {name} in the file"
    if effective.settings.model is not None:
        yield f"model ({effective.origins['model']}) is the only one that answers, whatever is here"
    elif effective.settings.locality == "local-only" and effective.settings.upstream:
        yield "locality is local-only: no other server is asked"


def _print(lines: Iterable[str], styles: Mapping[str, str] | None = None) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        console.print(Text(line, (styles or {}).get(line[:1], "")))
