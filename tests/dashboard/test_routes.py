"""The dashboard's routes on the mock clock: real actors, a fake engine."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from lattice_dashboard.pages import read_pages
from tests.dashboard.site import SECRET_PROMPT, Answered, Site, open_site

# --- the page -------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    static = tmp_path / "static"
    (static / "vendor").mkdir(parents=True)
    (static / "index.html").write_text("<!doctype html>")
    (static / "app.js").write_text("let a")
    (static / "vendor" / "preact-10.27.2.js").write_text("let b")
    (tmp_path / "secret.txt").write_text("outside")
    (static / "link.txt").symlink_to(tmp_path / "secret.txt")
    return static


async def test_the_page_is_open_and_trusts_only_itself(
    folder: Path, autojump_clock: MockClock
) -> None:
    async with open_site(folder, key="sesame") as site:
        index = await site.ask("GET", "/dashboard/")
        moved = await site.ask("GET", "/dashboard")

        assert (index.status, index.content) == (200, b"<!doctype html>")
        policy = index.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert (moved.status, moved.headers["location"]) == (302, "/dashboard/")


async def test_files_are_typed_and_cached_by_what_their_names_promise(
    folder: Path, autojump_clock: MockClock
) -> None:
    async with open_site(folder) as site:
        script = await site.ask("GET", "/dashboard/app.js")
        vendored = await site.ask("GET", "/dashboard/vendor/preact-10.27.2.js")
        known = {"if-none-match": script.headers["etag"]}
        again = await site.ask("GET", "/dashboard/app.js", **known)

        assert script.headers["content-type"].startswith("text/javascript")
        assert script.headers["cache-control"] == "no-cache"
        assert "immutable" in vendored.headers["cache-control"]
        assert (again.status, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    ["/dashboard/../secret.txt", "/dashboard/link.txt", "/dashboard/x.js", "/dashboard/vendor/"],
)
async def test_what_is_not_in_the_folder_is_a_404(
    folder: Path, path: str, autojump_clock: MockClock
) -> None:
    async with open_site(folder) as site:
        answer = await site.ask("GET", path)

        assert answer.status == 404
        assert answer.body["error"]["code"] == "not_found"


def test_a_folder_that_is_not_there_has_no_pages(tmp_path: Path) -> None:
    assert read_pages(tmp_path / "nothing") == {}


@pytest.mark.parametrize(
    "path",
    ["/dashboard/api/snapshot", "/dashboard/api/config", "/dashboard/api/history", "/metrics"],
)
async def test_data_needs_the_key(path: str, autojump_clock: MockClock) -> None:
    async with open_site(key="sesame") as site:
        assert (await site.ask("GET", path)).status == 401
        assert (await site.ask("GET", path, authorization="Bearer sesame")).status == 200


# --- preferences ----------------------------------------------------------------------------

PREFERENCES = "/dashboard/api/preferences"


async def test_a_default_can_be_set_kept_and_cleared(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        for sent, default in (
            ({"default_model": "b"}, "b"),
            ({}, "b"),
            ({"default_model": None}, "b"),
            ({"default_model": ""}, ""),
        ):
            answer = await site.ask("POST", PREFERENCES, sent)
            assert answer.body == {
                "ok": True,
                "preferences": {"default_model": default, "swarm_presets": {}},
            }
            if default:
                assert (await site.chat(model="auto")).body["model"] == default


async def test_presets_are_kept_and_what_is_no_list_is_dropped(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        given = {"two": ["a", "b"], "wrong": "a", "empty": [], "mixed": ["a", 1]}
        answer = await site.ask("POST", PREFERENCES, {"swarm_presets": given})
        state = await site.ask("GET", "/v1/state")

        assert answer.body["preferences"]["swarm_presets"] == {"two": ["a", "b"]}
        assert state.body["preferences"]["swarm_presets"] == {"two": ["a", "b"]}


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"default_model": 5}, "default_model"),
        ({"default_model": "x" * 257}, "default_model"),
        ({"swarm_presets": []}, "swarm_presets"),
        (["default_model"], None),
    ],
)
async def test_a_wrong_preference_is_a_400_that_names_it(
    sent: object, param: str | None, autojump_clock: MockClock
) -> None:
    async with open_site() as site:
        answer = await site.ask("POST", PREFERENCES, sent)

        assert answer.status == 400
        assert answer.body["error"]["param"] == param


# --- loading --------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["alias", "model"])
async def test_a_model_is_loaded(field: str, autojump_clock: MockClock) -> None:
    async with open_site() as site:
        answer = await site.ask("POST", "/dashboard/api/models/load", {field: "b"})

        assert answer.body == {"ok": True, "alias": "b", "resident": ["b"]}


@pytest.mark.parametrize("model", [None, "", 5, "a;b", "a\nb", "x" * 300, "no such"])
async def test_a_wrong_model_is_a_400(model: object, autojump_clock: MockClock) -> None:
    async with open_site() as site:
        answer = await site.ask("POST", "/dashboard/api/models/load", {"model": model})

        assert answer.status == 400
        assert ("hint" in answer.body) == (model == "no such")


async def test_the_rescan_is_here(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        answer = await site.ask("POST", "/dashboard/api/admin/rescan", {})

        assert answer.body["diff"]["unchanged"] == ["a", "b", "c"]


# --- what is kept ---------------------------------------------------------------------------


async def everything_shown(site: Site) -> list[Answered]:
    paths = ("/v1/state", "/dashboard/api/snapshot", "/dashboard/api/config", "/metrics")
    return [await site.ask("GET", path) for path in paths]


async def test_prompts_are_not_kept(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        await site.chat()
        await site.chat(model="a", max_tokens=0)

        shown = await everything_shown(site)

        assert not [page for page in shown if SECRET_PROMPT.encode() in page.content]
        assert not [event for event in shown[1].body["events"] if "preview" in event]


async def test_prompts_are_kept_up_to_a_length_where_that_is_wanted(
    autojump_clock: MockClock,
) -> None:
    async with open_site(capture_prompts=True, preview_chars=5, max_prompt_chars=10) as site:
        await site.chat()

        [event] = (await everything_shown(site))[1].body["events"]

        assert event["preview"] == {
            "role_counts": {"user": 1},
            "last_user_chars": len(SECRET_PROMPT),
            "last_user": SECRET_PROMPT[:5],
            "prompt": SECRET_PROMPT[:10],
        }


async def test_no_key_is_in_what_is_shown(autojump_clock: MockClock) -> None:
    async with open_site(key="sesame-open") as site:
        for path in ("/v1/state", "/dashboard/api/config", "/metrics"):
            answer = await site.ask("GET", path, authorization="Bearer sesame-open")
            assert answer.status == 200
            assert b"sesame-open" not in answer.content


async def test_refused_requests_leave_an_event_with_the_reason(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        await site.ask("POST", "/v1/models/none/load", {})
        await site.chat(temperature="hot")
        await site.chat(model="a")
        answer = await site.ask("GET", "/dashboard/api/snapshot")
        state = await site.ask("GET", "/v1/state")

        events = answer.body["events"]
        outcomes = [(event["status"], event["outcome"]) for event in events]
        assert outcomes == [(404, "model_not_found"), (400, "invalid_request"), (200, "ok")]
        assert [event["resolved_model"] for event in events] == [None, None, "a"]
        assert [event["route_kind"] for event in events] == ["refused", "refused", "chat_mlx"]
        assert events[2]["completion_tokens"] == 3
        errors = list(state.body["errors"].values())
        assert [error["code"] for error in errors] == ["model_not_found", "invalid_request"]
        assert "none" in errors[0]["message"]


async def test_a_client_that_leaves_is_seen_as_one(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        with trio.move_on_after(2):
            await site.chat()

        [event] = (await site.ask("GET", "/dashboard/api/snapshot")).body["events"]

        assert (event["status"], event["outcome"]) == (None, "client_left")


async def test_the_history_has_a_row_for_each_second(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        await site.chat()
        await trio.sleep(3)

        rows = (await site.ask("GET", "/dashboard/api/history")).body

        assert len({len(rows[name]) for name in rows if name != "step_ms"}) == 1
        assert [row for row in rows["ttft_p50_ms"] if row is not None] == [
            pytest.approx(6000, rel=1 / 16)
        ]
        assert rows["end_ms"] == sorted(rows["end_ms"])
