"""The page on a real server: live streams, every control, restarts, keys, and a long life."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, CDPSession, Locator, Page, expect

from lattice_bench.echo_model import write_echo_model
from tests.end_to_end.serving import Served, eventually, servers

from .chromium import Watched, fits_across, open_browser, watched
from .stage import serve_failures

pytestmark = pytest.mark.browser

ECHO = "lattice_actors.engine.echo"
KEY = "a key of sixteen"  # has spaces, as nothing forbids
OPENED = 1000  # requests while one page stays open
HEAP_GROWTH = 3_000_000  # bytes; a leak of 3 kB a request would be as much


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., Served]]:
    """Start servers; those that still run at the end are ended."""
    with servers() as serve:
        yield serve


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write_echo_model(root / "quick")
    write_echo_model(root / "lab-coder")
    write_echo_model(root / "slow", step_ms=40)
    write_echo_model(root / "failing", load_error={"text": "no memory left", "permanent": True})
    return root


@pytest.fixture(scope="module")
def server(serve: Callable[..., Served], root: Path) -> Iterator[Served]:
    """With models of its own, and an upstream that fails whoever asks it."""
    own = ("--model-root", str(root), "--engine-module", ECHO, "--max-resident-models", "3")
    with serve_failures() as address:
        yield serve(*own, "--upstream", f"kiln={address}")


@pytest.fixture(scope="module")
def browser(server: Served) -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def shown(browser: Browser, server: Served) -> Iterator[Watched]:
    with watched(browser) as shown:
        shown.page.goto(server.url + "/dashboard/")
        expect(live(shown.page)).to_be_visible()
        yield shown


def live(page: Page) -> Locator:
    return page.get_by_text("Live", exact=True)


def card(page: Page, model: str) -> Locator:
    return page.locator(".card").filter(has=page.get_by_role("heading", name=model, exact=True))


def fact(place: Locator, name: str) -> Locator:
    """The number under *name*."""
    return place.locator(".facts > div").filter(has_text=name).locator("dd")


def in_background(ask: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def test_a_stream_is_seen_while_it_runs_and_can_be_cancelled(
    server: Served, shown: Watched
) -> None:
    page = shown.page
    told: list[Any] = []
    asking = in_background(lambda: told.append(server.chat(model="slow", max_tokens=2000).json()))
    row = page.locator(".request.going").filter(has_text="slow")
    expect(row.locator(".phase-decode")).to_be_visible()
    expect(row).to_contain_text("tok/s")
    expect(card(page, "slow")).to_contain_text("ready")
    expect(card(page, "slow").locator(".slots .taken")).to_have_count(1)
    expect(page.locator(".stats").get_by_text("of 8 slots")).to_be_visible()

    row.get_by_role("button").click()

    expect(page.locator(".notice")).to_have_text("Cancelled.")
    asking.join()
    assert told[0]["error"]["code"] == "request_cancelled"
    expect(page.locator("#problems li").first).to_contain_text("request_cancelled")
    expect(page.locator(".request.going")).to_have_count(0)


def test_a_model_is_loaded_pinned_drained_and_unloaded(server: Served, shown: Watched) -> None:
    page = shown.page
    quick = card(page, "quick")

    quick.get_by_role("button", name="Load").click()
    expect(quick).to_contain_text("ready")
    quick.get_by_role("button", name="Pin", exact=False).click()
    expect(quick.get_by_role("button", name="Unpin")).to_be_visible()
    assert server.get("/v1/state")["models"]["quick"]["pinned"]
    quick.get_by_role("button", name="Unpin").click()
    expect(quick.get_by_role("button", name="Pin quick", exact=True)).to_be_visible()
    quick.get_by_role("button", name="Unload").click()
    expect(quick).to_contain_text("cold")

    asking = in_background(lambda: server.chat(model="slow", max_tokens=60))
    slow = card(page, "slow")
    slow.get_by_role("button", name="Drain").click()
    expect(page.get_by_text("slow goes when its answers are over.")).to_be_visible()
    expect(slow).to_contain_text("draining")
    expect(slow).to_contain_text("cold")
    asking.join()


def test_a_load_that_fails_says_why(shown: Watched) -> None:
    shown.forgiven = ("the server responded with a status of 503",)
    failing = card(shown.page, "failing")

    failing.get_by_role("button", name="Load").click()

    expect(shown.page.locator(".notice.bad")).to_contain_text("no memory left")
    expect(shown.page.locator("#problems li").first).to_contain_text("503")


def test_models_that_appear_are_found(root: Path, shown: Watched) -> None:
    write_echo_model(root / "later")
    shown.page.get_by_role("button", name="Rescan").click()

    expect(shown.page.locator(".notice")).to_contain_text("1 added")
    expect(card(shown.page, "later")).to_be_visible()


def test_a_default_and_a_preset_are_kept_and_cleared(server: Served, shown: Watched) -> None:
    page = shown.page
    page.get_by_label("Default model").fill("slow")
    page.get_by_label("Presets, one a line").fill("council: quick, slow")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Default model: slow.")).to_be_visible()
    kept = server.get("/v1/state")["preferences"]
    assert kept == {"default_model": "slow", "swarm_presets": {"council": ["quick", "slow"]}}

    page.get_by_label("Default model").fill("")
    page.get_by_label("Presets, one a line").fill("")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("No default model any more.")).to_be_visible()
    assert server.get("/v1/state")["preferences"].get("default_model") is None


def test_who_waits_is_in_the_queue_with_a_prediction(server: Served, shown: Watched) -> None:
    page = shown.page
    with ThreadPoolExecutor(11) as pool:
        for _ in range(11):
            pool.submit(server.chat, model="slow", max_tokens=25)
        expect(page.locator("#queue tbody tr")).to_have_count(3)
        expect(page.locator("#queue tbody tr").first).to_contain_text("slow")
        page.locator("#queue tbody tr").last.get_by_role("button").click()
        expect(page.get_by_text("Taken out of the queue.")).to_be_visible()
    expect(page.locator("#queue")).to_contain_text("Nobody waits")


def test_the_playground_streams_explains_and_stops(server: Served, shown: Watched) -> None:
    page = shown.page
    page.get_by_role("link", name="Playground", exact=True).click()
    page.get_by_label("Capability").fill("quick")
    page.get_by_label("Prompt").fill("over the sea")
    expect(page.locator("#route .is-chosen")).to_contain_text("quick")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#answer .text")).to_contain_text("over the sea over the sea")
    expect(page.locator("#answer")).to_contain_text("256 tokens")
    expect(page.locator("#route")).to_contain_text("mlx/quick")

    page.get_by_label("Capability").fill("slow")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#answer .text")).to_contain_text("over")
    page.get_by_role("link", name="Overview", exact=True).click()
    expect(page.locator(".request.going").filter(has_text="slow")).to_contain_text("tok/s")
    page.get_by_role("link", name="Playground", exact=True).click()
    expect(page.locator("#answer .text")).to_contain_text("over the sea over")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#answer")).to_contain_text("stopped")
    eventually(lambda: server.running() == 0)


def test_the_playground_says_why_there_is_no_answer(shown: Watched) -> None:
    shown.forgiven = ("the server responded with a status of",)
    page = shown.page
    page.get_by_role("link", name="Playground", exact=True).click()
    page.get_by_label("Capability").fill("failing")
    page.get_by_label("Prompt").fill("hello")
    page.get_by_role("button", name="Ask").click()

    expect(page.locator("#answer").get_by_role("alert")).to_contain_text("no memory left")


def way(page: Page, title: str) -> Locator:
    """The line of a branch, or of the judge, in the route of a swarm."""
    return page.get_by_role("listitem", name=title, exact=True)


def test_the_route_of_a_swarm_tells_of_each_branch_and_of_the_judge(
    server: Served, shown: Watched
) -> None:
    page = shown.page
    page.get_by_role("link", name="Playground", exact=True).click()
    page.get_by_text("Swarm", exact=True).click()
    page.get_by_label("Strategy").select_option("debate")
    page.get_by_label("Models, with commas").fill("qui*, slow, failing, nobody")
    page.get_by_role("combobox", name="Judge").fill("qui*")
    page.get_by_text("Settings").click()
    page.get_by_label("Most tokens").fill("25")
    page.get_by_label("Prompt").fill("over the sea")
    page.keyboard.press("Control+Enter")

    expect(way(page, "Branch 2").locator(".state")).to_have_text("answering")
    expect(fact(way(page, "Branch 2"), "First token")).to_have_text(re.compile(r"\d m?s"))
    expect(page.locator("#answer .panel-aside")).to_have_text("done")
    first = way(page, "Branch 1")
    expect(first.locator("b")).to_have_text("quick")
    expect(first).to_contain_text("asked as qui*")
    expect(first).to_contain_text("the best match now")
    expect(first).to_contain_text("on mlx")
    expect(first.locator(".state")).to_have_text("answered")
    expect(way(page, "Branch 2")).to_contain_text("by its own name")
    for name in ("Wait", "First token", "Total"):
        expect(fact(first, name)).to_have_text(re.compile(r"\d m?s"))
    expect(fact(first, "Tokens")).to_have_text("25")
    expect(way(page, "Branch 3").locator(".way-end")).to_contain_text("no memory left")
    expect(way(page, "Branch 4").locator("b")).to_have_text("no model")
    expect(way(page, "Branch 4").locator(".way-end")).to_contain_text("model_not_resolved")
    expect(way(page, "Branch 5")).to_contain_text("round 2")
    judge = way(page, "Judge")
    expect(judge).to_contain_text("asked as qui*")
    expect(judge.locator(".state")).to_have_text("wrote")
    expect(fact(judge, "Tokens")).to_have_text("25")
    expect(page.locator("#route .headers")).to_contain_text("swarm_")

    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_label("Strategy").select_option("first-success")
    page.get_by_label("Models, with commas").fill("auto")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#answer .panel-aside")).to_have_text("done")
    expect(page.locator(".way.won")).to_have_count(1)
    slow = page.locator(".way").filter(has=page.locator("b", has_text="slow"))
    expect(slow).to_contain_text("asked as auto")
    expect(slow.locator(".state")).to_have_text("cut")
    expect(slow).to_contain_text("the outcome was clear without it")
    expect(way(page, "Judge")).to_have_count(0)
    fits_across(page)


def test_a_swarm_that_is_named_in_a_chat_tells_of_its_branches(shown: Watched) -> None:
    shown.forgiven = ("the server responded with a status of 400",)  # there is no plan for it
    page = shown.page
    page.get_by_role("link", name="Playground", exact=True).click()
    page.get_by_label("Capability").fill("swarmCouncil")
    page.get_by_label("Prompt").fill("over the sea")
    expect(page.locator("#route")).to_contain_text("asks several models")
    page.get_by_role("button", name="Ask").click()

    expect(page.locator("#answer .text")).to_contain_text("over the sea")
    expect(way(page, "Branch 1")).to_contain_text("model_not_resolved")
    expect(way(page, "Branch 2")).to_contain_text("asked as role:coder")
    expect(way(page, "Branch 2").locator(".state")).to_have_text("won")


def test_a_swarm_argues_here_and_elsewhere_and_a_branch_is_stopped(
    browser: Browser, serve: Callable[..., Served], root: Path
) -> None:
    own = ("--model-root", str(root), "--engine-module", ECHO)
    node = serve(*own)
    front = serve(*own, "--upstream", f"node={node.url}")
    models = ["slow", "node/slow"]
    body = {
        "models": models,
        "strategy": "longest",
        "max_tokens": 80,
        "messages": [{"role": "user", "content": "over the sea"}],
    }
    with watched(browser) as shown:
        page = shown.page
        page.goto(front.url + "/dashboard/")
        expect(card(page, "node/slow")).to_contain_text("ready")
        vote = partial(front.client.post, front.url + "/swarm/vote", json=body)
        asking = in_background(vote)
        columns = page.locator("#swarms .branch")
        expect(columns).to_have_count(2)
        for number, model in enumerate(models):
            expect(columns.nth(number)).to_contain_text(model)
            expect(columns.nth(number).locator(".tail")).to_contain_text("over the sea")
        expect(page.locator(".request.going").filter(has_text="branch 2")).to_contain_text("tok/s")
        expect(card(page, "node/slow").get_by_text(re.compile("^[1-9].* tok/s"))).to_be_visible()
        expect(page.locator("#upstreams")).to_contain_text("requests")

        page.get_by_role("button", name="Stop branch 2").click()

        expect(page.get_by_text("The branch is stopped.")).to_be_visible()
        expect(columns.nth(1)).to_contain_text("cancelled")
        eventually(lambda: node.running() == 0)
        asking.join()
        expect(columns.nth(0)).to_contain_text("winner")
        expect(page.locator("#swarms article > header")).to_contain_text("done")
        expect(page.locator("#problems li")).to_have_count(0)

        page.get_by_role("link", name="Playground", exact=True).click()
        page.get_by_text("Swarm", exact=True).click()
        page.get_by_label("Prompt").fill("under the sky")
        for strategy, answers in (("pipeline", 2), ("debate", 4)):
            page.get_by_label("Strategy").select_option(strategy)
            page.get_by_label("Models").fill("quick, node/quick")
            page.get_by_role("button", name="Ask").click()
            expect(page.locator("#answer .branch")).to_have_count(answers)
            expect(page.locator("#answer .panel-aside")).to_have_text("done")
            expect(page.locator("#answer .branch").last).to_contain_text("under the sky")
    front.stop()
    node.stop()


def test_a_whole_swarm_is_cancelled_by_its_cross(server: Served, shown: Watched) -> None:
    page, told = shown.page, list[Any]()
    body = {
        "models": ["slow", "quick"],
        "judge": "quick",
        "max_tokens": 500,
        "messages": [{"role": "user", "content": "over the sea"}],
    }
    debate = partial(server.client.post, server.url + "/swarm/debate", json=body)
    asking = in_background(lambda: told.append(debate().json()))
    swarm = page.locator("#swarms article.swarm").first
    expect(swarm.locator(".branch").first).to_contain_text("round 1")
    expect(swarm.locator(".tail").first).to_contain_text("over the sea")

    page.get_by_role("button", name="Cancel debate").focus()
    page.keyboard.press("Enter")

    expect(page.locator(".notice")).to_have_text("Cancelled.")
    expect(swarm.locator("> header")).to_contain_text("request cancelled")
    expect(swarm.get_by_role("button")).to_have_count(0)
    asking.join()
    assert told[0]["error"]["code"] == "request_cancelled"
    eventually(lambda: server.running() == 0)


def test_an_upstream_that_fails_is_set_aside_and_its_card_says_so(
    server: Served, shown: Watched
) -> None:
    page = shown.page
    upstream = page.locator(".upstream")
    expect(upstream.locator(".state")).to_have_text("up")
    expect(card(page, "kiln/clay")).to_contain_text("ready")
    refused = [server.chat(model="kiln/clay").json()["error"] for _ in range(6)]

    expect(upstream.locator(".state")).to_have_text("down")
    expect(upstream).to_contain_text(re.compile("looked at again (now|in)"))
    expect(fact(upstream, "Ejected")).to_have_text("1")
    expect(fact(upstream, "Failed")).to_have_text("5")
    expect(fact(upstream, "Answered")).to_have_text("0")
    expect(card(page, "kiln/clay")).to_contain_text("unavailable")
    problems = page.locator("#problems li")
    expect(problems.first).to_contain_text(refused[-1]["code"])
    expect(problems.filter(has_text="in pieces").nth(4)).to_be_attached()
    expect(page.locator("#upstreams tbody tr").first).to_contain_text("callers")


def test_it_comes_back_after_the_server_was_restarted(
    browser: Browser, serve: Callable[..., Served], root: Path
) -> None:
    own = ("--model-root", str(root), "--engine-module", ECHO)
    first = serve(*own)
    port = first.url.rsplit(":", 1)[1]
    with watched(browser) as shown:
        shown.forgiven = ("ERR_CONNECTION_REFUSED",)
        page = shown.page
        page.goto(first.url + "/dashboard/")
        expect(live(page)).to_be_visible()

        first.stop()
        expect(page.get_by_text("Reconnecting in")).to_be_visible()
        expect(card(page, "quick")).to_be_visible()

        second = serve(*own, "--port", port)
        page.get_by_role("button", name="Now").click()
        expect(live(page)).to_be_visible()
        second.chat(model="quick", max_tokens=3)
        expect(page.locator(".request")).to_have_count(1)
        second.stop()


def test_a_key_is_asked_for_and_used_for_everything(
    browser: Browser, serve: Callable[..., Served], root: Path
) -> None:
    server = serve("--model-root", str(root), "--engine-module", ECHO, LATTICE_API_KEY=KEY)
    with watched(browser) as shown:
        shown.forgiven = ("the server responded with a status of 401",)
        page = shown.page
        page.goto(server.url + "/dashboard/")
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Key").fill("not this one")
        dialog.get_by_role("button", name="Unlock").click()
        expect(dialog.get_by_role("alert")).to_contain_text("not the key of this server")
        dialog.get_by_label("Key").fill(KEY)
        dialog.get_by_role("button", name="Unlock").click()
        expect(live(page)).to_be_visible()

        card(page, "quick").get_by_role("button", name="Load").click()
        expect(card(page, "quick")).to_contain_text("ready")
        page.reload()
        expect(live(page)).to_be_visible()
        assert not any(KEY in line for line in server.lines)
    server.stop()


def heap_bytes(tools: CDPSession) -> int:
    """What the page's scripts hold after the garbage is gone."""
    for _ in range(3):
        tools.send("HeapProfiler.collectGarbage")
    used = tools.send("Runtime.getHeapUsage")["usedSize"]
    assert isinstance(used, int | float)
    return int(used)


def nodes(tools: CDPSession) -> int:
    return int(tools.send("Memory.getDOMCounters")["nodes"])


def test_a_page_left_open_does_not_grow(server: Served, shown: Watched) -> None:
    tools = shown.page.context.new_cdp_session(shown.page)

    def ask(number: int) -> None:
        server.chat(model="quick", max_tokens=4 if number % 50 else 0)

    def many(number: int) -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(ask, range(number)))
        seen = server.get("/v1/state")["totals"]["requests"]
        expect(shown.page.locator(".stats")).to_contain_text(f"{seen} requests")

    many(150)  # everything that is bounded is full
    before, elements = heap_bytes(tools), nodes(tools)
    many(OPENED)

    assert heap_bytes(tools) - before < HEAP_GROWTH
    assert nodes(tools) < 1.3 * elements + 300
    expect(live(shown.page)).to_be_visible()


@pytest.mark.smollm2
def test_a_real_model_streams_into_the_page(
    browser: Browser, serve: Callable[..., Served], cache: Path
) -> None:
    server = serve(LATTICE_CACHE_DIR=str(cache), HOME=str(cache))
    with watched(browser, width=390, scheme="light") as shown:
        page = shown.page
        page.goto(server.url + "/dashboard/#playground")
        page.get_by_label("Prompt").fill("What is the capital of France?")
        page.get_by_text("Settings").click()
        page.get_by_label("Temperature").fill("0")
        page.get_by_role("button", name="Ask").click()
        expect(page.locator("#answer .text")).to_have_text(
            "The capital of France is Paris.", timeout=60_000
        )
        expect(page.locator("#answer .panel-aside")).to_have_text("done")
        page.get_by_role("link", name="Overview", exact=True).click()
        expect(page.locator(".request.ended")).to_contain_text("8 tok")
        fits_across(page)

        told: list[Any] = []
        body = {
            "models": [{"model": "auto", "samples": 2}],
            "strategy": "synthesis",
            "judge": "auto",
            "temperature": 1.0,
            "seed": 11,
            "max_tokens": 16,
            "messages": [{"role": "user", "content": "Why is the sky blue?"}],
        }
        vote = partial(server.client.post, server.url + "/swarm/vote", json=body)
        asking = in_background(lambda: told.append(vote().json()))
        swarm = page.locator("#swarms article.swarm")
        going = swarm.filter(has_text="running").locator(".branches .tail")
        expect(going.first).not_to_be_empty(timeout=60_000)
        expect(swarm.locator(".verdict")).to_contain_text("wrote it from 2 answers", timeout=60_000)
        asking.join()
        texts = [row["text"] for row in told[0]["swarm"]["candidates"]]
        assert len(set(texts)) == 2
        expect(swarm.locator(".branches .tail")).to_have_text(texts, use_inner_text=True)
        answer = told[0]["choices"][0]["message"]["content"]
        expect(swarm.locator(".written .tail")).to_have_text(answer, use_inner_text=True)
        expect(swarm.locator("> header")).to_contain_text("done")
        fits_across(page)
    server.stop()
