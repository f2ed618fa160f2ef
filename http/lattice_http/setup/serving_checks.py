"""Would `serve` start with these settings, and could it answer? Verdicts on facts. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from lattice_actors.catalog.entry import Kind, Snapshot, Unusable
from lattice_http.hosts import check_bind, is_loopback

from .verdicts import Verdict, fine, problem, warning

LEAST_KEY_CHARS = 16
LEAST_KEY_SIGNS = 6  # different ones; "aaaaaaaaaaaaaaaa" is long
MAKE_KEY = 'python -c "import secrets; print(secrets.token_urlsafe(32))" makes a good one'
SHOWN = 8  # unusable models one by one
_GUESSED_FIRST = ("changeme", "password", "secret", "lattice", "test", "1234", "api-key", "apikey")


class Listener(enum.Enum):
    """Who has the port."""

    NOBODY = "nobody"
    OURS = "ours"
    STRANGER = "stranger"
    NOT_OURS_TO_HAVE = "refused"  # the system does not let us listen there


@attrs.frozen
class FileFacts:
    """The settings file."""

    path: Path | None  # None: there is none
    keys: tuple[str, ...] = ()  # settings that are secrets and stand in it
    readable_by_others: bool = False


@attrs.frozen
class DoorFacts:
    """Where it would listen, and who may come in."""

    host: str
    port: int
    listener: Listener
    said: str = ""  # the system's words, where it refuses
    api_key: str | None = attrs.field(default=None, repr=False)
    public_without_key: bool = False


@attrs.frozen
class ModelFacts:
    """The models of this machine."""

    named: Path | None  # the folder that was asked for
    found: Snapshot
    there: bool = True  # whether that folder is one
    builtin: bool = False  # it would be offered


@attrs.frozen
class UpstreamFacts:
    """One look at another server."""

    name: str
    url: str
    models: int = 0
    chats: int = 0
    loaded: int | None = None  # LM Studio
    fault: str = ""  # why it gave no list
    code: str = ""  # of the fault
    key_env: str = ""
    itself: bool = False  # it is the address of this server


@attrs.frozen
class CloudFacts:
    """Whether anything goes to the cloud."""

    key: bool
    models: tuple[str, ...]
    barred: str = ""  # the setting that keeps everything here
    asked: bool = False  # whether it was asked at all
    refused: str = ""  # what it said against it


def check_file(facts: FileFacts, warnings: Sequence[str]) -> Iterator[Verdict]:
    """The settings file, and what the reader of the settings remarked."""
    if facts.path is None:
        yield fine("settings", "no lattice.toml: defaults and variables (lattice-trio init)")
    elif facts.keys and facts.readable_by_others:
        found = f"{facts.path} has {', '.join(facts.keys)} and others on this machine can read it"
        yield warning("settings", found, f"chmod 600 {facts.path}, or use a variable")
    else:
        yield fine("settings", str(facts.path))
    for said in warnings:
        yield warning("settings", said, "lattice-trio config shows where each value is from")


def check_door(facts: DoorFacts) -> Iterator[Verdict]:
    """The address, and the key."""
    where = f"{facts.host or '*'}:{facts.port}"
    match facts.listener:
        case Listener.NOBODY:
            yield fine("port", f"{where} is free")
        case Listener.OURS:
            yield fine("port", f"a lattice-trio is serving at {where} now")
        case Listener.STRANGER:
            remedy = "stop it, or choose another with --port"
            yield problem("port", f"{where} is taken by another program", remedy)
        case Listener.NOT_OURS_TO_HAVE:
            yield problem("port", facts.said, "choose another address with --host or --port")
    yield _check_key(facts)


def _check_key(facts: DoorFacts) -> Verdict:
    public = not is_loopback(facts.host)
    refusal = check_bind(facts.host, facts.api_key, facts.public_without_key)
    if refusal is not None:
        return problem("key", refusal, f"set LATTICE_API_KEY; {MAKE_KEY}")
    if not facts.api_key:
        if public:
            return warning("key", f"none, and others can reach {facts.host or '*'}", MAKE_KEY)
        return fine("key", "none; only this machine can reach the server")
    weakness = weakness_of(facts.api_key)
    if weakness and public:
        return warning("key", f"{weakness}, and others can reach {facts.host or '*'}", MAKE_KEY)
    return fine("key", "set" + (f" ({weakness})" if weakness else ""))


def weakness_of(key: str) -> str:
    """Return what is wrong with *key*, without any part of it; "": nothing."""
    if len(key) < LEAST_KEY_CHARS:
        return f"shorter than {LEAST_KEY_CHARS} characters"
    if len(set(key)) < LEAST_KEY_SIGNS:
        return "the same few characters again and again"
    if any(word in key.lower() for word in _GUESSED_FIRST) and len(key) < 2 * LEAST_KEY_CHARS:
        return "has a word in it that is guessed first"
    if not key.isascii() or not key.isprintable():
        return "has characters that many clients cannot send"
    return ""


def check_models(facts: ModelFacts) -> Iterator[Verdict]:
    """The folder, what is in it, and what in it is of no use."""
    if facts.named is not None and not facts.there:
        yield warning("models", f"{facts.named} is no folder", "name the right one: --model-root")
    chats = sum(model.kind is Kind.CHAT for model in facts.found.models)
    others = len(facts.found.models) - chats
    told = f"{chats} for chats" + (f", {others} for embeddings" if others else "")
    root = f" in {facts.found.root}" if facts.found.root is not None else ""
    if facts.found.models:
        yield fine("models", told + root)
    elif facts.builtin:
        yield fine("models", f"none{root}; the built-in SmolLM2 answers")
    elif facts.there:
        yield fine("models", f"none{root or ' on this machine'}")
    for broken in facts.found.unusable[:SHOWN]:
        yield warning("models", f"{broken.id}: {broken.reason}", _repair(broken))
    rest = len(facts.found.unusable) - SHOWN
    if rest > 0:
        yield warning("models", f"{rest} more cannot be used", "GET /v1/models?unusable has all")


def _repair(broken: Unusable) -> str:
    if "GGUF" in broken.reason:
        return "get its MLX version, or serve it with LM Studio, Ollama or llama.cpp as an upstream"
    if "cannot be read" in broken.reason:
        return f"let this user read {broken.path}"
    return f"download it again, or remove {broken.path}"


def check_upstream(facts: UpstreamFacts) -> Verdict:
    """One other server."""
    check = f"upstream {facts.name}"
    if facts.itself:
        return warning(check, f"{facts.url} is this server itself", "take it out, or change --port")
    if facts.fault:
        return warning(check, facts.fault, _mend(facts))
    if not facts.models:
        return warning(check, f"{facts.url} has no model", "load or pull one there")
    loaded = "" if facts.loaded is None else f", loaded: {facts.loaded}"
    return fine(check, f"{facts.url}: models: {facts.models}, for chats: {facts.chats}{loaded}")


def _mend(facts: UpstreamFacts) -> str:
    match facts.code:
        case "upstream_refused_key":
            if facts.key_env:
                return f"put the key that {facts.url} wants into {facts.key_env}"
            return "name the variable of its key: api_key_env in its [[upstream]]"
        case "upstream_unreachable":
            return f"start it, or correct {facts.url}, or take it out"
        case "upstream_timeout":
            return f"see what hangs at {facts.url}; probe_timeout_s is for slow ones"
        case _:
            return f"see what answers at {facts.url}/v1/models; without a list, name its `models`"


def check_cloud(facts: CloudFacts) -> Verdict:
    """Whether the cloud is set up; what it said, where it was asked."""
    models = ", ".join(facts.models)
    if facts.barred:
        return fine("cloud", f"off: {facts.barred}")
    if not facts.key and not facts.models:
        return fine("cloud", "off: neither key nor model")
    if not facts.key:
        remedy = "set ANTHROPIC_API_KEY, or take the model out"
        return warning("cloud", f"{models} is named, but there is no key", remedy)
    if not facts.models:
        return fine("cloud", "off: there is a key, but no anthropic_model")
    if facts.refused:
        return warning("cloud", facts.refused, "correct key, address or names of models")
    asked = "it knows the key" if facts.asked else "not asked; --cloud does"
    return fine("cloud", f"{models}; {asked}")


def check_answers(
    models: ModelFacts, upstreams: Sequence[UpstreamFacts], cloud: CloudFacts, *, mlx: bool
) -> Verdict:
    """Whether there is anything at all that could answer a chat; *mlx*: models here can run."""
    chats = sum(model.kind is Kind.CHAT for model in models.found.models) + models.builtin
    elsewhere = sum(facts.chats for facts in upstreams if not facts.itself)
    if cloud.key and cloud.models and not cloud.barred:
        elsewhere += len(cloud.models)
    if (chats and mlx) or elsewhere:
        return fine(
            "answers", f"models for chats: {chats if mlx else 0} here, {elsewhere} elsewhere"
        )
    remedy = "lattice-trio init finds servers and folders, and says how to get a model"
    return problem("answers", "there is no model that could answer", remedy)
