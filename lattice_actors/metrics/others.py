"""Other servers, and what has left this machine, as parts of the state."""

from __future__ import annotations

from itertools import islice

import attrs

from lattice_actors.remote.cloud_plan import CloudPlan
from lattice_actors.remote.health import State
from lattice_actors.remote.ledger import Ledger
from lattice_actors.remote.spend import SpendView
from lattice_actors.remote.upstream_handle import UpstreamView

from .patches import Document

NEWEST = 20  # requests of the ledger that are shown one by one


def upstream(view: UpstreamView, now_ms: float) -> Document:
    """Return one upstream; *now_ms* is Unix time."""
    retry_at_ms = None
    if view.retry_in_s is not None:  # to the second: it is said again at every turn
        retry_at_ms = round(now_ms / 1000 + view.retry_in_s) * 1000
    return {
        "url": view.url,
        "kind": view.kind,
        "state": view.state.value,
        "reason": view.reason,
        "retry_at_ms": retry_at_ms,
        "models": [entry.id for entry in view.models],
        "loaded": None if view.loaded is None else list(view.loaded),
        "running": view.running,
        "limit": view.limit,
        "failures_in_a_row": view.failures,
        "ejections": view.ejections,
        "answered": view.answered,
        "failed": view.failed,
    }


def models(view: UpstreamView) -> dict[str, Document]:
    """Return the models of one upstream, by id, as those of this machine are shown."""
    down = view.state is State.DOWN
    shown: dict[str, Document] = {}
    for entry in view.models:
        shown[entry.id] = {
            "model": entry.id,
            "state": view.state_of(entry),
            "backend": entry.backend,
            "kind": entry.kind.value,
            "context_tokens": entry.context_tokens,
            "barred": view.reason if down else None,
        }
    return shown


def cloud(plan: CloudPlan, spend: SpendView) -> Document:
    """Return who may be asked in the cloud, and what that came to today."""
    return {
        "model": plan.model,
        "models": [entry.id for entry in plan.entries()],
        "by_name": sorted(plan.by_name),
        "spend": attrs.asdict(spend),
    }


def egress(ledger: Ledger) -> Document:
    """Return what has left this machine; bytes are of bodies."""
    return {
        "sums": {
            f"{upstream} {purpose} {host}": {
                "upstream": upstream,
                "host": host,
                "purpose": purpose,
                **attrs.asdict(total),
            }
            for (upstream, host, purpose), total in ledger.sums.items()
        },
        "newest": [attrs.asdict(entry) for entry in islice(reversed(ledger.newest), NEWEST)],
    }
