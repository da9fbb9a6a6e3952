"""Rules: conditions on data sets, and where what fulfils them goes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dcm._raw import record_of
from dcm.attrs import Attributes
from dcm.errors import DcmError, RouteError, UndecidedError, UsageError
from dcm.filt import parse_selector
from dcm.keywords import keyword_of
from dcm.lazyset import LazySet
from dcm.route._way import same_sink

if TYPE_CHECKING:
    from pydicom import Dataset

    from dcm.filt import Selector
    from dcm.store.base import DataSink

    Rules: TypeAlias = "Mapping[Any, Sequence[DataSink]] | Iterable[tuple[Selector | str, Sequence[DataSink]]]"

__all__ = ["RuleOutcome", "SelectorDestMap", "distinct"]


@dataclass(frozen=True)
class RuleOutcome:
    """What a rule says of a data set.

    Attributes
    ----------
    rule : str
        Its condition; '' for what applies where no rule matches.
    matches : bool
        Whether the data set fulfils it.
    values : dict of str to str
        The values that decided, by keyword; '' for an element that is missing or empty.
    dests : tuple of DataSink
        Where the rule sends what fulfils it.
    excludes : bool
        Whether it keeps what fulfils it from going anywhere.
    used : bool
        Whether it was asked at all: what comes behind the rule that has decided is not.
    """

    rule: str
    matches: bool
    values: dict[str, str]
    dests: tuple[DataSink, ...] = ()
    excludes: bool = False
    used: bool = True


class SelectorDestMap:
    """Where data sets go by rules: the lookup of a `DynamicRoute` that needs no code.

    Parameters
    ----------
    routing_map : sequence of (Selector, sequence of DataSink)
        The rules, in their order: what a selector selects goes to its destinations. A selector may be text, see
        `parse_selector`. A mapping will do, too.
    default_dests : sequence of DataSink, optional
        Where everything else goes; nowhere, on purpose, if there are none in it. Without it, an instance that no rule
        matches is an error that somebody has to look at.
    exclude : sequence of Selector, optional
        What goes nowhere, on purpose, whatever the rules say.
    stop_on_first : bool, optional
        Whether the first rule that matches decides alone. Else the destinations of all that match count.

    Attributes
    ----------
    required_elems : LazySet of int
        The elements that the rules read.
    all_dests : tuple of DataSink
        Every destination that is in the rules.
    named_dests : tuple of DataSink
        The same, as often as it is there as another object: a route may have another filter for each.

    Raises
    ------
    UsageError
        There is nothing in it, or the text of a selector is none.
    """

    def __init__(
        self,
        routing_map: Rules,
        default_dests: Sequence[DataSink] | None = None,
        exclude: Sequence[Selector | str] = (),
        stop_on_first: bool = True,
    ) -> None:
        pairs = routing_map.items() if isinstance(routing_map, Mapping) else routing_map
        self.rules: Final = tuple([(_selector(selector), tuple(dests)) for selector, dests in pairs])
        self.default_dests: Final = None if default_dests is None else tuple(default_dests)
        self.exclude: Final = tuple(map(_selector, exclude))
        self.stop_on_first: Final = stop_on_first
        if not self.rules and self.default_dests is None:
            raise UsageError("rules that send nothing anywhere", hint="give at least one, or default_dests")
        selectors = (*self.exclude, *(selector for selector, _ in self.rules))
        self.required_elems: LazySet[int] = LazySet(tag for selector in selectors for tag in selector.elems)
        groups = [*(dests for _, dests in self.rules), self.default_dests or ()]
        self.named_dests: tuple[DataSink, ...] = tuple(dict.fromkeys(sink for dests in groups for sink in dests))
        self.all_dests: tuple[DataSink, ...] = distinct(self.named_dests)

    def __call__(self, ds: Dataset | Attributes) -> tuple[DataSink, ...]:
        """Where a data set goes; an element that it does not have counts as empty.

        Parameters
        ----------
        ds : Dataset or Attributes
            It stays as it is.

        Returns
        -------
        tuple of DataSink
            Each once; none where it goes nowhere on purpose.

        Raises
        ------
        RouteError
            No rule matches, or a value cannot be compared.
        """
        record = ds if isinstance(ds, Attributes) else record_of(ds, self.required_elems)
        return self._decide(record, lambda selector: _whole(selector, record))

    def on_record(self, record: Attributes) -> tuple[DataSink, ...]:
        """Where all that a query record stands for goes.

        Parameters
        ----------
        record : Attributes
            An element that is empty in it is one of which the archive does not tell: that decides nothing.

        Returns
        -------
        tuple of DataSink

        Raises
        ------
        UndecidedError
            That depends on elements which the record does not hold.
        RouteError
            No rule matches, whatever these are.
        """
        return self._decide(record, lambda selector: _part(selector, record))

    def _decide(self, record: Attributes, ask: Callable[[Selector], bool | None]) -> tuple[DataSink, ...]:
        excluded = [ask(selector) for selector in self.exclude]
        if True in excluded:
            return ()
        if None in excluded:
            raise self._undecided(record)
        found: list[DataSink] = []
        matched = False
        for selector, dests in self.rules:
            answer = ask(selector)
            if answer is None:
                raise self._undecided(record)
            if answer:
                matched = True
                found.extend(dests)
                if self.stop_on_first:
                    break
        if matched:
            return distinct(found)
        if self.default_dests is None:
            raise RouteError("no rule matches")
        return self.default_dests

    def _undecided(self, record: Attributes) -> UndecidedError:
        missing = [keyword_of(tag) for tag in sorted(self.required_elems) if record.get(tag) is None]
        return UndecidedError(f"where it goes depends on {', '.join(missing) or 'more'}")

    def explain(self, record: Attributes) -> list[RuleOutcome]:
        """Each rule, whether it matches, and the values that decided.

        Parameters
        ----------
        record : Attributes
            With all the elements that the rules read, as far as the data set has them.

        Returns
        -------
        list of RuleOutcome
            First what excludes, then the rules in their order, last the default.
        """
        outcomes, open_ = [], True
        for selector in self.exclude:
            matches = _whole(selector, record)
            outcomes.append(RuleOutcome(str(selector), matches, _values(selector, record), (), True))
            open_ = open_ and not matches
        matched = False
        for selector, dests in self.rules:
            matches = _whole(selector, record)
            outcomes.append(RuleOutcome(str(selector), matches, _values(selector, record), dests, False, open_))
            matched = matched or (open_ and matches)
            open_ = open_ and not (matches and self.stop_on_first)
        if self.default_dests is not None:
            used = open_ and not matched
            outcomes.append(RuleOutcome("", used, {}, self.default_dests, False, used))
        return outcomes


def _selector(selector: Selector | str) -> Selector:
    return parse_selector(selector) if isinstance(selector, str) else selector


def _whole(selector: Selector, record: Attributes) -> bool:
    """Whether a selector selects what is known as a whole."""
    try:
        return selector(record)
    except DcmError as error:
        raise RouteError(error.message) from error


def _part(selector: Selector, record: Attributes) -> bool | None:
    """Whether a selector selects all that a record stands for; None where the record does not tell."""
    try:
        return selector.decide(record)
    except DcmError:  # it fails for the data, too, which says for which of it
        return None


def _values(selector: Selector, record: Attributes) -> dict[str, str]:
    return {keyword_of(tag): record.text(tag) for tag in sorted(selector.elems)}


def distinct(sinks: Iterable[DataSink]) -> tuple[DataSink, ...]:
    """Destinations, each once, in their order."""
    found: list[DataSink] = []
    for sink in sinks:
        if not any(same_sink(sink, other) for other in found):
            found.append(sink)
    return tuple(found)
