"""The list of models that a server sends, whoever wrote the server. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, TypeAlias

import attrs
import msgspec

from lattice_actors.catalog.entry import Kind, ModelEntry, Standing

from .lmstudio import standing
from .plan import UpstreamPlan

# By their lists. `alone`: any next request, even for the list, interrupts the one that runs.
Guess: TypeAlias = Literal["openai", "vllm", "lattice", "alone"]

MODELS_PATH = "/v1/models"
MAX_LIST_BYTES = 4 * 1024 * 1024
MAX_MODELS = 512
MAX_ID_CHARS = 256

# What has one of these words between borders answers no chat.
_NO_CHAT = re.compile(
    r"(?:^|[/ _-])(?:embed|embeddings?|nomic-embed|bge|e5|gte|minilm)(?:$|[/ :_-])", re.I
)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]|^\s|\s$")
_ALONE = "me"  # `owned_by` of llama-cpp-python's server
_OURS = frozenset({"mlx"})  # `owned_by` of what a lattice runs itself


class _Meta(msgspec.Struct):
    n_ctx: int | None = None
    n_ctx_train: int | None = None


class _Instance(msgspec.Struct):
    id: str


class _Model(msgspec.Struct):
    id: str
    created: float | None = None
    owned_by: str | None = None
    kind: str | None = None  # lattice
    context_length: int | None = None  # lattice, OpenRouter
    max_model_len: int | None = None  # vLLM
    max_context_length: int | None = None  # LM Studio
    meta: _Meta | None = None  # llama.cpp
    loaded_instances: list[_Instance] | None = None  # LM Studio's newer form


class _Listing(msgspec.Struct):
    data: list[_Model] | None = None
    models: list[_Model] | None = None


@attrs.frozen
class Listed:
    """One model as its server names it."""

    name: str
    created: int = 0
    context_tokens: int | None = None
    embeds: bool = False


@attrs.frozen
class Listing:
    """What a server has."""

    models: tuple[Listed, ...] = ()
    kind: Guess = "openai"
    loaded: frozenset[str] | None = None  # where the list itself says so


def read_listing(body: bytes, plan: UpstreamPlan) -> Listing:
    """Return what the list in *body* offers, as far as *plan* wants it; each name once.

    Raises:
        ValueError: it is no list of models.
    """
    listing = msgspec.json.decode(body, type=_Listing)
    found = listing.data if listing.data is not None else listing.models
    if found is None:
        raise ValueError("neither `data` nor `models`")
    lattice = any(model.kind is not None and model.owned_by for model in found)
    vllm = any(model.owned_by == "vllm" for model in found)
    named = set(plan.named_models)
    models: dict[str, Listed] = {}
    loaded: set[str] | None = None
    for model in found:
        if model.loaded_instances is not None:
            loaded = loaded or set()
            loaded |= {model.id} if model.loaded_instances else set()
        if not 0 < len(model.id) <= MAX_ID_CHARS or _UNPRINTABLE.search(model.id):
            continue
        # What a lattice has from elsewhere may be what it has from us: name it to go there.
        if lattice and model.owned_by not in _OURS and model.id not in named:
            continue
        if plan.wants(model.id) and len(models) < MAX_MODELS:
            models.setdefault(model.id, _listed(model, plan))
    alone = bool(found) and all(model.owned_by == _ALONE for model in found)
    kind: Guess = "lattice" if lattice else "vllm" if vllm else "alone" if alone else "openai"
    return Listing(tuple(models.values()), kind, None if loaded is None else frozenset(loaded))


def unlisted(plan: UpstreamPlan) -> Listing:
    """Return what a server has that keeps no list: the models the plan names."""
    return Listing(
        tuple(
            Listed(name, embeds=plan.embeds(name) or not chats(name)) for name in plan.named_models
        )
    )


def typed(listing: Listing, embeds: Mapping[str, bool], plan: UpstreamPlan) -> Listing:
    """Return *listing* with what LM Studio says of its models: which of them embed."""
    return attrs.evolve(
        listing,
        models=tuple(
            attrs.evolve(
                model, embeds=plan.embeds(model.name) or embeds.get(model.name, model.embeds)
            )
            for model in listing.models
        ),
    )


def chats(name: str) -> bool:
    """Whether a model of this name answers chats: all do that are not named for embeddings."""
    return _NO_CHAT.search(name) is None


def entries(
    plan: UpstreamPlan, listing: Listing, loaded: Mapping[str, int | None] | None
) -> tuple[ModelEntry, ...]:
    """Return the catalog's entries; *loaded* is what LM Studio has in memory, with its context."""
    names = None if loaded is None else frozenset(loaded)
    return tuple(
        ModelEntry(
            id=plan.id_of(model.name),
            kind=Kind.EMBEDDING if model.embeds else Kind.CHAT,
            backend=plan.name,
            name=model.name,
            created=model.created,
            context_tokens=(loaded or {}).get(model.name) or model.context_tokens,
            has_vision=True,  # not known: it says so itself if it takes no images
            standing=standing(model.name, names, plan.policy)
            if not model.embeds
            else Standing.OPEN,
        )
        for model in listing.models
    )


def _listed(model: _Model, plan: UpstreamPlan) -> Listed:
    meta = model.meta or _Meta()
    contexts = (
        model.context_length,
        model.max_model_len,
        model.max_context_length,
        meta.n_ctx,
        meta.n_ctx_train,
    )
    context = next((length for length in contexts if length is not None and length > 0), None)
    by_name = model.kind is None and not chats(model.id)
    embeds = plan.embeds(model.id) or model.kind == "embedding" or by_name
    created = model.created
    known = created is not None and 0 < created < 1e11
    return Listed(model.id, int(created) if known and created else 0, context, embeds)
