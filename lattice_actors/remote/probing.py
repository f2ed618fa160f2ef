"""Asking a server what it has: one look, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import httpx2
import structlog
import trio

from .connection import CONNECT_ERRORS, TROUBLE, Connection, Reply, fault_of
from .faults import Fault, of_status, server_fault
from .listing import MAX_LIST_BYTES, MODELS_PATH, Listing, read_listing, typed, unlisted
from .lmstudio import LOADED_PATH, read_own
from .plan import UpstreamPlan

LOADED_AGAIN_S = 600.0  # a server that has no such list may be replaced by one that does

log = structlog.get_logger(__name__)


@attrs.frozen
class Probed:
    """What came of one look. Without a *listing* the *fault* says why."""

    listing: Listing | None
    fault: Fault | None = None
    unreached: bool = False  # nobody is there at all
    loaded: Mapping[str, int | None] | None = None  # of LM Studio, with the context of each


@attrs.define(eq=False)
class Probe:
    """Looks at one upstream, and remembers what LM Studio said last."""

    _plan: UpstreamPlan
    _connection: Connection
    loaded: Mapping[str, int | None] | None = attrs.field(init=False, default=None)
    _embeds: Mapping[str, bool] = attrs.field(init=False, factory=dict[str, bool])
    _no_loaded_until: float = attrs.field(init=False, default=0.0)  # Trio seconds

    async def list_models(self) -> Probed:
        """Ask. Never raises but for being cancelled."""
        probed = await self._listing()
        found = probed.listing
        if found is not None and self._plan.kind == "lmstudio":
            await self._look_what_is_loaded()
            if self.loaded is None and found.loaded is not None:
                self.loaded = dict.fromkeys(found.loaded)
            found = typed(found, self._embeds, self._plan)
        return attrs.evolve(probed, listing=found, loaded=self.loaded)

    async def _listing(self) -> Probed:
        name = self._plan.name
        try:
            status, body = await self._get(MODELS_PATH)
        except trio.TooSlowError:
            said = f"did not list its models within {self._plan.probe_timeout_s:g} s"
            return Probed(None, server_fault(name, said, "upstream_timeout"))
        except (*TROUBLE, httpx2.InvalidURL) as error:
            unreached = isinstance(error, CONNECT_ERRORS)
            return Probed(None, fault_of(name, error), unreached)
        if status in (404, 405, 501) and self._plan.named_models:
            return Probed(unlisted(self._plan))
        if status != 200:
            fault = of_status(name, status, {}, body, secret=self._plan.api_key)
            return Probed(None, fault)
        try:
            return Probed(read_listing(body, self._plan))
        except (ValueError, RecursionError) as error:
            if self._plan.named_models:  # mlx-lm's server answers 200 and nothing without a cache
                return Probed(unlisted(self._plan))
            said = f"sent no list of models: {str(error)[:200]}"
            return Probed(None, server_fault(name, said, "upstream_bad_answer"))

    async def _look_what_is_loaded(self) -> None:
        if trio.current_time() < self._no_loaded_until:
            return
        try:
            status, body = await self._get(LOADED_PATH)
            if status == 404:
                self.loaded = None
                self._no_loaded_until = trio.current_time() + LOADED_AGAIN_S
            elif status == 200:
                own = read_own(body)
                self.loaded, self._embeds = own.loaded, own.embeds
        except (trio.TooSlowError, *TROUBLE, ValueError) as error:
            # What was loaded a moment ago is the better guess than nothing at all.
            log.warning("loaded models", upstream=self._plan.name, problem=str(error)[:200])

    async def _get(self, path: str) -> tuple[int, bytes]:
        with trio.fail_after(self._plan.probe_timeout_s):
            async with self._connection.send(path, None, "", "models") as reply:
                return reply.status, await read_bounded(reply, MAX_LIST_BYTES)


async def read_bounded(reply: Reply, limit: int) -> bytes:
    """Return the body, or its first *limit* bytes and a little more."""
    body = bytearray()
    async for data in reply.chunks:
        body += data
        if len(body) > limit:
            break
    return bytes(body)
