"""What `lattice-trio models inspect` tells of one model. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from lattice_actors.catalog.weights import Tensor

from .template import Features
from .text import NOTHING, count, size

_PARTS = (".scales", ".biases")


@attrs.frozen
class Facts:
    """One model directory."""

    id: str
    path: Path
    reason: str | None = None  # why it cannot answer; what else could be read stands here, too
    kind: str | None = None
    architecture: str | None = None  # model_type of config.json
    classes: tuple[str, ...] = ()
    quantisation: str | None = None
    parameters: int | None = None
    disk_bytes: int | None = None
    weights_bytes: int | None = None
    memory_bytes: int | None = None  # what a load reserves
    context_tokens: int | None = None
    kv_bytes_per_token: int | None = None
    has_vision: bool = False
    template: Features | None = None  # None: a base model, or none could be read


def parameters(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> int:
    """Return the number of weights, those packed by MLX's quantisation counted as what they are.

    A packed matrix has its scales beside it: one for each group of weights.
    """
    total = 0
    for name, tensor in tensors.items():
        layer = name.removesuffix(".weight")
        if name.endswith(_PARTS) and f"{name.rpartition('.')[0]}.weight" in tensors:
            continue
        scales = tensors.get(f"{layer}.scales") if layer != name else None
        group = _group_size(config, layer)
        if scales is not None and group is not None:
            total += math.prod(scales.shape) * group
        else:
            total += math.prod(tensor.shape)
    return total


def quantisation(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> str:
    """Return how the weights are stored, in words."""
    said = _said(config)
    if "bits" not in said:
        kinds = sorted({tensor.dtype for tensor in tensors.values()})
        return f"none ({', '.join(kinds)})" if kinds else "none"
    text = f"{said['bits']} bits"
    if "group_size" in said:
        text += f", groups of {said['group_size']}"
    if "mode" in said:
        text += f" ({said['mode']})"
    others = sum(isinstance(value, dict | bool) for value in said.values())
    return text + (f"; {others} layers differ" if others else "")


def as_text(facts: Facts) -> str:
    """Return the facts for a person, one a line."""
    lines = [("model", facts.id), ("directory", str(facts.path))]
    if facts.reason is not None:
        lines.append(("cannot answer", facts.reason))
    classes = f" ({', '.join(facts.classes)})" if facts.classes else ""
    lines += [
        ("kind", facts.kind or NOTHING),
        ("architecture", f"{facts.architecture or NOTHING}{classes}"),
        ("parameters", _parameters(facts)),
        ("quantisation", facts.quantisation or NOTHING),
        ("on disk", size(facts.disk_bytes)),
        ("weights", size(facts.weights_bytes)),
        ("in memory", _memory(facts)),
        ("context", f"{count(facts.context_tokens)} tokens"),
        ("KV cache", _kv(facts)),
        ("tools", _tools(facts.template)),
        ("reasoning", _reasoning(facts.template)),
    ]
    if facts.has_vision:
        lines.append(("vision", "its images are not used here; a text model in this server"))
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in lines)


def as_json(facts: Facts) -> str:
    """Return the facts for a program."""
    return json.dumps({**attrs.asdict(facts), "path": str(facts.path)}, indent=2)


def _said(config: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in ("quantization", "quantization_config"):
        if isinstance(said := config.get(key), dict):
            return said
    return {}


def _group_size(config: Mapping[str, Any], layer: str) -> int | None:
    said = _said(config)
    own = said.get(layer)
    value = own.get("group_size") if isinstance(own, dict) else said.get("group_size")
    return value if isinstance(value, int) else None


def _parameters(facts: Facts) -> str:
    if facts.parameters is None:
        return NOTHING
    billions = facts.parameters / 1e9
    short = f"{billions:.1f} billion" if billions >= 1 else f"{facts.parameters / 1e6:.0f} million"
    bits = (facts.weights_bytes or 0) * 8 / max(1, facts.parameters)
    return f"{short} ({facts.parameters:,}; {bits:.1f} bits each)"


def _memory(facts: Facts) -> str:
    if facts.memory_bytes is None:
        return NOTHING
    return f"{size(facts.memory_bytes)} reserved by a load: weights, answers that run, prompts kept"


def _kv(facts: Facts) -> str:
    per_token = facts.kv_bytes_per_token
    if not per_token:
        return NOTHING
    full = facts.context_tokens
    whole = f", {size(per_token * full)} for a full context" if full else ""
    return f"{size(per_token)} a token{whole}"


def _tools(template: Features | None) -> str:
    if template is None:
        return NOTHING
    return "taken by its template" if template.tools else "described in the system message"


def _reasoning(template: Features | None) -> str:
    if template is None:
        return NOTHING
    if template.thinking is None:
        return "takes " + ", ".join(template.switches) if template.switches else "no"
    between = f"between {template.thinking[0]} and {template.thinking[1]}"
    return between + (f"; takes {', '.join(template.switches)}" if template.switches else "")
