"""A forwarder within the event loop of a test: what is answered when, what it ends by, what it leaves."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dcm._atomic import TempFile
from dcm.errors import ListenError, RouteError, SpoolError, UsageError
from dcm.instance import Instance
from dcm.levels import QueryLevel
from dcm.net import DcmNode, LocalEntity
from dcm.net.wire import Command, CommandField
from dcm.report import TransferReport
from dcm.route import DynamicRoute, Router
from dcm.spool import Ack, DeliveryState, Forwarder, Origin, Snapshot, Spool, _fleet, _reception
from dcm.spool._control import ring
from dcm.spool._courier import Courier
from dcm.spool._journal import DamagedError
from dcm.spool._notify import Notifier
from dcm.store import DataSink, TransferMethod
from dcm.store.local_dir import LocalDir
from dcm.store.memory import MemoryStore
from dcm.store.net_repo import NetRepo
from tests import data
from tests.data import Sample
from tests.net.scripted import HOST, Link, calling
from tests.peers import free_port
from tests.spool.running import contents, holds, until
from tests.store.instances import make

pytestmark = pytest.mark.usefixtures("nothing_left")

CT_PAIR = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")


class Gate(MemoryStore):
    """A destination that takes nothing until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()

    def __str__(self) -> str:
        return "gate"

    @contextlib.asynccontextmanager
    async def send(
        self, report: TransferReport | None = None, *, dest: str = "", method: TransferMethod = TransferMethod.PROXY
    ) -> AsyncIterator[Any]:
        async with super().send(report, dest=dest, method=method) as queue:
            gate = self.open

            class Waiting:
                async def put(self, item: Any) -> None:
                    await self.place(item)

                async def place(self, instance: Instance) -> bool:
                    await gate.wait()
                    return await queue.place(instance)

            yield Waiting()


class Running:
    """A forwarder that listens."""

    def __init__(self, forwarder: Forwarder, task: asyncio.Task[None], port: int, spool: Spool) -> None:
        self.forwarder = forwarder
        self.task = task
        self.port = port
        self.spool = spool
        self.snapshots: list[Snapshot] = []

    async def in_state(self, state: DeliveryState) -> int:
        counts = await asyncio.to_thread(self.spool.counts)
        assert counts.adds_up
        return counts.total(state)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something is so, in another thread."""
        await asyncio.to_thread(until, condition, "it has not come to that")

    @contextlib.asynccontextmanager
    async def link(self) -> AsyncIterator[Link]:
        async with calling(self.port) as link:
            await link.associate(CT_PAIR)
            yield link
            with contextlib.suppress(Exception):
                await link.release()


@contextlib.asynccontextmanager
async def forwarding(
    path: Path, *dests: DataSink | DynamicRoute, step: Callable[[str], None] = lambda _: None, **options: Any
) -> AsyncIterator[Running]:
    """A forwarder that runs, until the block ends or it ends by itself."""
    spool = Spool(path / "spool", step=step)
    await asyncio.to_thread(spool.open)
    ports: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    forwarder = Forwarder(LocalEntity(DcmNode(HOST, "LOCALAE", 0)), Router(dests), spool, **options)
    forwarder.ready = ports.set_result
    task = asyncio.ensure_future(forwarder.run())
    try:
        begun: list[asyncio.Future[Any]] = [task, ports]
        await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        running = Running(forwarder, task, ports.result(), spool)
        forwarder.progress = running.snapshots.append
        yield running
    finally:
        forwarder.stop()
        try:
            await task
        finally:
            await asyncio.to_thread(spool.close)


@pytest.fixture
def few(tmp_path: Path) -> list[Sample]:
    return data.write_series(tmp_path / "few", data.SeriesSpec(n_instances=6))


async def store(running: Running, samples: Sequence[Sample]) -> list[int | None]:
    async with running.link() as link:
        return [await link.store(sample) for sample in samples]


# -- what is answered when ---------------------------------------------------------------------------------------------


async def test_durable_is_told_when_it_is_in_the_journal(few: list[Sample], tmp_path: Path) -> None:
    gate = Gate()
    async with forwarding(tmp_path, gate) as running:
        assert await store(running, few) == [0] * len(few)
        assert await running.in_state(DeliveryState.QUEUED) == len(few)
        gate.open.set()
    assert running.forwarder.tally.acknowledged == running.forwarder.tally.new == len(few)


async def test_many_associations_at_once_are_all_served(few: list[Sample], tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    body = few[0].data_set_bytes
    old = few[0].sop_instance_uid.encode()

    async def send(running: Running, number: int, everybody: Meeting) -> list[int | None]:
        async with running.link() as link:
            await everybody.wait()
            uids = [data.make_uid("one of many", number, i) for i in range(3)]
            return [await link.store(few[0], body.replace(old, uid.encode()), uid=uid) for uid in uids]

    directory = LocalDir(dest, out_fmt="{SOPInstanceUID}", sync=True)
    async with forwarding(tmp_path, directory, inactive_timeout=0.2) as running:
        meeting = Meeting(64)
        answers = await asyncio.gather(*(send(running, number, meeting) for number in range(64)))
        await running.task
    assert answers == [[0, 0, 0]] * 64
    held = await asyncio.to_thread(holds, dest)
    assert running.forwarder.tally.new == len(held) == 64 * 3


class Meeting:
    """Lets some tasks go on when all of them are there."""

    def __init__(self, n: int) -> None:
        self._missing = n
        self._all = asyncio.Event()

    async def wait(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._all.set()
        await self._all.wait()


async def test_delivered_is_told_when_everybody_has_it(few: list[Sample], tmp_path: Path) -> None:
    gate, other = Gate(), MemoryStore(name="other")
    async with forwarding(tmp_path, gate, other, ack=Ack.DELIVERED) as running, running.link() as link:
        storing = asyncio.ensure_future(link.store(few[0]))
        done, _ = await asyncio.wait([storing], timeout=0.3)
        assert not done
        gate.open.set()
        assert await storing == 0
        assert await link.store(few[0]) == 0  # they have it: nothing to wait for
        assert await link.store(few[1]) == 0
    assert running.forwarder.tally.late == 0


async def test_delivered_is_not_told_in_vain(few: list[Sample], tmp_path: Path) -> None:
    """Too late, or we are to stop: it failed, as far as the sender knows, and is kept."""
    gate = Gate()
    async with forwarding(tmp_path, gate, ack=Ack.DELIVERED, ack_timeout=0.2, stop_within=0.2) as running:
        async with running.link() as link:
            assert await link.store(few[0]) == 0xA700
        async with running.link() as link:
            storing = asyncio.ensure_future(link.store(few[1]))
            await running.until(lambda: running.forwarder.tally.new == 2)
            running.forwarder.stop()
            assert await storing == 0xA700
    assert running.forwarder.tally.late == 2
    assert running.forwarder.tally.acknowledged == 0
    assert running.forwarder.now.total(DeliveryState.QUEUED) == 2


async def test_received_is_told_before_it_is_kept(few: list[Sample], tmp_path: Path) -> None:
    go_on = threading.Event()

    def step(name: str) -> None:
        if name == "journal":
            go_on.wait()

    async with forwarding(tmp_path, MemoryStore(), step=step, ack=Ack.RECEIVED) as running:
        assert await store(running, few[:2]) == [0, 0]
        assert running.forwarder.tally.new == 0
        go_on.set()
    assert running.forwarder.tally.new == 2  # before it ends


async def test_what_cannot_be_kept(few: list[Sample], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = True

    def step(name: str) -> None:
        if broken and name == "write":
            raise OSError(28, "No space left on device")

    async with forwarding(tmp_path, MemoryStore(), step=step) as running, running.link() as link:
        assert [await link.store(sample) for sample in few[:3]] == [0xA700] * 3
        broken = False
        assert [await link.store(sample) for sample in few[:3]] == [0] * 3
    tally = running.forwarder.tally
    assert (tally.received, tally.refused, tally.new, tally.acknowledged) == (6, 3, 3, 3)
    assert caplog.text.count("senders are told to come back later") == 1
    assert caplog.text.count("there is room in the spool again") == 1


async def test_large_ones_that_cannot_be_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They are written while they come, and counted and told of as all others."""
    large = [data.write_multi_frame(tmp_path / f"{i}.dcm", 2 << 20, rows=256 + i, columns=256) for i in range(2)]
    pair = large[0].sop_class_uid, large[0].transfer_syntax_uid
    async with forwarding(tmp_path, MemoryStore()) as running, calling(running.port) as link:
        await link.associate(pair)
        enough, running.spool._files.min_free = running.spool._files.min_free, 1 << 60
        assert [await link.store(sample) for sample in large] == [0xA700] * 2
        running.spool._files.min_free = enough
        assert [await link.store(sample) for sample in large] == [0] * 2
    tally = running.forwarder.tally
    assert (tally.received, tally.refused, tally.new, tally.acknowledged) == (4, 2, 2, 2)
    assert caplog.text.count("senders are told to come back later") == 1
    assert "cannot keep" not in caplog.text


async def test_a_disk_that_fills_while_they_come(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """There was room when they began."""
    large = [data.write_multi_frame(tmp_path / f"{i}.dcm", 2 << 20, rows=256 + i, columns=256) for i in range(2)]
    pair = large[0].sop_class_uid, large[0].transfer_syntax_uid
    async with forwarding(tmp_path, MemoryStore()) as running, calling(running.port) as link:
        await link.associate(pair)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TempFile, "write", _no_space)
            assert [await link.store(sample) for sample in large] == [0xA700] * 2
        assert await link.store(large[0]) == 0
    assert running.forwarder.tally.refused == 2
    assert caplog.text.count("senders are told to come back later") == 1
    assert caplog.text.count("there is room in the spool again") == 1
    assert "cannot keep" not in caplog.text


def _no_space(*args: object) -> None:
    raise OSError(28, "No space left on device")


async def test_what_nobody_can_make_anything_of_is_counted(few: list[Sample], tmp_path: Path) -> None:
    async with forwarding(tmp_path, MemoryStore()) as running, running.link() as link:
        wrong = Command(CommandField.C_STORE_RQ, 9, affected_class="1.2.3", affected_instance="1.2", priority=0)
        link.send(1, wrong, b"12")
        assert (await link.message()).command.status == 0x0122
        assert await link.store(few[0]) == 0
    tally = running.forwarder.tally
    assert (tally.received, tally.refused, tally.new) == (2, 1, 1)


async def test_other_bytes_are_said_to_be_delivered(
    few: list[Sample], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with forwarding(tmp_path, MemoryStore()) as running, running.link() as link:
        assert await link.store(few[0]) == 0
        assert await link.store(few[0], few[0].data_set_bytes[:-1] + b"?") == 0
    assert f"{few[0].sop_instance_uid} of SCRIPT@{HOST} was here before, with other bytes: it is delivered as well" in (
        caplog.messages
    )


async def test_received_is_not_told_in_vain_again_and_again(
    few: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is lost before anybody knows is lost; then senders are told what is so, until all has been well for long."""
    full = True

    def step(name: str) -> None:
        if full and name == "write":
            raise OSError(28, "No space left on device")

    async with forwarding(tmp_path, MemoryStore(), step=step, ack=Ack.RECEIVED) as running, running.link() as link:
        tally = running.forwarder.tally
        assert await link.store(few[0]) == 0
        await running.until(lambda: tally.lost == 1)
        assert [await link.store(sample) for sample in few[1:3]] == [0xA700] * 2
        full = False
        assert await link.store(few[1]) == 0
        assert tally.new == 1  # kept before it was told
        full = True
        assert await link.store(few[2]) == 0xA700
        monkeypatch.setattr(_reception, "_CAREFUL_FOR", 0.0)
        assert await link.store(few[2]) == 0
    assert (tally.received, tally.new, tally.refused, tally.lost) == (6, 1, 3, 2)


# -- where it goes -----------------------------------------------------------------------------------------------------


async def test_a_function_that_makes_up_destinations(few: list[Sample], tmp_path: Path) -> None:
    """Ways that nobody knew beforehand get couriers as they come up."""

    def lookup(ds: Any) -> list[DataSink]:
        return [LocalDir(tmp_path / "dests" / str(ds.InstanceNumber), sync=True)]

    route = DynamicRoute(lookup, route_level=QueryLevel.IMAGE)
    async with forwarding(tmp_path, route) as running:
        assert await store(running, few) == [0] * len(few)
    async with forwarding(tmp_path, route, inactive_timeout=0.1) as running:
        await running.task
    assert len(list((tmp_path / "dests").iterdir())) == len(few)


async def test_a_courier_that_fails_begins_anew(
    few: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By a fault of ours; the others go on meanwhile."""
    monkeypatch.setattr(_fleet, "_AGAIN", 0.05)
    monkeypatch.setattr(_fleet, "Courier", Clumsy)
    Clumsy.n_runs = 0
    store_ = MemoryStore()
    async with forwarding(tmp_path, store_, inactive_timeout=0.5) as running:
        assert await store(running, few) == [0] * len(few)
        await running.task
    assert "begins anew" in caplog.text
    assert running.forwarder.now.total(DeliveryState.DELIVERED) == len(few)


class Clumsy(Courier):
    """Stumbles at first."""

    n_runs = 0

    async def run(self) -> None:
        Clumsy.n_runs += 1
        if Clumsy.n_runs == 1:
            raise ZeroDivisionError
        await super().run()


async def test_it_is_rung_when_somebody_mends_the_spool(few: list[Sample], tmp_path: Path) -> None:
    """What could not be routed is routed anew, at once."""
    dests: list[DataSink] = []
    kept = MemoryStore()

    def lookup(ds: Any) -> list[DataSink]:
        if not dests:
            raise RouteError("no rule")
        return dests

    async with forwarding(tmp_path, DynamicRoute(lookup)) as running:
        assert await store(running, few) == [0] * len(few)
        assert await running.in_state(DeliveryState.QUARANTINED) == len(few)
        dests.append(kept)
        assert await asyncio.to_thread(running.spool.retry) == len(few)
        assert await asyncio.to_thread(ring, running.spool.path)
        await running.until(lambda: running.spool.counts().total(DeliveryState.DELIVERED) == len(few))


async def test_it_is_rung_while_it_still_routes_anew(few: list[Sample], tmp_path: Path) -> None:
    kept = MemoryStore()
    known, begun, go_on = threading.Event(), threading.Event(), threading.Event()

    def lookup(ds: Any) -> list[DataSink]:
        if not known.is_set():
            raise RouteError("no rule")
        begun.set()
        go_on.wait()
        return [kept]

    def retry(running: Running, *uids: str) -> None:
        assert running.spool.retry(uids=uids)
        assert ring(running.spool.path)

    async with forwarding(tmp_path, DynamicRoute(lookup, route_level=QueryLevel.IMAGE)) as running:
        assert await store(running, few) == [0] * len(few)
        known.set()
        await asyncio.to_thread(retry, running, few[0].sop_instance_uid)
        await asyncio.to_thread(begun.wait)
        await asyncio.to_thread(retry, running)
        go_on.set()
        await running.until(lambda: running.spool.counts().total(DeliveryState.DELIVERED) == len(few))


def test_a_destination_must_not_be_the_spool(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "spool", tmp_path / "spool" / "data"):
        with pytest.raises(UsageError, match="overlaps the spool"):
            Forwarder(LocalEntity(DcmNode(HOST)), Router([LocalDir(path)]), Spool(tmp_path / "spool"))


def test_a_directory_must_wait_for_its_disk(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not wait for its disk"):
        Forwarder(LocalEntity(DcmNode(HOST)), Router([LocalDir(tmp_path / "out")]), Spool(tmp_path / "spool"))


@pytest.mark.parametrize(
    ("local", "remote", "same"),
    [
        ("0.0.0.0", "localhost", True),
        ("::", "127.0.0.1", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "127.0.0.1", False),
        ("0.0.0.0", "10.1.2.3", False),
    ],
)
def test_a_destination_must_not_be_ourselves(tmp_path: Path, local: str, remote: str, same: bool) -> None:
    entity = LocalEntity(DcmNode(local, "X", 11112))

    def make_with(port: int) -> None:
        router = Router([NetRepo(entity, DcmNode(remote, "Y", port))])
        Forwarder(entity, router, Spool(tmp_path / "spool"))

    make_with(11113)
    with pytest.raises(UsageError, match="where we listen ourselves") if same else contextlib.nullcontext():
        make_with(11112)


async def test_a_directory_that_was_gone_for_a_while(few: list[Sample], tmp_path: Path) -> None:
    dest, old = tmp_path / "dest", tmp_path / "old"
    directory = LocalDir(dest, sync=True)
    async with forwarding(tmp_path, directory, idle=0.01) as running:
        assert await store(running, few[:1]) == [0]
        await running.until(lambda: running.spool.counts().total(DeliveryState.DELIVERED) == 1)
        await asyncio.to_thread(dest.rename, old)
        assert await store(running, few[1:]) == [0] * (len(few) - 1)
        await running.until(lambda: any("vanished" in one.reason for one in running.spool.ls()))
        await asyncio.to_thread(dest.mkdir)
        assert await asyncio.to_thread(ring, running.spool.path)
        await running.until(lambda: running.spool.counts().total(DeliveryState.DELIVERED) == len(few))
    directory.close()  # what was logged of it holds it
    assert await asyncio.to_thread(holds, dest) == contents(few[1:])


# -- its end -----------------------------------------------------------------------------------------------------------


async def test_quiet_is_when_nobody_is_connected(few: list[Sample], tmp_path: Path) -> None:
    async with forwarding(tmp_path, MemoryStore(), inactive_timeout=0.2) as running:
        async with running.link() as link:
            assert await link.store(few[0]) == 0
            done, _ = await asyncio.wait([running.task], timeout=0.5)
            assert not done
            assert await link.store(few[1]) == 0
        await running.task
    assert running.forwarder.now.total(DeliveryState.DELIVERED) == 2


async def test_what_cannot_be_delivered_is_left(few: list[Sample], tmp_path: Path) -> None:
    """A destination that is down does not keep it from ending."""
    nobody = NetRepo(DcmNode(HOST, "LOCALAE"), DcmNode(HOST, "NOBODY", free_port()))
    archive = LocalDir(tmp_path / "archive", sync=True)
    async with forwarding(tmp_path, nobody, archive, inactive_timeout=0.1) as running:
        assert await store(running, few) == [0] * len(few)
        await running.task
    now = running.forwarder.now
    assert (now.total(DeliveryState.QUEUED), now.total(DeliveryState.DELIVERED)) == (len(few), len(few))
    assert await asyncio.to_thread(holds, tmp_path / "archive") == contents(few)
    assert any(lane.trouble for lane in running.forwarder._fleet.lanes.values())


async def test_what_comes_when_time_is_up_is_not_counted(few: list[Sample], tmp_path: Path) -> None:
    """Nobody is told anything of it: what was received adds up all the same."""
    begun, go_on = threading.Event(), threading.Event()

    def step(name: str) -> None:
        if name == "journal":
            begun.set()
            go_on.wait()

    forwarders: list[Forwarder] = []

    async def send_until_it_is_cut_short() -> None:
        async with forwarding(tmp_path, MemoryStore(), step=step) as running, running.link() as link:
            forwarders.append(running.forwarder)
            storing = asyncio.ensure_future(link.store(few[0]))
            await asyncio.to_thread(begun.wait)
            for _ in range(2):
                running.task.cancel()
                await asyncio.sleep(0.05)
            go_on.set()
            storing.cancel()

    with pytest.raises(asyncio.CancelledError):
        await send_until_it_is_cut_short()
    tally = forwarders[0].tally
    assert (tally.received, tally.n_bytes, tally.acknowledged) == (0, 0, 0)


async def test_whoever_sends_may_finish(few: list[Sample], tmp_path: Path) -> None:
    store_ = MemoryStore()
    async with forwarding(tmp_path, store_, stop_within=20) as running, running.link() as link:
        assert await link.store(few[0]) == 0
        running.forwarder.stop()
        assert [await link.store(sample) for sample in few[1:]] == [0] * (len(few) - 1)
        await link.release()
        await running.task
    assert running.forwarder.tally.new == len(few)


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda *_: None, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    spool = await asyncio.to_thread(Spool(tmp_path / "spool").open)
    try:
        with pytest.raises(ListenError):
            await Forwarder(LocalEntity(DcmNode(HOST, "X", port)), Router([MemoryStore()]), spool).run()
    finally:
        await asyncio.to_thread(spool.close)
        server.close()
        await server.wait_closed()


async def test_what_a_crash_has_left_is_taken_in_again(
    few: list[Sample], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file with a name that no entry has: the journal was lost, with all that was in it."""
    instance = make("1.2.3", pixels=b"pixels")

    def prepare() -> None:
        with Spool(tmp_path / "spool") as spool:
            spool.admit(instance, Origin(), lambda _: ["somewhere"])
        for path in (tmp_path / "spool").glob("journal.sqlite*"):
            path.write_bytes(b"rubbish" * 1000)

    await asyncio.to_thread(prepare)
    store_ = MemoryStore()
    async with forwarding(tmp_path, store_, inactive_timeout=0.1) as running:
        await running.task
    assert running.forwarder.recovered.readmitted == 1
    assert "that a crash had left: taken in again" in caplog.text
    assert running.forwarder.now.total(DeliveryState.DELIVERED) == 1


async def test_a_journal_that_is_damaged_ends_it(
    few: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks after it starts it anew, and the journal is made from the files."""

    def admit_all(*args: object) -> None:
        raise SpoolError("the journal is damaged") from DamagedError("malformed")

    async def send_until_it_ends() -> None:
        async with forwarding(tmp_path, MemoryStore()) as running, running.link() as link:
            assert await link.store(few[0]) == 0
            monkeypatch.setattr(running.spool, "admit_all", admit_all)
            assert await link.store(few[1]) == 0xA700
            await link.release()
            await running.task

    with pytest.raises(SpoolError, match="damaged"):
        await send_until_it_ends()


# -- how things stand --------------------------------------------------------------------------------------------------


async def test_how_things_stand(few: list[Sample], tmp_path: Path) -> None:
    async with forwarding(tmp_path, MemoryStore(), notifier=Notifier("")) as running, running.link() as link:
        for sample in few:
            assert await link.store(sample) == 0
        await running.until(lambda: running.snapshots and running.snapshots[-1].delivered == len(few))
        snapshot = running.snapshots[-1]
        assert snapshot.n_associations == 1
        assert snapshot.summary() == f"{len(few)} received, {len(few)} delivered"


# -- other rules -------------------------------------------------------------------------------------------------------


class Named(MemoryStore):
    """A destination with a name of its own."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def __str__(self) -> str:
        return self.name


async def test_other_rules_while_it_runs(few: list[Sample], tmp_path: Path) -> None:
    old, new = Gate(), Named("new")
    async with forwarding(tmp_path, old) as running, running.link() as link:
        assert await link.store(few[0]) == 0
        assert await running.in_state(DeliveryState.QUEUED) == 1
        await running.forwarder.use(Router([new]))
        assert await link.store(few[1]) == 0
        await running.until(lambda: len(new) == 1)
        # What was for the old one waits for it to be named again.
        assert [(d.way, d.state) for d in running.spool.ls()] == [("gate", DeliveryState.HELD)]
        old.open.set()
        await running.forwarder.use(Router([old, new]))
        await running.until(lambda: len(old) == 1)
        assert await link.store(few[2]) == 0
        await running.until(lambda: len(old) == len(new) == 2)


async def test_rules_that_lead_back_to_us_are_refused(few: list[Sample], tmp_path: Path) -> None:
    dest = MemoryStore()
    async with forwarding(tmp_path, dest) as running, running.link() as link:
        with pytest.raises(UsageError):
            await running.forwarder.use(Router([LocalDir(tmp_path / "spool" / "data")]))
        assert await link.store(few[0]) == 0
        await running.until(lambda: len(dest) == 1)
