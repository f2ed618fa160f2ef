"""What to write down of what was found: a folder of models, other servers, roles. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from lattice_actors.catalog.entry import Kind, ModelEntry, Snapshot
from lattice_actors.settings.upstreams import RESERVED

from .role_names import Candidate, propose
from .servers import Family, Server

LOADS_FIRST_S = 300  # servers that load a model for the request answer nothing until it is there

_NAMES: Mapping[Family, str] = {
    Family.LM_STUDIO: "lmstudio",
    Family.OLLAMA: "ollama",
    Family.LLAMA_CPP: "llamacpp",
    Family.LLAMA_CPP_PYTHON: "llamacpp-python",
    Family.MLX_LM: "mlx-lm",
    Family.VLLM: "vllm",
    Family.LATTICE: "lattice",
    Family.OTHER: "server",
}


@attrs.frozen
class Folder:
    """A folder that was looked into."""

    root: Path
    found: Snapshot
    there: bool = True

    @property
    def chats(self) -> tuple[ModelEntry, ...]:
        """The models that can answer a chat."""
        return tuple(
            model
            for model in self.found.models
            if model.kind is Kind.CHAT and model.has_chat_template
        )


@attrs.frozen
class Table:
    """One `[[upstream]]` to be written, name and address first."""

    title: str
    said: Mapping[str, object]


@attrs.frozen
class Known:
    """What the settings say already; it is kept."""

    upstreams: Mapping[str, str] = {}  # `place_of` the address, to its name
    model_root: Path | None = None
    own_roles: bool = False  # they come from a JSON file or variable, which would go first


@attrs.frozen
class Proposal:
    """What is to be added to the settings."""

    model_root: Path | None = None
    builtin: bool = False  # there is nothing but the model that comes with the project
    upstreams: tuple[Table, ...] = ()
    roles: Mapping[str, tuple[str, ...]] = {}
    notes: tuple[str, ...] = ()


def make_proposal(
    folders: Sequence[Folder], servers: Sequence[Server], known: Known, *, builtin: bool
) -> Proposal:
    """Return what to write down of *folders* and *servers*, best or nearest first.

    A folder without models and a server without any that chats are left out: with them in the
    settings, the built-in model would not be offered. *builtin*: whether there is one.
    """
    notes: list[str] = []
    folder = _best(folders, known)
    taken = set(known.upstreams.values()) | RESERVED
    tables: list[Table] = []
    candidates = [Candidate(model.id) for model in folder.chats] if folder is not None else []
    for server in servers:
        if not any(model.chats for model in server.models):
            continue
        name = server.address.name or known.upstreams.get(server.address.place, "")
        if not name:
            name = _free(_NAMES[server.family], taken)
            taken.add(name)
            tables.append(Table(server.family.value, _said(name, server)))
        candidates += _candidates(name, server)
    notes += _notes(folders, folder, servers)
    if known.own_roles:
        notes.append("roles are left alone: a JSON file or variable of roles goes before [roles]")
    return Proposal(
        model_root=folder.root if folder is not None and folder.root != known.model_root else None,
        builtin=builtin and folder is None and not candidates,
        upstreams=tuple(tables),
        roles={} if known.own_roles else propose(candidates),
        notes=tuple(notes),
    )


def _best(folders: Sequence[Folder], known: Known) -> Folder | None:
    """Return the folder with the most models; the one in the settings stays while it has any."""
    usable = [folder for folder in folders if folder.found.models]
    chosen = [folder for folder in usable if folder.root == known.model_root]
    most = max(usable, key=lambda folder: len(folder.found.models), default=None)
    return chosen[0] if chosen else most


def _candidates(name: str, server: Server) -> Iterator[Candidate]:
    for model in server.models:
        if model.chats:
            yield Candidate(f"{name}/{model.name}", model.name, model.loaded)


def _free(name: str, taken: set[str]) -> str:
    numbered = (f"{name}-{number}" for number in range(2, len(taken) + 3))
    return next(one for one in (name, *numbered) if one not in taken)


def _said(name: str, server: Server) -> dict[str, object]:
    said: dict[str, object] = {"name": name, "url": server.address.url}
    if server.address.key_env:
        said["api_key_env"] = server.address.key_env
    if server.family is Family.LM_STUDIO:
        said["kind"] = "lmstudio"
        said["policy"] = "prefer"  # the roles name models that are not loaded, too
    if not server.listed:
        said["models"] = [model.name for model in server.models]
    if server.family in (Family.LM_STUDIO, Family.OLLAMA):
        said["model_concurrency"] = 1  # what they do at once unless told otherwise
    if server.slots is not None:
        said["concurrency"] = server.slots
    if server.family in (Family.LM_STUDIO, Family.OLLAMA, Family.MLX_LM):
        said["first_byte_timeout_s"] = LOADS_FIRST_S
    return said


def _notes(
    folders: Sequence[Folder], chosen: Folder | None, servers: Sequence[Server]
) -> Iterator[str]:
    for folder in folders:
        if folder is not chosen and folder.found.models and chosen is not None:
            yield (
                f"only one folder can be served: {folder.root} is left out; "
                f"--model-root {folder.root} takes it instead"
            )
    studio = any(server.family is Family.LM_STUDIO for server in servers)
    if studio and chosen is not None and {".lmstudio", "lm-studio"} & set(chosen.root.parts):
        yield (
            f"{chosen.root} is LM Studio's own folder: a model that is asked for here and at "
            "lmstudio/ is in memory twice"
        )
