"""The headers of a swarm's answer: those that are known when they go out."""

from __future__ import annotations

from collections.abc import Iterable

from lattice_actors.capability.words import fold
from lattice_actors.swarm.asks import Debate, Ensemble, Pipeline, Strategy
from lattice_http.headers import header_value, ignored_params, routed_to, timing_headers

from .exchange import SwarmExchange


def swarm_headers(exchange: SwarmExchange) -> list[tuple[str, str]]:
    """Return what is known of *exchange* by now; at its end that is everything."""
    headers = [
        ("X-Swarm-Session", exchange.id),
        ("X-Swarm-Strategy", exchange.strategy),
        *_of_the_ask(exchange),
        *_of_the_outcome(exchange),
    ]
    request = exchange.asked.request
    if request.ignored:
        headers.append(("X-Lattice-Ignored-Params", ignored_params(request.ignored)))
    if exchange.host.clamped:
        headers.append(("X-Lattice-Clamped-Params", ", ".join(exchange.host.clamped)))
    return headers + timing_headers(exchange.timing())


def _of_the_ask(exchange: SwarmExchange) -> Iterable[tuple[str, str]]:
    meta, ask = exchange.asked.meta, exchange.asked.ask
    if meta is not None:
        yield "X-Swarm-Intent", meta.intent.value
        if fold(exchange.asked.request.spec or "") != fold(meta.canonical):
            yield "X-Swarm-Canonical-Name", meta.canonical
    match ask:
        case Pipeline():
            yield "X-Swarm-Steps", _names(step.name for step in ask.steps)
        case Debate():
            rounds = exchange.outcome.rounds if exchange.outcome is not None else None
            yield "X-Swarm-Rounds", str(rounds or ask.rounds)
        case Ensemble():
            pass


def _of_the_outcome(exchange: SwarmExchange) -> Iterable[tuple[str, str]]:
    ask, outcome = exchange.asked.ask, exchange.outcome
    if outcome is not None and isinstance(ask, Ensemble):
        yield "X-Swarm-Models", _names(row.model for row in outcome.rows)
        if ask.strategy is Strategy.FANOUT and exchange.asked.meta is None:
            return  # nobody has won
    model = exchange.winner if outcome is None else outcome.model
    if model is not None:
        if isinstance(ask, Ensemble):
            yield "X-Swarm-Winner", header_value(model)
        yield "X-Model-Routed-To", routed_to("swarm", model)


def _names(names: Iterable[str]) -> str:
    """Return names between commas; one inside a name is encoded."""
    return ignored_params(names).replace(", ", ",")
