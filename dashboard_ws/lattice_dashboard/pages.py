"""The files of the page, read once: what is not in the folder at the start does not exist.

So no path of a request ever reaches the file system.
"""

from __future__ import annotations

import hashlib
import mimetypes
import re
from collections.abc import Mapping
from pathlib import Path

import attrs

MOST_BYTES = 8 * 1024 * 1024  # of one file; the whole page is far below one

# No script and no style but ours, no other server, and no page round this one.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; font-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)

_VERSIONED = re.compile(r"[-@.]v?\d+\.\d+")  # "uPlot-1.6.32.js" never changes under its name
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css"}


@attrs.frozen
class Page:
    """One file, as it is sent."""

    body: bytes
    content_type: str
    etag: str
    cache_control: str


def read_pages(folder: Path) -> Mapping[str, Page]:
    """Return the files below *folder* by their path, with "/" between; links are left out."""
    if not folder.is_dir():
        return {}
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        path.relative_to(folder).as_posix(): _page(path)
        for path in found
        if not path.is_symlink() and path.stat().st_size <= MOST_BYTES
    }


def _page(path: Path) -> Page:
    body = path.read_bytes()
    guessed = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    content_type = guessed or "application/octet-stream"
    if content_type.startswith("text/") or content_type.endswith(("json", "javascript")):
        content_type += "; charset=utf-8"
    versioned = _VERSIONED.search(path.name) is not None
    return Page(
        body,
        content_type,
        f'"{hashlib.sha256(body).hexdigest()[:32]}"',
        "public, max-age=31536000, immutable" if versioned else "no-cache",
    )
