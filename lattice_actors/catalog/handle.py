"""How the rest of the program speaks to the catalog: its messages and its handle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import attrs

from lattice_actors.mailbox import Mailbox, Reply

from .entry import ModelEntry, Snapshot
from .world import Diff, World


@attrs.frozen(eq=False)
class Look:
    """Ask for the world, with the model of the conversation *key* where there is one."""

    key: str | None
    reply: Reply[World]


@attrs.frozen(eq=False)
class Rescan:
    """Ask for a scan that begins after this message."""

    reply: Reply[Diff]


@attrs.frozen(eq=False)
class SetDefault:
    """Ask to change the runtime default; the answer is the model it means now."""

    model: str | None
    reply: Reply[str | None]


@attrs.frozen(eq=False)
class SetPresets:
    """Ask to replace the swarm presets; the answer has them."""

    presets: Mapping[str, tuple[str, ...]]
    reply: Reply[Mapping[str, tuple[str, ...]]]


@attrs.frozen
class Remember:
    """Tell that *model* answers the conversation *key*."""

    key: str
    model: str


@attrs.frozen
class Scanned:
    """A scan tells its own actor how it ended."""

    result: Snapshot | Exception


@attrs.frozen
class Offered:
    """An upstream tells what it has; () where it could not be asked yet."""

    upstream: str
    models: tuple[ModelEntry, ...]


Message: TypeAlias = Look | Rescan | SetDefault | SetPresets | Remember | Scanned | Offered


@attrs.frozen
class CatalogHandle:
    """What the rest of the program holds of the catalog.

    All asks may be repeated, so a restart of the actor is not noticed; what is left is
    `MailboxFull` and `ActorStopped`.
    """

    _mailbox: Mailbox[Message]

    async def snapshot(self) -> Snapshot:
        """Return the inventory; waits for the first scan."""
        return (await self.world()).snapshot

    async def world(self, conversation: str | None = None) -> World:
        """Return what the resolver needs; waits for the first scan.

        *conversation* is `ConversationKeys.look_up` of the request.
        """
        return await self._mailbox.ask_anew(lambda reply: Look(conversation, reply))

    async def rescan(self) -> Diff:
        """Look again, and return what changed.

        Raises:
            Unavailable: the folder could not be scanned; the inventory stays as it was.
        """
        return await self._mailbox.ask_anew(Rescan)

    async def set_default(self, model: str | None) -> str | None:
        """Set (or with None or blank text clear) the default; return the model it means now.

        A default that means no model yet is kept: it counts from the scan that finds one.
        """
        return await self._mailbox.ask_anew(lambda reply: SetDefault(model, reply))

    async def set_presets(
        self, presets: Mapping[str, tuple[str, ...]]
    ) -> Mapping[str, tuple[str, ...]]:
        """Replace what the names "preset:<name>" of swarms stand for; return it."""
        return await self._mailbox.ask_anew(lambda reply: SetPresets(presets, reply))

    def remember(self, conversation: str, model: str) -> None:
        """Note that *model* answers; *conversation* is `ConversationKeys.remember`."""
        self._mailbox.tell(Remember(conversation, model))

    def offered(self, upstream: str, models: tuple[ModelEntry, ...]) -> None:
        """Note what *upstream* has now; instead of what it had."""
        self._mailbox.tell(Offered(upstream, models))
