"""`GET /llms.txt`: what agents look for at the root of a server."""

from __future__ import annotations

import math
import re

from trio.testing import MockClock

from tests.docs.links import links
from tests.docs.running import ROOT
from tests.http_layer.test_openapi import open_site

TEXT = (ROOT / "llms.txt").read_text(encoding="utf-8")


async def test_the_page_for_agents_is_served_as_text_without_a_key(
    autojump_clock: MockClock,
) -> None:
    async with open_site(api_key="secret") as client:
        answered = await client.send("GET", "/llms.txt")
        head = await client.send("HEAD", "/llms.txt")
        posted = await client.send("POST", "/llms.txt", {})

    assert (answered.status, head.status, posted.status) == (200, 200, 401)
    assert answered.headers["content-type"] == "text/plain; charset=utf-8"
    assert b"".join(piece for _, piece in answered.pieces).decode() == TEXT
    assert head.headers["content-length"] == answered.headers["content-length"]


async def test_its_links_lead_somewhere_for_who_reads_it_over_http(
    autojump_clock: MockClock,
) -> None:
    found = links(TEXT)
    async with open_site(api_key="secret") as client:
        # The reference is made in a thread, in which time this clock jumps on.
        told = [await client.send("GET", link, leave_after_s=math.inf) for link in found]

    assert "/openapi.json" in found
    assert [answered.status for answered in told] == [200] * len(found)


def test_the_pages_that_it_names_are_in_the_source() -> None:
    named = re.findall(r"`(docs/[^`]*)`", TEXT)

    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


async def test_what_it_says_of_keys_is_true(autojump_clock: MockClock) -> None:
    told = re.search(r"Only (.+?) need no\s+key", TEXT, re.DOTALL)
    assert told is not None
    open_paths = re.findall(r"`(/[^`]*)`", told[1])

    async with open_site(api_key="secret") as client:
        for path in open_paths:
            assert (await client.send("GET", path, leave_after_s=math.inf)).status == 200, path
        assert (await client.send("GET", "/v1/models")).status == 401
