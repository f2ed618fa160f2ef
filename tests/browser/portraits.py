"""Draw the pictures in docs/images: the page of `scene`, in three sizes and two colours.

Run `python -m tests.browser.portraits` in the checkout. Where pngquant is, it makes them smaller.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Route, expect

from .chromium import open_browser, watched
from .scene import TEXTS, scene
from .stage import Stage, serve_files

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
SECONDS = 900
PORTRAITS = {  # width and height of the picture, colours, view
    "dashboard-dark": (1280, 900, "dark", ""),
    "dashboard-light": (1280, 900, "light", ""),
    "dashboard-whole": (1280, 0, "dark", ""),
    "dashboard-narrow": (390, 844, "dark", ""),
    "playground": (1280, 720, "light", "#playground"),
    "swarm": (1280, 720, "dark", "#playground"),
}
ROUTE: dict[str, Any] = {
    "resolution": "role:reasoner -> Qwen3-8B-4bit",
    "model": "Qwen3-8B-4bit",
    "backend": "mlx",
    "candidates": [
        {"id": "Qwen3-8B-4bit", "reason": "chosen"},
        {"id": "Mistral-Small-24B-4bit", "reason": "in quarantine for 42 s"},
        {"id": "SmolLM2-135M-Instruct", "reason": "does not match 'role:reasoner'"},
    ],
    "queue": {"class": "interactive", "position": 0, "predicted_wait_ms": 0},
    "load": {"needed": False, "fits": True, "evicts": [], "predicted_ms": 0},
}


def history(now_ms: float) -> dict[str, list[float]]:
    """A quarter of an hour that breathes."""
    ages = range(SECONDS, 0, -1)
    load = [0.5 + 0.3 * math.sin(a / 70) + 0.1 * math.sin(a / 19) for a in ages]
    return {
        "end_ms": [now_ms - age * 1000 for age in ages],
        "tokens_per_s": [round(120 + 420 * one) for one in load],
        "ttft_p50_ms": [round(110 + 170 * one) for one in load],
        "ttft_p95_ms": [round(240 + 800 * one * one) for one in load],
    }


def chunks() -> str:
    """A streamed answer."""
    words = TEXTS["s1"]["0"].split(" ")
    events: list[dict[str, Any]] = [{"choices": [{"delta": {"content": f"{w} "}}]} for w in words]
    events.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"


def vote() -> str:
    """A streamed vote."""
    session = scene(0)["swarms"]["s1"]
    events: list[tuple[str, Any]] = [("session", {"session": "s1", "strategy": "best-of-n"})]
    for name, one in session["branches"].items():
        said: Any = {"branch": int(name), "model": one["model"]}
        events.append(("branch", {**said, "delta": {"content": TEXTS["s1"][name]}}))
        events.append(("branch_done", {**said, "ok": True}))
    votes = [{"branch": int(n), "share": share} for n, share in session["verdict"]["votes"].items()]
    verdict = {**session["verdict"], "winner_branch": 0, "votes": votes}
    events.append(("verdict", verdict))
    return "".join(f"event: {name}\ndata: {json.dumps(body)}\n\n" for name, body in events)


def stream(route: Route) -> None:
    swarm = "/swarm/" in route.request.url
    route.fulfill(
        body=vote() if swarm else chunks(),
        content_type="text/event-stream",
        headers={"X-Model-Routed-To": "mlx/Qwen3-8B-4bit", "X-Lattice-Cache": "hit=117/127"},
    )


def draw(stage: Stage, name: str, view: str, *, whole: bool) -> None:
    page = stage.page
    now_ms = time.time() * 1000
    stage.answers["/dashboard/api/history"] = (200, history(now_ms))
    stage.answers["/v1/plan"] = (200, ROUTE)
    page.route("**/v1/chat/completions", stream)
    page.route("**/swarm/vote", stream)
    stage.greeting = scene(now_ms)
    stage.open(view)
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    stage.send({"type": "swarm_snapshot", "n": 3, "swarms": TEXTS})
    if view:
        if name == "swarm":
            page.get_by_text("Swarm", exact=True).click()
            page.get_by_label("Models, with commas between").fill("role:reasoner,role:fast,auto")
        else:
            page.get_by_label("Capability").fill("role:reasoner")
        page.get_by_label("Prompt").fill("How should a supervisor restart a child that crashes?")
        page.get_by_role("button", name="Ask").click()
        expect(page.locator("#answer")).to_contain_text("done")
    page.wait_for_timeout(1500)  # the charts are drawn once a second
    file = IMAGES / f"{name}.png"
    page.screenshot(path=file, full_page=whole)
    if quantiser := shutil.which("pngquant"):
        subprocess.run(
            [quantiser, "--force", "--skip-if-larger", "--ext", ".png", file], check=False
        )


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with serve_files() as address, open_browser() as browser:
        for name, (width, height, scheme, view) in PORTRAITS.items():
            with watched(browser, width, scheme) as shown:
                if height:
                    shown.page.set_viewport_size({"width": width, "height": height})
                draw(Stage(shown.page, address), name, view, whole=not height)


if __name__ == "__main__":
    main()
