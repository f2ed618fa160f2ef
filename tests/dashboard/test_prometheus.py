"""/metrics as Prometheus reads it: names, labels, and how many there can be."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

from lattice_actors.generation import Delta
from lattice_actors.metrics.ledger import Ledger
from lattice_actors.metrics.metrics_handle import Scraped
from lattice_actors.metrics.news import (
    Arrived,
    Failed,
    Loaded,
    Over,
    Resolved,
    Stepped,
    Stopped,
)
from lattice_actors.metrics.picture import Picture, Sources
from lattice_actors.metrics.prometheus import COUNTERS, HISTOGRAMS, exposition
from lattice_actors.metrics.timelines import Timeline
from lattice_actors.metrics.totals import MOST_SETS
from lattice_actors.remote.health import State
from lattice_actors.remote.ledger import Ledger as Egress
from lattice_actors.remote.upstream_handle import UpstreamView
from lattice_actors.stream import TokenStream
from tests.dashboard.site import open_site

ROOT = Path(__file__).resolve().parent.parent.parent
MODEL, BACKEND = "gen_ai_response_model", "lattice_backend"


def families(text: str) -> Mapping[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def by(label: str, family: Any, suffix: str) -> dict[str, float]:  # noqa: ANN401 - a Metric
    """Return the sums of the samples of *family* that end with *suffix*, by *label*."""
    sums = Counter[str]()
    for sample in family.samples:
        if sample.name.endswith(suffix):
            sums[sample.labels[label]] += sample.value
    return dict(sums)


@attrs.frozen
class Answer:
    """One that was granted and ended; its stream says the rest."""

    stream: TokenStream
    granted_at: float = 1.0
    ready_at: float = 1.0


def counted(ledger: Ledger, model: str, backend: str, key: str = "me", code: str = "ok") -> None:
    """Let *ledger* count a request for *model*: 4 tokens of answer, the first 2 s after it came."""
    stream = TokenStream()
    timeline = Timeline(Arrived((model, 0.0), key, model, True), predicted_wait_s=0.5)
    answers = (Answer(stream),)
    timeline.resolved = Resolved((model, 0.0), 0.0, model, backend, "normal", None, answers)
    stream.push(Delta("x", tokens=4))
    stream.first_delta_at = 2.0
    over = Over((model, 0.0), 5.0, "POST /x", 200, code, key)
    timeline.end(over)
    ledger.over(over, timeline)


def scraped_of(ledger: Ledger, **sources: Any) -> Mapping[str, Any]:  # noqa: ANN401
    picture = Picture.of(Sources(**sources), 6.0, 0.0)
    return families(exposition(Scraped(picture, ledger, 0, 0, 0)).decode())


@pytest.fixture
def ledger(autojump_clock: MockClock) -> Ledger:
    return Ledger(0.0)


async def test_times_and_counts_are_told_apart_by_backend(ledger: Ledger) -> None:
    for model, backend in (("a", "mlx"), ("node/a", "node"), ("anthropic/c", "anthropic")):
        counted(ledger, model, backend)
    counted(ledger, "node/b", "node")

    found = scraped_of(ledger)

    each = {"mlx": 1, "node": 2, "anthropic": 1}
    for name in (
        "gen_ai_server_time_to_first_token_seconds",
        "gen_ai_server_request_duration_seconds",
        "lattice_queue_wait_seconds",
        "lattice_queue_wait_prediction_error_seconds",
    ):
        assert by(BACKEND, found[name], "_count") == each, name
    between = found["gen_ai_server_time_per_output_token_seconds"]
    assert by(BACKEND, between, "_count") == {"node": 6, "anthropic": 3}  # engines tell their own
    assert by(BACKEND, between, "_sum") == {"node": 6.0, "anthropic": 3.0}
    assert by(BACKEND, found["lattice_requests"], "_total") == each
    assert by(BACKEND, found["lattice_upstream_tokens"], "_total") == {"node": 8, "anthropic": 4}
    assert by("lattice_key", found["lattice_queue_wait_by_key_seconds"], "_count") == {"me": 4}
    assert by("lattice_key", found["lattice_tokens_by_key"], "_total") == {"me": 16}


async def test_what_engines_here_tell_is_of_their_backend(ledger: Ledger) -> None:
    ledger.stepped(Stepped("a", 2, 30, 0.01, 0.02, 3))
    ledger.loaded(Loaded("a", 2.0))
    ledger.stopped(Stopped("a", "idle"))
    ledger.stopped(Stopped("a", "evicted"))
    ledger.failed(Failed("a", 1.0, "model_crashed", "gone"))

    found = scraped_of(ledger)

    for name, suffix, value in (
        ("lattice_decoded_tokens", "_total", 2),
        ("lattice_prefilled_tokens", "_total", 30),
        ("gen_ai_server_time_per_output_token_seconds", "_count", 3),
        ("lattice_model_load_seconds", "_count", 1),
        ("lattice_model_stops", "_total", 2),
        ("lattice_model_failures", "_total", 1),
    ):
        assert by(BACKEND, found[name], suffix) == {"mlx": value}, name
    assert by("reason", found["lattice_model_stops"], "_total") == {"idle": 1, "evicted": 1}


async def test_whatever_callers_ask_for_the_number_of_series_is_bounded(ledger: Ledger) -> None:
    for number in range(1500):
        model, code = f"node{number % 70}/m{number % 251}", f"code{number % 130}"
        counted(ledger, model, model.split("/")[0], f"key:{number}", code)

    found = scraped_of(ledger)

    assert sum(by(MODEL, found["lattice_requests"], "_total").values()) == 1500
    assert len(by(MODEL, found["lattice_requests"], "_total")) == 200 + 1
    assert len(by(BACKEND, found["lattice_requests"], "_total")) == 50 + 1
    assert len(by("lattice_key", found["lattice_tokens_by_key"], "_total")) == 50 + 1
    for name, (_, labels) in (HISTOGRAMS | COUNTERS).items():
        sets = {tuple(s.labels.get(label) for label in labels) for s in found[name].samples}
        assert len(sets) <= MOST_SETS + 1, name


async def test_upstreams_tell_their_state_and_what_was_sent_to_them(ledger: Ledger) -> None:
    view = UpstreamView(
        name="node",
        url="http://node",
        kind="lattice",
        state=State.DOWN,
        reason="refused",
        retry_in_s=3.0,
        models=(),
        running=0,
        limit=4,
        failures=5,
        ejections=2,
        answered=7,
        failed=6,
        loaded=None,
    )
    left = Egress()
    left.begin("r", "node", "node:80", "answer", 100).received(40)
    left.begin("r", "node", "other:80", "answer", 10).received(2)

    found = scraped_of(ledger, upstreams=lambda: (view,), egress=lambda: left)

    [state] = found["lattice_upstream_state"].samples
    assert state.labels == {BACKEND: "node", "state": "down"}
    assert by(BACKEND, found["lattice_upstream_answers"], "_total") == {"node": 7}
    assert by(BACKEND, found["lattice_upstream_failures"], "_total") == {"node": 6}
    assert by(BACKEND, found["lattice_upstream_ejections"], "") == {"node": 2}
    sent = by("direction", found["lattice_egress_bytes"], "_total")
    assert sent == {"sent": 110, "received": 42}


async def test_metrics_are_what_prometheus_reads(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        await site.chat()
        await site.chat(temperature="hot")
        scraped = await site.ask("GET", "/metrics")

        found = families(scraped.content.decode())
        requests = {
            tuple(sample.labels.values()): sample.value
            for sample in found["lattice_requests"].samples
        }
        assert requests == {
            ("a", "mlx", "normal", "ok"): 1,
            ("none", "none", "none", "invalid_request"): 1,
        }
        assert by(BACKEND, found["lattice_running"], "") == {"mlx": 0}
        ttft = found["gen_ai_server_time_to_first_token_seconds"]
        assert ttft.type == "histogram"
        below = {s.labels["le"]: s.value for s in ttft.samples if s.name.endswith("_bucket")}
        assert (below["5.0"], below["7.5"], below["+Inf"]) == (0, 1, 1)
        [total] = [s.value for s in ttft.samples if s.name.endswith("_sum")]
        assert total == pytest.approx(6.0)
        output = [
            sample.value
            for sample in found["lattice_tokens"].samples
            if sample.labels["gen_ai_token_type"] == "output"
        ]
        assert output == [3]
        assert found["lattice_model_load_seconds"].samples


async def test_every_name_in_the_grafana_dashboard_is_one_of_ours(
    autojump_clock: MockClock,
) -> None:
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text(encoding="utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    async with open_site() as site:
        await site.chat()
        found = families((await site.ask("GET", "/metrics")).content.decode())
    named = {
        name + suffix: family
        for name, family in found.items()
        for suffix in ("", "_total", "_bucket", "_sum", "_count")
    }
    known = {name: (labels, "le") for name, (_, labels) in (HISTOGRAMS | COUNTERS).items()}

    assert expressions
    for expression in expressions:
        selector = r"\b((?:lattice|gen_ai_server|process)_\w+)(?:\{(\w+))?"
        asked = re.sub(r"by \(.*?\)", "", expression)
        [(name, label)] = set(re.findall(selector, asked))
        assert name in named, expression
        grouped = re.findall(r"by \((.*?)\)", expression)
        wanted = {one.strip() for one in ",".join([*grouped, label]).split(",")} - {""}
        samples = named[name].samples
        labels, le = known.get(named[name].name, (tuple(samples[0].labels) if samples else (), ""))
        if samples or labels:
            assert wanted <= {*labels, le}, expression


def test_the_metrics_page_has_every_name() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")

    assert not [name for name in (*COUNTERS, *HISTOGRAMS) if name not in text]
