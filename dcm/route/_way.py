"""One destination of an instance, and what happens on the way there."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dcm.errors import RouteError, UsageError
from dcm.store.base import TransferMethod

if TYPE_CHECKING:
    from dcm.filt import Filter
    from dcm.store.base import DataSink

__all__ = ["UnroutedError", "Way", "refuse_lookalikes", "same_sink", "sink_key"]


@dataclass(frozen=True)
class Way:
    """One destination of an instance, and what happens on the way there.

    Parameters
    ----------
    sink : DataSink
        Where to.
    filt : Filter, optional
        What becomes of it on the way.
    methods : tuple of TransferMethod, optional
        How it may get there, best first.
    route : str, optional
        The route that it comes from, for messages.

    Attributes
    ----------
    key : str
        The same for the same destination and the same filter, in every process: what a journal knows it by.
    """

    sink: DataSink
    filt: Filter | None = None
    methods: tuple[TransferMethod, ...] = (TransferMethod.PROXY,)
    route: str = field(default="", compare=False)
    key: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        key = sink_key(self.sink)
        object.__setattr__(self, "key", f"{key} | {self.filt.fingerprint}" if self.filt is not None else key)

    def __str__(self) -> str:
        return f"{self.sink} through {self.filt.name}" if self.filt is not None else str(self.sink)


class UnroutedError(RouteError):
    """Some routes do not say where an instance goes.

    Attributes
    ----------
    ways : tuple of Way
        Where the other routes send it, as far as that does not depend on those that say nothing: the first route that
        names a destination decides what becomes of the instance on the way there.
    by_route : tuple of tuple of Way
        The same for each route.
    errors : tuple of RouteError
        Why, one for each route that says nothing.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        errors: Sequence[RouteError] = (),
        by_route: Sequence[tuple[Way, ...]] = (),
    ) -> None:
        super().__init__(message, hint=hint)
        self.by_route = tuple(by_route)
        self.ways = tuple([way for ways in by_route for way in ways])
        self.errors = tuple(errors)


def refuse_lookalikes(ways: Iterable[Way], known: dict[str, tuple[object, ...]]) -> None:
    """Refuse ways that have the same key, though their filters do different things: one would be taken for the other.

    Parameters
    ----------
    ways : iterable of Way
    known : dict of str to tuple
        What the filters of those that were seen before are made of, by the key; it is added to.

    Raises
    ------
    UsageError
        There is such a way.
    """
    for way in ways:
        # Those that say what tells them from others are trusted.
        if way.filt is None or all(isinstance(act, str) for act in way.filt.acts):
            continue
        if known.setdefault(way.key, way.filt.acts) != way.filt.acts:
            raise UsageError(
                f"two filters on the way to {way.sink} have the same fingerprint, {way.filt.fingerprint}",
                hint="give each Filter a fingerprint of its own",
            )


def sink_key(sink: DataSink) -> str:
    """What a destination is known by: a directory by its absolute path, wherever the process runs."""
    path = _path_of(sink)
    return str(sink) if path is None else str(path.absolute())


def same_sink(one: DataSink, other: DataSink) -> bool:
    """Whether two destinations are one; a directory within another one is another one."""
    if one is other:
        return True
    paths = _path_of(one), _path_of(other)
    if paths[0] is not None and paths[1] is not None:
        return _real(paths[0].absolute()) == _real(paths[1].absolute())
    return one.overlaps(other)


def _path_of(sink: DataSink) -> Path | None:
    path = getattr(sink, "path", None)
    return path if isinstance(path, Path) else None


@functools.lru_cache(maxsize=1024)
def _real(path: Path) -> Path:
    return path.resolve()
