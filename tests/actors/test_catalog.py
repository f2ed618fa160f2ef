from __future__ import annotations

import threading
from collections.abc import Callable

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lattice_actors.capability.question import Rules
from lattice_actors.capability.resolver import Ask, Route, resolve
from lattice_actors.catalog.catalog import CatalogActor, CatalogMemory
from lattice_actors.catalog.entry import Kind, ModelEntry, Snapshot
from lattice_actors.catalog.handle import CatalogHandle, Message
from lattice_actors.catalog.world import Diff, Runtime
from lattice_actors.errors import ActorStopped, MailboxFull, Unavailable
from lattice_actors.mailbox import Mailbox
from lattice_actors.supervisor import Supervisor, open_supervisor

BUILTIN = ModelEntry("builtin", builtin=True)


def snapshot(*ids: str) -> Snapshot:
    return Snapshot(tuple(ModelEntry(name) for name in ids))


@attrs.define(eq=False)
class Folder:
    """A model folder whose scans take as long as the test wants."""

    content: Snapshot | Exception
    scans: int = 0
    began: threading.Event = attrs.field(factory=threading.Event)  # and the folder was read
    may_end: threading.Event = attrs.field(factory=threading.Event)

    def scan(self) -> Snapshot:
        self.scans += 1
        content = self.content
        self.began.set()
        if not self.may_end.wait(30):
            raise TimeoutError
        if isinstance(content, Exception):
            raise content
        return content


@pytest.fixture
def folder() -> Folder:
    folder = Folder(snapshot("a", "b"))
    folder.may_end.set()
    return folder


def start(
    supervisor: Supervisor,
    folder: Folder,
    rules: Rules | None = None,
    builtin: ModelEntry | None = None,
    force_builtin: bool = False,
    on_change: Callable[[Snapshot], None] = lambda snapshot: None,
    limit: int = 256,
) -> CatalogHandle:
    memory = CatalogMemory()
    mailbox = Mailbox[Message]("catalog", limit)
    supervisor.start(
        mailbox,
        lambda mailbox: CatalogActor(
            mailbox,
            folder.scan,
            rules or Rules(),
            builtin=builtin,
            force_builtin=force_builtin,
            on_change=on_change,
            memory=memory,
        ),
    )
    return CatalogHandle(mailbox)


def ids(found: Snapshot) -> list[str]:
    return [model.id for model in found.models]


async def test_an_early_ask_waits_for_the_first_scan(folder: Folder) -> None:
    folder.may_end.clear()
    async with open_supervisor("root") as root:
        catalog = start(root, folder)
        async with trio.open_nursery() as askers:
            found: list[str] = []

            async def look() -> None:
                found.extend(ids(await catalog.snapshot()))

            askers.start_soon(look)
            await wait_all_tasks_blocked()
            assert found == []
            folder.may_end.set()

        assert found == ["a", "b"]


async def test_of_the_early_asks_one_too_many_is_refused(folder: Folder) -> None:
    folder.may_end.clear()
    async with open_supervisor("root") as root:
        catalog = start(root, folder, limit=2)
        async with trio.open_nursery() as askers:
            for _ in range(2):
                askers.start_soon(catalog.snapshot)
                await wait_all_tasks_blocked()

            with pytest.raises(MailboxFull, match="being scanned"):
                await catalog.snapshot()
            folder.may_end.set()


async def test_a_rescan_tells_what_changed(folder: Folder) -> None:
    async with open_supervisor("root") as root:
        catalog = start(root, folder)
        await catalog.snapshot()
        folder.content = snapshot("b", "c")

        assert await catalog.rescan() == Diff(("c",), ("a",), ("b",))
        assert ids(await catalog.snapshot()) == ["b", "c"]


async def test_the_catalog_answers_while_it_scans(folder: Folder) -> None:
    async with open_supervisor("root") as root:
        catalog = start(root, folder)
        await catalog.snapshot()
        folder.may_end.clear()
        async with trio.open_nursery() as askers:
            askers.start_soon(catalog.rescan)
            await wait_all_tasks_blocked()

            assert ids(await catalog.snapshot()) == ["a", "b"]
            folder.may_end.set()


async def test_rescans_asked_during_a_scan_share_one_that_begins_after_it(folder: Folder) -> None:
    folder.may_end.clear()
    diffs: list[Diff] = []
    async with open_supervisor("root") as root:
        catalog = start(root, folder)

        async def rescan() -> None:
            diffs.append(await catalog.rescan())

        async with trio.open_nursery() as askers:
            await trio.to_thread.run_sync(folder.began.wait)
            folder.content = snapshot("a", "b", "late")
            for _ in range(3):
                askers.start_soon(rescan)
            await wait_all_tasks_blocked()
            folder.may_end.set()

    assert folder.scans == 2
    assert diffs == [Diff(("late",), (), ("a", "b"))] * 3


async def test_a_scan_that_fails_is_an_answer_and_changes_nothing(folder: Folder) -> None:
    async with open_supervisor("root") as root:
        catalog = start(root, folder)
        await catalog.snapshot()
        folder.content = OSError("disk gone")

        with pytest.raises(Unavailable, match="disk gone"):
            await catalog.rescan()

        assert ids(await catalog.snapshot()) == ["a", "b"]
        assert root.views()[0].restarts == 0


async def test_a_first_scan_that_fails_leaves_the_built_in_model(folder: Folder) -> None:
    folder.content = OSError("disk gone")
    async with open_supervisor("root") as root:
        catalog = start(root, folder, builtin=BUILTIN)

        assert ids(await catalog.snapshot()) == ["builtin"]


@pytest.mark.parametrize(
    ("content", "force", "offered"),
    [
        (Snapshot(), False, ["builtin"]),
        (Snapshot((ModelEntry("e", Kind.EMBEDDING),)), False, ["e", "builtin"]),
        (snapshot("z"), False, ["z"]),
        (snapshot("z"), True, ["z", "builtin"]),
        (snapshot("builtin"), True, ["builtin"]),
    ],
)
async def test_the_built_in_model_is_offered_last_and_only_in_need(
    folder: Folder, content: Snapshot, force: bool, offered: list[str]
) -> None:
    folder.content = content
    async with open_supervisor("root") as root:
        catalog = start(root, folder, builtin=BUILTIN, force_builtin=force)

        assert ids(await catalog.snapshot()) == offered


async def test_each_scan_that_worked_is_told_on(folder: Folder) -> None:
    told: list[list[str]] = []
    async with open_supervisor("root") as root:
        catalog = start(root, folder, on_change=lambda found: told.append(ids(found)))
        await catalog.snapshot()
        folder.content = snapshot("c")
        await catalog.rescan()

    assert told == [["a", "b"], ["c"]]


async def test_the_default_can_be_set_and_cleared(folder: Folder) -> None:
    async with open_supervisor("root") as root:
        catalog = start(root, folder, Rules(default_model="a"))

        async def answers() -> str:
            world = await catalog.world()
            found = resolve(Ask(), world.candidates(lambda entry: Runtime()), world.rules)
            assert isinstance(found, Route)
            return found.model

        assert await catalog.set_default(" B ") == "b"
        assert await answers() == "b"
        assert await catalog.set_default("absent") is None
        assert await answers() == "a"
        assert await catalog.set_default("") is None
        assert (await catalog.world()).rules.runtime_default is None


async def test_a_conversation_is_remembered_for_an_hour(
    autojump_clock: MockClock, folder: Folder
) -> None:
    async with open_supervisor("root") as root:
        catalog = start(root, folder)
        catalog.remember("key", "b")

        assert (await catalog.world("key")).sticky == "b"
        assert (await catalog.world("other")).sticky is None
        assert (await catalog.world()).sticky is None
        await trio.sleep(3599)
        assert (await catalog.world("key")).sticky == "b"
        await trio.sleep(3600)
        assert (await catalog.world("key")).sticky is None


async def test_the_world_carries_runtime_facts_to_the_resolver(folder: Folder) -> None:
    remote = ModelEntry("r", backend="studio")
    folder.content = Snapshot((ModelEntry("a", context_tokens=512), remote))
    async with open_supervisor("root") as root:
        world = await start(root, folder).world()

    local, far = world.candidates(lambda entry: Runtime(resident=entry.id == "a", idle=False))

    assert (local.resident, local.idle, local.locality) == (True, False, "local")
    assert local.profile.context_window == 512
    assert (far.resident, far.locality, far.backend) == (False, "remote", "studio")


async def test_a_crash_is_not_noticed_and_forgets_nothing(
    autojump_clock: MockClock, folder: Folder
) -> None:
    crashes = 0

    def crash_once(found: Snapshot) -> None:
        nonlocal crashes
        if ids(found) == ["c"] and not crashes:
            crashes += 1
            raise RuntimeError("listener broke")

    async with open_supervisor("root") as root:
        catalog = start(root, folder, on_change=crash_once)
        await catalog.set_default("b")
        catalog.remember("key", "b")
        folder.content = snapshot("c")

        await catalog.rescan()

        world = await catalog.world("key")
        assert (world.rules.runtime_default, world.sticky) == ("b", "b")
        assert ids(world.snapshot) == ["c"]
        assert root.views()[0].restarts == crashes == 1


async def test_stopping_answers_every_ask(folder: Folder) -> None:
    folder.may_end.clear()
    stopped = 0

    async def ask(catalog: CatalogHandle) -> None:
        nonlocal stopped
        with pytest.raises(ActorStopped):
            await catalog.rescan()
        stopped += 1

    with trio.fail_after(20):
        async with trio.open_nursery() as askers, open_supervisor("root") as root:
            catalog = start(root, folder)
            for _ in range(3):
                askers.start_soon(ask, catalog)
            await wait_all_tasks_blocked()
        await ask(catalog)
    folder.may_end.set()  # the abandoned thread

    assert stopped == 4
