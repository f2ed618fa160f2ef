"""Which server it is that answered, and what it has. Pure.

The address says little: llama.cpp and mlx_lm share one, and any of them may run anywhere. So they
are told apart by what they answer, and by that only they have:

LM Studio       /api/v0/models, with the state of each model
Ollama          /api/tags; /api/ps has what is loaded
llama.cpp       /props, with the number of its slots
vLLM            `owned_by` in /v1/models; a lattice-trio and llama-cpp-python too
mlx_lm.server   Python's BaseHTTP server with a list; or with an empty one and /health
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import TypeVar

import attrs
import msgspec

from lattice_actors.remote.listing import MODELS_PATH, Listing, chats, read_listing
from lattice_actors.remote.lmstudio import LOADED_PATH, read_own
from lattice_actors.remote.plan import UpstreamPlan

TAGS_PATH = "/api/tags"
RUNNING_PATH = "/api/ps"
PROPS_PATH = "/props"
HEALTH_PATH = "/health"
TELLING = (LOADED_PATH, TAGS_PATH, RUNNING_PATH, PROPS_PATH, HEALTH_PATH)  # besides MODELS_PATH

ONLY_MODEL = "default_model"  # what mlx_lm.server calls the model it was started with

_Shape = TypeVar("_Shape")


class Family(enum.Enum):
    """What kind of server it is; the value is what people call it."""

    LM_STUDIO = "LM Studio"
    OLLAMA = "Ollama"
    LLAMA_CPP = "llama.cpp server"
    LLAMA_CPP_PYTHON = "llama-cpp-python"
    MLX_LM = "mlx_lm.server"
    VLLM = "vLLM"
    LATTICE = "lattice-trio"
    OTHER = "OpenAI-compatible server"


@attrs.frozen
class Address:
    """Where to look."""

    url: str  # without "/v1" and without a slash at its end
    expected: str = ""  # who usually listens there, for the report
    name: str = ""  # of the upstream that is in the settings already
    key_env: str = ""  # the variable of its key

    @property
    def place(self) -> str:
        """The address in a form in which two can be compared."""
        return place_of(self.url)


def place_of(url: str) -> str:
    """Return *url* as it can be compared: one machine has several names for itself."""
    return re.sub(r"//(?:localhost|\[::1\])(?=[:/]|$)", "//127.0.0.1", url.casefold())


@attrs.frozen
class Answer:
    """What came back for one path."""

    status: int
    body: bytes = b""
    server: str = ""  # the header


@attrs.frozen
class FoundModel:
    """A model as its server names it."""

    name: str
    loaded: bool = False
    chats: bool = True


@attrs.frozen
class Server:
    """A server that can answer requests."""

    address: Address
    family: Family
    models: tuple[FoundModel, ...]
    slots: int | None = None  # answers at once, where it says so
    listed: bool = True  # False: its models must be named to be offered


@attrs.frozen
class Nothing:
    """No server that could be used, and why."""

    address: Address
    reason: str


class _Tag(msgspec.Struct):
    name: str
    details: dict[str, object] = {}


class _Tags(msgspec.Struct):
    models: list[_Tag]


class _Props(msgspec.Struct):
    default_generation_settings: dict[str, object]
    total_slots: int | None = None


class _Health(msgspec.Struct):
    status: str


def recognise(address: Address, answers: Mapping[str, Answer]) -> Server | Nothing:
    """Return what is at *address*, from the *answers* by path; one that did not come is missing."""
    tags = _read(answers.get(TAGS_PATH), _Tags)
    props = _read(answers.get(PROPS_PATH), _Props)
    main = answers.get(MODELS_PATH, Answer(0))
    listing = _listing(address, main)
    if (loaded := _loaded(answers.get(LOADED_PATH))) is not None and listing is not None:
        return _server(address, Family.LM_STUDIO, listing, loaded)
    if tags is not None and (listing is not None or tags.models):
        return _ollama(address, listing, tags, _read(answers.get(RUNNING_PATH), _Tags))
    if listing is not None:
        family = _family(listing, main, props)
        server = _server(address, family, listing, _first_model(family, listing))
        slots = props.total_slots if props is not None and family is Family.LLAMA_CPP else None
        return attrs.evolve(server, slots=slots if slots and slots > 0 else None)
    health = _read(answers.get(HEALTH_PATH), _Health)
    if _is_mlx_lm(main) and main.status == 200 and health is not None and health.status == "ok":
        # It scans the Hugging Face cache for its list, and says nothing where there is no cache.
        return Server(address, Family.MLX_LM, (FoundModel(ONLY_MODEL, True),), listed=False)
    return Nothing(address, _why_not(main))


def _family(listing: Listing, main: Answer, props: _Props | None) -> Family:
    match listing.kind:
        case "lattice":
            return Family.LATTICE
        case "vllm":
            return Family.VLLM
        case "alone":
            return Family.LLAMA_CPP_PYTHON
    if props is not None:
        return Family.LLAMA_CPP
    return Family.MLX_LM if _is_mlx_lm(main) else Family.OTHER


def _is_mlx_lm(main: Answer) -> bool:
    return main.server.startswith("BaseHTTP/")


def _first_model(family: Family, listing: Listing) -> frozenset[str]:
    """Return what is in memory for sure, where the list lets it be seen."""
    if family is Family.MLX_LM:  # the one it was started with is a path, the others are only cached
        return frozenset(model.name for model in listing.models if model.name.startswith("/"))
    return (
        frozenset(model.name for model in listing.models)
        if family is Family.VLLM
        else (listing.loaded or frozenset())
    )


def _server(address: Address, family: Family, listing: Listing, loaded: frozenset[str]) -> Server:
    models = (
        FoundModel(model.name, model.name in loaded, not model.embeds) for model in listing.models
    )
    return Server(address, family, tuple(models))


def _ollama(
    address: Address, listing: Listing | None, tags: _Tags, running: _Tags | None
) -> Server:
    """What cannot chat is told by its architecture, not only by its name."""
    loaded = {tag.name for tag in running.models} if running is not None else set()
    embeds = {tag.name for tag in tags.models if "bert" in str(tag.details.get("family", ""))}
    names = [tag.name for tag in tags.models]
    if listing is not None:
        names = [model.name for model in listing.models]
    models = (
        FoundModel(name, name in loaded, name not in embeds and chats(name)) for name in names
    )
    return Server(address, Family.OLLAMA, tuple(models), listed=listing is not None)


def _listing(address: Address, answer: Answer) -> Listing | None:
    if answer.status != 200:
        return None
    try:
        return read_listing(answer.body, UpstreamPlan(address.name or "server", address.url))
    except (ValueError, RecursionError):
        return None


def _loaded(answer: Answer | None) -> frozenset[str] | None:
    """Return what LM Studio has loaded; None: it is none, as its own list says states."""
    if answer is None or answer.status != 200:
        return None
    if b'"state"' not in answer.body and b'"id"' in answer.body:
        return None  # a list of another kind, by a server that takes any path for its own
    try:
        return frozenset(read_own(answer.body).loaded)
    except (ValueError, RecursionError):
        return None


def _read(answer: Answer | None, shape: type[_Shape]) -> _Shape | None:
    if answer is None or answer.status != 200:
        return None
    try:
        return msgspec.json.decode(answer.body, type=shape)
    except (ValueError, RecursionError):
        return None


def _why_not(main: Answer) -> str:
    if main.status in (401, 403):
        return f"wants a key (HTTP {main.status})"
    if main.status == 503:
        return "is there but not ready yet (HTTP 503)"
    if main.status == 200:
        return f"answers {MODELS_PATH}, but not with a list of models"
    return f"has no list of models ({MODELS_PATH} is HTTP {main.status})"
