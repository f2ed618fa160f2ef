"""What may be set while running: the default model and swarm presets. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

from lattice_actors.errors import BadRequest

MOST_CHARS = 256  # of a spec, an id or a name
MOST_PRESETS = 100
MOST_MODELS = 32  # of a preset

_FORBIDDEN = frozenset("\"'`$\\<>|;*?")


@attrs.frozen
class Wanted:
    """What a request wants changed; None: as it is. An empty default clears it."""

    default_model: str | None = None
    swarm_presets: Mapping[str, tuple[str, ...]] | None = None


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in *body*; an empty body is an empty object.

    Raises:
        BadRequest: it is something else.
    """
    try:
        parsed = msgspec.json.decode(body) if body.strip() else {}
    except msgspec.DecodeError as error:
        raise BadRequest(f"The body is not JSON: {error}.") from None
    if not isinstance(parsed, dict):
        raise BadRequest("The body must be a JSON object.")
    return parsed


def parse_wanted(body: bytes) -> Wanted:
    """Return what is to be changed.

    Raises:
        BadRequest: names the field.
    """
    fields = parse_object(body)
    default = fields.get("default_model")
    if default is not None and (not isinstance(default, str) or len(default) > MOST_CHARS):
        raise BadRequest(
            f"default_model must be text of at most {MOST_CHARS} characters.",
            param="default_model",
        )
    presets = fields.get("swarm_presets")
    if presets is not None and not isinstance(presets, dict):
        raise BadRequest(
            "swarm_presets must be an object: name to list of models.", param="swarm_presets"
        )
    return Wanted(default, _presets(presets) if presets is not None else None)


def _presets(given: Mapping[str, Any]) -> Mapping[str, tuple[str, ...]]:
    """Return what can be used; other values are dropped (contract 5)."""
    usable = {
        name: tuple(models)
        for name, models in given.items()
        if 0 < len(name) <= MOST_CHARS
        and isinstance(models, list)
        and 0 < len(models) <= MOST_MODELS
        and all(isinstance(model, str) and 0 < len(model) <= MOST_CHARS for model in models)
    }
    return dict(list(usable.items())[:MOST_PRESETS])


def parse_model(body: bytes) -> str:
    """Return the id in `alias` or `model`.

    Raises:
        BadRequest: there is none, or it has characters that no id has.
    """
    fields = parse_object(body)
    param = "alias" if fields.get("alias") is not None else "model"
    model = fields.get(param)
    if not isinstance(model, str) or not model.strip():
        raise BadRequest("alias or model must name a model on disk.", param=param)
    model = model.strip()
    if len(model) > MOST_CHARS or _FORBIDDEN & set(model) or not model.isprintable():
        raise BadRequest(
            f"{param} must be 1 to {MOST_CHARS} printable characters, "
            "without quotes and characters that mean something to a shell.",
            param=param,
        )
    return model
