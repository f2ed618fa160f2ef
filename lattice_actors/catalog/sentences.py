"""How an embedding model makes one vector of a text, as the files of sentence-transformers say.

``modules.json`` names the steps: Transformer, Pooling, perhaps Normalize. A step of another kind
would change the vectors, so a model that has one is refused rather than answered wrongly. Models
without these files are taken as their family is used: encoders by the mean of their tokens,
decoders by their last one, normalised.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import attrs

from .weights import BrokenModel

Pooling: TypeAlias = Literal["mean", "cls", "max", "last"]

# model_type -> whether positions count from behind the padding id, as in fairseq's RoBERTa.
ENCODERS: Mapping[str, bool] = {
    "bert": False,
    "roberta": True,
    "xlm-roberta": True,
    "camembert": True,
}
MAX_JSON_BYTES = 1024 * 1024  # these files have some hundred bytes
_STEPS = ("Transformer", "Pooling", "Normalize")
_POOLINGS: Mapping[str, Pooling] = {
    "mean": "mean",
    "mean_tokens": "mean",
    "cls": "cls",
    "cls_token": "cls",
    "max": "max",
    "max_tokens": "max",
    "lasttoken": "last",
}
# Trained so that the beginning of a vector is one, too; nothing in their files says so.
_NESTED = re.compile(r"qwen3-embedding|mxbai-embed-(large|2d)|arctic-embed-(m-v1\.5|[ml]-v2)")


@attrs.frozen
class Recipe:
    """From the hidden states of a text's tokens to its vector."""

    pooling: Pooling
    normalize: bool  # to length 1
    longest_tokens: int | None  # of one text; None: not said
    lower_case: bool = False  # before the tokenizer
    shortens: bool = False  # the first numbers of a vector are one (Matryoshka, arXiv:2205.13147)
    sizes: tuple[int, ...] = ()  # to which it may be shortened; (): any


def read_recipe(directory: Path, config: Mapping[str, Any]) -> Recipe:
    """Return how the model in *directory*, with this config.json, is to be used.

    Raises:
        BrokenModel: it needs what cannot be done here; the text says what.
    """
    if config.get("use_bidirectional_attention") or config.get("is_causal") is False:
        raise BrokenModel("is a decoder that looks both ways, which cannot be run")
    encoder = config.get("model_type") in ENCODERS
    steps = _steps(directory)
    pooling: Pooling = "mean" if encoder else "last"
    if "Pooling" in steps:
        pooling = _pooling(_object(directory / steps["Pooling"] / "config.json"))
    said = _object(directory / "sentence_bert_config.json")
    limits = (_positions(config), _count(said.get("max_seq_length")))
    sizes = config.get("matryoshka_dimensions")
    nested = _NESTED.search(directory.name.casefold()) is not None
    return Recipe(
        pooling=pooling,
        normalize="Normalize" in steps or not steps,
        longest_tokens=min((one for one in limits if one is not None), default=None),
        lower_case=said.get("do_lower_case") is True,
        shortens=bool(config.get("is_matryoshka") or sizes or nested),
        sizes=tuple(filter(_count, sizes)) if isinstance(sizes, list) else (),
    )


def _steps(directory: Path) -> dict[str, str]:
    """Return the folder of each step, by its kind."""
    steps: dict[str, str] = {}
    for module in _read(directory / "modules.json", list) or []:
        kind = module.get("type") if isinstance(module, dict) else None
        if not isinstance(kind, str):
            raise BrokenModel("modules.json is damaged")
        name, path = kind.rpartition(".")[2], str(module.get("path", ""))
        if name not in _STEPS:
            raise BrokenModel(f"has a step {name[:60]!r} in modules.json, which is not known here")
        if ".." in Path(path).parts or Path(path).is_absolute():
            raise BrokenModel("modules.json leads out of the model's folder")
        steps[name] = path
    return steps


def _pooling(said: Mapping[str, Any]) -> Pooling:
    modes = [
        name.removeprefix("pooling_mode_")
        for name, value in said.items()
        if name.startswith("pooling_mode_") and value is True
    ]
    if isinstance(mode := said.get("pooling_mode"), str):  # since sentence-transformers 5
        modes = [mode]
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise BrokenModel(f"pools by {' and '.join(modes)[:80] or 'nothing'}, which is not known")
    return _POOLINGS[modes[0]]


def _positions(config: Mapping[str, Any]) -> int | None:
    """Return how many tokens have a position; RoBERTa leaves the first ones out."""
    most = _count(config.get("max_position_embeddings"))
    if most is None or not ENCODERS.get(str(config.get("model_type")), False):
        return most
    return max(1, most - padding_id(config) - 1)


def padding_id(config: Mapping[str, Any]) -> int:
    """Return the padding token of an encoder."""
    said = config.get("pad_token_id")
    if isinstance(said, int) and said >= 0:
        return said
    return 1 if ENCODERS.get(str(config.get("model_type")), False) else 0


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value is not True and value > 0 else None


def _object(file: Path) -> dict[str, Any]:
    return _read(file, dict) or {}


def _read(file: Path, kind: type) -> Any:  # noqa: ANN401 - JSON
    """Return what *file* holds; None: it is not there."""
    try:
        if file.stat().st_size > MAX_JSON_BYTES:
            raise BrokenModel(f"{file.name} is too large")
        loaded = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError):
        raise BrokenModel(f"{file.name} is damaged") from None
    if not isinstance(loaded, kind):
        raise BrokenModel(f"{file.name} is damaged")
    return loaded
