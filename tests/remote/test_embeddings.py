"""Embeddings through the actor of an upstream, with real sockets."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio

from lattice_actors.capability.question import Ask, Candidate, NoRoute, Route, Rules
from lattice_actors.capability.resolver import resolve
from lattice_actors.catalog.entry import Kind
from lattice_actors.errors import BadRequest, UpstreamBusy, UpstreamFailed
from lattice_actors.generation import Embed, Finish, Job, Text
from lattice_actors.stream import TokenStream
from tests.remote.fault_server import (
    HEAD,
    Behaviour,
    Seen,
    chunk,
    fault_server,
    hanging,
    last,
    listing,
    piece,
    replying,
    resetting,
    sending,
)
from tests.remote.remotely import Remote, open_remote, plan

TEXTS = Embed((Text("one"), Text("two")))
MODELS = listing("all-minilm", "chatty")


def vectors(*rows: list[float], tokens: int = 6) -> Behaviour:
    """A server in order."""
    data = [{"object": "embedding", "index": at, "embedding": row} for at, row in enumerate(rows)]
    return replying(200, {"data": data, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})


GOOD = vectors([1.0, 0.5], [0.25, -1.0])


async def ask(remote: Remote, model: str, embed: Embed = TEXTS) -> tuple[list[float], Finish]:
    """Return all numbers in a row, and the end; raises what the caller would see."""
    ticket = remote.ticket(model, job=Job(embed, 1), stream=TokenStream(whole=True))
    async with remote.lattice.admission.grant(ticket):
        (finish,) = await ticket.stream.receive()
    assert isinstance(finish, Finish)
    return list(memoryview(ticket.stream.vectors).cast("f")), finish


async def test_vectors_come_with_their_usage() -> None:
    async with (
        fault_server(models=MODELS, always=GOOD) as server,
        open_remote(plan("gpu", server.url)) as remote,
    ):
        numbers, finish = await ask(remote, "gpu/all-minilm")

        assert numbers == [1.0, 0.5, 0.25, -1.0]
        assert (finish.usage.prompt_tokens, finish.usage.completion_tokens) == (6, 0)
        assert (server.asked[0].path, server.asked[0].headers["accept"]) == (
            "/v1/embeddings",
            "application/json",
        )
        assert server.asked[0].body["model"] == "all-minilm"
        sums = remote.lattice.upstreams.ledger.sums
        (answers,) = [total for key, total in sums.items() if "answer" in key]
        assert (answers.requests, answers.received_bytes > 0) == (1, True)
        await remote.until(lambda: remote.view("gpu").answered == 1)
        await remote.until_idle()


@pytest.mark.parametrize(
    ("kind", "spec", "model"),
    [
        (Kind.EMBEDDING, "auto", "gpu/all-minilm"),
        (Kind.EMBEDDING, "text-embedding-3-small", "gpu/all-minilm"),
        (Kind.EMBEDDING, "all-minilm", "gpu/all-minilm"),
        (Kind.EMBEDDING, "gpu/chatty", None),
        (Kind.EMBEDDING, "chatty", None),
        (Kind.CHAT, "auto", "gpu/chatty"),
        (Kind.CHAT, "gpu/all-minilm", None),
    ],
)
async def test_each_kind_of_request_goes_to_its_own_kind_of_model(
    kind: Kind, spec: str, model: str | None
) -> None:
    async with (
        fault_server(models=MODELS) as server,
        open_remote(plan("gpu", server.url), rules=Rules(on_miss="error")) as remote,
    ):
        route = await remote.route(spec, kind=kind)

        assert (route.model if isinstance(route, Route) else None) == model


async def test_local_only_leaves_it_out() -> None:
    async with (
        fault_server(models=MODELS) as server,
        open_remote(plan("gpu", server.url)) as remote,
    ):
        route = await remote.route("auto", kind=Kind.EMBEDDING, bound="local-only")

        assert isinstance(route, NoRoute)
        assert "locality=local-only" in route.message


FAULTS: dict[str, tuple[Behaviour, str]] = {
    "reset": (resetting(), "upstream_cut_off"),
    "status 500": (replying(500, {"error": {"message": "oh"}}), "upstream_failed"),
    "html": (replying(200, b"<html>", Content_Type="text/html"), "upstream_bad_answer"),
    "a stream": (sending(HEAD, chunk(piece("a")), chunk(last())), "upstream_bad_answer"),
    "one too few": (vectors([1.0]), "upstream_bad_answer"),
    "different lengths": (vectors([1.0], [1.0, 2.0]), "upstream_bad_answer"),
    "no such model": (replying(404, {"error": {"message": "no"}}), "upstream_has_no_model"),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_failure_is_a_typed_error(name: str) -> None:
    behaviour, code = FAULTS[name]
    async with (
        fault_server(models=MODELS, always=behaviour) as server,
        open_remote(plan("gpu", server.url)) as remote,
    ):
        with pytest.raises(UpstreamFailed) as failure:
            await ask(remote, "gpu/all-minilm")

        assert failure.value.code == code
        kept = 1 if name == "reset" else 0  # closed as it was used again is no failure
        assert len(server.asked) == (1 if code == "upstream_has_no_model" else 2 + kept)
        await remote.until_idle()


@pytest.mark.parametrize("first", [resetting(), vectors([9.0, 9.0], [9.0])], ids=["reset", "bad"])
async def test_a_second_try_gives_its_own_vectors_and_nothing_of_the_first(
    first: Behaviour,
) -> None:
    async with (
        fault_server(models=MODELS, next=[first], always=GOOD) as server,
        open_remote(plan("gpu", server.url)) as remote,
    ):
        numbers, _ = await ask(remote, "gpu/all-minilm")

        assert numbers == [1.0, 0.5, 0.25, -1.0]
        assert len(server.asked) == 2


async def test_what_the_server_refuses_is_the_callers_400() -> None:
    refusal = replying(400, {"error": {"message": "input too long", "param": "input"}})
    busy = replying(429, {"error": {"message": "later"}}, Retry_After="77")
    async with (
        fault_server(models=MODELS, next=[refusal, busy]) as server,
        open_remote(plan("gpu", server.url)) as remote,
    ):
        with pytest.raises(BadRequest) as refused:
            await ask(remote, "gpu/all-minilm")
        with pytest.raises(UpstreamBusy) as later:
            await ask(remote, "gpu/all-minilm")

        assert (refused.value.param, later.value.retry_after_s) == ("input", 77)
        assert remote.view("gpu").failures == 0


async def test_leaving_closes_the_connection() -> None:
    calm: dict[str, Any] = {"first_byte_timeout_s": 60, "idle_timeout_s": 60}
    async with (
        fault_server(models=MODELS, always=hanging()) as server,
        open_remote(plan("gpu", server.url, **calm)) as remote,
    ):
        ticket = remote.ticket("gpu/all-minilm", job=Job(TEXTS, 1))
        async with remote.lattice.admission.grant(ticket):
            await remote.until(lambda: bool(server.asked))
        with trio.fail_after(5):
            await server.asked[0].closed.wait()
        await remote.until_idle()


async def test_a_large_answer_that_goes_on_is_not_cut_by_the_clock_of_the_first_byte() -> None:
    embed = Embed(tuple(Text(str(number)) for number in range(40)))
    row = [0.5] * 1000
    body = (
        b'{"data":['
        + b",".join(b'{"index":%d,"embedding":%s}' % (at, str(row).encode()) for at in range(40))
        + b"]}"
    )

    async def slow(stream: trio.SocketStream, seen: Seen) -> None:
        head = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        await stream.send_all(b"HTTP/1.1 200 X\r\n" + head.encode())
        for at in range(0, len(body), 70_000):
            await trio.sleep(0.12)  # of 0.3 s for the first byte, and 1.0 between
            await stream.send_all(body[at : at + 70_000])

    async with (
        fault_server(models=MODELS, always=slow) as server,
        open_remote(plan("gpu", server.url, first_byte_timeout_s=0.3)) as remote,
    ):
        numbers, finish = await ask(remote, "gpu/all-minilm", embed)

        assert numbers == row * 40
        assert finish.usage.prompt_tokens > 0


async def test_replicas_answer_for_each_other_also_where_no_model_was_named() -> None:
    async with (
        fault_server(models=MODELS, always=GOOD) as one,
        fault_server(models=MODELS, always=GOOD) as two,
        open_remote(plan("a", one.url), plan("b", two.url)) as remote,
    ):
        route = await remote.route("auto", kind=Kind.EMBEDDING)

        assert isinstance(route, Route)
        assert {route.model, *route.alternatives} == {"a/all-minilm", "b/all-minilm"}


async def test_a_slot_is_taken_like_any_other() -> None:
    async with (
        fault_server(models=MODELS, always=hanging()) as server,
        open_remote(plan("gpu", server.url, concurrency=1, first_byte_timeout_s=60)) as remote,
    ):
        first = remote.ticket("gpu/all-minilm", job=Job(TEXTS, 1))
        async with remote.lattice.admission.grant(first):
            await remote.until(lambda: len(server.asked) == 1)
            server.always = GOOD
            with trio.move_on_after(0.1):
                await ask(remote, "gpu/all-minilm")
            assert len(server.asked) == 1

        numbers, _ = await ask(remote, "gpu/all-minilm")
        assert len(numbers) == 4


def test_the_first_embedding_model_is_replaced_by_its_replicas_alone() -> None:
    def answers(*candidates: Candidate) -> tuple[str, ...] | None:
        route = resolve(Ask("auto", kind=Kind.EMBEDDING), candidates, Rules())
        return (route.model, *route.alternatives) if isinstance(route, Route) else None

    def one(id_: str, **fields: Any) -> Candidate:  # noqa: ANN401 - of Candidate
        return Candidate(id_, kind=Kind.EMBEDDING, **fields)

    own = one("bge")
    a = one("a/bge", name="bge", backend="a", locality="remote")
    b = one("b/bge", name="bge", backend="b", locality="remote")
    other = one("b/e5", name="e5", backend="b", locality="remote")
    gone = attrs.evolve(a, unavailable="is down")

    assert answers(own, a, b, other) == ("bge",)
    assert answers(a, b, other) == ("a/bge", "b/bge")
    assert answers(gone, b, other) == ("b/bge",)
    assert (
        answers(attrs.evolve(own, unavailable="is down"), a) is None
    )  # no prompt leaves by accident
    assert answers(gone, other) is None
