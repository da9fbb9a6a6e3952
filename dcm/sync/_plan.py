"""What must go where: a pure comparison of a source with its destinations, from the coarsest level to the finest.

`planning` is a generator that says which queries it needs, is sent their answers, and returns a `Plan`. It never asks
for more detail than it needs: a study that a destination does not have at all goes as a whole, and nobody is asked for
its series; only for what both have is the next level looked at, down to the instances.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from dcm.errors import UndecidedError
from dcm.levels import QueryLevel
from dcm.query import DataNode, QueryResult

if TYPE_CHECKING:
    from dcm.attrs import Attributes

__all__ = ["Ask", "Dest", "Nodes", "Plan", "PlannedTransfer", "planning"]


@dataclass(frozen=True)
class Dest:
    """What the plan has to know of a destination.

    Parameters
    ----------
    comparable : bool
        Whether it can be asked what it has. One that cannot gets everything.
    image : callable, optional
        What the filter on the way there makes of the identifiers in a record, None where it lets nothing through. It
        raises `UndecidedError` where the record does not tell.
    alone : bool
        Its transfers name exactly what it misses, and are not shared: the source itself sends them.
    """

    comparable: bool = True
    image: Callable[[Attributes], Attributes | None] | None = None
    alone: bool = False


class Ask(NamedTuple):
    """A query that the plan needs: the nodes at a level within those of a result.

    `who` is the number of a destination, or None for the source.
    """

    who: int | None
    level: QueryLevel
    within: QueryResult


@dataclass
class Nodes:
    """Whole nodes of what a source has, at any level."""

    _nodes: dict[QueryLevel, set[str]] = field(default_factory=dict)

    def add(self, level: QueryLevel, uid: str) -> None:
        """Take all of a node in."""
        self._nodes.setdefault(level, set()).add(uid)

    def has(self, uids: Sequence[str]) -> bool:
        """Whether a node, given by the UIDs on the way from its patient down to it, is one of them or in one."""
        return any(level < len(uids) and uids[level] in nodes for level, nodes in self._nodes.items())


class PlannedTransfer(NamedTuple):
    """Data that is fetched together.

    Parameters
    ----------
    query_res : QueryResult
        Which it is.
    dests : tuple of int
        Who wants all or some of it.
    partial : frozenset of int
        Those of them who want only some: see `Plan.wanted`.
    """

    query_res: QueryResult
    dests: tuple[int, ...]
    partial: frozenset[int] = frozenset()


@dataclass
class Verdict:
    """What was found out for one destination.

    Attributes
    ----------
    wanted : Nodes
        What it misses, each at the coarsest level where all of it is missing.
    present : list of (str, str)
        SOP instance and series UIDs of what it has.
    names : dict of str to str
        What these are called there, where a filter may give them other UIDs.
    trusted : Nodes
        What it has, as equal counts say.
    n_trusted : int
        How many instances are in that, beyond what is fetched for others anyway.
    rejected : list of (str, str)
        SOP instance and series UIDs of what the filter keeps from it.
    kept_back : Nodes
        What the filter keeps from it as a whole.
    n_rejected : int
        How many instances are in that, as counts say, beyond what is fetched for others anyway.
    """

    wanted: Nodes = field(default_factory=Nodes)
    present: list[tuple[str, str]] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    trusted: Nodes = field(default_factory=Nodes)
    n_trusted: int = 0
    rejected: list[tuple[str, str]] = field(default_factory=list)
    kept_back: Nodes = field(default_factory=Nodes)
    n_rejected: int = 0


class Plan(NamedTuple):
    """The result of a comparison: what to fetch, each instance once, and what was found out for each destination."""

    transfers: list[PlannedTransfer]
    verdicts: list[Verdict]
    n_numbered: int = 0  #: how many instances are known by number only at all destinations


Answers: TypeAlias = "Sequence[QueryResult | None]"


def planning(
    source: QueryResult,
    dests: Sequence[Dest],
    *,
    trust_level: QueryLevel = QueryLevel.IMAGE,
    force_all: bool = False,
) -> Generator[list[Ask], Answers, Plan]:
    """Find out what of a source is missing where.

    Parameters
    ----------
    source : QueryResult
        What the source has, at any level. Nothing beyond it is ever transferred.
    dests : sequence of Dest
    trust_level : QueryLevel
        From this level on, a node with equal counts of instances at both ends counts as the same. At IMAGE level, which
        is the safe one, only the UIDs of instances count.
    force_all : bool
        Everything goes everywhere.

    Yields
    ------
    list of Ask
        Queries; the answers are to be sent in the same order, None for one that failed.

    Returns
    -------
    Plan
    """
    layer = _Layer(min(source.level, QueryLevel.STUDY), source)
    layers = [layer]
    compared = [_Compared(i, dest) for i, dest in enumerate(dests)]
    for one in compared:
        one.begin(layer, whole=force_all or not one.dest.comparable)
    if asked := [one for one in compared if one.undecided]:
        answers = yield [one.ask(layer.level) for one in asked]
        for one, answer in zip(asked, answers, strict=True):
            one.judge(layer, list(one.undecided), answer, trust_level)
    while asked := [one for one in compared if one.undecided]:
        above, level = layer, QueryLevel(layer.level + 1)
        asks = [one.ask(level) for one in asked]
        part = above.part({uid for one in asked for uid in one.undecided})
        if part.level < level:
            # The source is asked for more detail at the same time as the destinations.
            *answers, finer = yield [*asks, Ask(None, level, part)]
            part = finer if finer is not None else QueryResult(level)
        else:
            answers = yield asks
        layer = _Layer(level, part)
        layers.append(layer)
        for one, answer in zip(asked, answers, strict=True):
            one.descend(above, layer, answer, trust_level)
    alone = [[one] for one in compared if one.dest.alone]
    groups = [[one for one in compared if not one.dest.alone], *alone]
    transfers = [transfer for group in groups for transfer in _transfers(layers, group)]
    return Plan(transfers, [one.verdict for one in compared], _n_numbered(compared))


class _Layer:
    """What the source has at one level, as far as it had to be looked at."""

    def __init__(self, level: QueryLevel, data: QueryResult) -> None:
        self.level = level
        self.data = data
        self.nodes = data if data.level is level else data.reduced(level)
        self.paths = {path.uids[-1]: path.uids for path in self.nodes.level_paths(level)}
        self.children: dict[str, list[str]] = {}
        if level:
            for uid, uids in self.paths.items():
                self.children.setdefault(uids[-2], []).append(uid)

    def record(self, uid: str) -> Attributes:
        return self.nodes.record(DataNode(self.level, uid))

    def n_instances(self, uid: str) -> int | None:
        return self.nodes.n_instances(DataNode(self.level, uid))

    def part(self, uids: Iterable[str]) -> QueryResult:
        """The source's data within some of the nodes."""
        return QueryResult(self.data.level, list(self._records(uids)), self.data.prov)

    def _records(self, uids: Iterable[str]) -> Iterator[Attributes]:
        for uid in uids:
            if self.data.level is self.level:
                yield self.record(uid)
            else:
                yield from self.data.sub_query(DataNode(self.level, uid)).records()

    @property
    def counts_whole_nodes(self) -> bool:
        """Whether its counts are of the nodes as they are in the source, and not of the part that is wanted."""
        return self.data.level is self.level


class _Compared:
    """A destination while it is compared, level by level."""

    def __init__(self, number: int, dest: Dest) -> None:
        self.number = number
        self.dest = dest
        self.verdict = Verdict()
        self.wanted: list[tuple[QueryLevel, str]] = []
        self.trusted: list[tuple[Sequence[str], int]] = []
        self.rejected: list[tuple[Sequence[str], int]] = []
        # Nodes of the last level looked at of which nothing is known yet, and what they are called at the destination.
        self.undecided: dict[str, Attributes] = {}

    def ask(self, level: QueryLevel) -> Ask:
        records = list(self.undecided.values())
        # It is asked within the nodes that it is known to have; at first, whether it has them.
        return Ask(self.number, level, QueryResult(self._level_of_undecided, records))

    def begin(self, layer: _Layer, *, whole: bool) -> None:
        """Look at the coarsest nodes."""
        self._level_of_undecided = layer.level
        for uid in layer.paths:
            if (image := self._image(layer, uid)) is None:
                continue
            if whole:
                self._want(layer, uid)
            else:
                self.undecided[uid] = image

    def descend(self, above: _Layer, layer: _Layer, answer: QueryResult | None, trust_level: QueryLevel) -> None:
        """Look at what is below the nodes on which nothing is decided."""
        uids: list[str] = []
        for uid in self.undecided:
            below = layer.children.get(uid)
            if below is None:
                # The source does not say what is in it: ask for all, and see.
                self._want(above, uid)
            else:
                uids += below
        self.judge(layer, uids, answer, trust_level)

    def judge(self, layer: _Layer, uids: Iterable[str], answer: QueryResult | None, trust_level: QueryLevel) -> None:
        """Compare nodes of the source with what the destination says."""
        level = layer.level
        images = self.undecided if self._level_of_undecided is level else {}
        there = set(answer.uids()) if answer is not None else set()
        self._level_of_undecided = level
        undecided: dict[str, Attributes] = {}
        for uid in uids:
            image = images.get(uid) or self._image(layer, uid)
            if image is None:
                continue
            name = image.text(level.uid_tag)
            if name not in there:
                self._want(layer, uid)
            elif level is QueryLevel.IMAGE:
                self.verdict.present.append((uid, layer.paths[uid][-2]))
                if self.dest.image is not None:
                    self.verdict.names[uid] = name
            elif trust_level <= level and answer is not None and self._same_count(layer, uid, answer, name):
                self.verdict.trusted.add(level, uid)
                self.trusted.append((layer.paths[uid], layer.n_instances(uid) or 0))
            else:
                undecided[uid] = image
        self.undecided = undecided

    @staticmethod
    def _same_count(layer: _Layer, uid: str, answer: QueryResult, name: str) -> bool:
        here = layer.n_instances(uid)
        return bool(here) and layer.counts_whole_nodes and here == answer.n_instances(DataNode(layer.level, name))

    def _image(self, layer: _Layer, uid: str) -> Attributes | None:
        """What a node is called at the destination; None where that is settled already."""
        record = layer.record(uid)
        if self.dest.image is None:
            return record
        try:
            image = self.dest.image(record)
        except UndecidedError:
            # Only its data sets will tell.
            self._want(layer, uid)
            return None
        if image is None:
            if layer.level is QueryLevel.IMAGE:
                self.verdict.rejected.append((uid, layer.paths[uid][-2]))
            else:
                self.verdict.kept_back.add(layer.level, uid)
                self.rejected.append((layer.paths[uid], layer.n_instances(uid) or 0))
        return image

    def _want(self, layer: _Layer, uid: str) -> None:
        self.verdict.wanted.add(layer.level, uid)
        self.wanted.append((layer.level, uid))


def _transfers(layers: Sequence[_Layer], group: Sequence[_Compared]) -> Iterator[PlannedTransfer]:
    """What several destinations miss, each node once, with all of those that want some of it."""
    cover: dict[tuple[QueryLevel, str], set[int]] = {}
    partial: dict[tuple[QueryLevel, str], set[int]] = {}
    for layer in layers:
        for one in group:
            for uid in (uid for level, uid in one.wanted if level is layer.level):
                node, whole = _covering(cover, layer.paths[uid])
                cover.setdefault(node, set()).add(one.number)
                if not whole:
                    partial.setdefault(node, set()).add(one.number)
    for one in group:
        # What comes all the same, because others want it, is counted one by one when it does.
        one.trusted = [(uids, n) for uids, n in one.trusted if one.number not in _wanting(cover, uids)]
        one.rejected = [(uids, n) for uids, n in one.rejected if one.number not in _wanting(cover, uids)]
        one.verdict.n_trusted = sum(n for _, n in one.trusted)
        one.verdict.n_rejected = sum(n for _, n in one.rejected)
    for layer in layers:
        together: dict[tuple[frozenset[int], frozenset[int]], list[str]] = {}
        for node, dests in cover.items():
            if node[0] is layer.level:
                key = frozenset(dests), frozenset(partial.get(node, ()))
                together.setdefault(key, []).append(node[1])
        for (wanting, some), uids in together.items():
            yield PlannedTransfer(layer.part(uids), tuple(sorted(wanting)), some)


def _n_numbered(compared: Sequence[_Compared]) -> int:
    """How many instances no destination's states will name."""
    counted = [{tuple(uids): n for uids, n in (*one.trusted, *one.rejected)} for one in compared]
    everywhere = {
        uids: n
        for nodes in counted
        for uids, n in nodes.items()
        if all(any(uids[:end] in others for end in range(1, len(uids) + 1)) for others in counted)
    }
    return sum(n for uids, n in everywhere.items() if not any(uids[:end] in everywhere for end in range(1, len(uids))))


def _wanting(cover: dict[tuple[QueryLevel, str], set[int]], uids: Sequence[str]) -> set[int]:
    """Who is handed a node, or more than that."""
    return cover.get(_covering(cover, uids)[0], set())


def _covering(
    cover: dict[tuple[QueryLevel, str], set[int]], uids: Sequence[str]
) -> tuple[tuple[QueryLevel, str], bool]:
    """The coarsest node on the way to one that is fetched anyway, or it itself; and whether it is itself."""
    *above, uid = uids
    for level, name in enumerate(above):
        if (node := (QueryLevel(level), name)) in cover:
            return node, False
    return (QueryLevel(len(above)), uid), True
