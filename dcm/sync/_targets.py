"""The destinations of a sync while it runs: open queues, filters on the way, and what has made one useless."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from dcm.errors import ConnectionFailedError, DcmError, NetworkError, StoreError, UsageError
from dcm.report import Outcome, QueryReport, TransferReport
from dcm.report._renamed import RenamedReport
from dcm.store.base import TransferMethod

if TYPE_CHECKING:
    from dcm.attrs import Attributes
    from dcm.filt import Filter
    from dcm.instance import Instance
    from dcm.levels import QueryLevel
    from dcm.query import QueryResult
    from dcm.store.base import DataRepo, DataSink, InstanceQueue

__all__ = ["ENOUGH_TO_LOOK_AHEAD", "Target", "Validator", "lost_error"]

log = logging.getLogger(__name__)

_SOP_INSTANCE_UID = 0x00080018

# A node needs so many associations to be asked for the next studies while these move.
ENOUGH_TO_LOOK_AHEAD = 5

#: Says why an instance must not be copied, '' where nothing speaks against it.
Validator: TypeAlias = "Callable[[Instance], str]"


class Target:
    """A destination, how data gets there, and what has made it useless.

    Parameters
    ----------
    sink : DataSink
    name : str
        What the report calls it.
    filt : Filter or None
    method : TransferMethod
    report : TransferReport
    claimed : dict of str to str, optional
        Which UID has been taken for which instance, see `claim`; other sources may share it.

    Attributes
    ----------
    error : DcmError or None
        Why nothing gets there any more.
    comparable : bool
        Whether it can be asked what it has; until it turns out that it cannot.
    """

    def __init__(
        self,
        sink: DataSink,
        name: str,
        filt: Filter | None,
        method: TransferMethod,
        report: TransferReport,
        claimed: dict[str, str] | None = None,
    ) -> None:
        self.sink = sink
        self.name = name
        self.filt = filt
        self.method = method
        self.error: DcmError | None = None
        # A file that is to be moved goes from its source even if the destination has the same bytes already.
        self.comparable = sink.features.queryable and method is not TransferMethod.MOVE
        self._report = report
        self._renamed = RenamedReport(report) if filt is not None else None
        # Whether the filter may give two instances one UID, and who has which.
        self._merges = filt is not None and _SOP_INSTANCE_UID in filt.write_elems - filt.invertible_elems
        self._claimed = claimed if claimed is not None else {}
        self._queue: InstanceQueue | None = None
        self._stack = contextlib.AsyncExitStack()
        self._n_placing = 0
        self._used = False

    @property
    def is_remote(self) -> bool:
        """Whether the source itself sends there."""
        return self.method is TransferMethod.REMOTE_COPY

    @property
    def image(self) -> Callable[[Attributes], Attributes | None] | None:
        """What the filter makes of the identifiers in a record, where it may change them or keep something back."""
        return self.filt.on_record if self.filt is not None else None

    async def ask(self, level: QueryLevel, within: QueryResult) -> QueryResult | None:
        """What it has of some data; None where it cannot be asked, now and later."""
        repo: DataRepo[Any] = self.sink  # type: ignore[assignment]
        try:
            await self._make_room()
            return await repo.query(level, None, within, QueryReport())
        except ConnectionFailedError as error:
            # What cannot be reached for a question cannot be reached with data.
            self.error = error
        except NetworkError as error:
            # A plain C-STORE provider, say: it may well take data.
            log.info("%s cannot be asked what it has, and gets everything: %s", self.sink, error.message)
        except (StoreError, UsageError) as error:
            # A directory that is still to be made.
            log.info("nothing is known of %s: %s", self.sink, error.message)
        self.comparable = False
        return None

    async def open(self, stack: contextlib.AsyncExitStack) -> None:
        """Make it ready.

        Raises
        ------
        UsageError
            Nothing can be stored there.
        """
        if self.is_remote:
            return
        self._stack = await stack.enter_async_context(contextlib.AsyncExitStack())
        try:
            await self._begin()
        except StoreError as error:
            raise UsageError(error.message, hint=error.hint) from error

    async def _begin(self) -> None:
        report = self._renamed or self._report
        self._queue = await self._stack.enter_async_context(self.sink.send(report, dest=self.name, method=self.method))

    async def _make_room(self) -> None:
        """End what is open to send on, where so little is allowed that it could not be asked at the same time."""
        few = 0 < self.sink.features.at_once < ENOUGH_TO_LOOK_AHEAD
        if not (few and self._used) or self._n_placing:
            return
        self._used, self._queue = False, None
        try:
            await self._stack.aclose()
        finally:
            await self._begin()

    async def place(self, instance: Instance, original: Instance | None = None) -> bool:
        """Place an instance; a destination that is lost fails by itself, the others go on.

        Parameters
        ----------
        instance : Instance
        original : Instance, optional
            What the filter has made it from: the report knows it by that.
        """
        if original is None or self._renamed is None:
            return await self._place(instance, instance.sop_instance_uid)
        if not self.claim(instance.sop_instance_uid, original.sop_instance_uid):
            return False
        # It is not forgotten where we are cancelled: what is in a thread's hands is reported later.
        self._renamed.begin(instance.sop_instance_uid, original.sop_instance_uid)
        placed = await self._place(instance, original.sop_instance_uid)
        self._renamed.end(instance.sop_instance_uid)
        return placed

    async def _place(self, instance: Instance, uid: str) -> bool:
        if self._queue is not None and self.error is None:
            self._used = True
            self._n_placing += 1
            try:
                return await self._queue.place(instance)
            except NetworkError as error:
                self.error = error
            finally:
                self._n_placing -= 1
        reason = self.error.message if self.error is not None else ""
        refused = isinstance(self.error, NetworkError)
        self._report.record(uid, Outcome.FAILED, dest=self.name, reason=reason, refused=refused)
        return False

    def claim(self, uid: str, original: str) -> bool:
        """Take a UID for what the filter has made of an instance; False where it is another's, which is recorded.

        Only one of the two could be there, and nobody would miss the other one.
        """
        if not self._merges or self._claimed.setdefault(uid, original) == original:
            return True
        reason = "the filter gives it the UID of another instance"
        self._report.record(original, Outcome.FAILED, dest=self.name, reason=reason)
        return False

    def settled(self, uid: str) -> bool:
        """Whether an instance is known to be there: another source, or an earlier try, has brought it."""
        state = self._report.state(uid, self.name)
        return state is not None and (state.good or state is Outcome.CONFLICT)


def lost_error(targets: Sequence[Target]) -> DcmError:
    """Why no destination is left; that one cannot be reached says more than that it is full."""
    errors = [target.error for target in targets if target.error is not None]
    return next((error for error in errors if isinstance(error, NetworkError)), errors[0])
