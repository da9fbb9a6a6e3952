"""Where the refinement of an earlier result begins."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dcm.attrs import Attributes
from dcm.levels import QueryLevel
from dcm.net._request import EMPTY, Node
from dcm.node import QueryModel
from dcm.query import QueryResult
from dcm.query._elements import up_to
from dcm.query._keys import QueryKeys, uid_matches

__all__ = ["Seeds"]


@dataclass(frozen=True)
class Seeds:
    """The nodes of an earlier result that a query is about.

    Attributes
    ----------
    nodes : list of Node
        Each is to be asked below of; those that are at the level of the query itself are the targets of their common
        parent.
    n_nameless : int
        How many patients without a PatientID there are, which cannot be asked for.
    """

    nodes: list[Node]
    n_nameless: int = 0

    @classmethod
    def of(cls, query_res: QueryResult, search_level: QueryLevel, keys: QueryKeys, model: QueryModel) -> Seeds:
        """Take those nodes of a result that the unique keys of a query do not exclude.

        Parameters
        ----------
        query_res : QueryResult
            The result. Where it is finer than what is searched, it counts at that level.
        search_level : QueryLevel
            What is searched.
        keys : QueryKeys
            The keys of the query.
        model : QueryModel
            The information model; in the Study Root all studies are siblings.
        """
        at = min(query_res.level, search_level)
        found = query_res if query_res.level == at else query_res.reduced(at)
        nodes: list[Node] = []
        siblings: dict[tuple[str, ...], tuple[Node, dict[str, Attributes]]] = {}
        orphans: dict[str, Attributes] = {}
        n_nameless = 0
        for record in found.records():
            uids = {level: record.text(level.uid_tag) for level in QueryLevel if level <= at}
            if not all(uid_matches(keys.value(level.uid_tag), uid) for level, uid in uids.items()):
                continue
            uid = uids[at]
            if not uid:
                n_nameless += 1
            elif at < search_level:
                nodes.append(Node(uids, record))
            elif at is QueryLevel.PATIENT or (at is QueryLevel.STUDY and model is QueryModel.STUDY_ROOT):
                orphans[uid] = record.only(up_to(QueryLevel.PATIENT)) if at is QueryLevel.STUDY else EMPTY
            else:
                del uids[at]
                path = tuple(uids.values())
                if path not in siblings:
                    siblings[path] = (Node(uids, record.only(up_to(QueryLevel(at - 1)))), {})
                node, targets = siblings[path]
                targets[uid] = node.context
        if orphans:
            nodes.append(Node(targets=orphans))
        nodes.extend(replace(parent, targets=targets) for parent, targets in siblings.values())
        return cls(nodes, n_nameless)
