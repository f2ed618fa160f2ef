"""Links inside of the repository lead somewhere, and README leads to every page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.links import anchors, links
from tests.docs.running import ROOT

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
ELSEWHERE = ("http://", "https://", "mailto:")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def targets(page: Path) -> Iterator[tuple[str, Path, str]]:
    """Each link of *page* into the repository: as written, the file, the anchor."""
    for link in links(text_of(page)):
        if not link.startswith(ELSEWHERE):
            path, _, anchor = link.partition("#")
            yield link, (page.parent / path).resolve() if path else page, anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    lost = [
        link
        for link, path, anchor in targets(page)
        if not path.exists()
        or not path.is_relative_to(ROOT)
        or (anchor and path.suffix == ".md" and anchor not in anchors(text_of(path)))
    ]

    assert lost == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    todo = [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in reached:
            continue
        reached.add(page)
        for _, path, _ in targets(page):
            if path.is_dir():
                todo += path.glob("*.md")
            elif path.suffix == ".md" and path.is_file():
                todo.append(path)

    lost = [page.relative_to(ROOT).as_posix() for page in PAGES if page not in reached]
    assert [name for name in lost if name.startswith("docs/")] == []


def test_links_and_anchors_are_found() -> None:
    page = (
        "# A `code` title, twice\n# A code title, twice\n## Über uns [x](y.md)\n"
        '[a](b.md#c) ![i](i%20i.png) `[no](no.md)` <a href="d.md">\n'
        "```\n[no](no.md)\n# none\n```\n"
    )

    assert links(page) == ["y.md", "b.md#c", "i i.png", "d.md"]
    assert anchors(page) == {"a-code-title-twice", "a-code-title-twice-1", "über-uns-x"}
