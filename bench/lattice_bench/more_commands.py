"""`lattice-trio bench soak` and `lattice-trio bench swarm-quality`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import trio
from cyclopts import Parameter

from .failures import FAILED, WRONG_USE, below_one, say, tell_failures
from .load import Target
from .quality import STRATEGIES, Reply, answer_all, quality_text, scores, ways
from .report import document
from .scenarios.shape import VOTE
from .soak import SoakFigures, soak, soak_text
from .suite_command import progress
from .tasks import make_tasks
from .whole import has_route


def soak_command(
    *,
    requests: Annotated[int, Parameter(help="How many.")] = 2000,
    model: Annotated[
        Path | None, Parameter(help="Model directory; without it, the built-in model.")
    ] = None,
    concurrency: Annotated[int, Parameter(help="Requests at a time.")] = 4,
    max_tokens: Annotated[int, Parameter(help="Length of an answer.")] = 4,
    json: Annotated[Path | None, Parameter(help="Write the report here, too.")] = None,
) -> int:
    """Start a server, send it thousands of requests, and tell what its processes hold."""
    if fault := below_one(requests=requests, concurrency=concurrency, max_tokens=max_tokens):
        return say(fault, WRONG_USE)
    figures: SoakFigures | None = None
    with tell_failures() as codes:
        figures = trio.run(soak, model, requests, concurrency, max_tokens, progress)
    if figures is None:
        return codes[0]
    sys.stdout.write(soak_text(figures))
    if json is not None:
        json.write_text(document("soak", soak=figures))
    return 0 if figures.answered else FAILED


def swarm_quality(
    *,
    base_url: Annotated[str, Parameter(help="The server.")] = "http://127.0.0.1:5001",
    model: Annotated[str, Parameter(help="Who is asked, and who judges.")] = "auto",
    tasks: Annotated[int, Parameter(help="How many; each kind has a third.")] = 60,
    samples: Annotated[int, Parameter(help="Of a swarm.")] = 5,
    temperature: Annotated[float, Parameter(help="Of the samples.")] = 0.7,
    max_tokens: Annotated[int, Parameter(help="Length of an answer.")] = 64,
    seed: Annotated[int, Parameter(help="Of the tasks and of the samples.")] = 1,
    api_key: Annotated[
        str | None, Parameter(help="Sent as a bearer token.", env_var="LATTICE_API_KEY")
    ] = None,
    timeout_s: Annotated[float, Parameter(help="Longest wait for an answer.")] = 300.0,
    json: Annotated[Path | None, Parameter(help="Write the report here, too.")] = None,
) -> int:
    """Put tasks with known answers to one sample and to swarms, and count who is right."""
    target = Target(base_url, model, api_key, timeout_s)
    try:
        assert target.path
    except ValueError as error:
        return say(str(error), WRONG_USE)
    if fault := below_one(tasks=tasks, samples=samples, max_tokens=max_tokens):
        return say(fault, WRONG_USE)
    made = make_tasks(tasks, seed)
    compared = ways(samples, STRATEGIES)

    async def play() -> list[Reply] | None:
        if not await has_route(target, VOTE):
            return None
        return await answer_all(target, made, compared, max_tokens, temperature, seed, progress)

    replies = trio.run(play)
    if replies is None:
        return say(f"{base_url} does not answer, or has no {VOTE}", FAILED)
    found = scores(replies)
    sys.stdout.write(quality_text(found, replies))
    if json is not None:
        asked = {
            "base_url": base_url,
            "model": model,
            "seed": seed,
            "samples": samples,
            "temperature": temperature,
            "max_tokens": max_tokens,
        }
        json.write_text(document("swarm-quality", **asked, scores=found, replies=replies))
    return 0 if any(reply.error is None for reply in replies) else FAILED
