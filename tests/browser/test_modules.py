"""The page's pure modules, in the engine that runs them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .chromium import Watched, open_browser, watched
from .stage import serve_files

pytestmark = pytest.mark.browser

CASES = re.findall(r'^  "(.+)"\(\) \{$', Path(__file__).with_name("pure.mjs").read_text(), re.M)
RUN = """async (name) => {
    const { cases } = await import("/dashboard/pure.mjs");
    cases[name]();
    return Object.keys(cases);
}"""


@pytest.fixture(scope="module")
def page() -> Iterator[Watched]:
    with serve_files() as address, open_browser() as browser, watched(browser) as page:
        page.page.goto(f"{address}/dashboard/favicon.svg")
        yield page


@pytest.mark.parametrize("case", CASES)
def test_a_pure_module_keeps_its_promise(page: Watched, case: str) -> None:
    assert page.page.evaluate(RUN, case) == CASES
