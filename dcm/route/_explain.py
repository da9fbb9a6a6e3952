"""Where an instance goes, and why: for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dcm.errors import RouteError
from dcm.keywords import keyword_of
from dcm.levels import QueryLevel
from dcm.route._dynamic import DynamicRoute
from dcm.route._map import RuleOutcome, SelectorDestMap
from dcm.route._static import StaticRoute
from dcm.route._values import node_key

if TYPE_CHECKING:
    from dcm.instance import Instance
    from dcm.route._way import Way
    from dcm.store.base import DataSink

__all__ = ["Explained", "explain_route"]


@dataclass(frozen=True)
class Explained:
    """What a route says of an instance.

    Attributes
    ----------
    route : str
        Its name, or a description.
    level : QueryLevel or None
        What stays together; None for a static route, which asks nothing.
    node : str
        The patient, study, series or instance for which this is decided.
    rules : tuple of RuleOutcome
        Its rules, each with its outcome; none where it has none that could be shown.
    values : dict of str to str
        The values that decided, by keyword.
    dests : tuple of DataSink
        Where it sends the instance.
    ways : tuple of Way
        Those of them that no earlier route has named, with what happens on the way there.
    error : str
        Why that cannot be said; '' where it can.
    """

    route: str
    level: QueryLevel | None
    node: str
    rules: tuple[RuleOutcome, ...]
    values: dict[str, str]
    dests: tuple[DataSink, ...]
    ways: tuple[Way, ...] = ()
    error: str = ""

    def to_json(self) -> dict[str, object]:
        """As a JSON object."""
        return {
            "route": self.route,
            "level": self.level.name if self.level is not None else None,
            "node": self.node,
            "rules": [
                {
                    "rule": rule.rule,
                    "matches": rule.matches,
                    "used": rule.used,
                    "excludes": rule.excludes,
                    "values": rule.values,
                    "dests": list(map(str, rule.dests)),
                }
                for rule in self.rules
            ],
            "values": self.values,
            "dests": list(map(str, self.dests)),
            "ways": [
                {
                    "dest": str(way.sink),
                    "filter": way.filt.name if way.filt is not None else None,
                    "methods": [method.value for method in way.methods],
                    "key": way.key,
                }
                for way in self.ways
            ],
            "error": self.error,
        }


def explain_route(route: StaticRoute | DynamicRoute, instance: Instance) -> Explained:
    """What one route says of an instance; its `ways` are left open."""
    if isinstance(route, StaticRoute):
        return Explained(str(route), None, "", (), {}, route.dests)
    key = node_key(instance, route.route_level)
    node = key[1] if key is not None else instance.sop_instance_uid
    rules: tuple[RuleOutcome, ...] = ()
    values: dict[str, str] = {}
    dests: tuple[DataSink, ...] = ()
    error = ""
    try:
        if route.tags is not None:
            record = route.read(instance)
            values = {keyword_of(tag): record.text(tag) for tag in sorted(route.tags)}
            if isinstance(route.lookup, SelectorDestMap):
                rules = tuple(route.lookup.explain(record))
        dests = route.decide(instance)
    except RouteError as exc:
        error = exc.message
    return Explained(str(route), route.route_level, node, rules, values, dests, (), error)
