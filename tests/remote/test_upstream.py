"""The actor of an upstream with real sockets, in front of a server that can fail in every way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio

from lattice_actors.capability.question import NoRoute, Route
from lattice_actors.errors import (
    BadRequest,
    LatticeError,
    LoadFailed,
    ModelNotFound,
    UpstreamBusy,
    UpstreamFailed,
)
from lattice_actors.generation import Chat, Delta, FinishReason, Grammar, Job
from lattice_actors.remote.health import State
from lattice_actors.stream import TokenStream
from tests.remote.fault_server import (
    END,
    HEAD,
    Behaviour,
    answering,
    chunk,
    event,
    fault_server,
    hanging,
    last,
    listing,
    piece,
    replying,
    resetting,
    sending,
)
from tests.remote.remotely import open_remote, plan


async def test_an_answer_comes_piece_by_piece_with_its_usage() -> None:
    async with fault_server() as server, open_remote(plan("gpu", server.url)) as remote:
        pieces, finish = await remote.ask("gpu/m")

        assert [each.text for each in pieces] == ["a", "b", "c"]
        assert finish.reason is FinishReason.STOP
        assert (finish.usage.prompt_tokens, finish.usage.completion_tokens) == (7, 3)
        assert server.asked[0].body["model"] == "m"


async def test_the_first_piece_goes_out_before_the_rest_is_looked_at() -> None:
    whole = b"".join((HEAD, chunk(piece("a")), chunk(piece("b")), chunk(last()), END))
    async with (
        fault_server(always=sending(whole)) as server,
        open_remote(plan("gpu", server.url)) as remote,
    ):
        ticket = remote.ticket("gpu/m")
        async with remote.lattice.admission.grant(ticket):
            first = await ticket.stream.receive()

    assert [event.text for event in first if isinstance(event, Delta)] == ["a"]


async def test_only_what_is_meant_for_it_is_sent() -> None:
    keyed = plan("gpu", "", api_key="sk-secret", api_key_env="KEY")
    async with fault_server() as server:
        async with open_remote(attrs.evolve(keyed, url=server.url)) as remote:
            await remote.ask("gpu/m", key="somebody")

        headers = server.asked[0].headers
        assert headers.keys() == {
            "host",
            "accept",
            "accept-encoding",
            "authorization",
            "connection",
            "content-length",
            "content-type",
            "user-agent",
            "x-request-id",
        }
        assert headers["authorization"] == "Bearer sk-secret"
        assert headers["x-request-id"] == "r-1"
        assert "somebody" not in str(server.asked[0].body)
        assert "sk-secret" not in repr(keyed)


async def test_a_connection_is_used_again() -> None:
    async with fault_server() as server, open_remote(plan("gpu", server.url)) as remote:
        for _ in range(5):
            await remote.ask("gpu/m")

        assert server.connections == 1


@pytest.mark.parametrize("reads", [0, 1])
async def test_leaving_closes_the_connection(reads: int) -> None:
    """Before the first byte, and in the middle."""
    parts = (HEAD, chunk(piece("a"))) if reads else ()
    async with fault_server(always=hanging(*parts)) as server:
        calm = plan("gpu", server.url, first_byte_timeout_s=60, idle_timeout_s=60)
        async with open_remote(calm) as remote:
            ticket = remote.ticket("gpu/m")
            async with remote.lattice.admission.grant(ticket):
                await remote.until(lambda: bool(server.asked))
                if reads:
                    await ticket.stream.receive()
            left_at = trio.current_time()
            with trio.fail_after(5):
                await server.asked[0].closed.wait()

            assert server.asked[0].closed_at - left_at < 1  # 0.1 s is promised; CI is slow
            await remote.until(lambda: server.connections <= 1)  # one that has listed models
            await remote.until_idle()


async def test_a_hundred_aborts_leave_no_connection_and_the_next_is_served() -> None:
    async with fault_server(always=hanging(HEAD, chunk(piece("a")))) as server:
        calm = plan("gpu", server.url, first_byte_timeout_s=60, idle_timeout_s=60, concurrency=100)
        async with open_remote(calm) as remote:

            async def abort(after_s: float) -> None:
                with trio.move_on_after(after_s):
                    await remote.ask("gpu/m")

            async with trio.open_nursery() as nursery:
                for number in range(100):
                    nursery.start_soon(abort, 0.005 * (number % 25))
            await remote.until(lambda: server.connections <= 1)
            server.always = answering()

            assert await remote.text("gpu/m") == "abc"
            await remote.until_idle()
            assert remote.view("gpu").failures == 0  # who leaves is no failure


HUGE = b"data: " + b"x" * (1024 * 1024 + 10)
FAULTS: dict[str, tuple[Behaviour, str]] = {
    "reset": (resetting(), "upstream_cut_off"),
    "closed": (sending(), "upstream_cut_off"),
    "status 500": (replying(500, {"error": {"message": "oh"}}), "upstream_failed"),
    "html": (replying(200, b"<html>", Content_Type="text/html"), "upstream_bad_answer"),
    "gzip": (replying(200, b"\x1f\x8b", Content_Encoding="gzip"), "upstream_bad_answer"),
    "redirect": (replying(302, b"", Location="http://elsewhere.invalid/"), "upstream_failed"),
    "no http": (sending(b"SSH-2.0-x\r\n"), "upstream_cut_off"),
    "garbage": (sending(HEAD, chunk(b"data: {]\n\n"), END), "upstream_bad_answer"),
    "wrong types": (sending(HEAD, chunk(event({"choices": 5})), END), "upstream_bad_answer"),
    "a huge line": (sending(HEAD, chunk(HUGE)), "upstream_bad_answer"),
    "an error event": (
        sending(HEAD, chunk(event({"error": {"message": "no memory"}})), END),
        "upstream_failed",
    ),
    "nothing": (sending(HEAD, END), "upstream_cut_off"),
    "hangs": (hanging(), "upstream_timeout"),
    "hangs after the head": (hanging(HEAD), "upstream_timeout"),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_failure_before_the_first_token_is_a_typed_error(name: str) -> None:
    behaviour, code = FAULTS[name]
    async with (
        fault_server(always=behaviour) as server,
        open_remote(plan("gpu", server.url)) as remote,
    ):
        with pytest.raises(UpstreamFailed) as failure:
            await remote.ask("gpu/m")

        assert failure.value.code == code
        assert "gpu" in failure.value.message
        # The connection that listed the models may just have been closed, which is no failure.
        kept = 1 if name in ("reset", "closed") else 0
        assert len(server.asked) == (1 if code == "upstream_timeout" else 2 + kept)
        await remote.until_idle()


MID_FAULTS: dict[str, tuple[Callable[..., Behaviour], tuple[bytes, ...], str]] = {
    "reset": (resetting, (), "upstream_cut_off"),
    "closed without a word": (sending, (END,), "upstream_cut_off"),
    "cut in a character": (sending, (chunk(piece("é")[:-30]),), "upstream_cut_off"),
    "hangs between tokens": (hanging, (), "upstream_timeout"),
    "garbage": (sending, (chunk(b"data: [1\n\n"), END), "upstream_bad_answer"),
    "an error": (sending, (chunk(event({"error": "dead"})), END), "upstream_failed"),
}


@pytest.mark.parametrize("name", MID_FAULTS)
async def test_a_failure_in_the_middle_is_never_a_success_and_never_tried_again(name: str) -> None:
    make, parts, code = MID_FAULTS[name]
    always = make(HEAD, chunk(piece("a")), *parts)
    async with (
        fault_server(always=always) as server,
        open_remote(plan("gpu", server.url)) as remote,
    ):
        ticket = remote.ticket("gpu/m")
        async with remote.lattice.admission.grant(ticket):
            events = await ticket.stream.receive()
            with pytest.raises(UpstreamFailed) as failure:
                await ticket.stream.receive()

        assert len(events) == 1
        assert failure.value.code == code
        assert not failure.value.elsewhere
        assert len(server.asked) == 1


async def test_bytes_that_drip_inside_of_one_event_are_no_sign_of_life() -> None:
    async def drip(stream: trio.SocketStream, seen: object) -> None:
        await stream.send_all(HEAD + chunk(piece("a")))
        while True:
            await stream.send_all(chunk(b"d"))
            await trio.sleep(0.02)

    async with (
        fault_server(always=drip) as server,
        open_remote(plan("gpu", server.url)) as remote,
    ):
        with pytest.raises(UpstreamFailed, match="said nothing"), trio.fail_after(5):
            await remote.ask("gpu/m")


async def test_comments_keep_an_answer_alive() -> None:
    async def slow(stream: trio.SocketStream, seen: object) -> None:
        await stream.send_all(HEAD)
        for _ in range(8):
            await stream.send_all(chunk(b": queued\n\n"))
            await trio.sleep(0.1)
        await stream.send_all(chunk(piece("a") + last()) + END)

    async with (
        fault_server(always=slow) as server,
        open_remote(plan("gpu", server.url)) as remote,
    ):
        assert await remote.text("gpu/m") == "a"


@pytest.mark.parametrize(
    "behaviour", [resetting(), replying(500, {}), replying(503, {}), sending(HEAD, END)]
)
async def test_what_failed_before_its_first_token_is_tried_again(behaviour: Behaviour) -> None:
    async with (
        fault_server(next=[behaviour]) as server,
        open_remote(plan("gpu", server.url)) as remote,
    ):
        assert await remote.text("gpu/m") == "abc"
        assert len(server.asked) == 2


async def test_second_tries_have_a_budget() -> None:
    async with (
        fault_server(always=replying(500, {})) as server,
        open_remote(plan("gpu", server.url, eject_after=1000)) as remote,
    ):
        failures: list[LatticeError] = []

        async def ask() -> None:
            try:
                await remote.ask("gpu/m")
            except UpstreamFailed as error:
                failures.append(error)

        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(ask)

        assert len(failures) == 40
        assert 40 < len(server.asked) <= 40 + 40 * 0.25


async def test_their_429_is_waited_for_where_there_is_time() -> None:
    busy = replying(429, {"error": {"message": "slow down"}}, Retry_After="0.2")
    async with (
        fault_server(next=[busy]) as server,
        open_remote(plan("gpu", server.url)) as remote,
    ):
        assert await remote.text("gpu/m") == "abc"
        assert server.asked[1].at - server.asked[0].at >= 0.2
        assert remote.view("gpu").failures == 0


async def test_their_429_is_ours_where_there_is_no_time() -> None:
    busy = replying(429, {"error": {"message": "slow down"}}, Retry_After="120")
    async with (
        fault_server(always=busy) as server,
        open_remote(plan("gpu", server.url)) as remote,
    ):
        with pytest.raises(UpstreamBusy, match="slow down") as failure:
            await remote.ask("gpu/m")

        assert failure.value.retry_after_s == 120
        assert len(server.asked) == 1


async def test_what_the_request_is_to_blame_for_is_said_in_the_upstreams_words() -> None:
    error = {"error": {"message": "temperature\nwith key sk-abcdefghi", "param": "temperature"}}
    async with (
        fault_server(always=replying(400, error)) as server,
        open_remote(plan("gpu", server.url)) as remote,
    ):
        with pytest.raises(BadRequest, match="temperature") as failure:
            await remote.ask("gpu/m")

        assert failure.value.param == "temperature"
        assert "abcdefghi" not in failure.value.message
        assert remote.view("gpu").failures == 0
        assert len(server.asked) == 1


async def test_a_grammar_the_server_does_not_know_is_refused_before_it_is_asked() -> None:
    async with fault_server() as server, open_remote(plan("gpu", server.url)) as remote:
        job = Job(Chat(()), 9, grammar=Grammar("regex", "a+", "guided_regex"))
        with pytest.raises(BadRequest, match="guided_regex"):
            await remote.ask("gpu/m", job=job)

        assert server.asked == []


async def test_a_choice_comes_bare_from_a_server_that_takes_schemas() -> None:
    job = Job(Chat(()), 9, grammar=Grammar("choice", '["yes", "no"]', "guided_choice"))
    async with (
        fault_server(always=answering(['{"cho', 'ice": "n', 'o"}'])) as server,
        open_remote(plan("gpu", server.url)) as remote,
    ):
        pieces, finish = await remote.ask("gpu/m", job=job)

        assert pieces == [Delta("no", 3)]
        assert (finish.reason, finish.usage.completion_tokens) == (FinishReason.STOP, 3)
        assert server.asked[0].body["response_format"]["type"] == "json_schema"


async def test_a_server_that_cannot_choose_is_told_from_one_that_has_failed() -> None:
    """No second try there, and its health is what it was: it answers everything else."""
    job = Job(Chat(()), 9, grammar=Grammar("choice", '["yes", "no"]', "guided_choice"))
    closed_early = hanging(HEAD, chunk(piece("Well")))
    async with (
        fault_server(always=closed_early) as server,
        open_remote(plan("gpu", server.url, eject_after=1)) as remote,
    ):
        with pytest.raises(UpstreamFailed, match="response_format") as failure:
            await remote.ask("gpu/m", job=job)

        assert (failure.value.code, failure.value.elsewhere) == ("upstream_bad_answer", True)
        assert len(server.asked) == 1
        with trio.fail_after(5):
            await server.asked[0].closed.wait()
        assert remote.view("gpu").failures == 0
        server.always = answering()
        assert await remote.text("gpu/m") == "abc"


async def test_a_server_that_fails_again_and_again_is_left_alone_until_a_request_works() -> None:
    async with fault_server(always=replying(500, {})) as server:
        upstream = plan("gpu", server.url, retries=0, eject_after=3, eject_s=1)
        async with open_remote(upstream) as remote:
            for _ in range(3):
                with pytest.raises(UpstreamFailed):
                    await remote.ask("gpu/m")
            await remote.until(lambda: remote.view("gpu").state is State.DOWN)

            with pytest.raises(LoadFailed) as refused:
                await remote.ask("gpu/m")
            asked = len(server.asked)
            assert isinstance(await remote.route("gpu/m"), NoRoute)
            server.always = answering()
            await remote.until(lambda: remote.view("gpu").state is State.TRIAL)
            text = await remote.text("gpu/m")

            assert refused.value.code == "upstream_unavailable"
            assert refused.value.retry_after_s is not None
            assert asked == 3
            assert text == "abc"
            await remote.until(lambda: remote.view("gpu").state is State.UP)


async def test_a_server_that_is_ejected_finishes_what_it_works_on_and_may_be_left() -> None:
    async with fault_server() as server:
        server.next = [
            hanging(HEAD, chunk(piece("a"))),
            answering(["x"] * 30, 0.05),
            replying(500, {}),
        ]
        upstream = plan("gpu", server.url, retries=0, eject_after=1, idle_timeout_s=60)
        async with open_remote(upstream) as remote:
            texts: list[str] = []

            async def read() -> None:
                texts.append(await remote.text("gpu/m"))

            async with trio.open_nursery() as nursery:
                leaving = trio.CancelScope()

                async def leave() -> None:
                    with leaving:
                        await remote.ask("gpu/m")

                nursery.start_soon(leave)
                await remote.until(lambda: len(server.asked) == 1)
                nursery.start_soon(read)
                await remote.until(lambda: len(server.asked) == 2)
                with pytest.raises(UpstreamFailed):
                    await remote.ask("gpu/m")
                await remote.until(lambda: remote.view("gpu").state is State.DOWN)
                await remote.until_running(2)
                leaving.cancel()
                with trio.fail_after(5):
                    await server.asked[0].closed.wait()

            assert texts == ["x" * 30]
            await remote.until_idle()


async def test_a_server_that_comes_back_is_found_soon() -> None:
    async with fault_server() as server:
        port = server.url
        async with open_remote(plan("gpu", port, refresh_s=1)) as remote:
            assert await remote.text("gpu/m") == "abc"
    async with open_remote(plan("gpu", port, models=("m",))) as remote:
        assert remote.view("gpu").state is State.DOWN
        route = await remote.route("gpu/m")
        assert isinstance(route, NoRoute)
        assert "cannot be reached" in route.message
        assert route.retry_after_s is not None


@pytest.mark.parametrize(
    "models",
    [
        replying(200, b"<html>"),
        replying(200, {"data": 5}),
        replying(200, {"data": [{"id": 5}]}),
        replying(200, b"[" * 100_000),
        replying(500, {}),
        replying(401, {}),
        hanging(),
        resetting(),
    ],
)
async def test_a_list_of_models_that_is_none_keeps_the_server_out_and_us_alive(
    models: Behaviour,
) -> None:
    async with (
        fault_server(models=models) as server,
        open_remote(plan("gpu", server.url, probe_timeout_s=0.2)) as remote,
    ):
        assert (await remote.lattice.catalog.snapshot()).models == ()
        assert remote.view("gpu").state is State.DOWN
        with pytest.raises((ModelNotFound, LoadFailed)):
            await remote.ask("gpu/m")

        server.models = listing("m")
        await remote.until(lambda: bool(remote.view("gpu").models))
        assert await remote.text("gpu/m") == "abc"


async def test_models_come_and_go_with_the_list() -> None:
    async with (
        fault_server(models=listing("old", "text-embedding-3")) as server,
        open_remote(plan("gpu", server.url)) as remote,
    ):
        before = await remote.lattice.catalog.snapshot()
        server.models = listing("new")
        remote.lattice.upstreams.refresh()
        await remote.until(lambda: [e.name for e in remote.view("gpu").models] == ["new"])

        assert [entry.kind.value for entry in before.models] == ["chat", "embedding"]
        assert await remote.text("gpu/new") == "abc"
        with pytest.raises(ModelNotFound):
            await remote.ask("gpu/old")


async def test_replicas_share_the_work_by_weight_and_one_that_fails_is_passed_over() -> None:
    slow = answering(["x"] * 10, 0.03)
    async with fault_server(always=slow) as one, fault_server(always=slow) as two:
        plans = (plan("one", one.url, weight=3), plan("two", two.url))
        async with open_remote(*plans) as remote:

            async def ask() -> None:
                await remote.ask(await remote.chosen("m"))

            async with trio.open_nursery() as nursery:
                for _ in range(16):
                    nursery.start_soon(ask)
                    await trio.sleep(0.01)

            assert len(one.asked) + len(two.asked) == 16
            assert len(one.asked) > len(two.asked) > 0
            assert await remote.chosen("m", avoid=frozenset({"one/m"})) == "two/m"


async def test_replicas_with_nothing_to_do_take_turns() -> None:
    async with (
        fault_server() as one,
        fault_server() as two,
        open_remote(plan("one", one.url), plan("two", two.url)) as remote,
    ):
        chosen = [await remote.chosen("m") for _ in range(4)]

        assert chosen == ["one/m", "two/m", "one/m", "two/m"]


async def test_all_models_of_a_server_share_its_slots() -> None:
    slow = answering(["x"] * 5, 0.02)
    async with fault_server(models=listing("a", "b"), always=slow) as server:
        most = 0

        async with open_remote(plan("gpu", server.url, concurrency=2)) as remote:

            async def count(stream: trio.SocketStream, seen: Any) -> None:  # noqa: ANN401 - Seen
                nonlocal most
                most = max(most, await remote.running())
                await slow(stream, seen)

            server.always = count
            async with trio.open_nursery() as nursery:
                for number in range(8):
                    nursery.start_soon(remote.text, f"gpu/{'ab'[number % 2]}")

            assert most == 2
            assert len(server.asked) == 8


async def test_local_only_opens_no_connection() -> None:
    async with fault_server() as server:
        upstream = plan("gpu", server.url)
        async with open_remote(upstream, models=("here",)) as remote:
            looked = len(server.seen)
            for spec in ("gpu/m", "m", "auto", "*"):
                route = await remote.route(spec, bound="local-only")
                assert not isinstance(route, Route) or route.model == "here"

            assert len(server.seen) == looked
            purposes = {purpose for _, _, purpose in remote.lattice.upstreams.ledger.sums}
            assert purposes == {"models"}


async def test_the_ledger_counts_what_left_and_what_came_back() -> None:
    async with fault_server() as server, open_remote(plan("gpu", server.url)) as remote:
        await remote.ask("gpu/m")
        await remote.ask("gpu/m")

        sums = remote.lattice.upstreams.ledger.sums
        host = server.url.removeprefix("http://")
        sent = sum(int(seen.headers["content-length"]) for seen in server.asked)
        came = sum(map(len, (piece("a"), piece("b"), piece("c"), last())))
        answers = sums["gpu", host, "answer"]
        assert (answers.requests, answers.sent_bytes) == (2, sent)
        assert answers.received_bytes == 2 * came
        assert remote.lattice.upstreams.ledger.newest[-1].request_id == "r-1"


async def test_a_reader_that_does_not_read_is_cut_off_and_the_connection_closed() -> None:
    flood = sending(HEAD, *[chunk(piece("x" * 10_000))] * 20)
    async with fault_server(always=flood) as server, open_remote(plan("gpu", server.url)) as remote:
        ticket = remote.ticket("gpu/m", stream=TokenStream())
        async with remote.lattice.admission.grant(ticket):
            await remote.until(lambda: ticket.stream.ended)
        await remote.until_idle()


async def test_what_runs_ends_when_the_program_does() -> None:
    async with fault_server(always=hanging(HEAD, chunk(piece("a")))) as server:
        calm = plan("gpu", server.url, idle_timeout_s=60)
        async with open_remote(calm) as remote:
            ticket = remote.ticket("gpu/m")
            scope = trio.CancelScope()

            async def hold() -> None:
                with scope:
                    async with remote.lattice.admission.grant(ticket):
                        await trio.sleep_forever()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(hold)
                await ticket.stream.receive()
                scope.cancel()
        with trio.fail_after(5):
            await server.asked[0].closed.wait()


async def test_a_server_for_one_request_at_a_time_is_left_alone_with_it() -> None:
    """llama-cpp-python: a second request, even for the list of models, cuts the first one off."""
    async with fault_server(models=listing("m", owned_by="me")) as server:
        server.always = hanging(HEAD, chunk(piece("a")))
        async with open_remote(plan("gpu", server.url, idle_timeout_s=60.0)) as remote:
            await remote.chosen("gpu/m")
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(remote.ask, "gpu/m")
                await remote.until(lambda: len(server.asked) == 1)
                looks = len(server.seen)
                remote.lattice.upstreams.refresh()
                await trio.sleep(0.05)

                assert (await remote.running(), len(server.seen)) == (1, looks)
                nursery.cancel_scope.cancel()
            await remote.until(lambda: len(server.seen) > looks)  # now it is asked


async def test_an_answer_that_is_cut_off_has_an_estimate_of_its_prompt() -> None:
    server = fault_server(always=hanging(HEAD, chunk(piece("a"))))
    async with server as slow, open_remote(plan("gpu", slow.url, idle_timeout_s=60.0)) as remote:
        ticket = remote.ticket("gpu/m")
        async with remote.lattice.admission.grant(ticket):
            await ticket.stream.receive()

            assert ticket.stream.prefill is not None
            assert ticket.stream.prefill.total > 0
