"""A route that takes everything to the same destinations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dcm.errors import UsageError
from dcm.store.base import TransferMethod

if TYPE_CHECKING:
    from dcm.filt import Filter
    from dcm.store.base import DataSink

__all__ = ["StaticRoute"]


@dataclass(frozen=True)
class StaticRoute:
    """Everything goes to the same destinations.

    Parameters
    ----------
    dests : tuple of DataSink
        Where to.
    filt : Filter, optional
        What becomes of each instance on the way; it may also keep some from going.
    methods : tuple of TransferMethod
        How they get there, best first: the first that source and destination can do.

    Raises
    ------
    UsageError
        No destination, no method, or a filter where the instances do not pass through us.
    """

    dests: tuple[DataSink, ...]
    filt: Filter | None = None
    methods: tuple[TransferMethod, ...] = (TransferMethod.PROXY,)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dests", tuple(self.dests))
        object.__setattr__(self, "methods", tuple(self.methods))
        if not self.dests:
            raise UsageError("a route without a destination")
        if not self.methods:
            raise UsageError("a route without a transfer method")
        if self.filt is not None and TransferMethod.PROXY not in self.methods:
            raise UsageError(
                f"an edit or another filter cannot change what gets there by {self.methods[0].value}",
                hint="instances are filtered on their way through us: that is method 'proxy'",
            )
