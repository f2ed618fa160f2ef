"""What models of the cloud cost: the table `[anthropic.prices]`, or the same as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping

import attrs

from lattice_actors.remote.spend import Price

from .values import Raw, WrongValue, number_reader, read_table

_AMOUNT = number_reader(0.0, 100_000.0)
_FIELDS = tuple(field.name for field in attrs.fields(Price))
_NEEDED = ("input", "output")

Prices = tuple[tuple[str, Price], ...]


def read_prices(raw: Raw) -> Prices:
    """Return dollars for a million tokens, by model.

    ``claude-x = { input = 3.0, output = 15.0, cached = 0.3, written = 3.75 }``
    """
    table = read_table(raw, "prices by model")
    return tuple((model, _price(model, said)) for model, said in table.items())


def show_prices(prices: Prices) -> str:
    """Return the same as JSON."""
    said = {model: _said(price) for model, price in prices}
    return json.dumps(said)


def _said(price: Price) -> Mapping[str, float]:
    return attrs.asdict(price, filter=lambda _, value: value is not None)


def _price(model: str, said: object) -> Price:
    if not isinstance(said, dict):
        raise WrongValue(f"must have input and output for {model}, in dollars a million tokens")
    for key in said:
        if key not in _FIELDS:
            raise WrongValue(f"has {key} for {model}; a price has {', '.join(_FIELDS)}")
    for key in _NEEDED:
        if key not in said:
            raise WrongValue(f"has no {key} for {model}")
    amounts: dict[str, float] = {}
    for key, amount in said.items():
        try:
            amounts[key] = float(str(_AMOUNT(amount)))
        except WrongValue as error:
            raise WrongValue(f"for {model}: {key} {error}") from None
    return Price(**amounts)
