"""A page in the system's Chromium that notices whatever goes wrong in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import attrs
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_MS = 10_000

expect.set_options(timeout=PATIENCE_MS)


def chromium() -> str:
    """The browser's path; a test that needs one fails without it."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    assert found, "needs Chromium (apt-get install chromium); to leave it out: -m 'not browser'"
    return found


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start one. Its event loop ends with it, so that it meets none of Trio's."""
    # /dev/shm is small in containers; and root, as there, has no sandbox.
    flags = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--js-flags=--expose-gc"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=flags)
        yield browser
        browser.close()


@attrs.define(eq=False, slots=False)  # Playwright marks the listeners it wraps
class Watched:
    """A page, and the errors its console told: blocked content, exceptions, failed loads."""

    page: Page
    errors: list[str] = attrs.field(factory=list)
    forgiven: tuple[str, ...] = ()  # parts of errors that a test brings about

    def __attrs_post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def check(self) -> None:
        """Fail for everything that was not forgiven."""
        told = [e for e in self.errors if not any(part in e for part in self.forgiven)]
        assert not told, told


@contextmanager
def watched(browser: Browser, width: int = 1280, scheme: str = "dark") -> Iterator[Watched]:
    """Open an empty page with a session of its own; when left, its console must be clean."""
    height = 844 if width < 500 else 900
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    page = Watched(context.new_page())
    try:
        yield page
        page.check()
    finally:
        context.close()


def fits_across(page: Page) -> None:
    """Wait until the page cannot be moved sideways; what draws itself is resized a frame late."""
    page.wait_for_function("() => (scrollTo(500, 0), scrollX) === 0")
