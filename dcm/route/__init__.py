"""Which instances go to which destinations, what becomes of them on the way, and how they get there.

::

    rules = SelectorDestMap([(parse_selector("Modality == CT"), [archive]), ("Modality in [MR, PT]", [research])])
    router = Router([StaticRoute((backup,)), DynamicRoute(rules, QueryLevel.SERIES)])
    router.decide(instance)             # a Way for each destination
    router.explain(instance)            # each rule, with the values that decided
    await router.pre_route(source)      # the same for what a store holds, by queries as far as they can tell
    async with router.route() as queue: # or send it there
        await queue.put(instance)
"""

from __future__ import annotations

from dcm.route._dynamic import DynamicRoute
from dcm.route._explain import Explained
from dcm.route._map import RuleOutcome, SelectorDestMap
from dcm.route._outlet import Outlet
from dcm.route._router import Router
from dcm.route._static import StaticRoute
from dcm.route._way import UnroutedError, Way

__all__ = [
    "DynamicRoute",
    "Explained",
    "Outlet",
    "Router",
    "RuleOutcome",
    "SelectorDestMap",
    "StaticRoute",
    "UnroutedError",
    "Way",
]
