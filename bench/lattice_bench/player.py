"""Play to one server: carry out the waves of a shape over connections that are kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from math import inf

import attrs
import msgspec
import trio

from .answers import Answer
from .arms import Arm
from .http1 import Connection
from .load import NETWORK_ERRORS, Target, ask
from .scenarios import Deck, Request, Round, Scenario, Sizes, Told, Wave
from .scenarios.shape import Shape
from .whole import ask_whole, has_route, swarm_body

SETTLE_S = 5.0  # how long a server gets to notice that clients have left
POLL_S = 0.1
TRIES = 4  # of the first request: it may load a model for longer than a server lets it wait
PAUSE_S = 1.0  # before the next try, unless the server says how long


class ArmFailed(Exception):
    """A server did not answer the first request to it; the text says which and why."""


@attrs.define(eq=False)
class Player:
    """Plays to one server, over connections that it keeps. Closed by `aclose`."""

    arm: Arm
    _connections: list[Connection] = attrs.field(init=False, factory=list[Connection])

    async def lacks(self, scenario: Scenario) -> str | None:
        """Say what keeps the server from playing *scenario*; None if nothing does."""
        if len(self.arm.targets) < scenario.models:
            return "it has no second model"
        if scenario.route and not await has_route(self.arm.target, scenario.route):
            return f"it has no {scenario.route}"
        return None

    async def warm_up(self, sizes: Sizes, requests: int, seed: int) -> int:
        """Ask every model; return the tokens of a prompt beyond its drawn words.

        Raises:
            ArmFailed: the server is not there or does not answer.
        """
        overhead = 0
        for at, target in enumerate(self.arm.targets):
            deck = Deck(sizes, f"{seed} warm-up {at}")
            for _ in range(max(1, requests)):
                body = target.body(deck.text(sizes.prompt_tokens), sizes.max_tokens)
                answer = await self._first(target, body)
                if answer.error is not None:
                    raise ArmFailed(
                        f"{self.arm.name} ({target.base_url}, model {target.model!r}) "
                        f"does not answer: {answer.error}"
                    )
                if at == 0 and answer.prompt_tokens is not None:
                    overhead = max(0, answer.prompt_tokens - sizes.prompt_tokens)
        return overhead

    async def _first(self, target: Target, body: bytes) -> Answer:
        for left in reversed(range(TRIES)):
            (connection,) = await self._open(1)
            answer = await ask(target, connection, body)
            if answer.error is None or answer.status is None or not left:
                break
            await trio.sleep(PAUSE_S if answer.retry_after_s is None else answer.retry_after_s)
        return answer

    async def play(self, scenario: Scenario, deck: Deck) -> Round:
        """Play one round."""
        before = await self.ghost_tokens() if scenario.counts_ghosts else None
        told = await play_waves(scenario.shape(deck), self.send)
        if before is None:
            return Round(told)
        after = await self.ghost_tokens()
        # Fewer than before: the model was unloaded meanwhile, and its counter with it.
        known = after is not None and after >= before
        return Round(told, (after or 0) - before if known else None)

    async def send(self, wave: Wave) -> list[Answer]:
        """Send the requests of *wave* when they are due, and read their answers."""
        connections = await self._open(len(wave.requests))
        begun = trio.current_time()
        answers = [Answer(begun, begun, left=True) for _ in wave.requests]
        texts = [0.0] * len(wave.requests)  # of each so far; infinite when it has ended
        waiting = trio.lowlevel.ParkingLot()

        async def one(at: int, request: Request) -> None:
            await trio.sleep(request.delay_s)
            while min((*texts[:at], *texts[at + 1 :]), default=inf) < request.after_texts:
                await waiting.park()
            target = self.arm.targets[request.model]
            if request.swarm is None:
                body = target.chat(request.messages, request.max_tokens, request.fields)
                answers[at] = await ask(target, connections[at], body, partial(on_text, at))
            else:
                answers[at] = await _ask_swarm(target, request)
            texts[at] = inf
            waiting.unpark_all()

        def on_text(at: int) -> None:
            texts[at] += 1
            waiting.unpark_all()
            if wave.leave_after_texts is not None and texts[at] >= wave.leave_after_texts:
                clients.cancel_scope.cancel(reason="all clients leave")

        async with trio.open_nursery() as clients:
            for at, request in enumerate(wave.requests):
                clients.start_soon(one, at, request)
        for connection, answer in zip(connections, answers, strict=True):
            if answer.left:
                await connection.aclose()
        return answers

    async def ghost_tokens(self) -> int | None:
        """Return the tokens that the server has generated for nobody; None if it does not tell.

        It is asked again until nothing runs any more: the last clients may just have left.
        """
        target = self.arm.target
        path = target.path.removesuffix("/chat/completions") + "/state"
        with trio.move_on_after(SETTLE_S):
            while True:
                (connection,) = await self._open(1)
                try:
                    response = await connection.request("GET", path)
                    body = await connection.read()
                    state = msgspec.json.decode(body, type=_State)
                except (*NETWORK_ERRORS, msgspec.DecodeError):
                    await connection.aclose()
                    return None
                if response.status != 200:
                    return None
                if not state.queue.running_total:
                    return sum(model.ghost_tokens for model in state.models.values())
                await trio.sleep(POLL_S)
        return None

    async def aclose(self) -> None:
        for connection in self._connections:
            await connection.aclose()

    async def _open(self, count: int) -> list[Connection]:
        """Return open connections: a wave begins at once for all of its requests."""
        while len(self._connections) < count:
            self._connections.append(self.arm.target.connection())
        for connection in self._connections[:count]:
            with suppress(*NETWORK_ERRORS):  # the request will meet it again, and note it
                await connection.open()
        return self._connections[:count]


async def _ask_swarm(target: Target, request: Request) -> Answer:
    swarm = request.swarm
    assert swarm is not None
    fields = {"strategy": swarm.strategy} if swarm.strategy else {}
    body = swarm_body(target.model, swarm.samples, request.messages, request.max_tokens, fields)
    return await ask_whole(target, swarm.route, body)


async def play_waves(
    shape: Shape, send: Callable[[Wave], Awaitable[list[Answer]]]
) -> tuple[Told, ...]:
    """Carry out the waves of *shape*, one after the other."""
    told = list[Told]()
    wave: Wave | None = next(shape, None)
    while wave is not None:
        answers = await send(wave)
        told.append(Told(wave, tuple(answers)))
        try:
            wave = shape.send(answers)
        except StopIteration:
            wave = None
    return tuple(told)


class _Model(msgspec.Struct):
    ghost_tokens: int = 0  # a model that was never in memory has none


class _Queue(msgspec.Struct):
    running_total: int


class _State(msgspec.Struct):
    """What is looked at in /v1/state of lattice-trio."""

    models: dict[str, _Model]
    queue: _Queue
