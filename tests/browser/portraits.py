"""Draw the pictures in docs/images: a server with SmolLM2 at work, in two sizes and two colours.

Run `python -m tests.browser.portraits` in the checkout; it takes a minute or two. The three models
are the built-in one under three names, so the pictures can be drawn wherever it runs. Where
pngquant is, it makes them smaller.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, Page, expect

from lattice_actors.engine import builtin
from tests.end_to_end.serving import ROOT, Served, start

from .chromium import open_browser, watched

IMAGES = ROOT / "docs" / "images"
MODELS = ("SmolLM2-135M-Instruct", "SmolLM2-135M-Critic", "SmolLM2-135M-Writer")
OVERVIEWS = {  # width of the picture, colours
    "dashboard-dark": (1280, "dark"),
    "dashboard-light": (1280, "light"),
    "dashboard-narrow": (390, "dark"),
}
QUESTIONS = (
    "Why is the sky blue?",
    "What is a supervisor tree?",
    "How does a queue stay fair?",
    "Tell a short story about a lighthouse.",
)
SLOW_MS = 180_000  # a small machine with three engines


def write_models(root: Path) -> None:
    """Put the built-in model into *root*, once for each name; its files are links."""
    folder = builtin.prepared()
    if folder is None:
        subprocess.run([sys.executable, "-m", "lattice_actors.engine.builtin"], check=True)
        folder = builtin.prepared()
    assert folder is not None
    for name in MODELS:
        (root / name).mkdir()
        for file in folder.iterdir():
            (root / name / file.name).symlink_to(file)


@contextmanager
def served() -> Iterator[Served]:
    """A server with the models in memory, which lets people wait."""
    with TemporaryDirectory(prefix="lattice-portraits-") as root:
        write_models(Path(root))
        limits = ("--max-resident-models", "3", "--max-streams-per-model", "2")
        server = start("--model-root", root, *limits, "--queue-wait-s", "600")
        try:
            server.wait_until_listening()
            server.client.timeout = 600
            for name in MODELS:
                loaded = server.client.post(f"{server.url}/v1/models/{name}/load")
                assert loaded.status_code == 200, loaded.text
            yield server
        finally:
            server.client.close()
            server.stop()


@contextmanager
def asked(server: Served) -> Iterator[None]:
    """Let callers ask, one after the other, as long as this is open."""
    enough = threading.Event()

    def ask(number: int, model: str, klass: str) -> None:
        while not enough.is_set():
            content = QUESTIONS[number % len(QUESTIONS)]
            server.client.post(
                server.url + "/v1/chat/completions",
                json={
                    "model": model,
                    "messages": [{"role": "user", "content": content}],
                    "max_tokens": 14 + 6 * number,
                },
                headers={"X-Lattice-Priority": klass},
            )

    callers = (
        (0, "SmolLM2-135M-Instruct", "interactive"),
        (1, "SmolLM2-135M-Writer", "normal"),
        (2, "SmolLM2-135M-Writer", "normal"),
        (3, "SmolLM2-135M-Writer", "batch"),
    )
    threads = [threading.Thread(target=ask, args=caller) for caller in callers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        enough.set()
        for thread in threads:
            thread.join()


@contextmanager
def arguing(server: Served) -> Iterator[None]:
    """Let the three models answer one question, and a judge write what comes of it."""
    body = {
        "models": list(MODELS),
        "strategy": "synthesis",
        "judge": MODELS[0],
        "messages": [{"role": "user", "content": "How should a server restart what crashes?"}],
        "temperature": 0.9,  # they are one model under three names
        "max_tokens": 70,
    }
    asking = threading.Thread(
        target=lambda: server.client.post(server.url + "/swarm/vote", json=body)
    )
    asking.start()
    yield
    asking.join()


def keep(name: str, page: Page, height: float | None = None) -> None:
    """Draw what *page* shows, or its upper *height* pixels."""
    file = IMAGES / f"{name}.png"
    size = page.viewport_size
    assert size is not None
    page.screenshot(
        path=file,
        clip={"x": 0, "y": 0, "width": size["width"], "height": height or size["height"]},
    )
    if quantiser := shutil.which("pngquant"):
        subprocess.run(
            [quantiser, "--force", "--skip-if-larger", "--ext", ".png", file], check=False
        )


def draw_overviews(browser: Browser, server: Served) -> None:
    """The overview while requests run and wait, and a swarm argues; then the swarm alone."""
    with ExitStack() as stack:
        pages: dict[str, Page] = {}
        for name, (width, scheme) in OVERVIEWS.items():
            pages[name] = stack.enter_context(watched(browser, width, scheme)).page
            pages[name].goto(server.url + "/dashboard/")
            expect(pages[name].get_by_text("Live", exact=True)).to_be_visible()
        stack.enter_context(arguing(server))
        stack.enter_context(asked(server))
        dark = pages["dashboard-dark"]
        swarm = dark.locator("#swarms article").first
        for number in range(len(MODELS)):
            tail = swarm.locator(".branches .tail").nth(number)
            expect(tail).to_have_text(re.compile(r"[\s\S]{40}"), timeout=SLOW_MS)
        expect(dark.locator("#queue tbody tr").first).to_be_visible(timeout=SLOW_MS)
        for name, page in pages.items():
            keep(name, page)
        written = swarm.locator(".written .tail")
        expect(written).to_have_text(re.compile(r"[\s\S]{60}"), timeout=SLOW_MS)
        dark.locator("#swarms").evaluate("it => scrollTo(0, it.offsetTop - 66)")
        dark.wait_for_timeout(300)
        box = dark.locator("#swarms").bounding_box()
        assert box is not None
        keep("swarm", dark, min(900, box["y"] + box["height"] + 14))


def draw_playground(browser: Browser, server: Served) -> None:
    with watched(browser, 1280, "light") as shown:
        page = shown.page
        page.set_viewport_size({"width": 1280, "height": 720})
        page.goto(server.url + "/dashboard/#playground")
        page.get_by_label("Capability").fill("role:fast,auto")
        page.get_by_label("Prompt").fill("What is the capital of France, and what is it known for?")
        expect(page.locator("#route .is-chosen")).to_be_visible()
        page.get_by_role("button", name="Ask").click()
        expect(page.locator("#answer")).to_contain_text("in all", timeout=SLOW_MS)
        page.wait_for_timeout(600)  # the route is looked at again
        keep("playground", page)


def draw_swarm_asked(browser: Browser, server: Served) -> None:
    """The playground after a vote of two models and one that is not there."""
    with watched(browser, 1280, "dark") as shown:
        page = shown.page
        page.set_viewport_size({"width": 1280, "height": 1000})
        page.goto(server.url + "/dashboard/#playground")
        page.get_by_text("Swarm", exact=True).click()
        page.get_by_label("Models, with commas").fill("role:fast, smollm2*critic, qwen3")
        page.get_by_role("combobox", name="Judge").fill(MODELS[2])
        page.get_by_label("Prompt").fill("What is the capital of France, and what is it known for?")
        page.get_by_text("Settings").click()
        page.get_by_label("Temperature").fill("0.9")  # they are one model under three names
        page.get_by_label("Most tokens").fill("70")
        page.get_by_text("Settings").click()
        page.get_by_role("button", name="Ask").click()
        expect(page.locator("#answer .panel-aside")).to_have_text("done", timeout=SLOW_MS)
        expect(page.locator("#route .way").last).to_contain_text("Judge")
        page.wait_for_timeout(600)  # its times come with the next state
        box = page.locator("#route").bounding_box()
        assert box is not None
        keep("playground-swarm", page, min(1000, box["y"] + box["height"] + 14))


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    began = time.monotonic()
    with served() as server, open_browser() as browser:
        draw_playground(browser, server)
        draw_swarm_asked(browser, server)
        draw_overviews(browser, server)
    sys.stderr.write(f"drawn in {time.monotonic() - began:.0f} s\n")


if __name__ == "__main__":
    main()
