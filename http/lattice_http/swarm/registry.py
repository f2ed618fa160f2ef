"""The swarms in work, so that their branches can be stopped, and what bounds them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs
import structlog

from lattice_actors.capability.spec import MetaModel, meta_model
from lattice_actors.errors import BadRequest, NotFound, Unavailable
from lattice_http.gateway import Gateway

log = structlog.get_logger(__name__)

Stop = Callable[[int], bool]  # of a branch by its number; False: it does not run


@attrs.define(eq=False)
class Swarms:
    """What the swarm routes and the chat share."""

    gateway: Gateway
    _stops: dict[str, Stop] = attrs.field(init=False, factory=dict[str, Stop])  # by session
    _warned: set[str] = attrs.field(init=False, factory=set[str])

    @contextmanager
    def listed(self, session: str, stop: Stop) -> Iterator[None]:
        """Let the branches of *session* be stopped with *stop* while the body runs."""
        self._stops[session] = stop
        try:
            yield
        finally:
            del self._stops[session]

    def cancel_branch(self, session: str, number: int) -> None:
        """Stop a branch. Raises NotFound: there is no such session, or no such branch runs."""
        stop = self._stops.get(session)
        if stop is None:
            raise NotFound(f"There is no swarm {session[:64]!r} in work.")
        if not stop(number):
            raise NotFound(f"Branch {number} of this swarm is not running.")

    def check_several(self) -> None:
        """Raise Unavailable where the server has one model for everything."""
        if self.gateway.single:
            message = "This server serves one model, and a swarm needs several."
            raise Unavailable(message, code="single_model")

    def meta(self, spec: str | None) -> MetaModel | None:
        """Return the swarm that the ``model`` of a chat names, if it names one here."""
        if not self.gateway.takes_swarms:
            return None
        meta = meta_model(spec)
        if meta is not None and meta.deprecated and meta.canonical not in self._warned:
            self._warned.add(meta.canonical)
            log.warning("deprecated model", model=spec, use=meta.canonical)
        return meta


def refuse_swarm(meta: MetaModel | None, spec: str | None) -> None:
    """Raise BadRequest where a swarm is named and one model is needed."""
    if meta is not None:
        raise BadRequest(
            f"{spec!r} asks several models at once, which only a chat can do; "
            "name one model or a role.",
            code="unsupported_model",
            param="model",
        )
