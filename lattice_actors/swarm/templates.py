"""The templates of a pipeline: ``{{name}}`` becomes what the step *name* wrote. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

PREVIOUS = "previous"

_PLACE = re.compile(r"\{\{([^{}\n]{1,200})\}\}")


def substitute(template: str, outputs: Mapping[str, str], previous: str) -> str:
    """Return *template* with every known name replaced; other names stay as they are written.

    One pass: what a step wrote is never looked at for further names. Spaces round a name are
    allowed, but an exact name beats one that is stripped.
    """

    def value(found: re.Match[str]) -> str:
        written = found[1]
        for name in (written, written.strip()):
            if name in outputs:
                return outputs[name]
            if name == PREVIOUS:
                return previous
        return found[0]

    return _PLACE.sub(value, template)
