"""Small instances, and archives that know less than they hold."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from dcm._atomic import TempFile
from dcm.attrs import Attributes
from dcm.errors import NetworkError
from dcm.instance import Instance
from dcm.keywords import resolve_keyword
from dcm.levels import QueryLevel
from dcm.query import QueryResult
from dcm.report import QueryReport, TransferReport
from dcm.store import TransferMethod
from dcm.store.memory import MemoryStore


def make(patient: str = "P", study: int = 1, series: int = 1, number: int = 1, **elements: Any) -> Instance:
    """An instance without pixel data; the numbers are unique below what is above them."""
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage
    base = f"1.2.{sum(patient.encode())}.{study}"
    ds.PatientID = patient
    ds.StudyInstanceUID = base
    ds.SeriesInstanceUID = f"{base}.{series}"
    ds.SOPInstanceUID = f"{base}.{series}.{number}"
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return Instance.from_dataset(ds)


def sinks(names: str) -> list[MemoryStore]:
    """Empty stores with these letters as names."""
    return [MemoryStore(name=name) for name in names]


class Archive(MemoryStore):
    """A store that answers queries with some of what it has, as archives do, and counts what it is asked.

    Parameters
    ----------
    instances : iterable of Instance
    knows : sequence of str
        The attributes that its answers hold, besides the unique keys; the others are empty.
    refuses : sequence of str
        The attributes that make it refuse a query.
    withholds : sequence of str
        The instances that it does not give.

    Attributes
    ----------
    asked : list
        The queries: level and keywords that were asked for.
    given : list of str
        The instances that were retrieved.
    """

    def __init__(
        self,
        instances: Iterable[Instance],
        *,
        knows: Sequence[str] = (),
        refuses: Sequence[str] = (),
        withholds: Sequence[str] = (),
    ) -> None:
        super().__init__(instances, name="archive")
        identity = [level.uid_tag for level in QueryLevel]
        self.knows = {*identity, *(resolve_keyword(keyword)[0] for keyword in knows)}
        self.refuses = {resolve_keyword(keyword)[0] for keyword in refuses}
        self.withholds = set(withholds)
        self.asked: list[tuple[QueryLevel, frozenset[int]]] = []
        self.given: list[str] = []

    async def query(
        self,
        level: QueryLevel | None = None,
        query: Dataset | Attributes | None = None,
        query_res: QueryResult | None = None,
        report: QueryReport | None = None,
    ) -> QueryResult:
        own = QueryReport() if report is None else report
        tags = frozenset(int(tag) for tag in query.keys()) if query is not None else frozenset[int]()  # noqa: SIM118
        found = await super().query(level, query, query_res, own)
        self.asked.append((found.level, tags))
        if tags & self.refuses:
            own.fail("query", "unable to process (0xC000)", 0xC000)
            return QueryResult(found.level)
        return QueryResult(found.level, [self._known_of(record) for record in found.records()])

    def _known_of(self, record: Attributes) -> Attributes:
        return Attributes.from_items(
            [(tag, vr, value if tag in self.knows else None) for tag, vr, value in record.elements()]
        )

    async def fetch(
        self,
        query_res: QueryResult,
        deliver: Callable[[Instance], Awaitable[bool]],
        report: TransferReport,
        *,
        dests: Sequence[str] = ("",),
        keep_errors: bool = False,
        new_temp: Callable[[], TempFile] | None = None,
        method: TransferMethod = TransferMethod.PROXY,
    ) -> None:
        if query_res.level is not QueryLevel.IMAGE:
            raise NetworkError("asked for more than an example")
        uids = [uid for uid in query_res.uids() if uid not in self.withholds]
        self.given.extend(uids)
        if uids:
            await super().fetch(query_res.only(uids), deliver, report, dests=dests)
