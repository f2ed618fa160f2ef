"""SVG of distributions and ratios: what is drawn, and where."""

from __future__ import annotations

import re

import pytest

from lattice_bench.plots import FAR, Axis, Strip, axis, nice_step, ratios, strips, thinned
from lattice_bench.stats import Ratio


def test_values_far_apart_get_a_logarithmic_axis() -> None:
    assert not axis([1.0, FAR - 1]).log
    assert axis([1.0, FAR + 1]).log
    assert not axis([0.0, 1.0, 1000.0]).log  # there is no place for 0


@pytest.mark.parametrize("values", [[0.0], [1.0], [0.001, 0.002], [3.0, 4e6], [0.0, 9.0]])
def test_all_values_are_within_the_plot_and_it_has_ticks(values: list[float]) -> None:
    text = strips([Strip("a", 0, values)], "ms", "title")

    assert "nan" not in text
    assert 2 <= text.count('class="grid"') <= 14
    places = [float(x) for x in re.findall(r'\bc?x[12]?="([\d.-]+)"', text)]
    assert 0 <= min(places) <= max(places) <= 860


def test_an_axis_is_monotonic() -> None:
    for scale in (Axis(0.0, 10.0, log=False), Axis(0.1, 10.0, log=True)):
        places = [scale.x(value) for value in (0.1, 0.5, 1.0, 9.0, 10.0, 11.0)]
        assert places == sorted(places)


@pytest.mark.parametrize(("raw", "step"), [(0.3, 0.5), (1.0, 1.0), (7.0, 10.0), (120.0, 200.0)])
def test_steps_are_round(raw: float, step: float) -> None:
    assert nice_step(raw) == pytest.approx(step)


def test_a_thousand_values_become_few_dots_with_both_ends() -> None:
    dots = thinned([float(value) for value in range(1000)])

    assert len(dots) < 200
    assert (dots[0], dots[-1]) == (0.0, 999.0)


def test_a_ratio_has_its_interval_and_the_line_at_one() -> None:
    text = ratios([("b <", 1, Ratio(9, 0.5, 0.4, 0.6))], "title")

    assert "0.500 (0.400 to 0.600), 9 pairs" in text
    assert 'class="one"' in text
    assert "b &lt;" in text


def test_a_ratio_of_nothing_stands_at_the_edge() -> None:
    text = ratios([("gaps in one read", 1, Ratio(3, 0.0, 0.0, 0.5))], "title")

    assert "nan" not in text
    assert 'class="point"' in text
