"""What went wrong at an upstream: as an error for the caller, and as news for its health. Pure."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import attrs
import msgspec

from lattice_actors.errors import BadRequest, LatticeError, UpstreamBusy, UpstreamFailed

MAX_SAID_CHARS = 500  # of an upstream's own words that are passed on
MAX_RETRY_AFTER_S = 3600.0
_KEYS = re.compile(
    r"(?i)(bearer\s+|api[-_ ]?key\S*?[\"' :=]+|\b(?:sk|pk|rk|gsk|hf|xai|key)[-_])[\w.\-*]{6,}"
)
# FastAPI's words, which llama-cpp-python sends with a 500: the request was not what it takes.
_INVALID = re.compile(r"\b\d+ validation errors?:.*?'loc': \('body'(?:, '(\w+)')?", re.S)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")


class Blame(enum.Enum):
    """Whose fault a failure is; it decides about health, limit and a second try."""

    CALLER = "caller"  # the request: it would fail anywhere
    BUSY = "busy"  # nobody's: less at once
    SERVER = "server"  # the upstream's
    SETTINGS = "settings"  # ours: a wrong key, a model that has gone
    UNABLE = "unable"  # nobody's: it works, but it cannot do this


@attrs.frozen
class Fault:
    """One failure of one request at an upstream."""

    blame: Blame
    message: str
    code: str
    retry_after_s: float | None = None
    param: str | None = None

    def error(self, *, elsewhere: bool = False) -> LatticeError:
        """Return it as what the caller sees; *elsewhere*: another model may be tried."""
        if self.blame is Blame.CALLER:
            return BadRequest(self.message, code=self.code, param=self.param)
        if self.blame is Blame.BUSY:
            return UpstreamBusy(
                self.message,
                code=self.code,
                retry_after_s=self.retry_after_s,
                elsewhere=elsewhere,
            )
        return UpstreamFailed(self.message, code=self.code, elsewhere=elsewhere)


def server_fault(upstream: str, said: str, code: str) -> Fault:
    """Return a failure of the upstream itself: *said* completes "upstream gpu ..."."""
    return Fault(Blame.SERVER, f"upstream {upstream} {said}", code)


class WireFault(Exception):
    """The answer has failed."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def garbage(upstream: str, what: str) -> WireFault:
    """Return what is raised for something that is no answer: *what* completes the sentence."""
    return WireFault(server_fault(upstream, what[:200], "upstream_bad_answer"))


def unable(upstream: str, what: str) -> WireFault:
    """Return what is raised for an answer that is none to what was asked: *what* as above."""
    said = f"upstream {upstream} {what}"
    return WireFault(Fault(Blame.UNABLE, said, "upstream_bad_answer"))


def cut_off(upstream: str) -> WireFault:
    """Return what is raised for an answer that just stops."""
    said = "stopped in the middle of its answer"
    return WireFault(server_fault(upstream, said, "upstream_cut_off"))


class _Error(msgspec.Struct):
    message: Any = None
    param: Any = None
    code: Any = None


def of_status(
    upstream: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    secret: str | None = None,
    unix_now: float = 0.0,
) -> Fault:
    """Return what an answer with this *status*, which is none of success, means.

    *body* need not be whole. The upstream's words are shortened, and keys in them blackened.
    """
    said, param, code = _said(body, secret)
    where = f"upstream {upstream} answered {status}"
    message = f"{where}: {said}" if said else where
    if status in (429, 503) or (status == 529 and not said):
        after = retry_after(headers, unix_now)
        if status != 503 or after is not None:
            return Fault(Blame.BUSY, message, "upstream_overloaded", after)
    if status in (401, 403, 407):
        return Fault(Blame.SETTINGS, message, "upstream_refused_key")
    if status == 404 or code in ("model_not_found", "model_not_loaded"):
        return Fault(Blame.SETTINGS, message, "upstream_has_no_model")
    invalid = _INVALID.search(said) if status == 500 else None
    if invalid is not None:
        return Fault(Blame.CALLER, message, "upstream_bad_request", param=invalid[1])
    if status in (408, 409, 425) or not 400 <= status < 500:
        return Fault(Blame.SERVER, message, "upstream_failed")
    return Fault(Blame.CALLER, message, "upstream_bad_request", param=param)


def of_event(upstream: str, error: object, secret: str | None = None) -> Fault:
    """Return what an ``error`` inside of an answer means."""
    said, _, _ = _said(msgspec.json.encode({"error": error}), secret)
    return server_fault(upstream, f"failed: {said or 'it does not say why'}", "upstream_failed")


def retry_after(headers: Mapping[str, str], unix_now: float) -> float | None:
    """Return the seconds of ``Retry-After`` (a number or a date, RFC 9110 10.2.3), or None."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        return min(float(text), MAX_RETRY_AFTER_S)
    try:
        seconds = parsedate_to_datetime(text).timestamp() - unix_now
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, seconds), MAX_RETRY_AFTER_S)


def redacted(text: str, secret: str | None = None) -> str:
    """Return *text* on one line, shortened, and without what looks like a key."""
    if secret:
        text = text.replace(secret, "[key]")
    text = _KEYS.sub(lambda found: found[1] + "[key]", text[: 4 * MAX_SAID_CHARS])
    text = _CONTROLS.sub(" ", text).strip()
    return text if len(text) <= MAX_SAID_CHARS else text[:MAX_SAID_CHARS] + "…"


def _said(body: bytes, secret: str | None) -> tuple[str, str | None, str | None]:
    """Return the message, ``param`` and ``code`` of an error body of whatever shape."""
    try:
        whole = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        text = body[: 4 * MAX_SAID_CHARS].decode(errors="replace")
        return ("" if "<" in text[:100] else redacted(text, secret)), None, None
    found = whole.get("error", whole) if isinstance(whole, dict) else whole
    if not isinstance(found, dict):
        return redacted(str(found), secret), None, None
    error = msgspec.convert(found, _Error)
    said = error.message or found.get("detail") or found.get("error") or ""
    param = error.param if isinstance(error.param, str) else None
    code = error.code if isinstance(error.code, str) else None
    return redacted(str(said), secret), None if param is None else redacted(param), code
