"""A route whose destinations depend on the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dcm.attrs import Attributes
from dcm.errors import DcmError, InvalidDicomError, RouteError, UndecidedError, UsageError
from dcm.filt._filter import require, tags_of
from dcm.filt._selectors import ANSWERS_ONLY
from dcm.keywords import keyword_of
from dcm.levels import QueryLevel
from dcm.query._keys import level_of
from dcm.route._map import SelectorDestMap, distinct
from dcm.route._static import check_methods
from dcm.route._values import read_record
from dcm.route._way import Way
from dcm.store.base import TransferMethod

if TYPE_CHECKING:
    from pydicom import Dataset

    from dcm.filt import Filter
    from dcm.filt._filter import Elements
    from dcm.instance import Instance
    from dcm.store.base import DataSink

__all__ = ["DynamicRoute"]

_PROXY = (TransferMethod.PROXY,)


@dataclass(frozen=True, eq=False)
class DynamicRoute:
    """Where data goes depends on what is in it.

    Parameters
    ----------
    lookup : callable
        Takes a data set and gives its destinations; none, or None, where it goes nowhere on purpose. A
        `SelectorDestMap`, or a function: it is given a Dataset that it may keep, and raises `RouteError` where it
        does not know.
    route_level : QueryLevel, optional
        What stays together: the decision is made once for each patient, study, series or instance, on the data as it
        was before any filter.
    required_elems : iterable of keywords or tags, optional
        The elements that a function looks at; it is given these and no others. If there are none, nobody knows, and
        it is given the whole data set: nothing can be decided by a query then. A `SelectorDestMap` knows its own.
    dest_methods : mapping of DataSink to sequence of TransferMethod, optional
        How data gets to a destination, best first, where that is known before it moves (`Router.pre_route`). Those of
        None apply to all others; `TransferMethod.PROXY` where nothing else is said.
    filt : Filter, optional
        What becomes of each instance on the way.
    dest_filters : mapping of DataSink to Filter or None, optional
        What becomes of it on the way to some destinations instead. Two objects may stand for the same destination, each
        with its filter: an instance goes there once, as the first of them that is named.
    name : str, optional
        For messages.

    Attributes
    ----------
    tags : frozenset of int or None
        The elements that decide; None where nobody knows.
    all_dests : tuple of DataSink or None
        Every destination that there can be; None where nobody knows.

    Raises
    ------
    UsageError
        What is excluded depends on more than what all instances of a patient, study or series have in common, where the
        decision is for all of them: one would keep the others out. An element that no instance has, because archives
        make it up for an answer (ModalitiesInStudy); methods that do not go with the filter.
    """

    lookup: Callable[[Dataset], Sequence[DataSink] | None]
    route_level: QueryLevel = QueryLevel.STUDY
    required_elems: Elements = ()
    dest_methods: Mapping[DataSink | None, Sequence[TransferMethod]] | None = None
    filt: Filter | None = None
    name: str = ""
    dest_filters: Mapping[DataSink, Filter | None] | None = None
    tags: frozenset[int] | None = field(init=False, repr=False)
    all_dests: tuple[DataSink, ...] | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        lookup = self.lookup
        required = tags_of(self.required_elems)
        if isinstance(lookup, SelectorDestMap):
            required |= lookup.required_elems
        known = required.is_finite and (bool(required) or isinstance(lookup, SelectorDestMap))
        tags = frozenset(required) if known else None
        made_up = sorted((tags or frozenset()) & ANSWERS_ONLY)
        if isinstance(lookup, SelectorDestMap):
            _refuse_part(str(self), lookup, QueryLevel(self.route_level))
        if made_up:
            raise UsageError(
                f"{self}: {keyword_of(made_up[0])} is in the answers of archives only, no instance has it",
                hint="a rule for Modality at the series level sends each series where it belongs",
            )
        for sink, methods in (self.dest_methods or {}).items():
            check_methods(tuple(methods), self.filt if sink is None else self.filter_to(sink))
        for sink in self.dest_filters or ():
            check_methods(self.methods_to(sink), self.filter_to(sink))
        object.__setattr__(self, "route_level", QueryLevel(self.route_level))
        object.__setattr__(self, "tags", tags)
        object.__setattr__(self, "all_dests", lookup.all_dests if isinstance(lookup, SelectorDestMap) else None)

    def __str__(self) -> str:
        return self.name or "a dynamic route"

    @property
    def ways(self) -> tuple[Way, ...]:
        """All its destinations that are known beforehand, each with what happens on the way there."""
        named = self.lookup.named_dests if isinstance(self.lookup, SelectorDestMap) else ()
        ways = [self.way(sink) for sink in named]
        return tuple({way.key: way for way in reversed(ways)}.values())[::-1]

    def way(self, sink: DataSink) -> Way:
        """How an instance gets to one of its destinations."""
        return Way(sink, self.filter_to(sink), self.methods_to(sink), self.name)

    def filter_to(self, sink: DataSink) -> Filter | None:
        """What becomes of an instance on the way to a destination."""
        return (self.dest_filters or {}).get(sink, self.filt)

    def methods_to(self, sink: DataSink) -> tuple[TransferMethod, ...]:
        """How data gets to a destination, best first."""
        given = self.dest_methods or {}
        return tuple(given.get(sink, given.get(None, _PROXY)))

    def decide(self, instance: Instance) -> tuple[DataSink, ...]:
        """Where an instance goes; blocks on the disk unless it is in memory.

        Parameters
        ----------
        instance : Instance
            It stays open, and as it is.

        Returns
        -------
        tuple of DataSink
            Each once; none where it goes nowhere on purpose.

        Raises
        ------
        RouteError
            What decides cannot be read from it, no rule matches, or the lookup failed.
        """
        if self.tags is not None:
            return self.decide_record(self.read(instance))
        if instance.header.complete is False:
            raise RouteError(f"{self}: it is not complete: {instance.header.problem}")
        try:
            ds = instance.dataset
        except InvalidDicomError as error:
            raise RouteError(f"{self}: {error.message}") from error
        return self._look_up(ds)

    def read(self, instance: Instance) -> Attributes:
        """The elements of an instance that decide, as far as it has them and they are known; errors as in `decide`."""
        try:
            return read_record(instance, self.tags or frozenset())
        except RouteError as error:
            raise RouteError(f"{self}: {error.message}") from error

    def decide_record(self, record: Attributes) -> tuple[DataSink, ...]:
        """Where what has exactly these of the elements that decide goes; errors as in `decide`."""
        return self._look_up(record if isinstance(self.lookup, SelectorDestMap) else record.to_dataset())

    def on_record(self, record: Attributes) -> tuple[DataSink, ...]:
        """Where all that a query record stands for goes.

        Parameters
        ----------
        record : Attributes
            Of any level. What is empty in it is unknown: archives answer with an empty value what they do not know.

        Returns
        -------
        tuple of DataSink
            Each once; none where it goes nowhere on purpose.

        Raises
        ------
        UndecidedError
            Where that depends on elements which the record does not hold.
        RouteError
            As in `decide`.
        """
        if self.tags is None:
            raise UndecidedError(f"{self} has to see the data itself")
        if isinstance(self.lookup, SelectorDestMap):
            try:
                return self.lookup.on_record(record)
            except RouteError as error:
                raise RouteError(f"{self}: {error.message}") from error
        require(record, self.tags, str(self))
        return self.decide_record(record.only(self.tags))

    def _look_up(self, ds: Dataset | Attributes) -> tuple[DataSink, ...]:
        try:
            found: Iterable[DataSink] | None = self.lookup(ds)  # type: ignore[arg-type]
            return distinct(found or ())
        except DcmError as error:
            reason = error.message
            raise RouteError(f"{self}: {reason}") from error
        except Exception as error:
            # A lookup is anybody's code. This instance has no destination, and the reason is told; the rest goes on.
            # What it says may quote the data, and this gets into logs and journals.
            raise RouteError(f"{self}: the lookup failed: {type(error).__name__}") from error


def _refuse_part(route: str, rules: SelectorDestMap, level: QueryLevel) -> None:
    """Refuse to let one instance keep others out that nobody wants to exclude."""
    for tag in sorted({tag for selector in rules.exclude for tag in selector.elems}):
        own = level_of(tag)
        own = QueryLevel.IMAGE if own is None else own
        if own > level:
            raise UsageError(
                f"{route}: exclude looks at {keyword_of(tag)}, and decides for a whole {level.name.lower()}: what comes"
                " first would keep out the rest, or let it in",
                hint=f'reject it with the filter of the route, or say route_level = "{own.name.lower()}"',
            )
