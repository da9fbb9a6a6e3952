"""Sending to real receivers and to scripted ones: each instance ends in one state, and arrives as it is."""

from __future__ import annotations

import asyncio
import io
import random
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import UID

from dcm.errors import ConnectionFailedError, DcmError, InvalidDicomError, NetworkError, PartialError
from dcm.instance import Instance
from dcm.net import LocalEntity, RemoteNode, Timeouts
from dcm.net import _send_line as sender
from dcm.net.wire import AssociateReject
from dcm.report import Outcome, TransferReport
from tests import data
from tests.net.scripted import HOST, ConnectionEndedError, Link, ScriptedPeer
from tests.net.support import bytes_of, data_sets
from tests.peers import DcmtkStorescp, Fault, FaultProxy, OrthancPeer, PynetdicomEchoscp, PynetdicomStorescp
from tests.peers.fixtures import Receiver
from tests.store.instances import CT, encode

pytestmark = pytest.mark.usefixtures("nothing_left")

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
DEFLATED = "1.2.840.10008.1.2.1.99"


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long it waits before it tries again is not what is tested here."""
    monkeypatch.setattr(sender, "_BACKOFF", 0.01)


def storing(*statuses: int) -> Callable[[Link], Awaitable[None]]:
    """A script that answers with these statuses, and then with the last of them."""
    left = list(statuses)

    async def script(link: Link) -> None:
        await link.accept()
        while True:
            try:
                request = await link.message()
            except ConnectionEndedError:
                link.raw(link.wire.confirm_release() if link.seen[-1] == "release" else b"")
                return
            link.answer(request, left.pop(0) if len(left) > 1 else left[0])

    return script


# -- real receivers ----------------------------------------------------------------------------------------------------


def test_upload_in_one_event_loop_after_the_other(
    local: LocalEntity, receiver: Receiver, samples: list[data.Sample]
) -> None:
    for sample in samples[:3]:
        asyncio.run(local.upload(receiver.node, [sample.path]))
    report = TransferReport()
    asyncio.run(local.upload(receiver.node, (sample.path for sample in samples[3:]), report))
    assert report.counts[Outcome.SENT] == len(samples) - 3
    assert report.adds_up()
    assert report.exit_code == 0
    assert data_sets(receiver.received()) == bytes_of(samples)


async def test_datasets_instances_and_paths(
    local: LocalEntity, dcmtk_receiver: DcmtkStorescp, samples: list[data.Sample]
) -> None:
    one, two, three = samples[:3]
    async with local.send(dcmtk_receiver.node) as queue:
        await queue.put(dcmread(one.path))
        await queue.put(Instance.from_buffer(two.sop_class_uid, two.sop_instance_uid, EXPLICIT, two.data_set_bytes))
        await queue.put(str(three.path))
    assert data_sets(dcmtk_receiver.received()) == bytes_of([one, two, three])


@pytest.mark.blocking_allowed("the test itself reads files")
@pytest.mark.parametrize("kind", [DcmtkStorescp, OrthancPeer])
def test_every_file_of_pydicom(local: LocalEntity, kind: type[DcmtkStorescp], tmp_path: Path) -> None:
    """Orthanc and storescp keep the bytes of what they take; what they do not take is known by name."""
    first: dict[str, Path] = {}
    unknown = []
    for path in data.pydicom_part10_files():
        try:
            first.setdefault(Instance.from_file(path).sop_instance_uid, path)
        except InvalidDicomError:
            unknown.append(path.stem)
    assert set(unknown) == {"empty_charset_LEI", "meta_missing_tsyntax", "nested_priv_SQ"}
    storescp = kind is DcmtkStorescp
    left_out = ("MR_truncated", "rtplan_truncated") if storescp else HANG_ORTHANC
    paths = {uid: path for uid, path in first.items() if not path.name.startswith(left_out)}
    report = TransferReport()
    with kind(tmp_path / "peer") as peer:
        asyncio.run(local.upload(peer.node, paths.values(), report))
        if isinstance(peer, OrthancPeer):
            held = {uid: data.data_set_of(file) for uid, file in peer.files()}
        else:
            held = {Instance.from_file(p).sop_instance_uid: data.data_set_of(p.read_bytes()) for p in peer.received()}
    refused = {paths[uid].stem for uid in report.uids(Outcome.FAILED)}
    assert refused == (set() if storescp else REFUSED_BY_ORTHANC), report.summary()
    assert report.adds_up()
    assert report.counts[Outcome.SENT] == len(paths) - len(refused) > 110
    wanted = {uid: data.data_set_of(path.read_bytes()) for uid, path in paths.items() if path.stem not in refused}
    assert held.keys() == wanted.keys()
    for uid, path in paths.items():
        if path.stem == "image_dfl" and storescp:
            wanted[uid] += b"\0"  # a deflated data set has an even length where it is sent, see below
    different = {uid for uid in held if held[uid] != wanted[uid]}
    assert len(different) < (1 if storescp else 25)
    for uid in different:
        # Orthanc writes a data set anew that has group lengths, trailing padding, or odd lengths of sequences.
        assert meaning_of(held[uid], paths[uid]) == meaning_of(wanted[uid], paths[uid])


def meaning_of(encoded: bytes, path: Path) -> tuple[str, set[str], bytes]:
    """What of a data set does not depend on how it is written down."""
    head = path.read_bytes()
    ds = dcmread(io.BytesIO(head[: len(head) - len(data.data_set_of(head))] + encoded))
    elements = {element.tag.json_key for element in ds if element.tag.element and element.tag != 0xFFFCFFFC}
    return ds.SOPInstanceUID, elements, ds.get("PixelData", b"")


# It cannot read these: near-lossless JPEG-LS, and data sets without the identifiers that its index needs.
REFUSED_BY_ORTHANC = {
    *("JPEGLSNearLossless_08", "JPEGLSNearLossless_16", "SC_rgb_jls_lossy_line", "SC_rgb_jls_lossy_sample"),
    *("UN_sequence", "no_meta_group_length", "priv_SQ", "chrSQEncoding"),
}
# It waits for ever for the rest of what is cut short, or not delimited.
HANG_ORTHANC = ("MR_truncated", "rtplan_truncated", "SC_rgb_jpeg.dcm")


@pytest.mark.parametrize("n_pixels", [1000, 3 << 20])
async def test_a_deflated_data_set_is_sent_with_an_even_length(
    local: LocalEntity, dcmtk_receiver: DcmtkStorescp, n_pixels: int
) -> None:
    """PS3.5 section A.5; storescp aborts otherwise. From memory, and in pieces."""
    noise = random.Random(20201031).randbytes(n_pixels)
    deflated = b""
    for n_more in range(100):
        deflater = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
        pixels = noise + bytes(range(n_more)) * 2
        deflated = deflater.compress(encode("1.2.3", pixels=pixels)) + deflater.flush()
        if len(deflated) % 2:
            break
    assert len(deflated) % 2
    instance = Instance.from_buffer(CT, "1.2.3", DEFLATED, deflated)
    async with local.send(dcmtk_receiver.node) as queue:
        await queue.put(instance)
    assert data_sets(dcmtk_receiver.received()) == {deflated + b"\0"}


async def test_a_large_instance_and_a_peer_with_small_pdus(local: LocalEntity, tmp_path: Path) -> None:
    large = data.write_multi_frame(tmp_path / "large.dcm", 9 << 20)
    with PynetdicomStorescp(tmp_path / "scp", max_pdu=4096) as peer:
        report = TransferReport()
        await local.upload(peer.node, [large.path], report)
        assert report.ok, report.summary()
        (file,) = peer.received()
        assert file.stat().st_size > 8 << 20
    with DcmtkStorescp(tmp_path / "scp2") as other:
        await local.upload(other.node, [large.path])
        assert data_sets(other.received()) == {large.data_set_bytes}


# -- what goes wrong ---------------------------------------------------------------------------------------------------


async def test_nothing_to_send_connects_to_nobody(local: LocalEntity, free_port: int) -> None:
    await local.upload(RemoteNode(HOST, "NOBODY", free_port), [])


async def test_nobody_there(local: LocalEntity, free_port: int, samples: list[data.Sample]) -> None:
    paths = [sample.path for sample in samples]
    with pytest.raises(ConnectionFailedError, match="refused the connection"):
        await local.upload(RemoteNode(HOST, "NOBODY", free_port), paths)
    report = TransferReport()
    await local.upload(RemoteNode(HOST, "NOBODY", free_port), paths, report)
    report.finish()
    assert report.exit_code == 4
    assert report.adds_up()


async def test_files_that_cannot_be_read_fail_by_themselves(
    local: LocalEntity, dcmtk_receiver: DcmtkStorescp, samples: list[data.Sample], tmp_path: Path
) -> None:
    text = tmp_path / "text.dcm"
    text.write_text("no DICOM at all" * 20)
    report = TransferReport()
    await local.upload(dcmtk_receiver.node, [text, samples[0].path, tmp_path / "missing.dcm", tmp_path], report)
    assert report.counts[Outcome.SENT] == 1
    assert report.counts[Outcome.FAILED] == 3
    assert report.exit_code == 3
    assert {problem.subject for problem in report.problems} == {str(text), str(tmp_path / "missing.dcm"), str(tmp_path)}
    with pytest.raises(PartialError, match="cannot be read"):
        await local.upload(dcmtk_receiver.node, [text, samples[0].path])


async def test_a_refused_private_class_is_named_and_counted(
    local: LocalEntity, dcmtk_receiver: DcmtkStorescp, samples: list[data.Sample]
) -> None:
    report = TransferReport()
    async with local.send(dcmtk_receiver.node, report=report) as queue:
        for number, sample in enumerate(samples[:4]):
            ds = dcmread(sample.path)
            if number % 2:
                ds.SOPClassUID = UID("1.2.826.0.1.3680043.2.1545.99.1")
            await queue.put(ds)
    assert report.counts[Outcome.SENT] == report.counts[Outcome.FAILED] == 2
    (line,) = report.warnings
    assert line.startswith("2 ")
    assert "does not take 1.2.826.0.1.3680043.2.1545.99.1 in Explicit VR Little Endian" in line
    assert report.exit_code == 3


async def test_a_peer_that_takes_nothing(
    local: LocalEntity, echo_only: PynetdicomEchoscp, samples: list[data.Sample]
) -> None:
    report = TransferReport()
    await local.upload(echo_only.node, [sample.path for sample in samples], report)
    assert report.exit_code == 4
    assert report.counts[Outcome.FAILED] == len(samples)


async def test_only_some_transfer_syntaxes(
    local: LocalEntity, dcmtk_receiver: DcmtkStorescp, samples: list[data.Sample]
) -> None:
    report = TransferReport()
    async with local.send(dcmtk_receiver.node, [IMPLICIT], report) as queue:
        for sample in samples:
            await queue.put(sample.path)
    implicit = [sample for sample in samples if sample.transfer_syntax_uid == IMPLICIT]
    assert data_sets(dcmtk_receiver.received()) == bytes_of(implicit)
    assert report.counts[Outcome.FAILED] == len(samples) - len(implicit)
    assert "Explicit VR Little Endian, which is not to be sent" in report.warnings[0]


async def test_data_of_an_odd_length_is_not_sent(
    local: LocalEntity, dcmtk_receiver: DcmtkStorescp, samples: list[data.Sample]
) -> None:
    """A peer would wait for the byte that is missing, and the others with it."""
    good = samples[0]
    odd = Instance.from_buffer(good.sop_class_uid, "1.2.3.77", good.transfer_syntax_uid, good.data_set_bytes + b"x")
    report = TransferReport()
    async with local.send(dcmtk_receiver.node, report=report) as queue:
        await queue.put(odd)
        await queue.put(good.path)
    assert report.uids(Outcome.FAILED) == ["1.2.3.77"]
    assert report.uids(Outcome.SENT) == [good.sop_instance_uid]
    assert "odd number of bytes" in report.warnings[0]


async def test_more_pairs_than_an_association_has_contexts(local: LocalEntity, samples: list[data.Sample]) -> None:
    classes = [f"1.2.3.4.{number}" for number in range(150)]
    n_contexts = []

    async def script(link: Link) -> None:
        n_contexts.append(len((await link.accept()).contexts))
        while True:
            try:
                link.answer(await link.message(), 0)
            except ConnectionEndedError:
                link.raw(link.wire.confirm_release())
                return

    report = TransferReport()
    content = samples[0].data_set_bytes
    async with ScriptedPeer(script) as peer, local.send(peer.node, report=report) as queue:
        for uid in classes * 2:
            await queue.put(Instance.from_buffer(uid, f"{uid}.{len(n_contexts)}", EXPLICIT, content))
    assert report.ok
    assert max(n_contexts) <= 128
    assert sum(n_contexts) >= 150


async def test_out_of_resources_is_tried_again(local: LocalEntity, samples: list[data.Sample]) -> None:
    report = TransferReport()
    async with ScriptedPeer(storing(0xA700, 0xA701, 0x0000)) as peer:
        await local.upload(peer.node, [samples[0].path, samples[1].path], report)
    assert report.ok
    assert peer.links[0].seen.count("C-STORE-RQ") == 4


@pytest.mark.parametrize(
    ("status", "outcome", "n_requests"),
    [
        (0x0000, Outcome.SENT, 1),
        (0xB000, Outcome.WARNED, 1),
        (0xB007, Outcome.WARNED, 1),
        (0xA700, Outcome.FAILED, 3),
        (0xA900, Outcome.FAILED, 1),
        (0xC000, Outcome.FAILED, 1),
        (0x0122, Outcome.FAILED, 1),
        (0x0110, Outcome.FAILED, 1),
    ],
)
async def test_what_a_status_means(
    local: LocalEntity, samples: list[data.Sample], status: int, outcome: Outcome, n_requests: int
) -> None:
    report = TransferReport()
    async with ScriptedPeer(storing(status)) as peer:
        await local.upload(peer.node, [samples[0].path], report)
    assert report.state(samples[0].sop_instance_uid) is outcome
    assert peer.links[0].seen.count("C-STORE-RQ") == n_requests
    if status:
        assert f"0x{status:04X}" in report.warnings[0]


async def test_one_instance_that_a_peer_chokes_on(local: LocalEntity, samples: list[data.Sample]) -> None:
    """DCMTK aborts when a data set is cut short: the others are sent all the same."""
    bad = samples[1].sop_instance_uid
    got: set[str | None] = set()

    async def script(link: Link) -> None:
        await link.accept()
        while True:
            try:
                request = await link.message()
            except ConnectionEndedError:
                link.raw(link.wire.confirm_release() if link.seen[-1] == "release" else b"")
                return
            if request.command.affected_instance == bad:
                link.raw(link.wire.abort())
                return
            got.add(request.command.affected_instance)
            link.answer(request, 0)

    report = TransferReport()
    async with ScriptedPeer(script) as peer:
        await local.upload(peer.node, [sample.path for sample in samples], report)
    assert report.uids(Outcome.FAILED) == [bad]
    assert got == {sample.sop_instance_uid for sample in samples} - {bad}
    assert report.adds_up()


async def test_a_peer_that_aborts_every_time(local: LocalEntity, samples: list[data.Sample]) -> None:
    async def script(link: Link) -> None:
        await link.accept()
        await link.event()
        link.raw(link.wire.abort())

    report = TransferReport()
    async with ScriptedPeer(script) as peer:
        await local.upload(peer.node, [sample.path for sample in samples], report)
    assert report.exit_code == 4
    assert report.counts[Outcome.FAILED] + report.counts[Outcome.MISSING] + report.n_pending == len(samples)
    assert len(peer.links) < 10


async def test_an_association_that_is_lost_goes_on_where_it_was(local: LocalEntity, samples: list[data.Sample]) -> None:
    got: list[str | None] = []

    async def two_each(link: Link) -> None:
        await link.accept()
        for _ in range(2):
            try:
                request = await link.message()
            except ConnectionEndedError:
                link.raw(link.wire.confirm_release() if link.seen[-1] == "release" else b"")
                return
            got.append(request.command.affected_instance)
            link.answer(request, 0)

    report = TransferReport()
    async with ScriptedPeer(two_each) as peer:
        await local.upload(peer.node, [sample.path for sample in samples], report)
    assert report.ok, report.summary()
    assert got == [sample.sop_instance_uid for sample in samples]


async def test_no_more_room_for_associations_is_waited_out(local: LocalEntity, samples: list[data.Sample]) -> None:
    async def one(link: Link) -> None:
        await link.accept()
        link.answer(await link.message(), 0)

    async def full(link: Link) -> None:
        await link.event()
        link.raw(link.wire.reject(AssociateReject(2, 3, 2)))

    report = TransferReport()
    async with ScriptedPeer(one, full, storing(0)) as peer:
        await local.upload(peer.node, [sample.path for sample in samples[:3]], report)
    assert report.ok, report.summary()


async def test_a_peer_that_does_not_read(local: LocalEntity, tmp_path: Path) -> None:
    large = data.write_multi_frame(tmp_path / "large.dcm", 20 << 20)
    over = asyncio.Event()

    async def script(link: Link) -> None:
        await link.accept()
        await over.wait()

    report = TransferReport()
    async with ScriptedPeer(script) as peer:
        node = RemoteNode(HOST, "SCRIPTED", peer.port, timeouts=Timeouts(dimse=0.2))
        await local.upload(node, [large.path], report)
        over.set()
    assert report.counts[Outcome.FAILED] == 1
    assert "within 0.2 s" in report.warnings[0]


@pytest.mark.parametrize("fault", [Fault(cut_at=1), Fault(reset_at=1)])
async def test_a_connection_that_is_lost_anywhere(
    local: LocalEntity, dcmtk_receiver: DcmtkStorescp, samples: list[data.Sample], fault: Fault
) -> None:
    """Cut after so many bytes in either direction, once: all arrives, by another association."""
    paths = [sample.path for sample in samples[:4]]
    with FaultProxy(dcmtk_receiver.port, ae_title="STORESCP") as proxy:
        await local.upload(proxy.node, paths)
    sent, came = proxy.bytes_to_peer, proxy.bytes_to_client
    key = "cut_at" if fault.cut_at else "reset_at"
    for direction, total in (("to_peer", sent), ("to_client", came)):
        for offset in range(1, total, max(1, total // 10)):
            report = TransferReport()
            faults = {direction: Fault(**{key: offset})}
            with FaultProxy(dcmtk_receiver.port, ae_title="STORESCP", n_faulty=1, **faults) as proxy:
                await local.upload(proxy.node, paths, report)
            assert report.ok, (direction, offset, report.summary())
            assert report.adds_up()
    assert data_sets(dcmtk_receiver.received()) == bytes_of(samples[:4])


async def test_a_body_that_fails_sends_what_it_can_no_more(
    local: LocalEntity, dcmtk_receiver: DcmtkStorescp, samples: list[data.Sample]
) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with local.send(dcmtk_receiver.node) as queue:
            await queue.put(samples[0].path)
            raise ZeroDivisionError


async def test_putting_into_a_queue_that_has_failed(
    local: LocalEntity, samples: list[data.Sample], free_port: int
) -> None:
    report = TransferReport()
    with pytest.raises(NetworkError):  # noqa: PT012 - it comes out of the context
        async with local.send(RemoteNode(HOST, "NOBODY", free_port)) as queue:
            for _ in range(500):
                await queue.put(samples[0].path)
    async with local.send(RemoteNode(HOST, "NOBODY", free_port), report=report) as queue:
        for _ in range(500):
            await queue.put(samples[0].path)
    assert report.exit_code == 4


async def test_a_data_set_that_cannot_be_encoded(local: LocalEntity, dcmtk_receiver: DcmtkStorescp) -> None:
    with pytest.raises(DcmError, match=r"SOP|UID"):
        async with local.send(dcmtk_receiver.node) as queue:
            await queue.put(Dataset())


async def test_what_waits_is_bounded(local: LocalEntity, samples: list[data.Sample]) -> None:
    """A slow peer holds up whoever puts in."""
    go_on = asyncio.Event()

    async def script(link: Link) -> None:
        await link.accept()
        await go_on.wait()
        while True:
            try:
                link.answer(await link.message(), 0)
            except ConnectionEndedError:
                link.raw(link.wire.confirm_release())
                return

    n_put = 0
    big = bytes(8 << 20)

    async with ScriptedPeer(script) as peer, local.send(peer.node) as queue:

        async def fill() -> None:
            nonlocal n_put
            for number in range(20):
                await queue.put(Instance.from_buffer(samples[0].sop_class_uid, f"1.2.{number}", EXPLICIT, big))
                n_put += 1

        filling = asyncio.ensure_future(fill())
        await asyncio.wait([filling], timeout=0.3)
        assert n_put <= 6
        go_on.set()
        await filling
