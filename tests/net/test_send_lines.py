"""Several associations to one peer: where they help, and only there; what is read ahead, and what contexts follow."""

from __future__ import annotations

import asyncio
import resource
import sys
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import UID

from dcm.instance import Instance
from dcm.net import LocalEntity, RemoteNode
from dcm.net import _send_line as send_line
from dcm.net import _sender as sender
from dcm.net._output import Output
from dcm.net._sender import Pace
from dcm.net.wire import AssociateReject, Limits
from dcm.report import Outcome, TransferReport
from tests import data
from tests.net.scripted import HOST, ConnectionEndedError, Link, ScriptedPeer
from tests.net.support import data_sets
from tests.peers import DcmtkStorescp, OrthancPeer, PynetdicomStorescp

pytestmark = pytest.mark.usefixtures("nothing_left")

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


def instance(number: int, size: int = 100, sop_class: str = CT) -> Instance:
    return Instance.from_buffer(sop_class, f"1.2.3.{number}", EXPLICIT, bytes(size))


class SlowPeer:
    """Answers each instance after a while, on any number of associations."""

    def __init__(self, seconds: float = 0.005, breaks: int = 0) -> None:
        self.seconds = seconds
        self.got: list[str | None] = []
        self.at_once = 0
        self.most = 0
        self._breaks = breaks
        self.two = asyncio.Event()

    async def __call__(self, link: Link) -> None:
        await link.accept()
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        if self.most > 1:
            self.two.set()
        try:
            await self._serve(link)
        finally:
            self.at_once -= 1

    async def _serve(self, link: Link) -> None:
        while True:
            try:
                request = await link.message()
            except ConnectionEndedError:
                link.raw(link.wire.confirm_release() if link.seen[-1] == "release" else b"")
                return
            if self.at_once > 1 and self._breaks:
                self._breaks -= 1
                return
            await asyncio.sleep(self.seconds)
            self.got.append(request.command.affected_instance)
            link.answer(request, 0)


def node(peer: ScriptedPeer, max_assoc: int = 5) -> RemoteNode:
    return RemoteNode(HOST, peer.ae_title, peer.port, max_assoc=max_assoc, send_assoc=max_assoc)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send_line, "_BACKOFF", 0.005)
    monkeypatch.setattr(sender, "_SPAN", 0.0)


# -- whether another association helps ---------------------------------------------------------------------------------


class Clock:
    """Instances that are answered at a steady rate."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.now = 100.0

    def run(self, n: int, per_second: float, waited: float, backlog: int = 10) -> list[int]:
        verdicts = []
        for _ in range(n):
            self.now += 1 / per_second
            verdicts.append(self.pace.answered(self.now, 500_000, waited, backlog))
        return [verdict for verdict in verdicts if verdict]


def test_a_quick_peer_gets_one_association() -> None:
    assert Clock(Pace(4)).run(500, per_second=2000, waited=0.0005) == []


def test_a_slow_peer_gets_more_while_they_help() -> None:
    clock = Clock(Pace(4))
    assert clock.run(30, per_second=100, waited=0.01) == [1]
    clock.pace.opened(clock.now)
    assert clock.run(30, per_second=190, waited=0.01) == [1]
    clock.pace.opened(clock.now)
    assert clock.run(30, per_second=195, waited=0.015) == [-1]
    assert clock.run(500, per_second=195, waited=0.01) == []


def test_never_more_than_the_settings_allow() -> None:
    assert Clock(Pace(1)).run(100, per_second=10, waited=0.1) == []
    clock = Clock(Pace(2))
    assert clock.run(30, per_second=100, waited=0.01) == [1]
    clock.pace.opened(clock.now)
    assert clock.run(100, per_second=200, waited=0.01) == []


def test_where_nothing_waits_it_is_not_the_peer_that_is_slow() -> None:
    assert Clock(Pace(4)).run(100, per_second=10, waited=0.1, backlog=0) == []


def test_while_the_other_association_is_not_there_nothing_is_concluded() -> None:
    clock = Clock(Pace(4))
    assert clock.run(200, per_second=100, waited=0.01) == [1]
    clock.pace.stop()
    assert clock.run(200, per_second=100, waited=0.01) == []


# -- several associations ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_assoc", [1, 2, 5])
async def test_a_peer_far_away(local: LocalEntity, max_assoc: int) -> None:
    script = SlowPeer()
    report = TransferReport()
    async with ScriptedPeer(script) as peer, local.send(node(peer, max_assoc), report=report) as queue:
        for number in range(250):
            await queue.put(instance(number))
    assert report.counts[Outcome.SENT] == 250
    assert report.adds_up()
    assert sorted(script.got, key=str) == sorted((f"1.2.3.{number}" for number in range(250)), key=str)
    assert script.most <= max_assoc
    if max_assoc > 1:
        assert script.most > 1
    assert all(link.seen[-1] == "release" for link in peer.links)


async def test_another_association_that_breaks_gives_back_what_it_had(local: LocalEntity) -> None:
    script = SlowPeer(breaks=1)
    report = TransferReport()
    async with ScriptedPeer(script) as peer, local.send(node(peer), report=report) as queue:
        for number in range(150):
            await queue.put(instance(number))
    assert report.ok, report.summary()
    assert report.counts[Outcome.SENT] == 150
    assert sorted(script.got, key=str) == sorted((f"1.2.3.{number}" for number in range(150)), key=str)


@pytest.mark.parametrize("what", ["rejects", "hangs up", "does not answer", "takes nothing", "takes little"])
async def test_a_peer_that_takes_one_association_at_a_time(local: LocalEntity, what: str) -> None:
    """Nothing is lost by having asked."""
    first = SlowPeer()

    async def other(link: Link) -> None:
        if what.startswith("takes"):
            await link.accept(lambda context: what == "takes little" and context.abstract_syntax == "1.2.3.4")
            await link.rest()
            return
        await link.event()
        if what == "rejects":
            link.raw(link.wire.reject(AssociateReject(2, 3, 2)))
        elif what == "does not answer":
            assert await link.rest() == ["associate", "abort", "end"]

    report = TransferReport()
    async with ScriptedPeer(first, other) as peer, local.send(node(peer), report=report) as queue:
        for number in range(120):
            await queue.put(instance(number, sop_class="1.2.3.4" if number == 119 else CT))
    assert report.ok, report.summary()
    assert sorted(first.got, key=str) == sorted((f"1.2.3.{number}" for number in range(120)), key=str)
    # Twice where the other one was good for something at first.
    assert len(peer.links) == (3 if what == "takes little" else 2)


async def test_cancelled_with_several_associations(local: LocalEntity) -> None:
    script = SlowPeer(0.02)
    report = TransferReport()

    async def fill() -> None:
        async with local.send(node(peer), report=report) as queue:
            for number in range(1000):
                await queue.put(instance(number))

    async with ScriptedPeer(script) as peer:
        task = asyncio.ensure_future(fill())
        await script.two.wait()
        begun = asyncio.get_running_loop().time()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.get_running_loop().time() - begun < 2
    report.finish()
    assert report.adds_up()
    assert report.counts[Outcome.SENT] == len(script.got) or report.counts[Outcome.SENT] < 1000


async def test_orthanc_gets_all_once(local: LocalEntity, tmp_path: Path) -> None:
    made = data.write_tiny(tmp_path / "tiny", 150)
    with OrthancPeer(tmp_path / "peer") as peer:
        report = TransferReport()
        await local.upload(peer.node, [sample.path for sample in made], report)
        assert report.ok, report.summary()
        assert peer.sop_instance_uids() == {sample.sop_instance_uid for sample in made}


# -- what is read ahead, and the contexts that follow ------------------------------------------------------------------


async def test_one_association_for_all_that_is_at_hand(local: LocalEntity, tmp_path: Path) -> None:
    """Files of many SOP classes, one after the other: their contexts are known before the first is sent."""
    (sample,) = data.write_ct(tmp_path / "ct", 1, size=16)
    paths = []
    for number in range(40):
        ds = dcmread(sample.path)
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID(f"1.2.3.4.{number}")
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.4.5.{number}")
        paths.append(tmp_path / f"{number}.dcm")
        ds.save_as(paths[-1])
    proposed: list[int] = []

    async def script(link: Link) -> None:
        proposed.append(len((await link.accept()).contexts))
        while True:
            try:
                link.answer(await link.message(), 0)
            except ConnectionEndedError:
                link.raw(link.wire.confirm_release())
                return

    report = TransferReport()
    async with ScriptedPeer(script) as peer:
        await local.upload(peer.node, paths, report)
    assert report.ok
    assert len(proposed) <= 2
    assert proposed[-1] == 40


async def test_small_files_are_in_memory_when_it_is_their_turn(
    local: LocalEntity, samples: list[data.Sample], tmp_path: Path
) -> None:
    """A file that is deleted while another one is on its way has been read before."""
    paths = [tmp_path / f"{number}.dcm" for number in range(len(samples))]
    for path, sample in zip(paths, samples, strict=True):
        path.write_bytes(sample.path.read_bytes())

    async def script(link: Link) -> None:
        await link.accept()
        first = await link.message()
        for path in paths:
            path.unlink()
        link.answer(first, 0)
        while True:
            try:
                link.answer(await link.message(), 0)
            except ConnectionEndedError:
                link.raw(link.wire.confirm_release())
                return

    report = TransferReport()
    async with ScriptedPeer(script) as peer:
        await local.upload(peer.node, paths, report)
    assert report.counts[Outcome.SENT] == len(samples)


async def test_files_in_their_order_whatever_their_size(local: LocalEntity, tmp_path: Path) -> None:
    """More than fits in memory at once, in several readers' hands."""
    made = [data.write_multi_frame(tmp_path / f"{number}.dcm", size) for number, size in enumerate(_SIZES)]
    got: list[str | None] = []

    async def script(link: Link) -> None:
        await link.accept()
        while True:
            try:
                request = await link.message()
            except ConnectionEndedError:
                link.raw(link.wire.confirm_release())
                return
            got.append(request.command.affected_instance)
            link.answer(request, 0)

    async with ScriptedPeer(script) as peer:
        await local.upload(peer.node, [sample.path for sample in made])
    assert got == [sample.sop_instance_uid for sample in made]


_SIZES = [
    *(900_000 for _ in range(20)),
    3_000_000,
    *(70_000 for _ in range(30)),
    1_200_000,
    *(900_000 for _ in range(20)),
]


@pytest.mark.parametrize("max_pdu", [128, 4096, 16384, 0])
async def test_what_the_peer_can_take(local: LocalEntity, samples: list[data.Sample], max_pdu: int) -> None:
    """The scripted peer aborts where a PDU is longer than what it has asked for."""
    contents: list[bytes] = []

    async def script(link: Link) -> None:
        link.wire.limits = Limits(max_pdu=max_pdu or 1 << 18)
        link.wire._max_pdu = max_pdu or 1 << 18  # what it says, and what it holds us to
        await link.accept()
        while True:
            try:
                request = await link.message()
            except ConnectionEndedError:
                assert link.seen[-1] == "release"
                link.raw(link.wire.confirm_release())
                return
            contents.append(request.data)
            link.answer(request, 0)

    async with ScriptedPeer(script) as peer:
        await local.upload(peer.node, [sample.path for sample in samples[:3]])
    assert contents == [sample.data_set_bytes for sample in samples[:3]]


async def test_many_small_instances_to_pynetdicom(local: LocalEntity, tmp_path: Path) -> None:
    made = data.write_tiny(tmp_path / "tiny", 60)
    with PynetdicomStorescp(tmp_path / "scp") as peer:
        report = TransferReport()
        await local.upload(peer.node, [sample.path for sample in made], report)
        assert report.ok, report.summary()
        assert data_sets(peer.received()) == {sample.data_set_bytes for sample in made}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts resident memory as Linux does")
async def test_memory_stays_flat(local: LocalEntity, dcmtk_receiver: DcmtkStorescp, tmp_path: Path) -> None:
    """An instance of 600 MB needs no more memory than the chunks that are under way."""
    large = data.write_multi_frame(tmp_path / "large.dcm", 600 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await local.upload(dcmtk_receiver.node, [large.path])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 << 10


# -- writing -----------------------------------------------------------------------------------------------------------


async def test_more_buffers_than_the_kernel_takes_at_once() -> None:
    """Their order and every byte, however little the kernel takes."""
    received = bytearray()
    done = asyncio.Event()

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(1 << 16):
            received.extend(piece)
            await asyncio.sleep(0)
        writer.close()
        done.set()

    server = await asyncio.start_server(read, HOST, 0)
    loop = asyncio.get_running_loop()
    port = server.sockets[0].getsockname()[1]
    transport, _ = await loop.create_connection(asyncio.Protocol, HOST, port)
    output = Output(transport, lambda: None)
    sent = bytearray()
    for number in range(60):
        buffers: list[bytes | bytearray | memoryview] = [
            bytes([(number + i) & 0xFF]) * (i % 97) for i in range(3000 if number % 2 else 7)
        ]
        output.write(buffers)
        sent.extend(b"".join(buffers))
    output.write([memoryview(bytes(5_000_000))])
    sent.extend(bytes(5_000_000))
    transport.close()
    output.close()
    await done.wait()
    server.close()
    assert received == sent
