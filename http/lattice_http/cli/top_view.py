"""The screen of `lattice-trio top`: tables made of the state, as wide as the terminal is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

MIB = 1024 * 1024
MOST_ROWS = 20  # of a table; the page shows all
MOST_WAITING = 8
MOST_SWARMS = 3
MOST_REASON_CHARS = 60  # of a verdict: a longer one would take the width of the other columns
COLOURS = {"ready": "green", "loading": "yellow", "failed": "red", "quarantined": "red"}


def screen(state: Mapping[str, Any], problem: str | None) -> RenderableType:
    """Return what is drawn of *state*; *problem*: why there is nothing new."""
    parts: list[RenderableType] = []
    if problem is not None:
        parts.append(Text(problem, style="bold red"))
    if state:
        parts += [_head(state), _models(state)]
        # What is rarely there takes no lines.
        parts += [_queue(state)] if state.get("queue", {}).get("waiting") else []
        parts += [_swarms(state)] if state.get("swarms") else []
        parts += [_requests(state), _errors(state)]
    return Group(*parts)


def _head(state: Mapping[str, Any]) -> Text:
    queue, memory = state.get("queue", {}), state.get("memory", {})
    minute = state["windows"].get("1m", {})
    budget = memory.get("budget_bytes", 0)
    facts = [
        f"running {queue.get('running_total', 0)}",
        f"waiting {queue.get('waiting_total', 0)}",
        f"memory {memory.get('reserved_bytes', 0) // MIB}"
        + (f"/{budget // MIB} MiB" if budget else " MiB"),
        f"tokens/s {state['windows'].get('1s', {}).get('tokens_per_s', 0):g}",
        f"ttft {_times(minute, 'ttft_ms')}",
        f"between tokens {_times(minute, 'itl_ms')}",
        f"refused {minute.get('refused', 0):g}",
    ]
    return Text("lattice-trio   " + "   ".join(facts), style="bold")


def _times(window: Mapping[str, Any], name: str) -> str:
    times = window.get(name)
    return f"{times['p50']:.0f}/{times['p95']:.0f} ms" if times else "-"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", expand=True, box=None, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="ellipsis", no_wrap=True)
    return table


def _models(state: Mapping[str, Any]) -> Table:
    table = _table("models", "model", "state", "MiB", "streams", "waiting", "tok/s", "ghosts", "")
    models = sorted(state["models"].values(), key=lambda one: one["state"] == "cold")
    for model in models[:MOST_ROWS]:
        table.add_row(
            Text(model["model"]),
            Text(model["state"], style=COLOURS.get(model["state"], "")),
            str(model.get("reserved_bytes", 0) // MIB),
            f"{model.get('running', 0)}/{model.get('slots') or '-'}",
            str(model.get("waiting", 0)),
            f"{model.get('tokens_per_s', 0):g}",
            str(model.get("ghost_tokens", 0)),
            Text(model.get("barred") or ("pinned" if model.get("pinned") else "")),
        )
    return table


def _queue(state: Mapping[str, Any]) -> Table:
    table = _table("queue", "id", "model", "class", "starts in")
    waiting = sorted(
        state["queue"]["waiting"].items(), key=lambda pair: pair[1]["predicted_wait_ms"]
    )
    for name, one in waiting[:MOST_WAITING]:
        level = one["class"] if one["level"] == one["class"] else f"{one['class']} > {one['level']}"
        starts = f"{one['predicted_wait_ms'] / 1000:.1f} s"
        table.add_row(Text(name), Text(one["model"]), level, starts)
    return table


def _swarms(state: Mapping[str, Any]) -> Table:
    table = _table("swarms", "strategy", "state", "branches", "judge", "verdict")
    newest = sorted(state["swarms"].values(), key=lambda one: -one["started_ms"])
    for one in newest[:MOST_SWARMS]:
        states = Counter(branch["state"] for branch in one["branches"].values())
        judge = one.get("judge")
        table.add_row(
            one["strategy"],
            Text(one.get("outcome", "running")),
            ", ".join(f"{count} {state}" for state, count in states.items()),
            Text(f"{judge['model']} {judge['state']}" if judge else "-"),
            Text(one.get("verdict", {}).get("rationale", "")[:MOST_REASON_CHARS]),
        )
    return table


def _requests(state: Mapping[str, Any]) -> Table:
    table = _table("requests", "id", "model", "class", "phase", "ttft ms", "tokens", "prompt", "")
    requests = [(name, one) for name, one in state["requests"].items()]
    requests.sort(key=lambda pair: (pair[1]["phase"] == "ended", -pair[1]["arrived_ms"]))
    for name, one in requests[:MOST_ROWS]:
        first = one.get("first_ms")
        prefill = one.get("prefill", {})
        table.add_row(
            Text(name),
            Text(one.get("model", one.get("spec", "-"))),
            one.get("class", "-"),
            one["phase"],
            "-" if first is None else str(first - one["arrived_ms"]),
            str(one.get("tokens", 0)),
            f"{prefill['done']}/{prefill['total']}" if prefill else "-",
            Text(one.get("outcome", "")),
        )
    return table


def _errors(state: Mapping[str, Any]) -> Table:
    table = _table("refused and failed", "code", "status", "model", "why")
    for error in list(state["errors"].values())[-5:]:
        table.add_row(
            error["code"],
            str(error.get("status", "")),
            Text(error.get("model", "")),
            Text(error["message"]),
        )
    return table
