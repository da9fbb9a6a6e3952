"""Fetching from real archives, by C-GET and by C-MOVE: what arrives is what they hold, byte for byte."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset

from dcm.errors import PartialError
from dcm.instance import Instance
from dcm.levels import QueryLevel
from dcm.net import DcmNode, LocalEntity, RemoteNode, Timeouts
from dcm.node import RetrieveMethod
from dcm.query import QueryResult
from dcm.report import Outcome, TransferReport
from tests import data
from tests.net.support import bytes_of, data_sets, result_of
from tests.peers import DcmtkQrscp, DcmtkStorescp, OrthancPeer, PynetdicomQrscp, movescu
from tests.peers.fixtures import LOCAL_AE, Archive
from tests.peers.process import HOST, PeerProcess

pytestmark = pytest.mark.usefixtures("nothing_left")

EXPLICIT = "1.2.840.10008.1.2.1"
METHODS: tuple[RetrieveMethod, ...] = ("GET", "MOVE")


def remote_of(peer: PeerProcess, *methods: RetrieveMethod, max_assoc: int = 5) -> RemoteNode:
    # On a busy machine pynetdicom's archive falls silent now and then: asked again, it sends the rest.
    timeouts = Timeouts(dimse=8)
    methods = methods or METHODS
    return RemoteNode(HOST, peer.ae_title, peer.port, retrieve_methods=methods, max_assoc=max_assoc, timeouts=timeouts)


def of_patient(samples: list[data.Sample], *patients: str) -> list[data.Sample]:
    return [sample for sample in samples if sample.patient_id in patients]


# -- from real archives ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
async def test_everything_arrives_byte_for_byte(
    local: LocalEntity, archive: Archive, samples: list[data.Sample], method: RetrieveMethod, tmp_path: Path
) -> None:
    remote = remote_of(archive, method)
    found = await local.query(remote, query=_all())
    paths = await local.download(remote, found, tmp_path / "dest")
    # dcmqrscp sends what is in implicit VR as explicit VR, to whoever takes that.
    converted = [s for s in samples if isinstance(archive, DcmtkQrscp) and s.transfer_syntax_uid != EXPLICIT]
    assert bytes_of(s for s in samples if s not in converted) <= data_sets(paths)
    assert len(data_sets(paths)) == len(samples)
    assert {path.name for path in paths} == {f"{sample.sop_instance_uid}.dcm" for sample in samples}
    assert sorted((tmp_path / "dest").iterdir()) == sorted(paths)


@pytest.mark.parametrize("level", list(QueryLevel))
@pytest.mark.parametrize("method", METHODS)
def test_a_result_at_any_level_and_an_event_loop_for_each_call(
    local: LocalEntity, dcmtk_archive: DcmtkQrscp, samples: list[data.Sample], level: QueryLevel, method: RetrieveMethod
) -> None:
    remote = remote_of(dcmtk_archive, method)
    query = Dataset()
    query.PatientID = "Vamp001"
    found = asyncio.run(local.query(remote, level, query))
    assert found.level is level

    async def fetch() -> set[str]:
        return {str(ds.SOPInstanceUID) async for ds in local.retrieve(remote, found)}

    expected = {sample.sop_instance_uid for sample in of_patient(samples, "Vamp001")}
    assert asyncio.run(fetch()) == expected
    assert asyncio.run(fetch()) == expected


async def test_a_plain_node_is_good_enough(local: LocalEntity, archive: Archive, samples: list[data.Sample]) -> None:
    wanted = [sample for sample in samples if sample.patient_id == "Vamp002"]
    got = [ds async for ds in local.retrieve(archive.node, result_of(wanted, QueryLevel.PATIENT))]
    assert {ds.SOPInstanceUID for ds in got} == {sample.sop_instance_uid for sample in wanted}
    assert {ds.file_meta.TransferSyntaxUID for ds in got} == {sample.transfer_syntax_uid for sample in wanted}
    assert {str(ds.PatientName) for ds in got} == {"Chocula^Count"}


@pytest.mark.parametrize("max_assoc", [1, 2, 7])
@pytest.mark.parametrize("method", METHODS)
async def test_with_as_many_associations_as_allowed(
    local: LocalEntity, orthanc_archive: OrthancPeer, samples: list[data.Sample], method: RetrieveMethod, max_assoc: int
) -> None:
    remote = remote_of(orthanc_archive, method, max_assoc=max_assoc)
    report = TransferReport()
    instances = [i async for i in local.instances(remote, result_of(samples, QueryLevel.STUDY), report)]
    assert {bytes(instance.read(0, instance.size)) for instance in instances} == bytes_of(samples)
    assert {instance.source_ae for instance in instances} == {LOCAL_AE if method == "GET" else "ORTHANC"}
    assert report.ok
    assert report.adds_up()
    assert report.counts[Outcome.SENT] == len(samples)
    assert report.n_bytes == sum(len(one) for one in bytes_of(samples))
    assert report.n_series == len({sample.series_uid for sample in samples})


async def test_some_instances_of_a_series(
    local: LocalEntity, archive: Archive, samples: list[data.Sample], tmp_path: Path
) -> None:
    wanted = [samples[0], samples[3], samples[-1]]
    paths = await local.download(archive.node, result_of(wanted), tmp_path)
    assert data_sets(paths) == bytes_of(wanted)


async def test_nothing_to_fetch(local: LocalEntity, dcmtk_archive: DcmtkQrscp, tmp_path: Path) -> None:
    for level in QueryLevel:
        assert await local.download(dcmtk_archive.node, QueryResult(level), tmp_path) == []
        assert [ds async for ds in local.retrieve(dcmtk_archive.node, QueryResult(level))] == []


async def test_what_is_there_already_stays(
    local: LocalEntity, dcmtk_archive: DcmtkQrscp, samples: list[data.Sample], tmp_path: Path
) -> None:
    wanted = result_of(of_patient(samples, "Vamp003"), QueryLevel.STUDY)
    first = await local.download(dcmtk_archive.node, wanted, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in first}
    report = TransferReport()
    again = await local.download(dcmtk_archive.node, wanted, tmp_path, report)
    assert {path: path.stat().st_mtime_ns for path in again} == before
    assert report.counts[Outcome.PRESENT] == len(first) == 2
    assert report.exit_code == 0


async def test_what_the_archive_does_not_have_is_missing(
    local: LocalEntity, archive: Archive, samples: list[data.Sample], tmp_path: Path
) -> None:
    series = [sample for sample in samples if sample.series_uid == samples[0].series_uid]
    ghost = data.Sample(
        tmp_path, samples[0].patient_id, samples[0].study_uid, samples[0].series_uid, data.make_uid("ghost"),
        samples[0].sop_class_uid, samples[0].transfer_syntax_uid,
    )  # fmt: skip
    report = TransferReport()
    paths = await local.download(archive.node, result_of([*series, ghost]), tmp_path / "dest", report)
    assert data_sets(paths) == bytes_of(series)
    assert report.adds_up()
    state = report.state(ghost.sop_instance_uid)
    assert state in (Outcome.MISSING, Outcome.FAILED)
    assert report.exit_code == 3
    with pytest.raises(PartialError, match=ghost.sop_instance_uid):
        await local.download(archive.node, result_of([ghost, *series]), tmp_path / "dest")


# -- every file of pydicom ---------------------------------------------------------------------------------------------

# What is not put into the archives, by the beginning of the name, and why. All others must come back as they are.
LEFT_OUT = {
    "empty_charset_LEI": "no SOP instance UID",
    "meta_missing_tsyntax": "no SOP instance UID",
    "nested_priv_SQ": "no SOP instance UID",
    "no_meta_group_length": "no SOP class UID that archives know, and no patient",
    "priv_SQ": "made-up UIDs that no archive indexes",
    "UN_sequence": "no study",
    "chrSQEncoding": "no patient, study and series",
    "rtdose_rle": "the same UID as rtdose, in another transfer syntax",
    "MR_truncated": "cut short: archives wait for the rest, or abort",
    "rtplan_truncated": "cut short: archives wait for the rest, or abort",
    "image_dfl": "Orthanc waits for the end of deflated data for ever, and dcmqrscp takes none",
    "SC_rgb_jpeg.dcm": "Orthanc waits for more, as the JPEG fragments are not delimited",
}


@functools.cache
def sendable() -> list[tuple[str, Path]]:
    """UID and path of pydicom's files, the first of each UID."""
    found: dict[str, Path] = {}
    for path in data.pydicom_part10_files():
        if not path.name.startswith(tuple(LEFT_OUT)):
            found.setdefault(Instance.from_file(path).sop_instance_uid, path)
    return list(found.items())


def path_of(uid: str) -> Path:
    return dict(sendable())[uid]


def held_by(peer: Archive) -> dict[str, bytes]:
    """SOP instance UID and encoded data set of all that an archive has on its disk."""
    if isinstance(peer, OrthancPeer):
        return {uid: data.data_set_of(file) for uid, file in peer.files()}
    files = peer.received() if isinstance(peer, PynetdicomQrscp) else peer.database.glob("*.dcm")
    return by_uid(files)


def by_uid(paths: Iterable[Path]) -> dict[str, bytes]:
    return {Instance.from_file(path).sop_instance_uid: data.data_set_of(path.read_bytes()) for path in paths}


def sent_by(peer: Archive, uids: set[str], port: int, work_dir: Path) -> dict[str, bytes]:
    """What DCMTK's own receiver writes down, bit by bit, when the archive sends it some instances.

    DCMTK, and Orthanc with it, write a data set anew when they send it: without trailing padding (PS3.10 section 7.2),
    with other lengths of sequences, with groups that nobody uses any more left out.
    """
    with DcmtkStorescp(work_dir, ae_title=LOCAL_AE, port=port) as receiver:
        for path in (path for uid, path in sendable() if uid in uids):
            header = Instance.from_file(path).header
            keys = [
                "QueryRetrieveLevel=IMAGE",
                f"StudyInstanceUID={header.text(0x0020000D)}",
                f"SeriesInstanceUID={header.text(0x0020000E)}",
                f"SOPInstanceUID={header.sop_instance_uid}",
            ]
            movescu(peer.port, peer.ae_title, LOCAL_AE, keys)
        return by_uid(receiver.received())


# What single archives do not keep, or do not send as it is.
NOT_FOR = {
    # Debian's Orthanc answers 0xA700: it cannot read near-lossless JPEG-LS.
    OrthancPeer: ("1.2.840.10008.1.2.4.81",),
    PynetdicomQrscp: (),
}
DCMTK_SENDS = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")  # no compressed ones without an option for each of them


def kept_by(kind: type[PeerProcess]) -> dict[str, list[Path]]:
    """The files that an archive keeps, by transfer syntax."""
    found: dict[str, list[Path]] = {}
    # The one that is slow gets a third, the others have all.
    for _, path in sendable()[:: 3 if kind is PynetdicomQrscp else 1]:
        syntax = Instance.from_file(path).transfer_syntax_uid
        if syntax in DCMTK_SENDS if kind is DcmtkQrscp else syntax not in NOT_FOR[kind]:
            found.setdefault(syntax, []).append(path)
    return found


@pytest.fixture(scope="module", params=[DcmtkQrscp, OrthancPeer, PynetdicomQrscp])
def full_archive(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, local_port: int
) -> Iterator[Archive]:
    """Each archive with all files of pydicom's test set that it takes."""
    with request.param(tmp_path_factory.mktemp("full"), {LOCAL_AE: local_port}) as peer:
        paths = [path for some in kept_by(request.param).values() for path in some]
        if isinstance(peer, PynetdicomQrscp):
            report = TransferReport()
            asyncio.run(LocalEntity(DcmNode(HOST, "FILLER", 0)).upload(peer.node, paths, report))
            assert report.ok, report.summary()
        else:
            assert not peer.fill(paths)
        yield peer


@pytest.mark.blocking_allowed("the test itself reads files here and there")
async def test_every_file_of_pydicom_by_get(local: LocalEntity, full_archive: Archive, tmp_path: Path) -> None:
    """dcmqrscp sends in the first context that it finds, and qrscp does not say of which class its instances are, so
    that there is no room for a context in each syntax: they are told which one to use."""
    found = await local.query(full_archive.node, QueryLevel.IMAGE)
    held = held_by(full_archive)
    assert len(held) > (40 if isinstance(full_archive, PynetdicomQrscp) else 100)
    got: dict[str, bytes] = {}
    by_syntax = kept_by(type(full_archive))
    if isinstance(full_archive, PynetdicomQrscp):
        # It takes no lists of instances, and half a second for each: some will do.
        by_syntax = {syntax: by_syntax[syntax][::4] for syntax in (*DCMTK_SENDS, "1.2.840.10008.1.2.4.50")}
        held = {uid: held[uid] for uid in found.uids() if any(path_of(uid) in some for some in by_syntax.values())}
    for syntax, paths in by_syntax.items():
        uids = {Instance.from_file(path).sop_instance_uid for path in paths}
        wanted = QueryResult(QueryLevel.IMAGE, [r for r in found.records() if r.text(0x00080018) in uids])
        remote = replace(
            remote_of(full_archive, "GET"),
            transfer_syntaxes=() if isinstance(full_archive, OrthancPeer) else (syntax,),
        )
        report = TransferReport()
        for path in await local.download(remote, wanted, tmp_path / "dest", report):
            got[path.stem] = data.data_set_of(path.read_bytes())
        assert report.ok, (syntax, report.summary())
    assert got.keys() == held.keys()
    different = {uid for uid in held if got[uid] != held[uid]}
    if isinstance(full_archive, PynetdicomQrscp):
        assert different == set()
    else:
        assert len(different) < 25
        sent = sent_by(full_archive, different, local.local.port, tmp_path / "storescp")
        assert {uid: got[uid] for uid in different} == sent


@pytest.mark.blocking_allowed("the test itself reads files here and there")
async def test_every_file_of_pydicom_by_move(local: LocalEntity, full_archive: Archive, tmp_path: Path) -> None:
    remote = remote_of(full_archive, "MOVE")
    report = TransferReport()
    found = await local.query(remote, QueryLevel.STUDY)
    paths = await local.download(remote, found, tmp_path / "dest", report)
    assert report.ok, report.summary()
    held = held_by(full_archive)
    if isinstance(full_archive, PynetdicomQrscp):
        # Its C-FIND does not name what has no PatientID.
        held = {uid: held[uid] for uid in (await local.query(remote, QueryLevel.IMAGE)).uids()}
        assert len(held) > 40
    got = {path.stem: data.data_set_of(path.read_bytes()) for path in paths}
    assert got.keys() == held.keys()
    different = {uid for uid in held if got[uid] != held[uid]}
    if isinstance(full_archive, PynetdicomQrscp):
        assert different == set()
    else:
        # What is in implicit VR dcmqrscp sends as explicit VR, to whoever takes that: to us and to storescp.
        assert len(different) < 60
        sent = sent_by(full_archive, different, local.local.port, tmp_path / "storescp")
        assert {uid: got[uid] for uid in different} == sent


def _all() -> Dataset:
    query = Dataset()
    query.PatientID = "*"
    return query
