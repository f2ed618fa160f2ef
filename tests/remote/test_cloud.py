"""The actor of the cloud with real sockets and the real SDK, in front of a server that can fail."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import trio

from lattice_actors.capability.question import NoRoute
from lattice_actors.errors import BadRequest, LatticeError, UpstreamBusy, UpstreamFailed
from lattice_actors.generation import Chat, FinishReason, Job, Sampling
from lattice_actors.remote.health import State
from lattice_actors.remote.spend import Price
from tests.remote.anthropic_events import HELLO, block, last, named, piece, saying, start
from tests.remote.fault_server import (
    END,
    HEAD,
    Behaviour,
    chunk,
    fault_server,
    hanging,
    replying,
    resetting,
    sending,
)
from tests.remote.remotely import cloud, open_remote

MODEL = "anthropic/claude-a"


def refusing(status: int, message: str = "no", **headers: str) -> Behaviour:
    body = {"type": "error", "error": {"type": "api_error", "message": message}}
    return replying(status, body, **headers)


async def test_an_answer_comes_piece_by_piece_with_its_usage() -> None:
    answer = start(cache_read_input_tokens=90) + block(0) + piece("hel") + piece("lo") + last()
    async with fault_server(always=saying(answer)) as server:
        async with open_remote(cloud=cloud(server.url)) as remote:
            pieces, finish = await remote.ask(MODEL)

        assert [each.text for each in pieces] == ["hel", "lo"]
        assert finish.reason is FinishReason.STOP
        usage = finish.usage
        assert (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens) == (97, 90, 3)
        assert server.asked[0].path == "/v1/messages"
        assert server.asked[0].body == {
            "model": "claude-a",
            "max_tokens": 100,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
            "stream": True,
            "temperature": 0.7,
        }


async def test_only_what_is_meant_for_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK would tell of the machine, and of what the environment has of headers."""
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "another")
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "X-Mine: 1")
    async with fault_server(always=saying()) as server:
        async with open_remote(cloud=cloud(server.url, version="2026-01-01")) as remote:
            await remote.ask(MODEL, key="somebody")

        headers = server.asked[0].headers
        assert headers.keys() == {
            "host",
            "accept",
            "accept-encoding",
            "anthropic-version",
            "connection",
            "content-length",
            "content-type",
            "user-agent",
            "x-api-key",
        }
        assert headers["x-api-key"] == "sk-ant-secret"
        assert headers["anthropic-version"] == "2026-01-01"
        assert headers["user-agent"].startswith("lattice-trio/")
        assert headers["accept-encoding"] == "identity"


async def test_the_ledger_is_exact() -> None:
    async with fault_server(always=saying()) as server:
        async with open_remote(cloud=cloud(server.url)) as remote:
            await remote.ask(MODEL)
            ledger = remote.lattice.upstreams.ledger
            (entry,) = ledger.newest

        host = server.url.removeprefix("http://")
        assert (entry.request_id, entry.upstream, entry.host) == ("r-1", "anthropic", host)
        assert entry.sent_bytes == int(server.asked[0].headers["content-length"])
        assert entry.received_bytes == len(HELLO)
        assert ledger.sums.keys() == {("anthropic", host, "answer")}


async def test_nothing_is_connected_before_somebody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever is asked
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(trio, "open_tcp_stream", refuse)
    monkeypatch.setattr(trio.socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    plan = cloud("https://api.invalid")
    async with open_remote(cloud=plan, models=("here",)) as remote:
        assert await remote.chosen("auto") == "here"
        for spec in ("anthropic", MODEL, "claude-b", "anthropic:claude-b"):
            found = await remote.route(spec, bound="local-only", allow_fallback=False)
            assert isinstance(found, NoRoute)
        with trio.move_on_after(0.2):
            await remote.until(lambda: bool(remote.lattice.upstreams.ledger.newest))

        assert not remote.lattice.upstreams.ledger.newest
        with pytest.raises(UpstreamFailed):  # and the trap is one
            await remote.ask(MODEL)


@pytest.mark.parametrize("reads", [0, 1])
async def test_leaving_closes_the_connection(reads: int) -> None:
    parts = (HEAD, chunk(start() + block(0) + piece("a" * 350))) if reads else ()
    async with fault_server(always=hanging(*parts)) as server:
        calm = cloud(
            server.url,
            server={"first_byte_timeout_s": 60.0, "idle_timeout_s": 60.0},
            prices={"claude-a": Price(1, 1)},
        )
        async with open_remote(cloud=calm) as remote:
            ticket = remote.ticket(MODEL)
            async with remote.lattice.admission.grant(ticket):
                await remote.until(lambda: bool(server.asked))
                if reads:
                    await ticket.stream.receive()
            with trio.fail_after(5):
                await server.asked[0].closed.wait()
            await remote.until_idle()

            view = remote.lattice.spend.view(0)
            assert view.held_usd == 0
            assert (view.input_tokens, view.output_tokens) == ((7, 100) if reads else (0, 0))
            assert remote.view("anthropic").failures == 0


FAULTS: dict[str, tuple[Behaviour, str]] = {
    "reset": (resetting(), "upstream_cut_off"),
    "closed": (sending(), "upstream_cut_off"),
    "status 500": (refusing(500), "upstream_failed"),
    "html": (replying(200, b"<html>", Content_Type="text/html"), "upstream_bad_answer"),
    "redirect": (replying(302, b"", Location="http://elsewhere.invalid/"), "upstream_failed"),
    "no http": (sending(b"SSH-2.0-x\r\n"), "upstream_cut_off"),
    "garbage": (saying(b"data: {]\n\n"), "upstream_bad_answer"),
    "silence": (hanging(), "upstream_timeout"),
    "an error event": (saying(named("error", error={"message": "x"})), "upstream_failed"),
    "another wire": (replying(200, {"choices": []}), "upstream_bad_answer"),
    "key": (refusing(401, "invalid x-api-key sk-ant-secret"), "upstream_refused_key"),
    "model": (refusing(404, "model: claude-a"), "upstream_has_no_model"),
    "a huge refusal": (replying(500, b"x" * 300_000), "upstream_failed"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_every_fault_is_a_typed_error_and_the_next_request_works(fault: str) -> None:
    behaviour, code = FAULTS[fault]
    async with fault_server(always=saying(), next=[behaviour]) as server:
        plan = cloud(server.url, server={"retries": 0})
        async with open_remote(cloud=plan) as remote:
            with pytest.raises(UpstreamFailed) as failed:
                await remote.ask(MODEL)

            assert failed.value.code == code
            assert failed.value.elsewhere
            assert "sk-ant-secret" not in failed.value.message
            assert await remote.text(MODEL) == "hello"


async def test_what_the_request_is_to_blame_for_is_passed_on() -> None:
    async with (
        fault_server(always=refusing(400, "messages.0: too odd")) as server,
        open_remote(cloud=cloud(server.url)) as remote,
    ):
        with pytest.raises(BadRequest, match=r"messages\.0: too odd"):
            await remote.ask(MODEL)

        assert len(server.asked) == 1
        assert remote.view("anthropic").failures == 0


@pytest.mark.parametrize("status", [429, 529])
async def test_busy_is_said_with_its_time(status: int) -> None:
    behaviour = refusing(status, "later", Retry_After="77")
    async with (
        fault_server(always=behaviour) as server,
        open_remote(cloud=cloud(server.url)) as remote,
    ):
        with pytest.raises(UpstreamBusy) as busy:
            await remote.ask(MODEL)

        assert busy.value.retry_after_s == 77
        assert busy.value.elsewhere


async def test_a_failure_before_the_first_piece_is_tried_again_and_one_after_it_is_not() -> None:
    begun = resetting(HEAD, chunk(start() + block(0) + piece("a")))
    async with (
        fault_server(always=saying(), next=[resetting(), saying(), begun]) as server,
        open_remote(cloud=cloud(server.url)) as remote,
    ):
        assert await remote.text(MODEL) == "hello"
        with pytest.raises(UpstreamFailed) as failed:
            await remote.ask(MODEL)

        assert not failed.value.elsewhere
        assert len(server.asked) == 3


async def test_pings_are_signs_of_life() -> None:
    async def slow(stream: trio.SocketStream, seen: object) -> None:
        await stream.send_all(HEAD + chunk(start()))
        for _ in range(4):
            await trio.sleep(0.1)
            await stream.send_all(chunk(named("ping")))
        await stream.send_all(chunk(block(0) + piece("late") + last()) + END)

    async with fault_server(always=slow) as server, open_remote(cloud=cloud(server.url)) as remote:
        assert await remote.text(MODEL) == "late"


async def test_after_failures_in_a_row_it_is_left_alone_and_then_tried() -> None:
    async with fault_server(always=refusing(500)) as server:
        plan = cloud(server.url, server={"retries": 0, "eject_after": 2, "eject_s": 0.3})
        async with open_remote(cloud=plan, models=("here",)) as remote:
            for _ in range(2):
                with pytest.raises(UpstreamFailed):
                    await remote.ask(MODEL)
            await remote.until(lambda: remote.view("anthropic").state is State.DOWN)

            assert await remote.chosen("anthropic,here") == "here"
            server.always = saying()
            await remote.until(lambda: remote.view("anthropic").state is State.TRIAL)
            assert await remote.text(MODEL) == "hello"
            await remote.until(lambda: remote.view("anthropic").state is State.UP)


async def test_the_cap_refuses_before_anything_is_sent() -> None:
    prices = {"claude-a": Price(3, 15), "claude-b": Price(3, 15)}
    async with (
        fault_server(always=saying()) as server,
        open_remote(cloud=cloud(server.url, prices=prices, cap_micros=1590)) as remote,
    ):
        assert await remote.text(MODEL) == "hello"  # up to 100 tokens: 1530 micro-dollars
        await remote.until(lambda: remote.lattice.spend.view(0).requests == 1)
        spent = remote.lattice.spend.view(0)
        with pytest.raises(UpstreamBusy) as refused:
            await remote.ask(MODEL)

        assert refused.value.code == "daily_cap_reached"
        assert refused.value.elsewhere
        assert refused.value.retry_after_s is not None
        assert "anthropic_daily_cap_usd" in refused.value.message
        assert spent.spent_usd == pytest.approx((7 * 3 + 3 * 15) / 1e6)
        assert len(server.asked) == 1
        await remote.until_idle()


async def test_a_record_of_the_day_that_is_none_forbids_it_where_there_is_a_cap(
    tmp_path: Path,
) -> None:
    prices = {"claude-a": Price(3, 15), "claude-b": Price(3, 15)}
    async with fault_server(always=saying()) as server:
        plan = cloud(server.url, prices=prices, cap_micros=10_000, spend_folder=tmp_path)
        async with open_remote(cloud=plan) as remote:
            assert await remote.text(MODEL) == "hello"
            await remote.until(lambda: remote.lattice.spend.view(0).requests == 1)
        [record] = os.listdir(tmp_path)
        with open(tmp_path / record, "ab") as file:  # noqa: ASYNC230 - three bytes
            file.write(b"?\n")
        async with open_remote(cloud=plan, models=("here",)) as remote:
            with pytest.raises(UpstreamFailed) as refused:
                await remote.ask(MODEL)
            await remote.until_idle()

        assert (refused.value.code, refused.value.elsewhere) == ("spend_unknown", True)
        assert str(tmp_path) not in refused.value.message
        assert len(server.asked) == 1


async def test_what_cannot_be_asked_is_refused_before_anything_is_sent() -> None:
    job = Job(Chat(({"role": "user", "content": "x"},)), 10, sampling=Sampling(min_p=0.5))
    async with fault_server() as server, open_remote(cloud=cloud(server.url)) as remote:
        with pytest.raises(BadRequest) as refused:
            await remote.ask(MODEL, job=job)

        assert refused.value.param == "min_p"
        assert not server.seen


async def test_several_at_once_keep_to_the_limit() -> None:
    async with fault_server(always=hanging(HEAD, chunk(start()))) as server:
        plan = cloud(server.url, server={"concurrency": 2, "idle_timeout_s": 0.3, "retries": 0})
        async with open_remote(cloud=plan) as remote, trio.open_nursery() as nursery:
            results: list[str] = []

            async def ask() -> None:
                try:
                    results.append(await remote.text(MODEL))
                except LatticeError as error:
                    results.append(error.code)

            for _ in range(3):
                nursery.start_soon(ask)
            await remote.until(lambda: len(server.asked) == 2)
            assert await remote.running() == 2
            server.always = saying()
            await remote.until(lambda: len(results) == 3)

        assert sorted(results) == ["hello", "upstream_timeout", "upstream_timeout"]
