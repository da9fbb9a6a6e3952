"""Queries through a `LocalEntity`, on three archives; how they are planned is tested without a network."""

from __future__ import annotations

import asyncio
import logging

import pytest
from pydicom import Dataset

from dcm.errors import ConnectionFailedError, NetworkError, QueryError
from dcm.levels import QueryLevel
from dcm.net import DcmNode, LocalEntity, QueryModel, RemoteNode, Timeouts
from dcm.query import QueryResult
from dcm.report import QueryReport
from tests import data
from tests.net.scripted import HOST, PENDING, SUCCESS, ConnectionEndedError, Link, ScriptedPeer
from tests.net.support import result_of
from tests.peers import DcmtkQrscp, Fault, FaultProxy, OrthancPeer
from tests.peers.fixtures import Archive

pytestmark = pytest.mark.usefixtures("nothing_left")

PATIENT, STUDY, SERIES, IMAGE = QueryLevel
NAMES = {PATIENT: "patient_id", STUDY: "study_uid", SERIES: "series_uid", IMAGE: "sop_instance_uid"}


def keys(**elements: str) -> Dataset:
    query = Dataset()
    for keyword, value in elements.items():
        setattr(query, keyword, value)
    return query


def uids(samples: list[data.Sample], level: QueryLevel) -> set[str]:
    return {getattr(sample, NAMES[level]) for sample in samples}


@pytest.mark.parametrize("level", list(QueryLevel))
def test_everything_at_each_level_and_an_event_loop_for_each_call(
    local: LocalEntity, archive: Archive, samples: list[data.Sample], level: QueryLevel
) -> None:
    for _ in range(2):
        found = asyncio.run(local.query(archive.node, level))
        assert found.level is level
        assert set(found.uids()) == uids(samples, level)


@pytest.mark.parametrize(
    ("elements", "level", "chosen"),
    [
        ({"PatientID": "Vamp001"}, PATIENT, lambda s: s.patient_id == "Vamp001"),
        ({"StudyDate": "20201031"}, STUDY, lambda s: s.patient_id != "Vamp003"),
        ({"StudyDate": "20201101-20201130", "PatientID": "Vamp*"}, STUDY, lambda s: s.patient_id == "Vamp003"),
        ({"PatientID": "Vamp001", "Modality": "MR"}, SERIES, lambda s: s.transfer_syntax_uid == "1.2.840.10008.1.2"),
        ({"PatientName": "Chocula*", "InstanceNumber": ""}, IMAGE, lambda s: s.patient_id == "Vamp002"),
    ],
)
async def test_the_level_follows_from_the_keys(
    local: LocalEntity,
    archive: Archive,
    samples: list[data.Sample],
    elements: dict[str, str],
    level: QueryLevel,
    chosen: object,
) -> None:
    found = await local.query(archive.node, query=keys(**elements))
    assert found.level is level
    assert callable(chosen)
    assert set(found.uids()) == uids([sample for sample in samples if chosen(sample)], level)


async def test_an_earlier_result_is_refined(local: LocalEntity, archive: Archive, samples: list[data.Sample]) -> None:
    patients = await local.query(archive.node, PATIENT, keys(PatientID="Vamp001"))
    series = await local.query(archive.node, SERIES, query_res=patients)
    mine = [sample for sample in samples if sample.patient_id == "Vamp001"]
    assert set(series.uids()) == uids(mine, SERIES)
    images = await local.query(archive.node, IMAGE, query_res=series)
    assert set(images.uids()) == uids(mine, IMAGE)
    assert (await local.query(archive.node, query_res=series)).level is SERIES
    assert images.prov.source == archive.node
    assert images.n_patients() == 1


async def test_partial_results_add_up(local: LocalEntity, archive: Archive, samples: list[data.Sample]) -> None:
    parts = [part async for part in local.queries(archive.node, IMAGE)]
    assert parts
    together = QueryResult(IMAGE)
    for part in parts:
        together |= part
    assert set(together.uids()) == uids(samples, IMAGE)
    assert sum(map(len, parts)) == len(samples)


async def test_names_in_other_alphabets(local: LocalEntity, archive: Archive) -> None:
    found = await local.query(archive.node, STUDY, keys(PatientID="Vamp003", StudyDescription=""))
    (ds,) = found
    assert str(ds.PatientName) == "Müller^Jürgen"


@pytest.mark.parametrize("model", list(QueryModel))
async def test_each_information_model(
    local: LocalEntity, dcmtk_archive: DcmtkQrscp, samples: list[data.Sample], model: QueryModel
) -> None:
    node = RemoteNode(HOST, "DCMQRSCP", dcmtk_archive.port, query_models=(model,))
    assert set((await local.query(node, SERIES)).uids()) == uids(samples, SERIES)


async def test_nothing_found(local: LocalEntity, archive: Archive) -> None:
    report = QueryReport()
    found = await local.query(archive.node, query=keys(PatientID="NOBODY"), report=report)
    assert len(found) == 0
    assert report.exit_code == 0
    assert [len(part) async for part in local.queries(archive.node, query=keys(PatientID="NOBODY"))] == [0]


async def test_a_query_that_makes_no_sense_connects_to_nobody(local: LocalEntity, free_port: int) -> None:
    with pytest.raises(QueryError):
        await local.query(DcmNode(HOST, "PACS", free_port), query=keys(QueryRetrieveLevel="FRAME"))
    with pytest.raises(ConnectionFailedError):
        await local.query(DcmNode(HOST, "PACS", free_port))


async def test_a_failure_of_the_peer(local: LocalEntity, samples: list[data.Sample]) -> None:
    async def script(link: Link) -> None:
        await link.accept()
        while True:
            try:
                link.answer(await link.message(), 0xC001, comment="the index is broken")
            except ConnectionEndedError:
                link.raw(link.wire.confirm_release())
                return

    async with ScriptedPeer(script) as peer:
        with pytest.raises(NetworkError, match="0xC001"):
            await local.query(peer.node)
        report = QueryReport()
        assert len(await local.query(peer.node, report=report)) == 0
    assert report.exit_code == 4
    assert "the index is broken" in report.summary()


async def test_answers_that_are_none(local: LocalEntity, caplog: pytest.LogCaptureFixture) -> None:
    """Without its identifier, of another level, or not to be decoded: dropped, counted, said."""
    from dcm.attrs import Attributes
    from dcm.net._identifier import encode_identifier

    def identifier(level: str, study: str) -> bytes:
        items = [(0x00080052, "CS", level), (0x0020000D, "UI", study), (0x00100020, "LO", "P")]
        return encode_identifier(Attributes.from_items(items), "1.2.840.10008.1.2.1")

    async def script(link: Link) -> None:
        await link.accept()
        while True:
            try:
                request = await link.message()
            except ConnectionEndedError:
                link.raw(link.wire.confirm_release())
                return
            for body in (identifier("STUDY", ""), b"\xff\xff\xff", identifier("STUDY", "1.2.3"), b""):
                link.answer(request, PENDING, body)
            link.answer(request, SUCCESS)

    report = QueryReport()
    async with ScriptedPeer(script) as peer:
        found = await local.query(peer.node, report=report)
        assert list(found.uids()) == ["1.2.3"]
        assert report.invalid == 3
        with caplog.at_level(logging.WARNING, "dcm"):
            await local.query(peer.node)
    assert "left out" in caplog.text


async def test_a_connection_that_is_lost_anywhere(
    local: LocalEntity, orthanc_archive: OrthancPeer, samples: list[data.Sample]
) -> None:
    """Once: the query is sent again, and what was found before does not count twice."""
    with FaultProxy(orthanc_archive.port, ae_title="ORTHANC") as proxy:
        await local.query(proxy.node, STUDY)
    n_bytes = proxy.bytes_to_client
    for offset in range(200, n_bytes, n_bytes // 8):
        with FaultProxy(orthanc_archive.port, to_client=Fault(cut_at=offset), n_faulty=1, ae_title="ORTHANC") as proxy:
            report = QueryReport()
            try:
                found = await local.query(proxy.node, STUDY, report=report)
            except NetworkError:
                continue  # while the association was negotiated
        assert set(found.uids()) == uids(samples, STUDY), offset


async def test_a_peer_that_stops_in_the_middle(local: LocalEntity, orthanc_archive: OrthancPeer) -> None:
    with FaultProxy(orthanc_archive.port, to_client=Fault(stall_at=400), ae_title="ORTHANC") as proxy:
        node = RemoteNode(HOST, "ORTHANC", proxy.port, timeouts=Timeouts(association=0.2, dimse=0.2))
        with pytest.raises(NetworkError):
            await local.query(node, IMAGE)


async def test_a_reader_that_is_slower_than_the_peer(local: LocalEntity) -> None:
    """Some thousand answers at once wait in the socket, not in memory."""
    from dcm.attrs import Attributes
    from dcm.net._identifier import encode_identifier

    n_answers = 6007

    async def script(link: Link) -> None:
        await link.accept()
        request = await link.message()
        for number in range(n_answers):
            items = [(0x00080052, "CS", "STUDY"), (0x0020000D, "UI", f"1.2.{number}"), (0x00100020, "LO", f"P{number}")]
            link.answer(request, PENDING, encode_identifier(Attributes.from_items(items), "1.2.840.10008.1.2.1"))
        link.answer(request, SUCCESS)
        await link.drained()
        await link.rest()

    async with ScriptedPeer(script) as peer:
        found = await local.query(peer.node, STUDY, report=QueryReport())
    assert peer.links[0].seen.count("C-FIND-RQ") == 1
    assert len(found) == n_answers


async def test_several_queries_at_once(local: LocalEntity, archive: Archive, samples: list[data.Sample]) -> None:
    levels = [PATIENT, STUDY, SERIES]
    found = await asyncio.gather(*(local.query(archive.node, level) for level in levels))
    assert [set(one.uids()) for one in found] == [uids(samples, level) for level in levels]


async def test_refining_what_is_not_there_any_more(
    local: LocalEntity, dcmtk_archive: DcmtkQrscp, samples: list[data.Sample]
) -> None:
    ghost = data.Sample(samples[0].path, "Vamp001", data.make_uid("ghost"), "1.2", "1.2.3", "1.2", "1.2")
    found = await local.query(dcmtk_archive.node, SERIES, query_res=result_of([ghost], STUDY), report=QueryReport())
    assert len(found) == 0
