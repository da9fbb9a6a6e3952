"""What every store can do: a small interface that is required, and powers that are declared.

::

    DataSink            send()                takes instances
    └── DataBucket      gen_chunks()          ... and gives them, in chunks that one step of work can hold
        └── DataRepo    query() queries() retrieve() gen_query_chunks()    ... and finds what a query asks for

What a store can do beyond that, it says in its :class:`Features`; nobody asks what class it is.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from os import PathLike

    from pydicom import Dataset

    from dcm.instance import Instance
    from dcm.levels import QueryLevel
    from dcm.query import QueryResult
    from dcm.report import QueryReport, TransferReport

    Sendable: TypeAlias = Instance | Dataset | str | PathLike[str]

__all__ = ["DataBucket", "DataChunk", "DataRepo", "DataSink", "Features", "InstanceQueue", "TransferMethod"]


class TransferMethod(enum.Enum):
    """How an instance gets from a source to a destination."""

    PROXY = "proxy"  #: through us: read at the source, written at the destination
    REMOTE_COPY = "remote_copy"  #: the source sends it to the destination itself (third-party C-MOVE)
    LOCAL_COPY = "local_copy"  #: a file is copied within a file system, or between two
    MOVE = "move"  #: a file gets another name
    LINK = "link"  #: a file gets another name, too
    SYMLINK = "symlink"  #: a symbolic link to a file


@dataclass(frozen=True, slots=True)
class Features:
    """What a store can do beyond taking instances.

    Parameters
    ----------
    methods : frozenset of TransferMethod
        How instances can get into it, besides :attr:`TransferMethod.PROXY` which always works.
    readable : bool
        Whether it is a :class:`DataBucket`: it gives what it holds.
    queryable : bool
        Whether it is a :class:`DataRepo`.
    """

    methods: frozenset[TransferMethod] = frozenset()
    readable: bool = False
    queryable: bool = False

    def supports(self, method: TransferMethod) -> bool:
        """Whether instances can get into the store in this way."""
        return method is TransferMethod.PROXY or method in self.methods


class InstanceQueue(Protocol):
    """The open end of a :class:`DataSink`."""

    async def put(self, item: Sendable) -> None:
        """Hand over an instance, a data set or the path of a file; waits while too much is under way."""


class DataSink(Protocol):
    """What takes instances."""

    @property
    def features(self) -> Features:
        """What it can do beyond that."""

    def send(
        self, report: TransferReport | None = None, *, dest: str = ""
    ) -> AbstractAsyncContextManager[InstanceQueue]:
        """Open it for instances; on exit all that was put in has reached an end.

        Parameters
        ----------
        report : TransferReport, optional
            Learns what became of each instance. Without one, failures are raised on exit.
        dest : str, optional
            The name of this destination in the report, where there are several.
        """


class DataChunk(Protocol):
    """Some instances of a store, named but not read yet."""

    def gen_data(self) -> AsyncIterator[Instance]:
        """Read them, one by one."""


ChunkT_co = TypeVar("ChunkT_co", bound=DataChunk, covariant=True)


class DataBucket(DataSink, Protocol[ChunkT_co]):
    """What takes instances, and gives all that it holds."""

    def gen_chunks(self) -> AsyncIterator[ChunkT_co]:
        """Name everything that it holds, chunk by chunk."""


class DataRepo(DataBucket[ChunkT_co], Protocol[ChunkT_co]):
    """A bucket that can be queried, and asked for what a :class:`~dcm.query.QueryResult` names."""

    async def query(
        self,
        level: QueryLevel | None = None,
        query: Dataset | None = None,
        query_res: QueryResult | None = None,
        report: QueryReport | None = None,
    ) -> QueryResult:
        """Find what matches."""

    def queries(
        self,
        level: QueryLevel | None = None,
        query: Dataset | None = None,
        query_res: QueryResult | None = None,
        report: QueryReport | None = None,
    ) -> AsyncIterator[QueryResult]:
        """Find what matches, part by part."""

    def retrieve(
        self, query_res: QueryResult, report: TransferReport | None = None, keep_errors: bool = False
    ) -> AsyncIterator[Dataset]:
        """Give the data sets that a query result names."""

    def gen_query_chunks(self, query_res: QueryResult) -> AsyncIterator[ChunkT_co]:
        """Name what belongs to a query result, chunk by chunk."""
