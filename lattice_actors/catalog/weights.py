"""What safetensors files say about themselves, read from their headers only.

Format: 8 bytes little-endian header length, a JSON header (name -> dtype, shape, data_offsets),
then the data. https://huggingface.co/docs/safetensors, "Format".
"""

from __future__ import annotations

import json
from pathlib import Path

import attrs

MAX_HEADER_BYTES = 100_000_000  # the format's own limit: a larger one is no header
_INDEX = "model.safetensors.index.json"
_HALF = frozenset({"F16", "BF16"})


class BrokenModel(Exception):
    """The directory cannot be a working model; the text says why, for a person."""


@attrs.frozen
class Weights:
    """All weight files of a model together."""

    total_bytes: int  # of tensor data
    float_bytes: int  # of one float of an activation: 2 where any tensor is half precision


@attrs.frozen
class Tensor:
    """One entry of a header."""

    dtype: str  # as the format spells it: F32, BF16, U32, ...
    shape: tuple[int, ...]
    size_bytes: int


def read_weights(directory: Path) -> Weights:
    """Return the facts of the files mlx-lm would load, ``model*.safetensors``.

    Raises:
        BrokenModel: there are none, one of the index is missing, or one is cut or damaged.
        OSError: a file cannot be read.
    """
    files = sorted(directory.glob("model*.safetensors"))
    missing = sorted(_indexed(directory) - {file.name for file in files})
    if missing:
        raise BrokenModel(f"{len(missing)} weight file(s) of the index missing: {missing[0]}")
    if not files:
        raise BrokenModel(_no_weights(directory))
    total, dtypes = 0, set[str]()
    for file in files:
        tensors = read_tensors(file).values()
        total += sum(tensor.size_bytes for tensor in tensors)
        dtypes |= {tensor.dtype for tensor in tensors}
    if total == 0:
        raise BrokenModel("the weight files hold no tensor")
    return Weights(total, 2 if dtypes & _HALF else 4)


def _indexed(directory: Path) -> set[str]:
    index = directory / _INDEX
    if not index.exists():
        return set()
    try:
        files = json.loads(index.read_bytes())["weight_map"].values()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise BrokenModel(f"{_INDEX} is damaged") from None
    return {str(file) for file in files}


def _no_weights(directory: Path) -> str:
    if any(directory.glob("*.gguf")):
        return "holds GGUF weights; MLX needs model*.safetensors"
    if any(directory.glob("*.bin")) or any(directory.glob("*.pth")):
        return "holds PyTorch weights; MLX needs model*.safetensors"
    return "no weights (model*.safetensors)"


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Return what one file has, by name.

    Raises:
        BrokenModel: it is cut or damaged.
        OSError: it cannot be read.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(MAX_HEADER_BYTES, size - 8):
            raise BrokenModel(f"{file.name} is cut off or no safetensors file")
        raw = stream.read(length)
    try:
        header = json.loads(raw)
        entries = {name: header[name] for name in header if name != "__metadata__"}
        spans = [(int(e["data_offsets"][0]), int(e["data_offsets"][1])) for e in entries.values()]
        tensors = {
            name: Tensor(str(e["dtype"]), tuple(map(int, e.get("shape", ()))), end - begin)
            for (name, e), (begin, end) in zip(entries.items(), spans, strict=True)
        }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise BrokenModel(f"{file.name} has a damaged header") from None
    if any(not 0 <= begin <= end for begin, end in spans):
        raise BrokenModel(f"{file.name} has a damaged header")
    needed = 8 + length + max((end for _, end in spans), default=0)
    if size < needed:
        raise BrokenModel(f"{file.name} is cut off: {size} bytes, its header says {needed}")
    return tensors
