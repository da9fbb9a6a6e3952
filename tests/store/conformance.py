"""What every store must do: one suite that all of them run.

A new store runs it like this, in a test module::

    class TestMyStore(Conformance):
        @pytest.fixture
        def fresh(self, tmp_path):      # an empty store, which the test may fill
            return MyStore(tmp_path)

        @pytest.fixture
        def filled(self, samples):      # one that holds `samples`, which the test only reads
            ...

`filled` need not be given where putting the samples into `fresh` does it. Where a store cannot do something that its
kind never can, the class says so with one of the attributes below; nothing else is left to it. `MemoryStore` is the
shortest store that passes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread

from dcm.attrs import Attributes
from dcm.errors import NetworkError, PartialError, UsageError
from dcm.instance import Instance
from dcm.levels import QueryLevel
from dcm.query import QueryResult
from dcm.report import Outcome, QueryReport, TransferReport
from dcm.store import DataRepo, DataSink, TransferMethod
from dcm.store.memory import MemoryStore
from tests.data import Sample, data_set_of
from tests.net.support import open_things, result_of

Repo = DataRepo[Any]

UNKNOWN = "1.2.3.99999"


def uids_of(samples: Iterable[Sample]) -> set[str]:
    return {sample.sop_instance_uid for sample in samples}


def bytes_by_uid(samples: Iterable[Sample]) -> dict[str, bytes]:
    return {sample.sop_instance_uid: sample.data_set_bytes for sample in samples}


def held(store: MemoryStore) -> dict[str, bytes]:
    return {instance.sop_instance_uid: bytes(instance.read(0, instance.size)) for instance in store}


def keys(**values: str) -> Dataset:
    query = Dataset()
    for keyword, value in values.items():
        setattr(query, keyword, value)
    return query


async def fill(store: DataSink, samples: Iterable[Sample], report: TransferReport | None = None) -> TransferReport:
    """Put samples into a store."""
    own = report or TransferReport()
    async with store.send(own) as queue:
        for sample in samples:
            await queue.put(sample.path)
    own.finish()
    return own


async def fetch(
    source: Repo, query_res: QueryResult, report: TransferReport | None = None, **options: Any
) -> tuple[MemoryStore, TransferReport]:
    """Fetch what a query result names into memory."""
    own = report or TransferReport()
    dest = MemoryStore()
    async with dest.send(own) as queue:
        await source.fetch(query_res, queue.place, own, **options)
    own.finish()
    return dest, own


class Conformance:
    """The suite; see the module's docstring."""

    tells_present = True
    """Whether it can tell that an instance was there already: an archive answers success to a second C-STORE."""

    converts: Callable[[Sample], bool] = staticmethod(lambda sample: False)
    """What it gives in another transfer syntax than it got it in: DCMTK's archive sends no implicit VR."""

    @pytest.fixture
    def fresh(self) -> Repo:
        """An empty store of its own."""
        raise NotImplementedError

    @pytest.fixture
    def filled(self, fresh: Repo, samples: list[Sample]) -> Repo:
        """A store that holds the samples, and is only read."""
        report = asyncio.run(fill(fresh, samples))
        assert report.counts[Outcome.SENT] == len(samples), report.summary()
        return fresh

    # -- what it says of itself

    def test_it_is_readable_and_queryable(self, filled: Repo) -> None:
        assert filled.features.readable
        assert filled.features.queryable
        assert str(filled)

    def test_its_features_are_honest(self, filled: Repo) -> None:
        """What it does not claim to be able to do has a reason, and what always works has none."""
        stranger = MemoryStore(name="a stranger")
        assert filled.features.supports(TransferMethod.PROXY)
        assert filled.why_not(TransferMethod.PROXY, stranger) == ""
        for method in TransferMethod:
            if not filled.features.supports(method):
                assert filled.why_not(method, filled)
            if method is not TransferMethod.PROXY:
                assert filled.why_not(method, stranger)

    async def test_what_it_cannot_do_is_an_error(self, filled: Repo, samples: list[Sample]) -> None:
        report = TransferReport()
        with pytest.raises(UsageError):
            await filled.remote_copy(result_of(samples), MemoryStore(name="a stranger"), report)

    def test_it_overlaps_itself_only(self, filled: Repo) -> None:
        assert filled.overlaps(filled)
        assert not filled.overlaps(MemoryStore())
        assert not MemoryStore().overlaps(filled)

    def test_it_makes_files_for_what_is_still_arriving(self, fresh: Repo) -> None:
        temp = fresh.new_temp()
        temp.write(b"some bytes")
        assert temp.pread(4, 5) == b"byte"
        temp.discard()

    # -- taking instances

    @pytest.mark.parametrize("how", ["path", "text", "instance", "data set"])
    async def test_whatever_is_put_is_there(self, fresh: Repo, samples: list[Sample], how: str) -> None:
        make: dict[str, Callable[[Path], Any]] = {
            "path": Path,
            "text": str,
            "instance": Instance.from_file,
            "data set": dcmread,
        }
        items = [await asyncio.to_thread(make[how], sample.path) for sample in samples[:3]]
        report = TransferReport()
        async with fresh.send(report) as queue:
            for item in items:
                await queue.put(item)
        assert set(report.uids(Outcome.SENT)) == uids_of(samples[:3])
        assert report.n_bytes == sum(len(sample.data_set_bytes) for sample in samples[:3])
        found = await fresh.query(QueryLevel.IMAGE)
        assert set(found.uids()) == uids_of(samples[:3])

    async def test_place_waits_and_tells(self, fresh: Repo, samples: list[Sample]) -> None:
        report = TransferReport()
        items = [await asyncio.to_thread(Instance.from_file, sample.path) for sample in samples[:2]]
        async with fresh.send(report, dest="there") as queue:
            placed = [await queue.place(item) for item in items]
            assert report.uids(Outcome.SENT, "there") == [sample.sop_instance_uid for sample in samples[:2]]
        assert placed == [True, True]

    async def test_what_is_no_instance_fails_alone(self, fresh: Repo, samples: list[Sample], tmp_path: Path) -> None:
        text = tmp_path / "text"
        text.write_text("not DICOM")
        report = TransferReport()
        async with fresh.send(report) as queue:
            await queue.put(text)
            await queue.put(samples[0].path)
        assert report.counts[Outcome.FAILED] == report.counts[Outcome.SENT] == 1
        assert report.exit_code == 3
        with pytest.raises(PartialError, match="cannot be read"):
            async with fresh.send() as queue:
                await queue.put(text)

    async def test_the_second_time_it_is_there_already(self, fresh: Repo, samples: list[Sample]) -> None:
        assert (await fill(fresh, samples)).counts[Outcome.SENT] == len(samples)
        again = await fill(fresh, samples)
        assert again.ok
        if self.tells_present:
            assert again.counts[Outcome.PRESENT] == len(samples)
            assert again.n_bytes == 0
        found = await fresh.query(QueryLevel.PATIENT)
        assert found.n_instances() in (len(samples), None)

    # -- what it has

    @pytest.mark.parametrize("level", QueryLevel)
    async def test_all_of_it_is_found_at_each_level(
        self, filled: Repo, samples: list[Sample], level: QueryLevel
    ) -> None:
        report = QueryReport()
        found = await filled.query(level, report=report)
        expected = result_of(samples, level)
        assert found.level is level
        assert set(found.level_paths(level)) == set(expected.level_paths(level))
        assert report.complete
        assert report.exit_code == 0

    async def test_it_counts_what_it_has(self, filled: Repo, samples: list[Sample]) -> None:
        found = await filled.query(QueryLevel.STUDY)
        for study_uid in found.studies():
            expected = sum(sample.study_uid == study_uid for sample in samples)
            assert found.sub_query(
                next(p for p in found.level_paths(QueryLevel.STUDY) if p.uids[-1] == study_uid).end
            ).n_instances() in (expected, None)

    async def test_the_level_is_that_of_the_keys(self, filled: Repo) -> None:
        assert (await filled.query()).level is QueryLevel.STUDY
        assert (await filled.query(query=keys(PatientID="Vamp001"))).level is QueryLevel.PATIENT
        assert (await filled.query(query=keys(Modality="MR"))).level is QueryLevel.SERIES

    @pytest.mark.parametrize(
        ("query", "wanted"),
        [
            ({"PatientID": "Vamp001"}, lambda sample: sample.patient_id == "Vamp001"),
            ({"PatientID": "Vamp00?"}, lambda sample: True),
            ({"PatientName": "Dracula*"}, lambda sample: sample.patient_id == "Vamp001"),
            ({"StudyDate": "20201101-"}, lambda sample: sample.patient_id == "Vamp003"),
            ({"StudyDate": "20201031", "PatientID": "Vamp003"}, lambda sample: False),
            ({"PatientID": "nobody"}, lambda sample: False),
        ],
    )
    async def test_keys_must_match(
        self, filled: Repo, samples: list[Sample], query: dict[str, str], wanted: Callable[[Sample], bool]
    ) -> None:
        found = await filled.query(QueryLevel.STUDY, keys(**query))
        assert set(found.uids()) == {sample.study_uid for sample in samples if wanted(sample)}

    async def test_a_finer_key_finds_what_has_it(self, filled: Repo, samples: list[Sample]) -> None:
        found = await filled.query(QueryLevel.STUDY, keys(Modality="MR"))
        mr = {sample.study_uid for sample in samples if sample.sop_class_uid == "1.2.840.10008.5.1.4.1.1.4"}
        assert set(found.uids()) == mr
        # The whole of each study is counted, not only what matches.
        assert found.n_instances() in (sum(sample.study_uid in mr for sample in samples), None)

    @pytest.mark.parametrize("level", QueryLevel)
    async def test_an_earlier_result_is_refined(self, filled: Repo, samples: list[Sample], level: QueryLevel) -> None:
        some = [sample for sample in samples if sample.patient_id != "Vamp001"]
        found = await filled.query(QueryLevel.SERIES, None, result_of(some, level))
        assert set(found.uids()) == {sample.series_uid for sample in some}
        found = await filled.query(None, keys(Modality="MR"), result_of(some, level))
        assert {record.text(QueryLevel.SERIES.uid_tag) for record in found.records()} <= {s.series_uid for s in some}

    async def test_parts_make_up_the_whole(self, filled: Repo, samples: list[Sample]) -> None:
        whole = QueryResult(QueryLevel.IMAGE)
        async for part in filled.queries(QueryLevel.IMAGE):
            assert not set(part.uids()) & set(whole.uids())
            whole |= part
        assert set(whole.uids()) == uids_of(samples)

    async def test_a_query_that_makes_no_sense(self, filled: Repo) -> None:
        with pytest.raises(UsageError):
            await filled.query(QueryLevel.STUDY, Attributes.from_items([(0x00080020, "DA", "yesterday")]))

    # -- giving it

    @pytest.mark.parametrize("level", QueryLevel)
    async def test_the_same_bytes_come_back(self, filled: Repo, samples: list[Sample], level: QueryLevel) -> None:
        some = [sample for sample in samples if sample.patient_id == "Vamp001"]
        found = await filled.query(level, keys(PatientID="Vamp001"))
        dest, report = await fetch(filled, found)
        assert held(dest).keys() == uids_of(some)
        unchanged = bytes_by_uid(sample for sample in some if not self.converts(sample))
        assert unchanged.items() <= held(dest).items()
        assert set(report.uids(Outcome.SENT)) == uids_of(some)
        assert (report.ok, report.adds_up(), report.n_series) == (True, True, 4)
        assert report.n_bytes == sum(map(len, held(dest).values()))

    @pytest.mark.parametrize("level", QueryLevel)
    async def test_what_another_store_has_said_can_be_fetched(
        self, filled: Repo, samples: list[Sample], level: QueryLevel
    ) -> None:
        """A result need not come from this store: its identifiers are enough."""
        some = samples[:4]
        dest, report = await fetch(filled, result_of(some, level))
        wanted = {getattr(sample, _FIELDS[level]) for sample in some}
        assert set(held(dest)) == uids_of(s for s in samples if getattr(s, _FIELDS[level]) in wanted)
        assert report.ok

    async def test_nothing_is_fetched_for_nothing(self, filled: Repo) -> None:
        dest, report = await fetch(filled, QueryResult(QueryLevel.STUDY))
        assert (len(dest), report.n_instances, report.ok) == (0, 0, True)

    async def test_each_destination_has_its_own_state(self, filled: Repo, samples: list[Sample]) -> None:
        report = TransferReport()

        async def deliver(instance: Instance) -> bool:
            for dest in "ab":
                report.record(instance.sop_instance_uid, Outcome.SENT, dest=dest)
            return True

        unknown = _instance_of(samples[0], UNKNOWN)
        found = QueryResult(QueryLevel.IMAGE, [*result_of(samples[:2]).records(), unknown])
        await filled.fetch(found, deliver, report, dests=("a", "b"))
        report.finish()
        assert report.dests == ["a", "b"]
        for dest in "ab":
            assert set(report.uids(Outcome.SENT, dest)) == uids_of(samples[:2])
            assert report.state(UNKNOWN, dest) in (Outcome.MISSING, Outcome.FAILED)
        assert report.adds_up()

    async def test_what_is_not_there_is_missing(self, filled: Repo, samples: list[Sample]) -> None:
        unknown = _instance_of(samples[0], UNKNOWN)
        dest, report = await fetch(filled, QueryResult(QueryLevel.IMAGE, [*result_of(samples[:2]).records(), unknown]))
        assert set(held(dest)) == uids_of(samples[:2])
        # A peer may refuse what it does not have, which is a failure.
        assert report.state(UNKNOWN) in (Outcome.MISSING, Outcome.FAILED)
        assert (report.exit_code, report.adds_up()) == (3, True)

    @pytest.mark.parametrize("level", [QueryLevel.STUDY, QueryLevel.SERIES])
    async def test_that_a_study_or_series_is_not_there_is_told(
        self, filled: Repo, samples: list[Sample], level: QueryLevel
    ) -> None:
        uids = ("Vamp001", "1.2.3.9", "1.2.3.9.1")[: level + 1]
        record = Attributes.from_items(
            (tag, "UI", uid) for tag, uid in zip((0x00100020, 0x0020000D, 0x0020000E), uids, strict=False)
        )
        dest, report = await fetch(filled, QueryResult(level, [record]))
        assert len(dest) == 0
        assert report.exit_code in (3, 4)

    @pytest.mark.parametrize("level", QueryLevel)
    async def test_data_sets_are_given(self, filled: Repo, samples: list[Sample], level: QueryLevel) -> None:
        some = [sample for sample in samples if sample.patient_id == "Vamp002"]
        report = TransferReport()
        found = [ds async for ds in filled.retrieve(result_of(some, level), report)]
        assert {ds.SOPInstanceUID for ds in found} == uids_of(some)
        assert all(ds.file_meta.TransferSyntaxUID == some[0].transfer_syntax_uid for ds in found)
        assert set(report.uids(Outcome.SENT)) == uids_of(some)
        assert report.ok

    async def test_without_a_report_a_loss_is_raised(self, filled: Repo, samples: list[Sample]) -> None:
        wanted = QueryResult(QueryLevel.IMAGE, [*result_of(samples[:1]).records(), _instance_of(samples[0], UNKNOWN)])
        found: list[str] = []

        async def retrieve() -> None:
            async for ds in filled.retrieve(wanted):
                found.append(str(ds.SOPInstanceUID))

        with pytest.raises(PartialError):
            await retrieve()
        assert found == [samples[0].sop_instance_uid]

    async def test_chunks_give_everything_once(self, filled: Repo, samples: list[Sample]) -> None:
        found: Counter[str] = Counter()
        data: dict[str, bytes] = {}
        async for chunk in filled.gen_chunks():
            async for instance in chunk.gen_data():
                found[instance.sop_instance_uid] += 1
                data[instance.sop_instance_uid] = b"".join(instance.chunks())
        assert set(found.values()) == {1}
        assert data.keys() == uids_of(samples)
        assert bytes_by_uid(sample for sample in samples if not self.converts(sample)).items() <= data.items()

    async def test_chunks_of_a_result(self, filled: Repo, samples: list[Sample]) -> None:
        some = [sample for sample in samples if sample.patient_id == "Vamp001"]
        found: Counter[str] = Counter()
        async for chunk in filled.gen_query_chunks(result_of(some, QueryLevel.SERIES)):
            async for instance in chunk.gen_data():
                found[instance.sop_instance_uid] += 1
        assert found == dict.fromkeys(uids_of(some), 1)

    # -- stopping, and going on

    async def test_a_generator_can_be_closed_early(self, filled: Repo, samples: list[Sample]) -> None:
        before = open_things()
        report = TransferReport()
        async with contextlib.aclosing(filled.retrieve(result_of(samples), report)) as found:  # type: ignore[type-var]
            async for _ in found:
                break
        assert report.interrupted
        assert report.adds_up()
        assert report.exit_code == 130
        for generator in (filled.gen_chunks(), filled.queries(), filled.gen_query_chunks(result_of(samples))):
            async with contextlib.aclosing(generator) as parts:  # type: ignore[type-var]
                async for _ in parts:
                    break
        assert set((await filled.query(QueryLevel.IMAGE)).uids()) == uids_of(samples)
        assert open_things() <= before

    async def test_a_fetch_can_be_cancelled(self, filled: Repo, samples: list[Sample]) -> None:
        before = open_things()
        report = TransferReport()
        begun = asyncio.Event()
        ended = Counter[str]()

        async def deliver(instance: Instance) -> bool:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended[instance.sop_instance_uid] += 1
            return True

        task = asyncio.ensure_future(filled.fetch(result_of(samples), deliver, report))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended
        report.interrupted = True
        report.finish()
        assert report.adds_up()
        assert open_things() <= before
        assert len((await fetch(filled, result_of(samples)))[0]) == len(samples)

    async def test_a_broken_destination_ends_it(self, filled: Repo, samples: list[Sample]) -> None:
        report = TransferReport()

        async def deliver(instance: Instance) -> bool:
            raise NetworkError("the destination is lost", peer="nobody")

        with pytest.raises(NetworkError, match="the destination is lost"):
            await filled.fetch(result_of(samples), deliver, report)

    async def test_an_instance_that_is_not_safe_is_no_reason_to_stop(self, filled: Repo, samples: list[Sample]) -> None:
        report = TransferReport()

        async def deliver(instance: Instance) -> bool:
            safe = instance.sop_instance_uid != samples[0].sop_instance_uid
            report.record(
                instance.sop_instance_uid, Outcome.SENT if safe else Outcome.FAILED, reason="" if safe else "full"
            )
            return safe

        await filled.fetch(result_of(samples[:6], QueryLevel.IMAGE), deliver, report)
        report.finish()
        assert set(report.uids(Outcome.SENT)) == uids_of(samples[1:6])
        assert report.state(samples[0].sop_instance_uid) is Outcome.FAILED
        assert report.adds_up()

    async def test_several_are_in_hand_at_a_time(self, filled: Repo, samples: list[Sample]) -> None:
        """A destination far away needs many at once; unless the peer itself sends them one by one."""
        report = TransferReport()
        most = now = 0

        async def deliver(instance: Instance) -> bool:
            nonlocal most, now
            now += 1
            most = max(most, now)
            for _ in range(10):
                await asyncio.sleep(0)
            now -= 1
            report.record(instance.sop_instance_uid, Outcome.SENT)
            return True

        await filled.fetch(result_of(samples), deliver, report)
        assert most >= 1
        assert report.counts[Outcome.SENT] == len(samples)

    def test_it_belongs_to_no_event_loop(self, filled: Repo, samples: list[Sample]) -> None:
        for _ in range(2):
            found = asyncio.run(filled.query(QueryLevel.STUDY))
            dest, report = asyncio.run(fetch(filled, found))
            assert (len(dest), report.ok) == (len(samples), True)

    async def test_several_may_ask_at_once(self, filled: Repo, samples: list[Sample]) -> None:
        asked: list[Awaitable[Any]] = [fetch(filled, result_of(samples[:5])) for _ in range(2)]
        asked += [filled.query(level) for level in QueryLevel]
        results = await asyncio.gather(*asked)
        assert [len(dest) for dest, _ in results[:2]] == [5, 5]
        assert [len(found) for found in results[2:]] == [3, 4, 6, len(samples)]


_FIELDS = ("patient_id", "study_uid", "series_uid", "sop_instance_uid")


def _instance_of(sample: Sample, uid: str) -> Attributes:
    """The record of an instance that would be in a sample's series."""
    record = next(result_of([sample]).records())
    return record.replace([(QueryLevel.IMAGE.uid_tag, "UI", uid)])


__all__ = ["Conformance", "bytes_by_uid", "data_set_of", "fetch", "fill", "held", "keys", "uids_of"]
