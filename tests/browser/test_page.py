"""The page on a feed that is played by hand: what it shows, what it sends, how it comes back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from .chromium import Watched, fits_across, open_browser, watched
from .scene import TEXTS, scene, vote
from .stage import Stage, serve_files

pytestmark = pytest.mark.browser

HISTORY = "/dashboard/api/history"
NO_HISTORY: Any = {"end_ms": [], "tokens_per_s": [], "ttft_p50_ms": [], "ttft_p95_ms": []}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serve_files() as address:
        yield address


@pytest.fixture
def shown(browser: Browser) -> Iterator[Watched]:
    with watched(browser) as shown:
        yield shown


@pytest.fixture
def stage(shown: Watched, address: str) -> Stage:
    """The page of a busy house, connected."""
    stage = Stage(shown.page, address)
    stage.answers[HISTORY] = (200, NO_HISTORY)
    stage.greeting = scene(time.time() * 1000)
    stage.open()
    expect(shown.page.get_by_text("Live", exact=True)).to_be_visible()
    return stage


def test_everything_of_a_busy_house_is_shown(stage: Stage) -> None:
    page = stage.page

    expect(page.locator("#models .card")).to_have_count(5)
    expect(page.locator("#requests .request")).to_have_count(10)
    expect(page.locator("#queue tbody tr")).to_have_count(3)
    expect(page.locator("#actors .node")).to_have_count(11)
    expect(page.locator("#problems li")).to_have_count(4)
    expect(page.locator("#swarms .branch")).to_have_count(3)
    expect(page.locator(".branch.won")).to_contain_text("Qwen3-8B-4bit")
    expect(page.locator(".stats")).to_contain_text("25GB of 32 GB")
    expect(page.locator("#problems li").first).to_contain_text("queue_timeout")
    expect(page.locator("#first-token canvas")).to_be_visible()


def test_deltas_change_only_what_they_name_and_a_gap_asks_for_a_snapshot(stage: Stage) -> None:
    page = stage.page
    row = page.locator("#actors .node", has_text="admission")

    stage.delta({"models": {"gemma-3-4b-it-4bit": None}, "requests": {"b4": None}})
    expect(page.locator("#models .card")).to_have_count(4)
    expect(page.locator("#requests .request")).to_have_count(9)
    expect(row).to_contain_text("1")

    stage.delta({"models": None}, skip=3)
    expect(page.locator("#models .card")).to_have_count(5)
    assert len(stage.sockets) == 2
    assert stage.hellos == [{"type": "key", "key": ""}] * 2


def test_swarm_text_grows_where_it_belongs(stage: Stage) -> None:
    page = stage.page
    stage.send({"type": "swarm_snapshot", "n": 3, "swarms": TEXTS})
    events = [{"n": 4, "swarm": "s1", "branch": 2, "text": ", or lie."}]
    stage.send({"type": "swarm", "events": events})

    branches = page.locator("#swarms .tail")
    expect(branches.nth(2)).to_have_text(TEXTS["s1"]["2"] + ", or lie.")
    expect(branches.nth(0)).to_have_text(TEXTS["s1"]["0"])


def test_what_a_judge_writes_has_a_place_of_its_own(stage: Stage) -> None:
    branches = {str(n): {"model": "a", "state": "ok"} for n in range(2)}
    session = {"strategy": "synthesis", "started_ms": time.time() * 1000, "branches": branches}
    stage.delta({"swarms": {"s2": {**session, "judge": {"model": "Juno", "state": "judging"}}}})
    swarm = stage.page.locator("#swarms article").first
    expect(swarm.locator(".verdict")).to_have_text("Juno reads the answers …")
    expect(swarm.locator(".written")).to_have_count(0)

    stage.delta({"swarms": {"s2": {"judge": {"state": "writing"}}}})
    for number, text in enumerate(("It is ", "both.")):
        event = {"n": number, "swarm": "s2", "branch": "judge", "text": text}
        stage.send({"type": "swarm", "events": [event]})
    written = swarm.get_by_label("Answer of the judge Juno")
    expect(written.locator(".tail")).to_have_text("It is both.")
    expect(written).to_contain_text("judge, writing")

    verdict = {"rationale": "Juno wrote it", "judge": "Juno"}
    stage.delta({"swarms": {"s2": {"judge": {"state": "ok"}, "verdict": verdict}}})
    expect(written).to_contain_text("judge, done")
    expect(written.locator(".tail")).to_have_text("It is both.")
    expect(swarm.locator(".verdict")).to_contain_text("Juno wrote it")


def test_names_are_text_and_never_markup(stage: Stage) -> None:
    name = "<img src=x onerror=alert(1)>\"'&lt;"
    stage.delta(
        {
            "models": {name: {"state": "cold"}},
            "errors": {"9": {"at_ms": 1, "code": name, "message": name}},
            "swarms": {"x": {"strategy": name, "branches": {"0": {"model": name}}}},
        }
    )

    expect(stage.page.locator("#models h3", has_text=name)).to_be_visible()
    expect(stage.page.locator("#problems code", has_text=name)).to_be_visible()
    assert stage.page.locator("img").count() == 0


def test_what_one_types_is_never_overwritten_and_a_default_can_be_cleared(stage: Stage) -> None:
    page = stage.page
    stage.answers["/dashboard/api/preferences"] = (200, {"ok": True, "preferences": {}})
    field = page.get_by_label("Default model")
    expect(field).to_have_value("Qwen3-8B-4bit")

    field.fill("half a na")
    stage.delta({"preferences": {"default_model": "from elsewhere"}})
    stage.delta({"totals": {"requests": 77_000}})
    expect(page.get_by_text("77.0k requests since start")).to_be_visible()
    expect(field).to_have_value("half a na")

    field.fill("")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("No default model any more.")).to_be_visible()
    assert stage.asked[-1] == ("POST", "/dashboard/api/preferences", {"default_model": ""})
    field.fill("typed before the feed has told")
    stage.delta({"preferences": {"default_model": None}})
    expect(field).to_have_value("typed before the feed has told")
    field.fill("")
    expect(page.get_by_role("button", name="Save")).to_be_disabled()
    stage.delta({"preferences": {"default_model": "another"}})
    expect(field).to_have_value("another")


def test_a_preset_without_a_name_is_said_and_not_sent(stage: Stage) -> None:
    stage.page.get_by_label("Presets, one a line").fill("role:coder")
    stage.page.get_by_role("button", name="Save").click()

    expect(stage.page.get_by_role("alert").filter(has_text="role:coder")).to_be_visible()
    assert [path for _, path, _ in stage.asked] == [HISTORY]


BUTTONS = {
    "Load gemma-3-4b-it-4bit": "/v1/models/gemma-3-4b-it-4bit/load",
    "Drain Qwen3-8B-4bit": "/v1/models/Qwen3-8B-4bit/drain",
    "Unpin Qwen3-8B-4bit": "/v1/models/Qwen3-8B-4bit/unpin",
    "Pin gemma-3-4b-it-4bit": "/v1/models/gemma-3-4b-it-4bit/pin",
}


def test_a_refused_button_says_why(stage: Stage, shown: Watched) -> None:
    shown.forgiven = ("the server responded with a status of 503",)
    for button, path in BUTTONS.items():
        why = f"{button}? It does not fit beside what is pinned."
        stage.answers[path] = (503, {"error": {"message": why, "code": "model_does_not_fit"}})

        stage.page.get_by_role("button", name=button).click()

        expect(stage.page.locator(".notice.bad").last).to_have_text(why)
        assert stage.asked[-1] == ("POST", path, None)


def test_a_lost_connection_is_said_and_comes_back(stage: Stage) -> None:
    page = stage.page
    stage.sockets[-1].close(code=1001, reason="the server is going away")
    expect(page.get_by_text("Reconnecting in")).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 844})
    fits_across(page)
    expect(page.locator("#models .card")).to_have_count(5)  # the last that was known

    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    assert len(stage.sockets) == 2


def test_a_wrong_key_is_said_kindly_and_the_right_one_is_kept(
    browser: Browser, address: str
) -> None:
    with watched(browser) as shown:
        shown.forgiven = ("the server responded with a status of 401",)
        stage = Stage(shown.page, address)
        stage.answers[HISTORY] = (200, NO_HISTORY)
        stage.answers["/v1/models"] = (401, {"error": {"message": "no", "code": "invalid_api_key"}})
        stage.refuses_with = 4401
        stage.open()
        page = shown.page
        dialog = page.get_by_role("dialog")
        expect(dialog).to_be_visible()

        dialog.get_by_label("Key").fill("wrong")
        dialog.get_by_role("button", name="Unlock").click()
        expect(dialog.get_by_role("alert")).to_contain_text("not the key of this server")
        assert page.evaluate("sessionStorage.getItem('lattice-key')") is None

        stage.answers["/v1/models"] = (200, {"data": []})
        stage.refuses_with, stage.greeting = None, scene(time.time() * 1000)
        dialog.get_by_label("Key").fill("right")
        page.keyboard.press("Enter")
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        expect(dialog).to_be_hidden()
        assert stage.hellos[-1] == {"type": "key", "key": "right"}
        assert "right" not in page.url
        assert page.evaluate("localStorage.length") == 0


def test_nothing_is_wider_than_the_screen(stage: Stage) -> None:
    page = stage.page
    plan: Any = {"model": "a" * 80, "backend": "mlx", "candidates": []}
    stage.answers["/v1/plan"] = (200, plan)
    for view in ("Overview", "Playground"):
        page.get_by_role("link", name=view, exact=True).click()
        expect(page.get_by_role("heading", name=view, exact=True)).to_be_attached()
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 844})
            fits_across(page)


def test_nothing_moves_when_the_first_state_comes(browser: Browser, address: str) -> None:
    """Parts whose size is known have it before their content is there."""
    with watched(browser) as shown:
        stage = Stage(shown.page, address)
        stage.answers[HISTORY] = (200, NO_HISTORY)
        stage.open()
        page = shown.page
        expect(page.get_by_text("Connecting …")).to_be_visible()
        parts = [page.locator(name) for name in (".stats", "#requests", "#queue")]
        before = [part.bounding_box() for part in parts]

        stage.snapshot(scene(time.time() * 1000))

        expect(page.locator("#models .card")).to_have_count(5)
        assert [part.bounding_box() for part in parts] == before


def test_nothing_slides_away_under_a_pointer(stage: Stage) -> None:
    page = stage.page
    first = page.locator("#requests .request").first
    first.get_by_role("button").hover()
    late = {"arrived_ms": time.time() * 1000 + 500, "phase": "queue", "model": "newcomer"}
    stage.delta({"requests": {"z9": late}, "models": {"gemma-3-4b-it-4bit": {"state": "ready"}}})

    gemma = page.locator("#models .card").filter(has_text="gemma")
    expect(gemma).to_contain_text("ready")
    expect(page.locator("#models .card").nth(3)).to_contain_text("gemma")  # where it slept
    expect(page.locator("#requests .request").last).to_contain_text("newcomer")
    expect(first).not_to_contain_text("newcomer")
    page.mouse.move(0, 0)
    expect(first).to_contain_text("newcomer")


def test_it_is_operable_by_keyboard_and_remembers_the_theme(stage: Stage) -> None:
    page = stage.page
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()

    page.get_by_label("1 min").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_label("15 min")).to_be_checked()

    page.get_by_role("button", name="Switch between dark and light").click()
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    landmarks = page.evaluate(
        "[...document.querySelectorAll('section[aria-labelledby]')]"
        ".every(part => document.getElementById(part.getAttribute('aria-labelledby')).textContent)"
    )
    assert landmarks


def test_a_part_that_cannot_be_drawn_leaves_the_others(stage: Stage, shown: Watched) -> None:
    shown.forgiven = ("TypeError",)
    stage.delta({"queue": {"waiting": {"bad": {"class": {}, "model": {"x": 1}, "level": 1}}}})
    stage.delta({"errors": {"1": None}})

    expect(stage.page.locator("#problems li")).to_have_count(3)
    expect(stage.page.locator("#models .card")).to_have_count(5)


def test_a_swarm_argues_in_columns_and_its_winner_is_marked(stage: Stage) -> None:
    page = stage.page
    page.route(
        "**/swarm/vote",
        lambda route: route.fulfill(body=vote(), content_type="text/event-stream"),
    )
    stage.answers["/v1/plan"] = (200, {"model": "quick", "backend": "mlx"})
    page.get_by_role("link", name="Playground", exact=True).click()
    page.get_by_text("Swarm", exact=True).click()
    expect(page.locator("#capabilities option").first).to_have_attribute("value", "preset:council")
    page.get_by_label("Models, with commas between").fill("role:reasoner, auto")
    page.get_by_label("Prompt").fill("why?")
    page.keyboard.press("Control+Enter")

    columns = page.locator("#answer .branch")
    expect(columns).to_have_count(3)
    for number, text in TEXTS["s1"].items():
        expect(columns.nth(int(number)).locator(".tail")).to_have_text(text)
    expect(page.locator("#answer .branch.won")).to_contain_text("Qwen3-8B-4bit")
    expect(page.locator("#answer .verdict")).to_contain_text("The judge put 71 %")
