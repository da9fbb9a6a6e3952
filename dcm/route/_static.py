"""A route that takes everything to the same destinations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dcm.errors import UsageError
from dcm.route._way import Way
from dcm.store.base import TransferMethod

if TYPE_CHECKING:
    from dcm.filt import Filter
    from dcm.store.base import DataSink

__all__ = ["StaticRoute", "check_methods"]


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
    name : str, optional
        For messages. Two routes that differ in it only are equal.

    Raises
    ------
    UsageError
        No destination, no method, or a filter where the instances do not pass through us.
    """

    dests: tuple[DataSink, ...]
    filt: Filter | None = None
    methods: tuple[TransferMethod, ...] = (TransferMethod.PROXY,)
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dests", tuple(self.dests))
        object.__setattr__(self, "methods", tuple(self.methods))
        if not self.dests:
            raise UsageError("a route without a destination")
        check_methods(self.methods, self.filt)

    @property
    def ways(self) -> tuple[Way, ...]:
        """Its destinations, each with what happens on the way there."""
        return tuple([Way(sink, self.filt, self.methods, self.name) for sink in self.dests])

    def __str__(self) -> str:
        return self.name or f"to {', '.join(map(str, self.dests))}"


def check_methods(methods: Sequence[TransferMethod], filt: Filter | None) -> None:
    """Raise UsageError where there is no method, or a filter and none by which instances pass through us."""
    if not methods:
        raise UsageError("a route without a transfer method")
    if filt is not None and TransferMethod.PROXY not in methods:
        raise UsageError(
            f"an edit or another filter cannot change what gets there by {methods[0].value}",
            hint="instances are filtered on their way through us: that is method 'proxy'",
        )
