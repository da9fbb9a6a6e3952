"""Routes against real archives, which know less than they hold, and to real receivers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from dcm.filt import MultiSelector, make_edit_filter, parse_selector
from dcm.instance import Instance
from dcm.levels import QueryLevel
from dcm.net import DcmNode, LocalEntity
from dcm.node import RemoteNode
from dcm.part10 import read_meta
from dcm.query import QueryResult
from dcm.report import Outcome, QueryReport, TransferReport
from dcm.route import DynamicRoute, Router, SelectorDestMap, StaticRoute
from dcm.store.local_dir import LocalDir
from dcm.store.memory import MemoryStore
from dcm.store.net_repo import NetRepo
from tests.data import Sample
from tests.peers.dcmtk import DcmtkQrscp, DcmtkStorescp
from tests.peers.fixtures import LOCAL_AE, Archive
from tests.peers.orthanc import OrthancPeer
from tests.peers.process import HOST, PeerProcess
from tests.route.objects import sinks

A, B, C = sinks("ABC")
PATIENT, STUDY, SERIES, IMAGE = QueryLevel

# What the archives can be asked for, what some of them can, and what none of them knows.
CASES: dict[str, tuple[QueryLevel, SelectorDestMap]] = {
    "study": (STUDY, SelectorDestMap([("StudyDescription ~= scan", [A])], [B])),
    "series of a study": (STUDY, SelectorDestMap([("SeriesDescription == Bowl", [A])], [B])),
    "umlauts": (STUDY, SelectorDestMap([("StudyDescription == Größe", [A]), ("PatientName ~= Müller", [B])], [C])),
    "series": (SERIES, SelectorDestMap([("Modality == MR", [A])], [B])),
    "study and series": (
        SERIES,
        SelectorDestMap(
            [(MultiSelector([parse_selector("Modality == CT"), parse_selector("StudyDescription ~= scan")]), [A])], [B]
        ),
    ),
    "manufacturer": (STUDY, SelectorDestMap([("Manufacturer == 'dcm tests'", [A])], [B])),
    "image type": (STUDY, SelectorDestMap([("ImageType[2] == AXIAL", [A])], [B])),
    "of the images": (SERIES, SelectorDestMap([("RescaleIntercept == -1024", [A])], [B])),
    "nothing there": (STUDY, SelectorDestMap([("StationName == ''", [A])], [B])),
    "patient": (PATIENT, SelectorDestMap([("PatientID == Vamp001", [A]), ("PixelSpacing == 0.5", [B])], [C])),
    "all rules": (
        SERIES,
        SelectorDestMap(
            [("Modality == CT", [A]), ("RescaleSlope == 1", [B]), ("PatientName ~= rgen", [C])],
            (),
            ["StudyDescription == Breakfast"],
            stop_on_first=False,
        ),
    ),
}


def repo(peer: PeerProcess, port: int = 11112) -> NetRepo:
    remote = RemoteNode(HOST, peer.ae_title, peer.port)
    return NetRepo(LocalEntity(DcmNode(HOST, LOCAL_AE, port)), remote)


def by_query(shares: dict[tuple[StaticRoute, ...], QueryResult], samples: list[Sample]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for routes, share in shares.items():
        for sample in samples:
            path = sample.patient_id, sample.study_uid, sample.series_uid, sample.sop_instance_uid
            if path[share.level] in share:
                for sink in (sink for route in routes for sink in route.dests):
                    found.setdefault(str(sink), set()).add(sample.sop_instance_uid)
    return found


def one_by_one(router: Router, samples: list[Sample]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for sample in sorted(samples, key=lambda one: (one.series_uid, one.sop_instance_uid)):
        for way in router.decide(Instance.from_file(sample.path)):
            found.setdefault(str(way.sink), set()).add(sample.sop_instance_uid)
    return found


# pynetdicom's archive takes its time.
PAIRS = [(archive, case) for archive in ("dcmtk_archive", "orthanc_archive") for case in CASES]
PAIRS += [("pynetdicom_archive", "study and series"), ("pynetdicom_archive", "manufacturer")]


@pytest.mark.parametrize(("archive", "case"), PAIRS, indirect=["archive"])
async def test_what_an_archive_holds_is_routed_as_if_it_came(
    archive: Archive, case: str, samples: list[Sample], local_port: int
) -> None:
    level, rules = CASES[case]
    router = Router([DynamicRoute(rules, level, name="rules")])
    report = TransferReport()
    shares = await router.pre_route(repo(archive, local_port), report=report)
    expected = await asyncio.to_thread(one_by_one, router, samples)
    assert by_query(shares, samples) == expected
    assert not report.errors, report.summary()


async def test_examples_are_got_of_what_is_not_decided_and_nothing_else(
    dcmtk_archive: DcmtkQrscp, local_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[QueryResult] = []
    source = repo(dcmtk_archive, local_port)
    fetch = source.fetch

    async def noted(query_res: QueryResult, *args: Any, **options: Any) -> None:
        fetched.append(query_res)
        await fetch(query_res, *args, **options)

    monkeypatch.setattr(source, "fetch", noted)
    rules = SelectorDestMap([("PatientID == Vamp001", [A]), ("PixelSpacing == 0.5", [B])], [C])
    await Router([DynamicRoute(rules)]).pre_route(source)
    assert [len(one) for one in fetched] == [2]
    assert set(fetched[0].patients()) == {"Vamp002", "Vamp003"}


async def test_what_was_routed_is_retrieved_as_a_whole(orthanc_archive: OrthancPeer, samples: list[Sample]) -> None:
    source = repo(orthanc_archive)
    stores = sinks("AB")
    rules = SelectorDestMap([("RescaleIntercept == -1024", [stores[0]])], [stores[1]])
    router = Router([DynamicRoute(rules, SERIES)])
    found = await source.query(SERIES, report=QueryReport())
    shares = await router.pre_route(source, query_res=found)
    for routes, share in shares.items():
        report = TransferReport()
        async with routes[0].dests[0].send(report) as queue:
            await source.fetch(share, queue.place, report)
    held = {store.name: {instance.sop_instance_uid for instance in store} for store in stores}
    assert held == await asyncio.to_thread(one_by_one, router, samples)


async def test_all_of_it_is_within_the_base_query(dcmtk_archive: DcmtkQrscp) -> None:
    source = repo(dcmtk_archive)
    source.base_query = Dataset()
    source.base_query.StudyDescription = "Breakfast"
    shares = await Router([DynamicRoute(CASES["study"][1]), C]).pre_route(source)
    assert [list(share.patients()) for share in shares.values()] == [["Vamp002"]]
    shares = await Router([DynamicRoute(CASES["manufacturer"][1])]).pre_route(source)
    assert [list(share.patients()) for share in shares.values()] == [["Vamp002"]]


async def test_into_a_directory_and_a_receiver(
    dcmtk_receiver: DcmtkStorescp, samples: list[Sample], tmp_path: Path
) -> None:
    rules = SelectorDestMap([("Modality == CT", [repo(dcmtk_receiver)])], ())
    everything = LocalDir(tmp_path / "all")
    anonymous = StaticRoute((MemoryStore(name="anonymous"),), make_edit_filter({"PatientID": "ANON"}))
    router = Router([everything, DynamicRoute(rules, SERIES), anonymous], assoc_cache_time=0.05)
    report = TransferReport()
    async with router.route(report=report) as queue:
        for sample in samples[:4]:
            assert await queue.place(await asyncio.to_thread(Instance.from_file, sample.path))
        for sample in samples[4:]:
            await queue.put(sample.path)
    report.finish()
    assert report.exit_code == 0, report.summary()
    metas = [read_meta(path.read_bytes()) for path in (tmp_path / "all").rglob("*.dcm")]
    assert sorted(meta.sop_instance_uid for meta in metas if meta) == sorted(one.sop_instance_uid for one in samples)
    n_ct = sum(sample.sop_class_uid == CTImageStorage for sample in samples)
    assert len(dcmtk_receiver.received()) == n_ct
    assert report.counts[Outcome.SENT] == 2 * len(samples) + n_ct
