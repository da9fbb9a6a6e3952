"""Couriers between a real spool and real peers, on good days and on bad ones: nothing is lost, and nobody waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

import pytest

from dcm.filt import make_edit_filter
from dcm.instance import Instance
from dcm.net import LocalEntity, RemoteNode, Timeouts
from dcm.route import Way
from dcm.spool import Delivery, DeliveryState, Settlement, Spool
from dcm.spool._breaker import Breaker
from dcm.spool._courier import Courier
from dcm.spool._retry import RetryPolicy
from dcm.store.base import DataSink
from dcm.store.local_dir import LocalDir
from dcm.store.net_repo import NetRepo
from tests import data
from tests.net.conftest import local, nothing_left
from tests.net.scripted import HOST, ConnectionEndedError, Link, Message, ScriptedPeer, serve
from tests.net.support import bytes_of, data_sets
from tests.peers import DcmtkStorescp, Fault, FaultProxy, OrthancPeer
from tests.spool.deliveries import DELIVERED, QUARANTINED, QUEUED, Told, running
from tests.spool.support import HERE
from tests.store.instances import make

__all__ = ["local", "nothing_left"]

pytestmark = [
    pytest.mark.usefixtures("nothing_left"),
    pytest.mark.blocking_allowed("the test itself fills the spool and looks into it"),
]

SOON = RetryPolicy(first=0.05, factor=1, ceiling=0.05, jitter=0)
LATER = RetryPolicy(first=3600, ceiling=3600, jitter=0)


class Desk(Told):
    """A spool, couriers to some destinations, and a way to wait for what they do."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.spool = Spool(path, on_settled=self._settled).open()
        self.settled: list[Settlement] = []
        self.ways: list[Way] = []

    def _settled(self, settlements: Sequence[Settlement]) -> None:
        self.settled += settlements
        self.changed()

    def courier(
        self,
        way: Way | DataSink,
        *,
        retries: RetryPolicy = SOON,
        breaker: Breaker | None = None,
    ) -> Courier:
        way = way if isinstance(way, Way) else Way(way)
        self.ways.append(way)
        return Courier(way, self.spool, breaker if breaker is not None else Breaker(SOON), retries=retries)

    def admit(self, instances: Iterable[Instance], ways: Sequence[Way] | None = None) -> int:
        """Put instances into the spool, for all ways or for some."""
        keys = [way.key for way in (self.ways if ways is None else ways)]
        n_admitted = 0
        for instance in instances:
            with instance:
                n_admitted += self.spool.admit(instance, HERE, lambda _: keys).n_deliveries
        return n_admitted

    def ended(self, way: Way, *states: DeliveryState) -> int:
        """How many have reached an end on a way, or one of these."""
        states = states or (DELIVERED, QUARANTINED, DeliveryState.FILTERED)
        return sum(one.way == way.key and one.state in states for one in self.settled)

    def left(self) -> list[Delivery]:
        return list(self.spool.ls())


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path / "spool")
    yield desk
    assert desk.spool.counts().adds_up
    for way in desk.ways:
        if isinstance(way.sink, LocalDir):
            way.sink.close()
    desk.spool.close()


def read(samples: Iterable[data.Sample]) -> list[Instance]:
    return [Instance.from_file(sample.path) for sample in samples]


async def test_to_a_directory_a_peer_and_a_peer_behind_a_filter(
    desk: Desk, local: LocalEntity, dcmtk_receiver: DcmtkStorescp, samples: list[data.Sample], tmp_path: Path
) -> None:
    """All of it gets everywhere, byte for byte where no filter is on the way; then the spool is empty."""
    directory = LocalDir(tmp_path / "archive", sync=True)
    plain = Way(NetRepo(local, dcmtk_receiver.node))
    anonymous = Way(LocalDir(tmp_path / "anonymous"), make_edit_filter({"PatientID": "ANON"}))
    couriers = [desk.courier(way) for way in (directory, plain, anonymous)]
    async with running(*couriers):
        assert desk.admit(read(samples)) == 3 * len(samples)
        for courier in couriers:
            courier.wake()
        await desk.until(lambda: len(desk.settled) == 3 * len(samples))
    expected = bytes_of(samples)
    assert data_sets((tmp_path / "archive").rglob("*.dcm")) == expected
    assert data_sets(dcmtk_receiver.received()) == expected
    changed = [Instance.from_file(path) for path in (tmp_path / "anonymous").rglob("*.dcm")]
    assert len(changed) == len(samples)
    assert {instance.header.text(0x00100020) for instance in changed} == {"ANON"}
    assert desk.left() == []
    assert [path for path in (tmp_path / "spool" / "data").rglob("*") if path.is_file()] == []


@pytest.mark.timeout(60)
async def test_a_peer_that_is_down_for_a_while(
    desk: Desk, local: LocalEntity, samples: list[data.Sample], tmp_path: Path, free_port: int
) -> None:
    """Before it is started, and when it starts anew; another destination has everything meanwhile."""
    node = RemoteNode(HOST, "STORESCP", free_port)
    way = Way(NetRepo(local, node))
    breaker = Breaker(SOON)
    other = LocalDir(tmp_path / "other")
    couriers = [desk.courier(way, breaker=breaker), desk.courier(other)]
    loop = asyncio.get_running_loop()
    half = len(samples) // 2
    received: set[bytes] = set()
    async with running(*couriers):
        for round_of in (samples[:half], samples[half:]):
            desk.admit(read(round_of))
            for courier in couriers:
                courier.wake()
            await desk.until(lambda: desk.ended(couriers[1].way) >= half)
            await desk.until(lambda: desk.ended(way, QUEUED) > 0)
            assert "connect" in desk.left()[0].reason.lower() or "refused" in desk.left()[0].reason.lower()
            assert {delivery.attempts for delivery in desk.left()} == {0}
            receiver = DcmtkStorescp(tmp_path / f"storescp{len(received)}", port=free_port)
            await loop.run_in_executor(None, receiver.start)
            try:
                await desk.until(lambda: desk.spool.counts().total(QUEUED) == 0)
                received |= data_sets(receiver.received())
            finally:
                await loop.run_in_executor(None, receiver.stop)
            desk.settled.clear()
    assert received == bytes_of(samples)
    assert desk.left() == []


async def test_a_peer_that_refuses_every_third_once(desk: Desk, local: LocalEntity) -> None:
    """0xA700: it is tried again later, and those behind it do not wait."""
    came: list[str] = []

    def status(request: Message) -> int:
        uid = request.command.affected_instance or ""
        came.append(uid)
        return 0xA700 if int(uid.rpartition(".")[2]) % 3 == 2 and came.count(uid) == 1 else 0

    async def script(link: Link) -> None:
        await serve(link, status)

    uids = [f"1.2.3.{number}" for number in range(12)]
    async with ScriptedPeer(script) as peer:
        courier = desk.courier(NetRepo(local, peer.node))
        async with running(courier):
            desk.admit(map(make, uids))
            courier.wake()
            await desk.until(lambda: desk.ended(courier.way, DELIVERED) == 12)
    assert came[:12] == uids
    assert sorted(came[12:]) == sorted(uids[2::3])
    refused = [one for one in desk.settled if one.state is QUEUED]
    assert [(one.status, one.reason) for one in refused] == [(0xA700, "0xA700 Refused: Out of Resources")] * 4
    assert len(peer.links) == 1


async def test_what_a_peer_will_never_take_waits_for_a_human(desk: Desk, local: LocalEntity) -> None:
    """0xC000, 0xA900, a refused SOP class: each with its reason, and it can be tried again."""
    statuses = {"1.2.3.1": 0xC000, "1.2.3.2": 0xA900, "1.2.3.3": 0xB007}
    other_class = Instance.from_buffer("1.2.3.4.5", "1.2.3.9", "1.2.840.10008.1.2.1", make("1.2.3.9").read(0, 9999))

    async def script(link: Link) -> None:
        await link.accept(lambda context: context.abstract_syntax != "1.2.3.4.5")
        while True:
            try:
                request = await link.message()
            except ConnectionEndedError:
                link.raw(link.wire.confirm_release() if link.seen[-1] == "release" else b"")
                return
            link.answer(request, statuses.get(request.command.affected_instance or "", 0))

    async with ScriptedPeer(script) as peer:
        courier = desk.courier(NetRepo(local, peer.node))
        async with running(courier):
            desk.admit([*(make(f"1.2.3.{number}") for number in range(5)), other_class])
            courier.wake()
            await desk.until(lambda: desk.ended(courier.way) == 6)
            assert {one.sop_instance_uid: (one.state, one.status) for one in desk.left()} == {
                "1.2.3.1": (QUARANTINED, 0xC000),
                "1.2.3.2": (QUARANTINED, 0xA900),
                "1.2.3.9": (QUARANTINED, None),
            }
            assert all(one.reason for one in desk.left())
            warned = next(one for one in desk.settled if one.status == 0xB007)
            assert warned.state is DELIVERED
            statuses.clear()
            assert desk.spool.retry(uids=["1.2.3.1"]) == 1
            courier.wake()
            await desk.until(lambda: desk.ended(courier.way, DELIVERED) == 4)


async def test_a_peer_that_stalls_while_another_one_goes_on(
    desk: Desk, local: LocalEntity, dcmtk_receiver: DcmtkStorescp, samples: list[data.Sample]
) -> None:
    """Nobody hears of it but those who go there; what it had not answered is sent again."""
    async with ScriptedPeer(serve) as slow:
        with FaultProxy(slow.port, ae_title="SCRIPTED", n_faulty=1, to_client=Fault(stall_at=600)) as proxy:
            node = RemoteNode(HOST, "SCRIPTED", proxy.port, timeouts=Timeouts(dimse=2))
            stalled, well = Way(NetRepo(local, node)), Way(NetRepo(local, dcmtk_receiver.node))
            couriers = [desk.courier(stalled), desk.courier(well)]
            async with running(*couriers):
                desk.admit(read(samples[:1]), [stalled])
                couriers[0].wake()
                loop = asyncio.get_running_loop()
                await desk.until(lambda: proxy.n_connections > 0 or bool(slow.links))
                desk.admit(read(samples[1:]), [stalled, well])
                for courier in couriers:
                    courier.wake()
                await loop.run_in_executor(None, proxy.stalled.wait)
                await desk.until(lambda: desk.ended(well) == len(samples) - 1)
                assert desk.ended(stalled, DELIVERED) < len(samples)
                await desk.until(lambda: desk.ended(stalled, DELIVERED) == len(samples))
            assert proxy.n_connections >= 2
    assert desk.left() == []


async def test_versions_of_one_instance_arrive_in_their_order(desk: Desk, local: LocalEntity) -> None:
    """Even if the first is refused at first: what the destination has in the end is what came in the end."""
    came: list[bytes] = []
    uid = "1.2.3"
    versions = [make(uid, pixels=pixels) for pixels in (b"first!", b"second", b"third!")]

    def status(request: Message) -> int:
        if request.command.affected_instance != uid:
            return 0
        came.append(request.data[-6:])
        return 0xA700 if len(came) in (1, 3) else 0

    async def script(link: Link) -> None:
        await serve(link, status)

    async with ScriptedPeer(script) as peer:
        courier = desk.courier(NetRepo(local, peer.node))
        async with running(courier):
            desk.admit([*versions, *(make(f"1.2.4.{number}") for number in range(3))])
            courier.wake()
            await desk.until(lambda: desk.ended(courier.way, DELIVERED) == 6)
    assert came == [b"first!", b"first!", b"second", b"second", b"third!"]


async def test_a_directory_that_has_other_bytes_keeps_both(desk: Desk, tmp_path: Path) -> None:
    courier = desk.courier(LocalDir(tmp_path / "archive"))
    async with running(courier):
        desk.admit([make("1.2.3", pixels=b"first!"), make("1.2.3", pixels=b"second"), make("1.2.4")])
        courier.wake()
        await desk.until(lambda: desk.ended(courier.way, DELIVERED) == 3)
    assert len([*(tmp_path / "archive").rglob("*.dcm")]) == 3
    assert [one.reason != "" for one in desk.settled].count(True) == 1


async def test_a_directory_that_cannot_be_written_to(desk: Desk, tmp_path: Path) -> None:
    """It is left alone until it can."""
    (tmp_path / "archive").write_text("in the way")
    courier = desk.courier(LocalDir(tmp_path / "archive"))
    async with running(courier):
        desk.admit([make("1.2.3"), make("1.2.4")])
        courier.wake()
        await desk.until(lambda: desk.ended(courier.way, QUEUED) > 1)
        assert {one.attempts for one in desk.left()} == {0}
        (tmp_path / "archive").unlink()
        await desk.until(lambda: desk.ended(courier.way, DELIVERED) == 2)


async def test_stopped_while_a_peer_is_slow_to_answer(desk: Desk, local: LocalEntity) -> None:
    """What it has answered is delivered, what it has not stays in the queue, and the next run brings it."""
    came: list[str] = []
    gate = asyncio.Event()

    async def script(link: Link) -> None:
        await link.accept()
        while True:
            try:
                request = await link.message()
            except ConnectionEndedError:
                link.raw(link.wire.confirm_release() if link.seen[-1] == "release" else b"")
                return
            came.append(request.command.affected_instance or "")
            if len(came) == 3:
                gate.set()
                await link.rest()
                return
            link.answer(request, 0)

    async with ScriptedPeer(script) as peer:
        courier = desk.courier(NetRepo(local, peer.node))
        task = asyncio.ensure_future(courier.run())
        desk.admit(make(f"1.2.3.{number}") for number in range(6))
        courier.wake()
        await gate.wait()
        await courier.stop(0.05)
        await task
        assert [one.sop_instance_uid for one in desk.left()] == [f"1.2.3.{number}" for number in range(2, 6)]
        assert {one.attempts for one in desk.left()} == {0}
        again = desk.courier(courier.way)
        async with running(again):
            await desk.until(lambda: desk.ended(courier.way, DELIVERED) == 6)
    assert came == [f"1.2.3.{number}" for number in (0, 1, 2, 2, 3, 4, 5)]


async def test_an_association_is_released_when_it_is_idle_and_reused_until_then(desk: Desk, local: LocalEntity) -> None:
    async with ScriptedPeer(serve) as peer:
        way = Way(NetRepo(local, peer.node))
        desk.ways.append(way)
        courier = Courier(way, desk.spool, Breaker(), idle=0.2)
        async with running(courier):
            for number in range(3):
                desk.admit([make(f"1.2.3.{number}")])
                courier.wake()
                await desk.until(lambda n=number: len(desk.settled) == n + 1)  # type: ignore[misc]
            assert len(peer.links) == 1
            await asyncio.wait(peer._tasks)
            assert peer.links[0].seen[-1] == "release"
            desk.admit([make("1.2.4")])
            courier.wake()
            await desk.until(lambda: len(desk.settled) == 4)
            assert len(peer.links) == 2


async def test_to_orthanc(desk: Desk, local: LocalEntity, samples: list[data.Sample], tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    archive = OrthancPeer(tmp_path / "orthanc")
    await loop.run_in_executor(None, archive.start)
    try:
        courier = desk.courier(NetRepo(local, archive.node))
        async with running(courier):
            desk.admit(read(samples))
            courier.wake()
            await desk.until(lambda: desk.ended(courier.way) == len(samples))
        assert desk.left() == []
        assert {one.state for one in desk.settled} == {DELIVERED}
    finally:
        await loop.run_in_executor(None, archive.stop)
