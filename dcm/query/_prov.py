"""Where a query result comes from, so that a later step need not be told again, nor ask again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dcm.errors import UsageError
from dcm.node import DcmNode

__all__ = ["QueryProv"]


@dataclass(frozen=True, init=False)
class QueryProv:
    """How a query result came about.

    Parameters
    ----------
    source : DcmNode or str, optional
        Where the data is: a node's address (the settings of a `RemoteNode` are left out), or a name from the
        configuration, an inline node or a directory as one gives it on the command line.
    queried_elems : iterable of str, optional
        The keywords that were asked for. An attribute that is not among them may be absent from the answers although
        the data has it.
    removed_existing_on : DcmNode or str, optional
        A place whose data has been taken out of the result: what is left is not there.
    """

    source: DcmNode | str | None = None
    queried_elems: frozenset[str] | None = None
    removed_existing_on: DcmNode | str | None = None

    def __init__(
        self,
        source: DcmNode | str | None = None,
        queried_elems: Iterable[str] | None = None,
        removed_existing_on: DcmNode | str | None = None,
    ) -> None:
        if isinstance(queried_elems, str):
            raise UsageError(f"queried_elems must be several keywords, not the text {queried_elems!r}")
        object.__setattr__(self, "source", _address(source))
        object.__setattr__(self, "queried_elems", None if queried_elems is None else frozenset(queried_elems))
        object.__setattr__(self, "removed_existing_on", _address(removed_existing_on))

    def __bool__(self) -> bool:
        """Whether anything is known."""
        return self != _NOTHING

    def merged(self, other: QueryProv) -> QueryProv:
        """What is true of the data of both: places on which the two agree, keywords that both were asked for."""
        elems = None
        if self.queried_elems is not None and other.queried_elems is not None:
            elems = self.queried_elems & other.queried_elems
        return QueryProv(
            self.source if self.source == other.source else None,
            elems,
            self.removed_existing_on if self.removed_existing_on == other.removed_existing_on else None,
        )


def _address(place: DcmNode | str | None) -> DcmNode | str | None:
    return place.address if isinstance(place, DcmNode) else place


_NOTHING = QueryProv()
