"""What every store can do: a small interface that is required, and powers that are declared.

::

    DataSink            send() why_not() overlaps()    takes instances
    └── DataBucket      gen_chunks()          ... and gives them, in chunks that one step of work can hold
        └── DataRepo    query() queries() retrieve() gen_query_chunks()    ... and finds what a query asks for

What a store can do beyond that, it says in its :class:`Features`; nobody asks what class it is.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from os import PathLike

    from pydicom import Dataset

    from dcm._atomic import TempFile
    from dcm.attrs import Attributes
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


class Features(NamedTuple):
    """What a store can do beyond taking instances.

    Parameters
    ----------
    methods : frozenset of TransferMethod
        How instances can get into it, besides :attr:`TransferMethod.PROXY` which always works.
    readable : bool
        Whether it is a :class:`DataBucket`: it gives what it holds.
    queryable : bool
        Whether it is a :class:`DataRepo`.
    at_once : int
        How many associations with it may be open at a time, for those that count them; 0 for no limit.
    """

    methods: frozenset[TransferMethod] = frozenset()
    readable: bool = False
    queryable: bool = False
    at_once: int = 0

    def supports(self, method: TransferMethod) -> bool:
        """Whether instances can get into the store in this way."""
        return method is TransferMethod.PROXY or method in self.methods


class InstanceQueue(Protocol):
    """The open end of a :class:`DataSink`."""

    async def put(self, item: Sendable) -> None:
        """Hand over an instance, a data set or the path of a file; waits while too much is under way."""

    async def place(self, instance: Instance) -> bool:
        """Hand over an instance, wait until it has reached an end, and say whether the destination has it."""


class DataSink(Protocol):
    """What takes instances."""

    @property
    def features(self) -> Features:
        """What it can do beyond that."""

    def new_temp(self) -> TempFile:
        """Make a file for a large instance that is still arriving, where it costs least to hand it over.

        Blocks; may be called from several threads at once.
        """

    def overlaps(self, other: object) -> bool:
        """Whether what goes into it would show up in another store, or the other way round.

        The same node, the same directory, a directory within the other: nothing can be synced between the two.
        """

    def why_not(self, method: TransferMethod, source: DataSink) -> str:
        """Say why instances of a source cannot get here in some way, '' where they can.

        Blocks. It is asked before anything moves, so that no transfer stops half-way for it: hard links need one
        file system, a third-party copy two nodes.
        """

    def send(
        self,
        report: TransferReport | None = None,
        *,
        dest: str = "",
        method: TransferMethod = TransferMethod.PROXY,
    ) -> AbstractAsyncContextManager[InstanceQueue]:
        """Open it for instances; on exit all that was put in has reached an end.

        Parameters
        ----------
        report : TransferReport, optional
            Learns what became of each instance. Without one, failures are raised on exit.
        dest : str, optional
            The name of this destination in the report, where there are several.
        method : TransferMethod
            How files get into a directory. What is no file of its own is written in any case.
        """


class DataChunk(Protocol):
    """Some instances of a store, named but not read yet."""

    def gen_data(self) -> AsyncIterator[Instance]:
        """Read them, one by one."""


ChunkT_co = TypeVar("ChunkT_co", bound=DataChunk, covariant=True)


class DataBucket(DataSink, Protocol[ChunkT_co]):
    """What takes instances, and gives all that it holds."""

    def check_source(self) -> None:
        """Find out whether anything can be read from it at all, before anything moves. Blocks.

        Raises
        ------
        UsageError
            It does not exist, or may not be read.
        """

    def gen_chunks(self) -> AsyncIterator[ChunkT_co]:
        """Name everything that it holds, chunk by chunk."""


class DataRepo(DataBucket[ChunkT_co], Protocol[ChunkT_co]):
    """A bucket that can be queried, and asked for what a :class:`~dcm.query.QueryResult` names."""

    def renew(self) -> None:
        """Rely no more on what was found out earlier: what is asked from now on is about what is there then."""

    async def query(
        self,
        level: QueryLevel | None = None,
        query: Dataset | Attributes | None = None,
        query_res: QueryResult | None = None,
        report: QueryReport | None = None,
    ) -> QueryResult:
        """Find what matches."""

    def queries(
        self,
        level: QueryLevel | None = None,
        query: Dataset | Attributes | None = None,
        query_res: QueryResult | None = None,
        report: QueryReport | None = None,
    ) -> AsyncGenerator[QueryResult, None]:
        """Find what matches, part by part."""

    def retrieve(
        self, query_res: QueryResult, report: TransferReport | None = None, keep_errors: bool = False
    ) -> AsyncIterator[Dataset]:
        """Give the data sets that a query result names."""

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
        """Hand each instance that a query result names to a coroutine, several at a time.

        Parameters
        ----------
        query_res : QueryResult
        deliver : callable
            ``await deliver(instance)`` records what became of the instance, and returns whether it is safe.
        report : TransferReport
            Learns what is expected, and what did not come.
        dests : sequence of str
            The names in the report of the destinations that each instance is for.
        keep_errors : bool
            Also hand over what is a duplicate, was not asked for or is inconsistent.
        new_temp : callable, optional
            Makes files for large instances, see `DataSink.new_temp`.
        method : TransferMethod
            How they will get to their destinations: where a file is copied, moved or linked there, its data need not
            be read here.

        Raises
        ------
        NetworkError
            The source cannot be reached, or refuses: what came until then is in the report.
        """

    async def remote_copy(
        self, query_res: QueryResult, to: DataSink, report: TransferReport, *, dest: str = ""
    ) -> None:
        """Have the source itself send what a query result names to another store (third-party C-MOVE, PS3.4 C.4.2).

        Parameters
        ----------
        query_res : QueryResult
        to : DataSink
            Whose `why_not` has nothing against it.
        report : TransferReport
            Learns what the source says of it. That is not yet a proof: whoever asked for it queries the destination.
        dest : str
            The name of the destination in the report.

        Raises
        ------
        NetworkError
            The source cannot be reached, or refuses.
        UsageError
            It cannot do that.
        """

    def gen_query_chunks(self, query_res: QueryResult) -> AsyncIterator[ChunkT_co]:
        """Name what belongs to a query result, chunk by chunk."""
