"""How sizes and tables are written for a person. Pure."""

from __future__ import annotations

from collections.abc import Sequence

NOTHING = "-"
_UNITS = ("kB", "MB", "GB", "TB")  # decimal, as disks and the hub count


def size(count: int | None) -> str:
    """Return *count* bytes with two or three digits, such as 540 MB."""
    if count is None:
        return NOTHING
    if count < 1000:
        return f"{count} B"
    value, unit = count / 1000, _UNITS[0]
    for larger in _UNITS[1:]:
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"


def count(number: int | None) -> str:
    """Return *number* with its thousands apart."""
    return NOTHING if number is None else f"{number:,}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return one line a row, the columns below each other."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return [
        "  ".join(f"{a:<{w}}" for a, w in zip(line, widths, strict=True)).rstrip() for line in lines
    ]
