"""Five things to see, on a server that runs: ``python scripts/demo.py http://127.0.0.1:5001``.

It only uses the HTTP interface, as any client does, and takes what models it finds.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import trio
from rich.columns import Columns
from rich.console import Console
from rich.live import Live
from rich.panel import Panel

QUESTION = "Name three animals that can fly, with a word about each."
SPECS = ("role:coder", "role:fast", "auto", "*coder*,auto")
SAMPLES = 3
BRANCH_TOKENS = 40
ABORTS = 4
CROWD = 24  # requests at once, more than fit
LONG_PATIENCE = {"X-MLX-Max-Queue-Wait-Ms": "120000"}  # a load counts as waiting
PATIENCE_MS = 1000  # how long each of them would wait

console = Console(highlight=False, soft_wrap=True)


def title(number: int, text: str, why: str) -> None:
    """Begin a part."""
    console.print(f"\n[bold cyan]{number}. {text}[/]\n[dim]{why}[/]")


def chat(model: str, tokens: int, **more: object) -> dict[str, object]:
    """Return the body of a request."""
    messages = [{"role": "user", "content": QUESTION}]
    return {"model": model, "messages": messages, "max_tokens": tokens, **more}


async def tell(answer: httpx2.Response) -> dict[str, Any]:
    """Return the JSON of an answer; ends the program where it is an error."""
    body: dict[str, Any] = answer.json()
    if answer.status_code >= 400:
        raise SystemExit(f"\n{answer.status_code}: {body['error']['message']}")
    return body


@asynccontextmanager
async def events(
    client: httpx2.AsyncClient, path: str, body: dict[str, object]
) -> AsyncIterator[AsyncIterator[tuple[str, dict[str, Any]]]]:
    """Ask, and give the events of the stream as pairs of name and data."""

    async def pairs(answer: httpx2.Response) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        name = ""
        async for line in answer.aiter_lines():
            key, _, value = line.partition(": ")
            if key == "event":
                name = value
            elif key == "data" and value != "[DONE]":
                yield name, json.loads(value)
                name = ""

    async with client.stream("POST", path, json=body) as answer:
        if answer.status_code >= 400:
            await answer.aread()
            await tell(answer)
        yield pairs(answer)


async def show_names(client: httpx2.AsyncClient) -> None:
    title(1, "One call, different models", "POST /v1/plan says who would answer, and why.")
    for spec in SPECS:
        plan = await tell(await client.post("/v1/plan", json=chat(spec, 8)))
        console.print(f"  {spec:<14} → [bold]{plan.get('model')}[/]  [dim]{_reason(plan)}[/]")


def _reason(plan: dict[str, Any]) -> str:
    why = [f"{each['id']}: {each['reason']}" for each in plan["candidates"][:4]]
    return plan["resolution"] or "; ".join(why)


async def show_swap(client: httpx2.AsyncClient) -> None:
    title(2, "A swap", "Asking for another model loads it; one that is busy is never thrown out.")
    for spec in ("role:coder", "role:fast"):
        request = chat(spec, 8)
        answer = await client.post("/v1/chat/completions", json=request, headers=LONG_PATIENCE)
        body = await tell(answer)
        load, first = (answer.headers.get(f"x-lattice-{name}-ms", "-") for name in ("load", "ttft"))
        who = answer.headers["x-model-routed-to"]
        text = body["choices"][0]["message"]["content"]
        console.print(
            f"  {spec:<11} [bold]{who}[/]  load {load} ms, first token {first} ms: {text!r}"
        )
    models = (await tell(await client.get("/v1/state")))["models"]
    console.print("  now: " + ", ".join(f"{each} {models[each]['state']}" for each in models))


async def show_vote(client: httpx2.AsyncClient) -> None:
    title(
        3,
        "A vote with live branches",
        "Three samples of one model share its prompt and its batch; a judge can only say a label.",
    )
    texts = [""] * SAMPLES
    verdict: dict[str, Any] = {}
    request = {
        "models": [{"model": "auto", "samples": SAMPLES}],
        "messages": [{"role": "user", "content": QUESTION}],
        "strategy": "best-of-n",
        "judge": "auto",
        "max_tokens": BRANCH_TOKENS,
        "temperature": 0.9,
        "stream": True,
    }

    def view() -> Columns:
        won = verdict.get("winner_branch")
        return Columns(
            Panel(text, title=f"branch {n}", border_style="green" if n == won else "dim", width=38)
            for n, text in enumerate(texts)
        )

    with Live(view(), console=console, refresh_per_second=10) as live:
        async with events(client, "/swarm/vote", request) as stream:
            async for name, data in stream:
                if name == "branch":
                    texts[data["branch"]] += data["delta"].get("content") or ""
                elif name == "verdict":
                    verdict = data
                live.update(view())
    console.print()
    shares = ", ".join(f"{vote['branch']}: {vote['share']:.0%}" for vote in verdict["votes"])
    console.print(f"  winner: branch {verdict['winner_branch']}  (votes {shares})")


async def show_leaving(client: httpx2.AsyncClient) -> None:
    title(4, "Leaving", f"{ABORTS} clients ask for 200 tokens each and go away after the first.")
    before = await _totals(client)

    async def leave(number: int) -> None:
        body = chat("auto", 200, stream=True, temperature=0.9, seed=number)
        async with events(client, "/v1/chat/completions", body) as stream:
            async for _, chunk in stream:
                if chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
                    return

    async with trio.open_nursery() as nursery:
        for number in range(ABORTS):
            nursery.start_soon(leave, number)
    left = trio.current_time()
    # Another process has the answer, so there is nothing to wait for but the next look.
    while (await tell(await client.get("/v1/queue")))["running_total"]:  # noqa: ASYNC110
        await trio.sleep(0.005)
    took_ms = 1000 * (trio.current_time() - left)
    ghosts = (await _totals(client))["ghost_tokens"] - before["ghost_tokens"]
    console.print(
        f"  all slots free after [bold]{took_ms:.0f} ms[/]; "
        f"tokens made for nobody: [bold]{ghosts}[/] of some {ABORTS * 199} still to come"
    )


async def _totals(client: httpx2.AsyncClient) -> dict[str, Any]:
    return dict((await tell(await client.get("/v1/state")))["totals"])


async def show_overload(client: httpx2.AsyncClient) -> None:
    title(
        5,
        "Overload",
        f"{CROWD} requests at once, willing to wait {PATIENCE_MS} ms; who is refused is told when.",
    )
    patience = {"X-MLX-Max-Queue-Wait-Ms": str(PATIENCE_MS)}
    answered = 0
    told = list[float]()

    async def ask(number: int) -> None:
        nonlocal answered
        body = chat("auto", 24, seed=number)
        answer = await client.post("/v1/chat/completions", json=body, headers=patience)
        if answer.status_code == 429:
            told.append(float(answer.headers["retry-after"]))
        else:
            await tell(answer)
            answered += 1

    async with trio.open_nursery() as nursery:
        for number in range(CROWD):
            nursery.start_soon(ask, number)
    console.print(f"  answered {answered}, refused {len(told)} with 429")
    if not told:
        return
    wait_s = max(told)
    console.print(f"  Retry-After: {min(told):g} to {wait_s:g} s, predicted from measured rates")
    await trio.sleep(wait_s)
    again = await client.post("/v1/chat/completions", json=chat("auto", 4), headers=patience)
    outcome = "answered" if again.status_code == 200 else f"status {again.status_code}"
    console.print(f"  one that came back after {wait_s:g} s: [bold]{outcome}[/]")


async def main(address: str) -> None:
    key = os.environ.get("LATTICE_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    limits = httpx2.Limits(max_connections=CROWD + 1)
    async with httpx2.AsyncClient(
        base_url=address, headers=headers, timeout=120, trust_env=False, limits=limits
    ) as client:
        try:
            for part in (show_names, show_swap, show_vote, show_leaving, show_overload):
                await part(client)
        except httpx2.ConnectError:
            raise SystemExit(f"nothing answers at {address}; ./scripts/serve starts it") from None
    console.print(f"\nThe same, live, in a browser: {address}/dashboard/")


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        raise SystemExit(__doc__)
    trio.run(main, sys.argv[1].rstrip("/"))
