"""What the config of a model says: can mlx-lm run it, what for, with how much context.

mlx-lm is looked at as files and never imported: that would bring MLX into the gateway process.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .entry import Kind
from .sentences import ENCODERS
from .weights import BrokenModel

_CONTEXT_KEYS = (
    *("max_position_embeddings", "n_ctx", "n_positions", "max_seq_len"),
    *("max_sequence_length", "seq_length", "model_max_length"),
)
_NESTED = ("text_config", "llm_config", "language_config")
_VISION_KEYS = ("vision_config", "vision_tower", "visual", "vit_config", "mm_vision_tower")
# Encoders, never a chat, that neither mlx-lm nor our embedding engine knows.
_OTHER_ENCODERS = frozenset(
    {
        *("distilbert", "mpnet", "nomic_bert", "modernbert", "albert", "electra", "deberta-v2"),
        *("new", "gte"),
    }
)
_EMBEDDING_NAME = re.compile(r"(^|[/_\-. ])(embed|embeddings?|nomic-embed|bge|e5|gte)([/_\-. ]|$)")
_MODEL_CLASS = re.compile(r"^class Model\b|^from .* import .*\bModel\b|^Model\s*=", re.MULTILINE)
_CLASSIFIER = re.compile(r"For\w*(Classification|QuestionAnswering|Reward\w*|MaskedLM)$")


def kind_of(name: str, config: Mapping[str, Any], is_sentence_transformer: bool) -> Kind:
    """Return what the model is for.

    Raises:
        BrokenModel: mlx-lm cannot run it; the text says what it is instead.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise BrokenModel("config.json names no model_type")
    if config.get("model_file") is not None:
        raise BrokenModel("needs code of its own (model_file), which is not run")
    architectures = [str(one) for one in _listed(config.get("architectures"))]
    embeds = is_sentence_transformer or _EMBEDDING_NAME.search(name.casefold()) is not None
    if any(_CLASSIFIER.search(one) for one in architectures) and not embeds:
        raise BrokenModel(f"is a classifier or reward model ({architectures[0]}), not a chat")
    if model_type in ENCODERS:
        return Kind.EMBEDDING
    if model_type in _OTHER_ENCODERS:
        raise BrokenModel(f"is an encoder of a kind that is not known here ({model_type})")
    if find_spec("mlx_lm") is None:
        raise BrokenModel("mlx-lm is not installed")
    _check_known(model_type, tuple(architectures))
    return Kind.EMBEDDING if embeds else Kind.CHAT


def context_of(config: Mapping[str, Any]) -> int | None:
    """Return the model's own context limit in tokens, if it names one."""
    for level in _levels(config):
        for key in _CONTEXT_KEYS:
            if (value := _count(level.get(key))) is not None:
                return value
    return None


def kv_bytes_of(config: Mapping[str, Any], float_bytes: int) -> int:
    """Return the bytes one token takes in the KV cache; 0 where the config does not tell.

    An upper estimate: sliding-window layers are counted in full.
    """
    for level in _levels(config):
        layers = _first(level, "num_hidden_layers", "n_layers", "n_layer", "num_layers")
        heads = _first(level, "num_attention_heads", "n_heads", "n_head")
        hidden = _first(level, "hidden_size", "n_embd", "d_model", "dim")
        if layers is None or heads is None:
            continue
        # Multi-head latent attention caches one compressed vector (DeepSeek-V2, section 2.1).
        if (latent := _count(level.get("kv_lora_rank"))) is not None:
            return layers * (latent + (_count(level.get("qk_rope_head_dim")) or 0)) * float_bytes
        kv_heads = _first(level, "num_key_value_heads", "n_kv_heads", "num_kv_heads") or heads
        head = _count(level.get("head_dim")) or (hidden // heads if hidden else None)
        if head is not None:
            return 2 * layers * kv_heads * head * float_bytes
    return 0


def has_vision(config: Mapping[str, Any]) -> bool:
    """Return whether the config describes a vision tower."""
    return any(config.get(key) is not None for key in _VISION_KEYS)


def _check_known(model_type: str, architectures: tuple[str, ...]) -> None:
    """Look the module up as ``mlx_lm.utils._get_classes`` does."""
    by_type, by_architecture = _remapping()
    module = by_type.get(model_type, model_type)
    for architecture in architectures:
        module = by_architecture.get((model_type, architecture), module)
    if not has_model(module):
        raise BrokenModel(f"mlx-lm does not know the architecture {model_type!r}")
    if (package := missing_package(module)) is not None:
        raise BrokenModel(f"mlx-lm needs the package {package} for {model_type!r}")


@cache
def has_model(module: str) -> bool:
    """Return whether ``mlx_lm.models`` has *module* and it holds a model.

    Beside the architectures lie modules such as cache.py and base.py.
    """
    if module not in {file.stem for file in _models().glob("*.py")}:
        return False
    text = (_models() / f"{module}.py").read_text("utf-8")
    return _MODEL_CLASS.search(text) is not None


@cache
def missing_package(module: str) -> str | None:
    """Return a package that *module* imports and that is not installed."""
    tree = ast.parse((_models() / f"{module}.py").read_text("utf-8"))
    for node in _at_import(tree.body):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        else:
            continue
        for name in names:
            package = name.partition(".")[0]
            if find_spec(package) is None:
                return package
    return None


def _at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield what runs when a module is imported; mlx-lm tries for some packages and then exits."""
    for node in body:
        yield node
        if isinstance(node, ast.Try):
            yield from _at_import(node.body)


@cache
def _remapping() -> tuple[dict[str, str], dict[tuple[str, str], str]]:
    """Return `MODEL_REMAPPING` and `MODEL_ARCHITECTURE_REMAPPING` of mlx_lm/utils.py."""
    tables: dict[str, Any] = {}
    for node in ast.parse((_models().parent / "utils.py").read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in {"MODEL_REMAPPING", "MODEL_ARCHITECTURE_REMAPPING"}:
                tables[name] = ast.literal_eval(node.value)
    return tables.get("MODEL_REMAPPING", {}), tables.get("MODEL_ARCHITECTURE_REMAPPING", {})


@cache
def _models() -> Path:
    spec = find_spec("mlx_lm")  # of a top-level package: finds it without importing it
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations))) / "models"


def _levels(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield config
    for key in _NESTED:
        if isinstance(level := config.get(key), dict):
            yield level


def _first(level: Mapping[str, Any], *keys: str) -> int | None:
    return next((value for key in keys if (value := _count(level.get(key))) is not None), None)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 and value is not True else None


def _listed(value: object) -> list[object]:
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, str) else []
