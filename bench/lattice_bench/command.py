"""`lattice-trio bench`: measure a server, several side by side, or the gateway alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import attrs
import trio
from cyclopts import App, Parameter

from .arms import BadArm
from .examples import BENCH, epilogue
from .failures import FAILED, WRONG_USE, below_one, say, tell_failures
from .gateway import GatewayFigures, Plan, measure
from .limit import Comparison, bare_loop, compare
from .load import Target, ask, run_load
from .more_commands import soak_command, swarm_quality
from .prompts import fit_words, prompt
from .report import Level, document, gateway_text, level, limit_text, load_text
from .scenarios import UnknownScenario
from .suite_command import NO_SUITE, BadSize, SuiteOptions, listing
from .table_command import table
from .watching import measure_watching, watching_text

app = App(
    name=BENCH, help="Measure a server.", help_format="plaintext", help_epilogue=epilogue(BENCH)
)
app.command(table, help_epilogue=epilogue("bench table"))
app.command(soak_command, name="soak", help_epilogue=epilogue("bench soak"))
app.command(swarm_quality, name="swarm-quality", help_epilogue=epilogue("bench swarm-quality"))


@app.default
def load(
    *,
    base_url: Annotated[str, Parameter(help="The server, with or without /v1.")] = (
        "http://127.0.0.1:5001"
    ),
    model: Annotated[str, Parameter(help="What requests ask for.")] = "auto",
    concurrency: Annotated[str, Parameter(help="Streams at a time; several: 1,8.")] = "1,8",
    requests: Annotated[int, Parameter(help="Requests at each concurrency.")] = 16,
    max_tokens: Annotated[int, Parameter(help="Length of an answer.")] = 64,
    prompt_tokens: Annotated[int, Parameter(help="Length of a prompt, template included.")] = 40,
    api_key: Annotated[
        str | None, Parameter(help="Sent as a bearer token.", env_var="LATTICE_API_KEY")
    ] = None,
    json: Annotated[Path | None, Parameter(help="Write the report here, too.")] = None,
    limit: Annotated[
        Path | None,
        Parameter(help="Model directory: also run the bare mlx-lm loop on it, side by side."),
    ] = None,
    pairs: Annotated[int, Parameter(help="Pairs of server and bare loop.")] = 30,
    warm_up: Annotated[int, Parameter(help="Requests before the measurement.")] = 2,
    timeout_s: Annotated[float, Parameter(help="Longest wait for an answer.")] = 300.0,
    suite: SuiteOptions = NO_SUITE,
) -> int:
    """Measure time to first token, inter-token time and tokens per second of a server."""
    if suite.scenario == "list":
        sys.stdout.write(listing())
        return 0
    target = Target(base_url, model, api_key, timeout_s)
    try:
        assert target.path
    except ValueError as error:
        return say(str(error), WRONG_USE)
    try:
        streams = [int(text) for text in concurrency.split(",")]
    except ValueError:
        return say(f"--concurrency is a list such as 1,8, not {concurrency!r}", WRONG_USE)
    if fault := below_one(
        concurrency=min(streams),
        requests=requests,
        max_tokens=max_tokens,
        prompt_tokens=prompt_tokens,
        pairs=pairs,
        warm_up=warm_up,
    ):
        return say(fault, WRONG_USE)
    if suite.wanted:
        try:
            job = suite.job(target, tuple(streams), max_tokens, prompt_tokens, warm_up, limit)
        except (BadArm, UnknownScenario, BadSize) as error:
            return say(str(error), WRONG_USE)
        with tell_failures() as codes:
            return job.run(json)
        return codes[0]
    shape = Shape(streams, requests, max_tokens, prompt_tokens, warm_up, pairs)
    with tell_failures() as codes:
        levels, comparisons = trio.run(_measure, target, shape, limit)
    if codes:
        return codes[0]
    sys.stdout.write(load_text(levels) if levels else "")
    sys.stdout.write(limit_text(comparisons) if comparisons else "")
    if json is not None:
        asked = {"base_url": base_url, "model": model, "shape": shape}
        json.write_text(document("load", **asked, load=levels, limit=comparisons))
    answered = any(sum(one.errors.values()) < one.requests for one in levels)
    return 0 if answered or any(one.ttft for one in comparisons) else FAILED


@app.command(help_epilogue=epilogue("bench gateway"))
def gateway(
    *,
    json: Annotated[Path | None, Parameter(help="Write the report here, too.")] = None,
    requests: Annotated[int, Parameter(help="Requests for the added latency.")] = 300,
    streams: Annotated[int, Parameter(help="Streams at once for the tokens per second.")] = 32,
    rounds: Annotated[int, Parameter(help="Rounds of the burst.")] = 10,
    offered: Annotated[
        float, Parameter(help="Tokens per second of the engine in the sustained load.")
    ] = 20_000.0,
    starts: Annotated[int, Parameter(help="Starts of the server.")] = 3,
    rest_s: Annotated[float, Parameter(help="How long it is watched at rest.")] = 10.0,
) -> int:
    """Start a server with an engine that only echoes, and measure what the gateway itself costs."""
    plan = Plan(starts, rest_s, requests, streams, rounds, offered)
    if fault := below_one(starts=starts, requests=requests, streams=streams, rounds=rounds):
        return say(fault, WRONG_USE)
    if min(rest_s, offered) <= 0:
        return say("--rest-s and --offered: expected more than 0", WRONG_USE)
    figures: GatewayFigures | None = None
    with tell_failures() as codes:
        figures = trio.run(measure, plan)
    if figures is None:
        return codes[0]
    sys.stdout.write(gateway_text(figures))
    if json is not None:
        json.write_text(document("gateway", gateway=figures))
    return 0 if figures.request_s else FAILED


@app.command(help_epilogue=epilogue("bench watching"))
def watching(
    *,
    sockets: Annotated[int, Parameter(help="Followers of the state.")] = 100,
    streams: Annotated[int, Parameter(help="Answers meanwhile.")] = 4,
    seconds: Annotated[float, Parameter(help="How long each half is measured.")] = 10.0,
    json: Annotated[Path | None, Parameter(help="Write the report here, too.")] = None,
) -> int:
    """Measure what it costs the server to be watched: metrics a token, followers of the state."""
    if fault := below_one(sockets=sockets, streams=streams):
        return say(fault, WRONG_USE)
    if seconds <= 0:
        return say("--seconds: expected more than 0", WRONG_USE)
    with tell_failures() as codes:
        figures = trio.run(measure_watching, sockets, streams, seconds)
        sys.stdout.write(watching_text(figures))
        if json is not None:
            json.write_text(document("watching", watching=figures))
    return codes[0] if codes else 0


@attrs.frozen
class Shape:
    """The load, as the command line has it."""

    concurrency: list[int]
    requests: int
    max_tokens: int
    prompt_tokens: int
    warm_up: int
    pairs: int


async def _measure(
    target: Target, shape: Shape, limit: Path | None
) -> tuple[list[Level], list[Comparison]]:
    words = await _warm_up(target, shape)
    if limit is not None:
        texts = [prompt(number, words) for number in range(1, shape.pairs + 1)]
        async with bare_loop(str(limit)) as loop:
            await loop.run(texts[:1], shape.max_tokens)
            return [], [
                await compare(target, loop, texts, streams, shape.max_tokens)
                for streams in shape.concurrency
            ]
    levels = list[Level]()
    for streams in shape.concurrency:
        # New numbers at each level: no prompt is sent twice.
        numbers = range(1000 * streams, 1000 * streams + shape.requests)
        bodies = [target.body(prompt(number, words), shape.max_tokens) for number in numbers]
        levels.append(level(await run_load(target, bodies, streams)))
    return levels, []


async def _warm_up(target: Target, shape: Shape) -> int:
    """Send the first requests; return how many words make a prompt of the wanted length."""
    words = shape.prompt_tokens
    connection = target.connection()
    try:
        await connection.open()
        for number in range(max(1, shape.warm_up)):
            body = target.body(prompt(-1 - number, words), shape.max_tokens)
            answer = await ask(target, connection, body)
            if answer.prompt_tokens is not None:
                words = fit_words(shape.prompt_tokens, words, answer.prompt_tokens)
    finally:
        await connection.aclose()
    return words


if __name__ == "__main__":
    raise SystemExit(app(result_action="return_value"))
