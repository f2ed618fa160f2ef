"""From the bytes of a POST body to a typed value, or a `BadRequest` that names the field.

Bodies are decoded straight into structs, so what is wrong is refused where it stands and what
is unknown is skipped without being built: 10 MiB of nonsense cost milliseconds, not gigabytes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from lattice_actors.errors import BadRequest

T = TypeVar("T")

MAX_FIELDS = 256  # of one object, known or not; OpenAI's bodies have 40
MAX_REST_BYTES = 1024 * 1024  # of all that is no prompt: a million tiny fields take 0.4 s
MAX_REASON_CHARS = 300

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
UINT64_MAX = 2**64 - 1  # the largest integer that goes to the engine

OBJECT: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])
_FIELDS: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Bulk(msgspec.Struct):
    """What may be large."""

    messages: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()


_BULKY = ("messages", "prompt", "input")
_BULK = msgspec.json.Decoder(_Bulk)
_BOM = b"\xef\xbb\xbf"
_WHITESPACE = b" \t\r\n"
_MISSING = re.compile(r"Object missing required field `(\w+)`")


def wrong(param: str | None, reason: str, *, code: str | None = None) -> BadRequest:
    """Return the refusal of a body; the name of *param*, if any, also begins the message."""
    message = reason if param is None else f"{param}: {reason}"
    return BadRequest(message, code=code, param=param)


def unsupported(param: str, reason: str = "not supported by this server") -> BadRequest:
    """Return the refusal of a field that we know and cannot honour."""
    return wrong(param, reason, code="unsupported_parameter")


def decode(body: bytes, form: msgspec.json.Decoder[T]) -> tuple[T, dict[str, msgspec.Raw]]:
    """Return the body as *form*, and its top-level fields as they were sent.

    Raises:
        BadRequest: no JSON object, or not of this form; `param` is the field to blame.
    """
    text = _text(body)
    if len(text) > MAX_REST_BYTES:
        bulk = _guarded(_BULK, text, "")
        rest = len(text) - sum(len(memoryview(getattr(bulk, name))) for name in _BULKY)
        if rest > MAX_REST_BYTES:
            raise wrong(None, f"more than {MAX_REST_BYTES} bytes beside {' and '.join(_BULKY)}")
    fields = fields_of(text)
    return _guarded(form, text, ""), fields


def decode_part(part: bytes | msgspec.Raw, form: msgspec.json.Decoder[T], param: str) -> T:
    """Return the JSON of a field called *param* as *form*. Raises `BadRequest`."""
    return _guarded(form, part, param)


def fields_of(part: bytes | msgspec.Raw, param: str = "") -> dict[str, msgspec.Raw]:
    """Return the fields of the object called *param*, not decoded. Raises `BadRequest`."""
    fields = _guarded(_FIELDS, part, param)
    if len(fields) > MAX_FIELDS:
        raise wrong(param or None, f"more than {MAX_FIELDS} fields in one object")
    return fields


def parse_json(body: bytes) -> dict[str, Any]:
    """Return the body as plain Python, for routes without a struct of their own.

    Raises:
        BadRequest: bad JSON (NaN and infinities included), invalid UTF-8, nested too deeply, or
            no object.
    """
    return _guarded(OBJECT, _text(body), "")


def unknown_names(
    fields: dict[str, msgspec.Raw], form: type[msgspec.Struct], prefix: str = ""
) -> Iterator[str]:
    """Yield the fields that *form* has no place for, unless they are null."""
    known = _names(form)
    for name, value in fields.items():
        if name not in known and not is_null(value):
            yield prefix + name


def is_null(raw: msgspec.Raw) -> bool:
    """The field is absent or null."""
    content = memoryview(raw)
    return len(content) == 0 or (len(content) == 4 and bytes(content) == b"null")


def is_empty(raw: msgspec.Raw, brackets: bytes, param: str) -> bool:
    """The field is absent, null or an empty collection, ``b"[]"`` or ``b"{}"``.

    Raises:
        BadRequest: it is something else than that kind of collection.
    """
    if is_null(raw):
        return True
    content = bytes(raw).strip(_WHITESPACE)
    if content[:1] != brackets[:1]:
        raise wrong(param, f"expected {'an array' if brackets == b'[]' else 'an object'}")
    return not content[1:-1].strip(_WHITESPACE)


def check_portable(value: object, depth: int, param: str) -> None:
    """Refuse what msgpack cannot carry to the engine, and what is nested deeper than *depth*.

    Raises:
        BadRequest: blames *param*, the field that has *value*.
    """
    match value:
        case dict() | list() if depth == 0:
            raise wrong(param, "nested too deeply")
        case dict():
            for inner in value.values():
                check_portable(inner, depth - 1, param)
        case list():
            for inner in value:
                check_portable(inner, depth - 1, param)
        case int() if not INT64_MIN <= value <= UINT64_MAX:
            raise wrong(param, "an integer has more than 64 bits")
        case _:
            pass


def _text(body: bytes) -> bytes:
    """Check the encoding of everything, also of what will be skipped; a BOM is dropped."""
    text = body.removeprefix(_BOM)
    try:
        text.decode()
    except UnicodeDecodeError as error:
        reason = f"The body is not valid UTF-8 (byte {error.start})."
        raise wrong(None, reason, code="invalid_json") from None
    return text


def _guarded(decoder: msgspec.json.Decoder[T], text: bytes | msgspec.Raw, param: str) -> T:
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise _blamed(str(error), param) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = f"The body is not valid JSON: {error}"
        raise wrong(param or None, reason, code="invalid_json") from None
    except RecursionError:
        reason = "The body is nested too deeply."
        raise wrong(param or None, reason, code="invalid_json") from None


def _blamed(text: str, base: str) -> BadRequest:
    """Turn msgspec's words about a place into ours."""
    # Expected `int` >= 1 - at `$.max_tokens`: the place is last, for values may be quoted before
    reason, at, path = text.rpartition(" - at `$")
    reason, path = (reason, path.removesuffix("`")) if at else (text, "")
    missing = _MISSING.fullmatch(reason)
    if missing:
        reason, path = "required", f"{path}.{missing[1]}"
    elif reason.startswith(("Invalid value ", "Invalid enum value ")):  # quotes it, all of it
        reason = "not a value we know"
    param = (base + path).lstrip(".")
    if not param:
        return wrong(None, "The body must be a JSON object.")
    reason = reason[:MAX_REASON_CHARS].replace("`", "")
    return wrong(param, reason.replace("Expected", "expected", 1))


@functools.cache
def _names(form: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(field.encode_name for field in msgspec.structs.fields(form))
