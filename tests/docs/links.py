"""The links of a Markdown page and the anchors it has. Pure."""

from __future__ import annotations

import re
from collections import Counter
from urllib.parse import unquote

_FENCED = re.compile(r"^( *)(```+|~~~+).*?^ *\2 *$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_HTML = re.compile(r"<(?:a|img|source)\s[^>]*?(?:href|src|srcset)=\"([^\"]+)\"")
_HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.MULTILINE)
_NAMED = re.compile(r"<a\s[^>]*?(?:id|name)=\"([^\"]+)\"")


def links(text: str) -> list[str]:
    """Return where the page points, code left out."""
    plain = _CODE.sub("", _FENCED.sub("", text))
    return [unquote(link) for link in _LINK.findall(plain) + _HTML.findall(plain)]


def anchors(text: str) -> set[str]:
    """Return what may stand behind ``#`` in a link to the page, as GitHub makes it."""
    plain = _FENCED.sub("", text)
    seen: Counter[str] = Counter()
    found = set(_NAMED.findall(plain))
    for heading in _HEADING.findall(plain):
        slug = _slug(heading)
        found.add(slug if not seen[slug] else f"{slug}-{seen[slug]}")
        seen[slug] += 1
    return found


def _slug(heading: str) -> str:
    text = _LINK.sub(lambda link: link[0][1 : link[0].index("]")], heading)
    text = re.sub(r"[^\w\- ]", "", text.replace("`", "").lower())
    return text.replace(" ", "-")
