"""Third-party C-MOVE: one archive sends to another, and the other is asked what it has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcm.errors import ConnectionFailedError, MoveDestinationError
from dcm.levels import QueryLevel
from dcm.net import DcmNode, LocalEntity
from dcm.report import Outcome, TransferReport
from tests import data
from tests.net.scripted import HOST, PENDING, SUCCESS, ConnectionEndedError, Link, ScriptedPeer
from tests.net.support import result_of
from tests.peers import DcmtkQrscp, DcmtkStorescp, OrthancPeer, free_port

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture
def destination(tmp_path: Path) -> Iterator[OrthancPeer]:
    """An empty archive."""
    with OrthancPeer(tmp_path / "destination", ae_title="DEST") as peer:
        yield peer


def source_for(tmp_path: Path, port: int, samples: list[data.Sample]) -> DcmtkQrscp:
    peer = DcmtkQrscp(tmp_path / "source", {"DEST": port})
    peer.fill(sample.path for sample in samples)
    return peer


@pytest.mark.parametrize("level", [QueryLevel.STUDY, QueryLevel.IMAGE])
def test_from_one_archive_to_another(
    tmp_path: Path, local: LocalEntity, destination: OrthancPeer, samples: list[data.Sample], level: QueryLevel
) -> None:
    with source_for(tmp_path, destination.port, samples) as source:
        report = TransferReport()
        asyncio.run(local.move(source.node, destination.node, result_of(samples, level), report))
    assert destination.sop_instance_uids() == {sample.sop_instance_uid for sample in samples}
    assert report.exit_code == 0, report.summary()
    assert report.counts[Outcome.SENT] == len(samples)
    assert report.adds_up()


async def test_a_destination_that_cannot_be_asked(
    tmp_path: Path, local: LocalEntity, samples: list[data.Sample]
) -> None:
    """A plain receiver: the source says that it has all of it, and nobody can tell."""
    with DcmtkStorescp(tmp_path / "storescp", ae_title="DEST") as receiver:
        with source_for(tmp_path, receiver.port, samples) as source:
            report = TransferReport()
            await local.move(source.node, receiver.node, result_of(samples[:3], QueryLevel.SERIES), report)
        assert len(receiver.received()) == 3
    assert report.exit_code == 5
    assert report.completeness_unknown


async def test_a_destination_that_the_source_does_not_know(
    local: LocalEntity, dcmtk_archive: DcmtkQrscp, samples: list[data.Sample]
) -> None:
    dest = DcmNode(HOST, "ELSEWHERE", free_port())
    with pytest.raises(MoveDestinationError, match="does not know the AE title ELSEWHERE") as caught:
        await local.move(dcmtk_archive.node, dest, result_of(samples[:1]))
    assert "register ELSEWHERE" in caught.value.hint
    report = TransferReport()
    await local.move(dcmtk_archive.node, dest, result_of(samples[:1]), report)
    assert report.exit_code != 0


async def test_a_source_that_is_not_there(local: LocalEntity, samples: list[data.Sample]) -> None:
    dest = DcmNode(HOST, "DEST", free_port())
    with pytest.raises(ConnectionFailedError):
        await local.move(DcmNode(HOST, "SOURCE", free_port()), dest, result_of(samples[:1]))


async def test_a_source_that_says_success_and_sends_nothing(
    local: LocalEntity, orthanc_archive: OrthancPeer, samples: list[data.Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dcm.net._mover._VERIFY_AFTER", (0.0, 0.01))

    async def script(link: Link) -> None:
        await link.accept()
        while True:
            try:
                request = await link.message()
            except ConnectionEndedError:
                link.raw(link.wire.confirm_release())
                return
            link.answer(request, PENDING)
            link.answer(request, SUCCESS, completed=1)

    ghost = data.Sample(
        *(samples[0].path, samples[0].patient_id, samples[0].study_uid, samples[0].series_uid, data.make_uid("ghost")),
        *(samples[0].sop_class_uid, samples[0].transfer_syntax_uid),
    )
    report = TransferReport()
    async with ScriptedPeer(script) as source:
        await local.move(source.node, orthanc_archive.node, result_of([ghost, samples[0]]), report)
    assert report.uids(Outcome.MISSING) == [ghost.sop_instance_uid]
    assert report.state(samples[0].sop_instance_uid) is Outcome.SENT
    assert report.exit_code == 3
