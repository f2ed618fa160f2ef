"""A swarm that a client asks for, as the followers of the state see it."""

from __future__ import annotations

from typing import Any

import trio
from trio.testing import MockClock

from tests.actors.metered import Client
from tests.dashboard.site import SECRET_PROMPT, Site, open_site


async def debate(site: Site) -> None:
    messages = [{"role": "user", "content": SECRET_PROMPT}]
    body = {"models": ["a", "b"], "judge": "c", "messages": messages, "max_tokens": 3}
    assert (await site.ask("POST", "/swarm/debate", body)).status == 200


async def test_a_debate_is_followed_to_what_its_judge_writes(autojump_clock: MockClock) -> None:
    client, judges = Client(), list[object]()
    async with (
        open_site() as site,
        site.lattice.metrics.follow() as subscription,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(debate, site)
        shown: Any = {}
        while "ended_ms" not in shown:
            client.hear(await subscription.receive())
            for shown in client.document["swarms"].values():
                if shown.get("judge") not in judges:
                    judges.append(shown.get("judge"))

    model = {"model": "c"}
    assert judges == [None, *(model | {"state": one} for one in ("judging", "writing", "ok"))]
    assert shown["verdict"]["judge"] == "c"
    assert [branch["stage"] for branch in shown["branches"].values()] == [
        *["round 1"] * 2,
        *["round 2"] * 2,
    ]
    said = {branch: text for (_, branch), text in client.said.items()}
    assert said == dict.fromkeys(("0", "1", "2", "3", "judge"), "xxx")
    assert SECRET_PROMPT not in str(client.document)
