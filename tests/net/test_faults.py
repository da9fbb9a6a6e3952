"""Retrieving from peers that lie, stall, hang up, or are late: never a hang, and each instance in one state."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import pytest

from dcm.errors import MoveDestinationError, NetworkError, NoContextError, PartialError, UsageError
from dcm.levels import QueryLevel
from dcm.net import DcmNode, DicomOpType, LocalEntity, RemoteNode, Timeouts
from dcm.net import _retrieve as retrieve
from dcm.net.wire import AssociateReject
from dcm.node import RetrieveMethod
from dcm.report import Outcome, TransferReport
from tests import data
from tests.net.scripted import HOST, SUCCESS, ConnectionEndedError, Link, Message, ScriptedPeer, calling
from tests.net.support import bytes_of, data_sets, result_of
from tests.peers import DcmtkQrscp, Fault, FaultProxy, OrthancPeer, free_port
from tests.peers.process import PeerProcess

pytestmark = pytest.mark.usefixtures("nothing_left")

EXPLICIT = "1.2.840.10008.1.2.1"
Answer = Callable[[Link, Message], Awaitable[None]]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long it waits before it tries again, or for what is late, is not what is tested here."""
    monkeypatch.setattr(retrieve, "_BACKOFF", 0.01)
    monkeypatch.setattr("dcm.net._lines.MoveLine.settle", 0.5)


@pytest.fixture
def series(samples: list[data.Sample]) -> list[data.Sample]:
    """One series of four instances."""
    return [sample for sample in samples if sample.series_uid == samples[3].series_uid]


def remote(peer: ScriptedPeer | FaultProxy | PeerProcess, *methods: RetrieveMethod, **timeouts: float) -> RemoteNode:
    return RemoteNode(
        HOST,
        peer.ae_title,
        peer.port,
        retrieve_methods=methods or ("GET",),
        max_assoc=2,
        timeouts=Timeouts(**timeouts),
    )


def archive(*answers: Answer) -> Callable[[Link], Awaitable[None]]:
    """A script that gives these answers to the requests in turn, and then the last of them; over all connections."""
    left = list(answers)

    async def script(link: Link) -> None:
        await link.accept()
        while True:
            try:
                request = await link.message()
            except ConnectionEndedError:
                link.raw(link.wire.confirm_release() if link.seen[-1] == "release" else b"")
                return
            await (left.pop(0) if len(left) > 1 else left[0])(link, request)

    return script


def giving(samples: Iterable[data.Sample], status: int = SUCCESS) -> Answer:
    async def answer(link: Link, request: Message) -> None:
        for sample in samples:
            await link.store(sample)
        link.answer(request, status, completed=len(list(samples)))

    return answer


async def fetch(
    local: LocalEntity, node: DcmNode, samples: list[data.Sample], report: TransferReport, keep_errors: bool = False
) -> list[str]:
    wanted = result_of(samples)
    return [i.sop_instance_uid async for i in local.instances(node, wanted, report, keep_errors)]


# -- liars -------------------------------------------------------------------------------------------------------------


async def test_success_with_fewer_is_asked_for_again_by_uid(local: LocalEntity, series: list[data.Sample]) -> None:
    report = TransferReport()
    async with ScriptedPeer(archive(giving(series[:2]), giving(series[2:]))) as peer:
        got = await fetch(local, remote(peer), series, report)
    assert got == [sample.sop_instance_uid for sample in series]
    assert report.ok, report.summary()
    assert peer.links[0].seen.count("C-GET-RQ") == 2


async def test_a_series_that_the_peer_chokes_on_does_not_keep_the_others(
    local: LocalEntity, samples: list[data.Sample], series: list[data.Sample]
) -> None:
    others = [sample for sample in samples if sample.study_uid == series[0].study_uid and sample not in series]
    good = [sample for sample in others if sample.series_uid == others[0].series_uid]

    async def choke(link: Link, request: Message) -> None:
        if series[0].series_uid.encode() in request.data:
            link.raw(link.wire.abort())
        else:
            await giving(good)(link, request)

    report = TransferReport()
    async with ScriptedPeer(archive(choke)) as peer:
        got = await fetch(local, remote(peer), [*series, *good], report)
    assert got == [sample.sop_instance_uid for sample in good]
    assert set(report.uids(Outcome.FAILED)) == {sample.sop_instance_uid for sample in series}
    assert "aborted" in report.problems[0].message
    assert report.exit_code == 3


async def test_success_with_nothing_is_missing_in_the_end(local: LocalEntity, series: list[data.Sample]) -> None:
    report = TransferReport()
    async with ScriptedPeer(archive(giving(series[:3]), giving([]))) as peer:
        assert len(await fetch(local, remote(peer), series, report)) == 3
        with pytest.raises(PartialError, match="1 missing"):
            [i async for i in local.instances(remote(peer), result_of(series[3:]))]
    assert report.uids(Outcome.MISSING) == [series[3].sop_instance_uid]
    assert report.exit_code == 3
    assert report.adds_up()


async def test_duplicates_and_what_was_not_asked_for(
    local: LocalEntity, samples: list[data.Sample], series: list[data.Sample]
) -> None:
    other = samples[0]
    for keep in (False, True):
        report = TransferReport()
        async with ScriptedPeer(archive(giving([series[0], series[0], other, *series[1:]]))) as peer:
            got = await fetch(local, remote(peer), series, report, keep)
        assert sorted(set(got)) == sorted(
            {s.sop_instance_uid for s in series} | ({other.sop_instance_uid} if keep else set())
        )
        assert len(got) == (len(series) + 2 if keep else len(series))
        assert {problem.kind for problem in report.anomalies} == {"duplicate", "unexpected"}
        assert report.adds_up()


async def test_inconsistent_instances(
    local: LocalEntity, samples: list[data.Sample], series: list[data.Sample]
) -> None:
    """Another instance, another series, one that is cut short, one that is none: under the UID that was asked for."""
    statuses: list[int | None] = []
    bodies = [series[1].data_set_bytes, samples[0].data_set_bytes, series[2].data_set_bytes[:-100], b"\x01" * 100]

    async def answer(link: Link, request: Message) -> None:
        for sample, body in zip(series, bodies, strict=True):
            statuses.append(await link.store(sample, body))
        link.answer(request, SUCCESS)

    report = TransferReport()
    async with ScriptedPeer(archive(answer)) as peer:
        assert await fetch(local, remote(peer), series, report) == []
    assert len(statuses) == 4  # they did come: there is no use in asking for them again
    assert SUCCESS not in statuses
    assert report.counts[Outcome.FAILED] == 4
    assert report.anomalies.count("inconsistent") == 4
    assert report.adds_up()


async def test_an_instance_without_a_study(local: LocalEntity, series: list[data.Sample]) -> None:
    body = series[0].data_set_bytes.replace(series[0].study_uid.encode(), b" " * 64)
    report = TransferReport()

    async def answer(link: Link, request: Message) -> None:
        await link.store(series[0], body)
        link.answer(request, SUCCESS)

    async with ScriptedPeer(archive(answer)) as peer:
        assert await fetch(local, remote(peer), series[:1], report) == []
    assert report.counts[Outcome.FAILED] == 1


# -- too late ----------------------------------------------------------------------------------------------------------


async def test_stores_after_the_final_response_of_a_move(local: LocalEntity, series: list[data.Sample]) -> None:
    """Two associations to us at once, after everything seemed to be over."""
    statuses: list[int | None] = []

    async def answer(link: Link, request: Message) -> None:
        link.answer(request, SUCCESS, completed=4)

        async def send(some: list[data.Sample]) -> None:
            async with calling(local.local.port) as to_us:
                await to_us.associate((series[0].sop_class_uid, EXPLICIT))
                for sample in some:
                    statuses.append(await to_us.store(sample))
                await to_us.release()

        await asyncio.gather(send(series[:2]), send(series[2:]))

    report = TransferReport()
    async with ScriptedPeer(archive(answer)) as peer:
        got = await fetch(local, remote(peer, "MOVE"), series, report)
    assert sorted(got) == sorted(sample.sop_instance_uid for sample in series)
    assert statuses == [SUCCESS] * 4
    assert report.ok
    assert peer.links[0].seen.count("C-MOVE-RQ") == 1


async def test_stores_after_the_final_response_of_a_get(local: LocalEntity, series: list[data.Sample]) -> None:
    async def answer(link: Link, request: Message) -> None:
        link.answer(request, SUCCESS)
        for sample in series[:-1]:
            await link.store(sample)
        # We may have released the association before we answer to what is the last one for us.
        await link.store(series[-1], answered=False)

    report = TransferReport()
    async with ScriptedPeer(archive(answer)) as peer:
        await fetch(local, remote(peer), series, report)
    assert report.ok
    assert peer.links[0].seen.count("C-GET-RQ") == 1


# -- refusals ----------------------------------------------------------------------------------------------------------


async def test_a_move_to_an_ae_title_that_the_peer_does_not_know(
    dcmtk_archive: DcmtkQrscp, orthanc_archive: OrthancPeer, samples: list[data.Sample]
) -> None:
    stranger = LocalEntity(DcmNode(HOST, "STRANGER", free_port()))
    with pytest.raises(MoveDestinationError, match="does not know our AE title STRANGER") as caught:
        [i async for i in stranger.instances(remote(dcmtk_archive, "MOVE"), result_of(samples[:1], QueryLevel.SERIES))]
    assert "register STRANGER" in caught.value.hint
    assert str(stranger.local.port) in caught.value.hint
    assert "C-GET" in caught.value.hint
    with pytest.raises(NetworkError):
        [
            i
            async for i in stranger.instances(
                remote(orthanc_archive, "MOVE"), result_of(samples[:1], QueryLevel.SERIES)
            )
        ]


async def test_from_move_to_get_and_from_get_to_move(
    tmp_path: Path, local: LocalEntity, dcmtk_archive: DcmtkQrscp, samples: list[data.Sample]
) -> None:
    stranger = LocalEntity(DcmNode(HOST, "STRANGER", free_port()))
    report = TransferReport()
    got = await fetch(stranger, remote(dcmtk_archive, "MOVE", "GET"), samples, report)
    assert set(got) == {sample.sop_instance_uid for sample in samples}
    assert report.ok
    with DcmtkQrscp(tmp_path / "no-get", {"LOCALAE": local.local.port}, options=["--disable-get"]) as peer:
        peer.fill(sample.path for sample in samples)
        report = TransferReport()
        got = await fetch(local, remote(peer, "GET", "MOVE"), samples, report)
        assert set(got) == {sample.sop_instance_uid for sample in samples}
        assert report.ok
        with pytest.raises(NoContextError):
            [i async for i in local.instances(remote(peer, "GET"), result_of(samples))]


async def test_settings_without_any_way(local: LocalEntity, samples: list[data.Sample], free_port: int) -> None:
    node = RemoteNode(HOST, "PACS", free_port, supported_ops=frozenset({DicomOpType.FIND}))
    with pytest.raises(UsageError, match="no way to fetch"):
        [i async for i in local.instances(node, result_of(samples))]


async def test_a_failure_status_is_the_reason(local: LocalEntity, series: list[data.Sample]) -> None:
    async def answer(link: Link, request: Message) -> None:
        link.answer(request, 0xC001, comment="out of \x1b[31mtape")

    report = TransferReport()
    async with ScriptedPeer(archive(answer)) as peer:
        assert await fetch(local, remote(peer), series, report) == []
    assert report.counts[Outcome.FAILED] == len(series)
    assert report.exit_code == 4
    assert "0xC001" in report.warnings[0]
    assert "\x1b" not in report.summary()


async def test_a_list_with_one_instance_that_is_gone(local: LocalEntity, series: list[data.Sample]) -> None:
    """Orthanc refuses all of it, and pynetdicom's archive any list."""
    gone = series[1].sop_instance_uid
    by_uid = {sample.sop_instance_uid: sample for sample in series}

    async def answer(link: Link, request: Message) -> None:
        wanted = [uid for uid in by_uid if uid.encode() in request.data]
        if gone in wanted:
            link.answer(request, 0xC000)
        else:
            await giving([by_uid[uid] for uid in wanted])(link, request)

    report = TransferReport()
    async with ScriptedPeer(archive(answer)) as peer:
        got = await fetch(local, remote(peer), series, report)
    assert sorted(got) == sorted(by_uid.keys() - {gone})
    assert report.uids(Outcome.FAILED) == [gone]


async def test_too_busy_at_first(local: LocalEntity, series: list[data.Sample]) -> None:
    """Once something has come, a peer that has no room is asked again."""

    async def then_hang_up(link: Link) -> None:
        await link.accept()
        await link.message()
        await link.store(series[0])

    async def full(link: Link) -> None:
        await link.event()
        link.raw(link.wire.reject(AssociateReject(2, 3, 2)))

    report = TransferReport()
    async with ScriptedPeer(then_hang_up, full, archive(giving(series[1:]))) as peer:
        got = await fetch(local, remote(peer), series, report)
    assert len(got) == 4
    assert report.ok


# -- lost and stalled --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "MOVE"])
@pytest.mark.parametrize("key", ["cut_at", "reset_at"])
async def test_a_connection_that_is_lost_anywhere(
    local: LocalEntity, dcmtk_archive: DcmtkQrscp, series: list[data.Sample], method: RetrieveMethod, key: str
) -> None:
    """Once, after so many bytes: all arrives on another association, or an error of ours says why not."""
    with FaultProxy(dcmtk_archive.port, ae_title="DCMQRSCP") as proxy:
        assert len(await fetch(local, remote(proxy, method), series, TransferReport())) == 4
    n_bytes = proxy.bytes_to_client
    n_whole = 0
    for offset in range(1, n_bytes, max(1, n_bytes // 12)):
        report = TransferReport()
        fault = Fault(**{key: offset})
        with FaultProxy(dcmtk_archive.port, to_client=fault, n_faulty=1, ae_title="DCMQRSCP") as proxy:
            got = await fetch(local, remote(proxy, method), series, report)
        report.finish()
        assert report.adds_up(), offset
        assert len(got) == len(set(got)) == report.counts[Outcome.SENT], offset
        assert report.ok or report.exit_code in (3, 4), (offset, report.summary())
        n_whole += report.ok
    assert n_whole >= 6


@pytest.mark.parametrize("method", ["GET", "MOVE"])
async def test_one_byte_at_a_time(
    local: LocalEntity, dcmtk_archive: DcmtkQrscp, series: list[data.Sample], method: RetrieveMethod
) -> None:
    one = Fault(chunk=1)
    with FaultProxy(dcmtk_archive.port, to_client=one, to_peer=one, ae_title="DCMQRSCP") as proxy:
        report = TransferReport()
        assert len(await fetch(local, remote(proxy, method), series[:1], report)) == 1
    assert report.ok


async def test_a_peer_that_stalls(local: LocalEntity, dcmtk_archive: DcmtkQrscp, series: list[data.Sample]) -> None:
    """In the middle of the data: the deadline passes, and another association brings the rest."""
    for offset in (100, 2000, 5000):
        report = TransferReport()
        with FaultProxy(dcmtk_archive.port, to_client=Fault(stall_at=offset), n_faulty=1, ae_title="DCMQRSCP") as proxy:
            got = await fetch(local, remote(proxy, "GET", association=0.3, dimse=0.3), series, report)
        assert report.adds_up()
        assert len(got) == 4, report.summary()


async def test_a_peer_that_falls_silent_after_our_answer(local: LocalEntity, series: list[data.Sample]) -> None:
    """The deadline goes on when we have answered, however long that took."""
    silent = asyncio.Event()

    async def answer(link: Link, request: Message) -> None:
        await link.store(series[0])
        await silent.wait()

    report = TransferReport()
    async with ScriptedPeer(archive(answer)) as peer:
        node = remote(peer, dimse=0.2)
        found = local.instances(node, result_of(series[:2]), report)
        assert (await found.__anext__()).sop_instance_uid == series[0].sop_instance_uid
        # While the timer runs out, and is not the peer's business, we are slow.
        await asyncio.sleep(0.3)
        with pytest.raises(StopAsyncIteration):
            await found.__anext__()
        silent.set()
    assert report.counts[Outcome.SENT] == 1
    assert "within 0.2 s" in report.summary()


async def test_a_slow_taker_is_not_the_peers_fault(
    local: LocalEntity, dcmtk_archive: DcmtkQrscp, series: list[data.Sample]
) -> None:
    got = []
    report = TransferReport()
    async for instance in local.instances(remote(dcmtk_archive, "GET", dimse=0.2), result_of(series), report):
        await asyncio.sleep(0.3)
        got.append(instance.sop_instance_uid)
    assert len(got) == 4
    assert report.ok, report.summary()


@pytest.mark.parametrize(
    "garbage",
    [b"\x04\x00\xff\xff\xff\xff", b"\x99\x00\x00\x00\x00\x04abcd", b"\x04\x00\x00\x00\x00\x06\x00\x00\x00\x02\x63\x03"],
)
async def test_a_malformed_answer(local: LocalEntity, series: list[data.Sample], garbage: bytes) -> None:
    async def answer(link: Link, request: Message) -> None:
        link.raw(garbage)
        await link.rest()

    report = TransferReport()
    async with ScriptedPeer(archive(answer)) as peer:
        assert await fetch(local, remote(peer), series, report) == []
    assert report.exit_code in (3, 4)
    assert "broke the DICOM protocol" in report.summary()
    assert report.adds_up()


async def test_no_room_on_disk_for_one_does_not_keep_the_others(
    local: LocalEntity,
    dcmtk_archive: DcmtkQrscp,
    series: list[data.Sample],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What cannot be written is refused to the peer, and is in the report."""
    dest = tmp_path / "dest"
    dest.mkdir()
    (dest / f"{series[1].sop_instance_uid}.dcm").mkdir()
    report = TransferReport()
    with caplog.at_level(logging.ERROR):
        paths = await local.download(remote(dcmtk_archive, "GET"), result_of(series), dest, report)
    assert report.adds_up()
    assert data_sets(paths) >= bytes_of([series[0], *series[2:]])
