"""What goes wrong while sending: files that change, peers that come and go; the rest goes on, and nothing is lost."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from dcm.errors import AssociationAbortedError, ConnectionFailedError, NoContextError, ProtocolError
from dcm.instance import Instance
from dcm.net import LocalEntity, RemoteNode, Timeouts
from dcm.net import _send_line as send_line
from dcm.net.wire import AssociateReject
from dcm.report import Outcome, TransferReport
from tests import data
from tests.net.scripted import HOST, ConnectionEndedError, Link, Message, ScriptedPeer, serve
from tests.net.support import bytes_of, data_sets
from tests.peers import DcmtkStorescp, Fault, FaultProxy

pytestmark = pytest.mark.usefixtures("nothing_left")

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long it waits before it tries again is not what is tested here."""
    monkeypatch.setattr(send_line, "_BACKOFF", 0.005)


def instance(number: int, size: int = 100) -> Instance:
    return Instance.from_buffer(CT, f"1.2.3.{number}", EXPLICIT, bytes(size))


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.blocking_allowed("the test itself changes the file")
@pytest.mark.parametrize("what", ["shrinks", "vanishes", "changes", "is replaced"])
async def test_a_file_that_changes_while_it_is_sent(
    local: LocalEntity, samples: list[data.Sample], tmp_path: Path, what: str
) -> None:
    """Half of it has left: that association is aborted, the data set never ends, and the next one goes on."""
    large = data.write_multi_frame(tmp_path / "large.dcm", 24 << 20)
    got: list[Message] = []

    async def first(link: Link) -> None:
        await link.accept()
        await link.event()
        await link.event()
        if what == "shrinks":
            os.truncate(large.path, 20 << 20)
        elif what == "vanishes":
            large.path.unlink()
        elif what == "changes":
            os.utime(large.path, ns=(1, 1))
        else:
            other = tmp_path / "other"
            other.write_bytes(bytes(24 << 20))
            other.replace(large.path)
        with pytest.raises(ConnectionEndedError):
            got.append(await link.message())
        assert (await link.rest())[-2:] == ["abort", "end"]

    async def then(link: Link) -> None:
        def take(request: Message) -> int:
            got.append(request)
            return 0

        await serve(link, take)

    async def both(link: Link) -> None:
        await (first if len(peer.links) == 1 else then)(link)

    report = TransferReport()
    async with ScriptedPeer(both) as peer:
        await local.upload(peer.node, [large.path, samples[0].path, samples[1].path], report)
    assert report.uids(Outcome.FAILED) == [large.sop_instance_uid]
    assert report.problems[0].message.startswith("cannot be read")
    assert report.counts[Outcome.SENT] == 2
    assert [message.data for message in got] == [sample.data_set_bytes for sample in samples[:2]]
    assert report.adds_up()


async def test_a_file_that_is_cut_short_is_not_sent(
    local: LocalEntity, dcmtk_receiver: DcmtkStorescp, samples: list[data.Sample], tmp_path: Path
) -> None:
    whole = samples[0].path.read_bytes()
    cut = [tmp_path / f"cut{number}.dcm" for number in range(3)]
    for number, path in enumerate(cut):
        path.write_bytes(whole[: -1 - number])
    report = TransferReport()
    await local.upload(dcmtk_receiver.node, [*cut, samples[1].path], report)
    assert report.counts[Outcome.FAILED] == 3
    assert data_sets(dcmtk_receiver.received()) == bytes_of([samples[1]])
    (line,) = report.warnings
    assert line.startswith("3 failed: cannot be read: it is cut short")


async def test_a_name_that_no_file_can_have(
    local: LocalEntity, dcmtk_receiver: DcmtkStorescp, samples: list[data.Sample]
) -> None:
    """It fails by itself, and nobody waits for it to be read."""
    report = TransferReport()
    await local.upload(dcmtk_receiver.node, ["a\0b.dcm", samples[1].path, "\ud800.dcm"], report)
    assert (report.counts[Outcome.FAILED], report.counts[Outcome.SENT], report.exit_code) == (2, 1, 3)
    assert data_sets(dcmtk_receiver.received()) == bytes_of([samples[1]])


@pytest.mark.blocking_allowed("the test itself changes the files")
async def test_instances_whose_files_are_gone(
    local: LocalEntity, dcmtk_receiver: DcmtkStorescp, samples: list[data.Sample], tmp_path: Path
) -> None:
    """Small and large, known before and read when it is their turn."""
    paths = [tmp_path / "small.dcm", tmp_path / "large.dcm"]
    paths[0].write_bytes(samples[0].path.read_bytes())
    large = data.write_multi_frame(paths[1], 3 << 20)
    instances = [Instance.from_file(path) for path in paths]
    for path in paths:
        path.unlink()
    report = TransferReport()
    async with local.send(dcmtk_receiver.node, report=report) as queue:
        placed = await asyncio.gather(*map(queue.place, [*instances, Instance.from_file(samples[1].path)]))
    assert placed == [False, False, True]
    assert sorted(report.uids(Outcome.FAILED)) == sorted([samples[0].sop_instance_uid, large.sop_instance_uid])
    assert all(problem.message.startswith("cannot be read: ") for problem in report.problems)
    assert data_sets(dcmtk_receiver.received()) == bytes_of([samples[1]])


# -- the peer ----------------------------------------------------------------------------------------------------------


async def test_an_answer_that_was_lost(local: LocalEntity, samples: list[data.Sample]) -> None:
    """The instance is sent again, in the place where it was, and counted once."""
    got: list[str | None] = []

    async def script(link: Link) -> None:
        await link.accept()
        while True:
            try:
                request = await link.message()
            except ConnectionEndedError:
                link.raw(link.wire.confirm_release() if link.seen[-1] == "release" else b"")
                return
            got.append(request.command.affected_instance)
            if len(got) == 3:
                return
            link.answer(request, 0)

    report = TransferReport()
    async with ScriptedPeer(script) as peer:
        await local.upload(peer.node, [sample.path for sample in samples], report)
    uids = [sample.sop_instance_uid for sample in samples]
    assert got == [*uids[:3], *uids[2:]]
    assert report.counts[Outcome.SENT] == len(samples)
    assert report.n_bytes == sum(len(sample.data_set_bytes) for sample in samples)
    assert not report.problems


async def test_a_peer_that_starts_anew(local: LocalEntity, samples: list[data.Sample], free_port: int) -> None:
    """Refused connections are waited out where there was somebody before."""
    started = asyncio.Event()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.close()
        link = Link(reader, writer)
        link.wire.listen()
        await link.accept()
        link.answer(await link.message(), 0)
        await link.close()
        await asyncio.sleep(0.05)
        started.set()

    server = await asyncio.start_server(one, HOST, free_port)
    report = TransferReport()
    uploading = asyncio.ensure_future(
        local.upload(RemoteNode(HOST, "ANEW", free_port), [sample.path for sample in samples], report)
    )
    await started.wait()
    ended = asyncio.Event()

    async def rest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(reader, writer)
        link.wire.listen()
        await serve(link)
        await link.close()
        ended.set()

    server = await asyncio.start_server(rest, HOST, free_port)
    await uploading
    await ended.wait()
    server.close()
    assert report.ok, report.summary()
    assert report.counts[Outcome.SENT] == len(samples)


async def test_a_peer_that_is_busy_at_first(local: LocalEntity, samples: list[data.Sample]) -> None:
    async def busy(link: Link) -> None:
        await link.event()
        link.raw(link.wire.reject(AssociateReject(2, 3, 2)))

    report = TransferReport()
    async with ScriptedPeer(busy, busy, serve) as peer:
        await local.upload(peer.node, [samples[0].path], report)
    assert report.ok
    assert len(peer.links) == 3


async def test_a_peer_that_does_not_know_us_is_asked_once(local: LocalEntity, samples: list[data.Sample]) -> None:
    async def unknown(link: Link) -> None:
        await link.event()
        link.raw(link.wire.reject(AssociateReject(1, 1, 3)))

    report = TransferReport()
    async with ScriptedPeer(unknown) as peer:
        await local.upload(peer.node, [sample.path for sample in samples], report)
    assert len(peer.links) == 1
    assert report.exit_code == 4
    assert report.adds_up()


async def test_a_full_disk_is_not_waited_for_with_each_instance(local: LocalEntity) -> None:
    report = TransferReport()

    async def full(link: Link) -> None:
        await serve(link, lambda _: 0xA700)

    async with ScriptedPeer(full) as peer, local.send(peer.node, report=report) as queue:
        for number in range(20):
            await queue.put(instance(number))
    assert report.counts[Outcome.FAILED] == 20
    assert peer.links[0].seen.count("C-STORE-RQ") == 3 * 3 + 17


async def test_room_that_comes_back(local: LocalEntity) -> None:
    statuses = [0xA700] * 12 + [0, 0xA700, 0]
    report = TransferReport()

    async def script(link: Link) -> None:
        await serve(link, lambda _: statuses.pop(0))

    async with ScriptedPeer(script) as peer, local.send(peer.node, report=report) as queue:
        for number in range(8):
            await queue.put(instance(number))
    assert report.counts[Outcome.FAILED] == 6
    assert report.counts[Outcome.SENT] == 2
    assert statuses == []


async def test_a_peer_that_answers_nothing_more(local: LocalEntity) -> None:
    """A deadline, and not more than a few of them."""
    report = TransferReport()
    over = asyncio.Event()

    async def silent(link: Link) -> None:
        await link.accept()
        await over.wait()

    async with ScriptedPeer(silent) as peer:
        node = RemoteNode(HOST, "SILENT", peer.port, timeouts=Timeouts(dimse=0.05))
        async with local.send(node, report=report) as queue:
            for number in range(40):
                await queue.put(instance(number))
        over.set()
    assert report.counts[Outcome.FAILED] == 40
    assert report.adds_up()
    assert report.exit_code == 4
    assert len(peer.links) < 10


class Impatient(TransferReport):
    """Somebody who tries again himself, and wants to know by what each one failed."""

    patient = False

    def __init__(self) -> None:
        super().__init__()
        self.failures: dict[str, Exception | None] = {}

    def record(self, uid: str, outcome: Outcome, *, error: Exception | None = None, **said: Any) -> Outcome:
        if outcome is Outcome.FAILED:
            self.failures[uid] = error
        return super().record(uid, outcome, **said)


async def test_an_impatient_report_and_a_full_disk(local: LocalEntity) -> None:
    """Each is sent once, and nobody waits for room."""
    report = Impatient()

    async def script(link: Link) -> None:
        await serve(link, lambda request: 0 if request.command.affected_instance == "1.2.3.2" else 0xA700)

    async with ScriptedPeer(script) as peer, local.send(peer.node, report=report) as queue:
        for number in range(4):
            await queue.put(instance(number))
    assert peer.links[0].seen.count("C-STORE-RQ") == 4
    assert report.failures == {"1.2.3.0": None, "1.2.3.1": None, "1.2.3.3": None}
    assert [problem.status for problem in report.problems] == [0xA700] * 3


@pytest.mark.parametrize("garbage", [False, True])
async def test_an_impatient_report_and_lost_associations(local: LocalEntity, garbage: bool) -> None:
    """The one that was on its way fails; after three of them nothing more is sent, and the rest was not tried."""
    report = Impatient()

    async def script(link: Link) -> None:
        await link.accept()
        await link.message()
        if garbage:
            link.raw(b"\x09\x00\x00\x00\x00\x00")
            await link.rest()

    async with ScriptedPeer(script) as peer:
        async with local.send(peer.node, report=report) as queue:
            placed = await asyncio.gather(*(queue.place(instance(n)) for n in range(5)), return_exceptions=True)
    kind = ProtocolError if garbage else AssociationAbortedError
    assert placed[:2] == [False, False]
    assert [type(error) for error in placed[2:]] == [kind] * 3
    assert [type(error) for error in report.failures.values()] == [kind] * 3 + [type(None)] * 2
    assert len(peer.links) == 3


async def test_an_impatient_report_and_nobody_there(local: LocalEntity, free_port: int) -> None:
    report = Impatient()
    async with local.send(RemoteNode(HOST, "NOBODY", free_port), report=report) as queue:
        placed = await asyncio.gather(*(queue.place(instance(n)) for n in range(2)), return_exceptions=True)
    assert all(isinstance(error, ConnectionFailedError) for error in placed)
    assert report.failures == {"1.2.3.0": None, "1.2.3.1": None}


async def test_an_impatient_report_and_a_class_that_is_refused(local: LocalEntity) -> None:
    report = Impatient()

    async def script(link: Link) -> None:
        await link.accept(lambda _: False)
        await link.rest()

    async with ScriptedPeer(script) as peer, local.send(peer.node, report=report) as queue:
        await queue.put(instance(1))
    assert isinstance(report.failures["1.2.3.1"], NoContextError)


async def test_an_answer_without_a_status(local: LocalEntity) -> None:
    report = TransferReport()

    async def script(link: Link) -> None:
        await link.accept()
        request = await link.message()
        request.command.field |= 0x8000
        request.command.responding_to = request.command.message_id
        request.command.message_id = None
        link.send(request.context_id, request.command)
        assert (await link.rest())[-2:] == ["abort", "end"]

    async with ScriptedPeer(script) as peer, local.send(peer.node, report=report) as queue:
        await queue.put(instance(1))
    assert report.exit_code == 4
    assert "without a status" in report.summary()


async def test_cancelled_while_it_waits_for_a_peer_to_come_back(
    local: LocalEntity, samples: list[data.Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send_line, "_BACKOFF", 60)
    gone = asyncio.Event()

    async def one(link: Link) -> None:
        await link.accept()
        link.answer(await link.message(), 0)
        gone.set()

    report = TransferReport()
    async with ScriptedPeer(one) as peer:
        task = asyncio.ensure_future(local.upload(peer.node, [sample.path for sample in samples], report))
        await gone.wait()
        await asyncio.sleep(0.05)
        begun = asyncio.get_running_loop().time()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.get_running_loop().time() - begun < 2
    report.finish()
    assert report.counts[Outcome.SENT] == 1
    assert report.adds_up()


async def test_cancelled_while_a_peer_does_not_read(local: LocalEntity, tmp_path: Path) -> None:
    large = data.write_multi_frame(tmp_path / "large.dcm", 40 << 20)
    begun, over = asyncio.Event(), asyncio.Event()

    async def script(link: Link) -> None:
        await link.accept()
        await link.event()
        begun.set()
        await over.wait()

    report = TransferReport()
    async with ScriptedPeer(script) as peer:
        task = asyncio.ensure_future(local.upload(peer.node, [large.path], report))
        await begun.wait()
        await asyncio.sleep(0.2)
        started = asyncio.get_running_loop().time()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.get_running_loop().time() - started < 2
        over.set()
    report.finish()
    assert report.uids(Outcome.FAILED) == [large.sop_instance_uid]


@pytest.mark.parametrize("direction", ["to_peer", "to_client"])
async def test_a_connection_that_stalls(local: LocalEntity, samples: list[data.Sample], direction: str) -> None:
    """It is given up after a while, and another one brings the rest."""
    report = TransferReport()
    async with ScriptedPeer(serve) as peer:
        fault = {direction: Fault(stall_at=1500)}
        with FaultProxy(peer.port, ae_title="SCRIPTED", n_faulty=1, **fault) as proxy:
            node = RemoteNode(HOST, "SCRIPTED", proxy.port, timeouts=Timeouts(dimse=0.3))
            await local.upload(node, [sample.path for sample in samples], report)
    assert proxy.n_connections == 2
    assert report.ok, report.summary()
    assert report.counts[Outcome.SENT] == len(samples)
