"""Names for the places in the hierarchy: a node, and the path that leads to it."""

from __future__ import annotations

from dataclasses import dataclass

from dcm.levels import QueryLevel

__all__ = ["DataNode", "DataPath"]


@dataclass(frozen=True, slots=True)
class DataNode:
    """A patient, study, series or instance.

    Parameters
    ----------
    level : QueryLevel
        Which of them it is.
    uid : str
        Its unique key (PS3.4 section C.6): the PatientID, or the UID at its level.
    """

    level: QueryLevel
    uid: str


@dataclass(frozen=True, slots=True)
class DataPath:
    """The way from a patient down to a node.

    Parameters
    ----------
    level : QueryLevel
        The level of the node that it leads to.
    uids : tuple of str
        The unique keys from the patient down: one more than the number of the level.

    Raises
    ------
    ValueError
        There are too many keys for the level, or too few.
    """

    level: QueryLevel
    uids: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.uids) != self.level + 1:
            raise ValueError(
                f"a path to {self.level.name} level has {self.level + 1} unique keys, not {len(self.uids)}"
            )

    @classmethod
    def from_uids(cls, uids: tuple[str, ...]) -> DataPath:
        """The path with these unique keys; their number gives the level."""
        return cls(QueryLevel(len(uids) - 1), tuple(uids))

    @property
    def end(self) -> DataNode:
        """The node that the path leads to."""
        return DataNode(self.level, self.uids[-1])

    @property
    def parent(self) -> DataPath | None:
        """The path to the node above; None for a patient."""
        return DataPath.from_uids(self.uids[:-1]) if self.level else None
