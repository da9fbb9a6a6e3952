"""How a directory writes what it is given: one instance, or many with one wait for the disk for all of their names."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from dcm.errors import InvalidDicomError, StoreError
from dcm.instance import Instance
from dcm.report import Outcome
from dcm.store._methods import placing_for
from dcm.store._placing import Conflict, Named
from dcm.store._tree import Tree, store_error
from dcm.store.base import TransferMethod

__all__ = ["Member", "Writer"]

Member: TypeAlias = tuple[Sequence[str], Instance]
"""An instance with its path below the root."""


class Writer:
    """Gives instances their names below a root. Thread-safe.

    Parameters
    ----------
    tree : Tree
        The root, and the directories below it.
    safe_tree : Tree
        The same, where new directories are synced: what is moved must be safe before its source goes.
    conflict : Conflict
        What to do where something else has the name of an instance.
    sync : bool
        Return only when files and names are on stable storage.
    extension : str
        The end of names that a mark goes before.
    keeps : bool, optional
        Replace nothing, whatever `conflict` says.
    """

    def __init__(
        self,
        tree: Tree,
        safe_tree: Tree,
        *,
        conflict: Conflict,
        sync: bool,
        extension: str,
        keeps: bool = False,
    ) -> None:
        self._tree = tree
        self._safe_tree = safe_tree
        self._conflict = conflict
        self._sync = sync
        self._extension = extension
        self._keeps = keeps
        self._root = os.fspath(tree.path).rstrip("/")

    def store(self, parts: Sequence[str], instance: Instance, method: TransferMethod) -> Named:
        """Write an instance, unless it is there already; see `LocalDir.store`."""
        try:
            try:
                return self._place(parts, instance, method)
            except FileNotFoundError:
                # Another thread has made the directory, failed, and removed it from under us.
                return self._place(parts, instance, method)
        except OSError as exc:
            raise store_error(exc, "/".join([self._root, *parts])) from exc

    def store_each(
        self, members: Iterable[Member], method: TransferMethod
    ) -> Iterator[Named | StoreError | InvalidDicomError]:
        """Write instances, as `store` does; see `LocalDir.store_each`."""
        for directories, group in itertools.groupby(members, key=lambda member: member[0][:-1]):
            left = list(group)
            while left:
                done = self._store_together(directories, left, method)
                yield from done
                if len(done) < len(left):
                    # The one that failed: with an error of its own, if it does so again.
                    yield self._stored_or_error(*left[len(done)], method)
                left = left[len(done) + 1 :]

    def _store_together(
        self, directories: Sequence[str], members: Sequence[Member], method: TransferMethod
    ) -> Sequence[Named | StoreError]:
        """Write the first of some instances of one directory: all of them, unless one fails.

        All files are synced before they have names, and all names together in the end.
        """
        tree = self._safe_tree if method is TransferMethod.MOVE else self._tree
        where = "/".join([self._root, *directories])
        # The source of what is moved goes at once, so that each has to be safe by itself.
        together = self._sync and method is not TransferMethod.MOVE
        done: list[Named] = []
        error: StoreError | None = None
        with contextlib.suppress(OSError, StoreError, InvalidDicomError), tree.directory(directories) as dir_fd:
            try:
                for parts, instance in members:
                    done.append(self._place_in(dir_fd, where, parts[-1], instance, method, name_later=together))
            finally:
                if together and done:
                    error = self._synced(dir_fd, directories)
        return done if error is None else [error] * len(done)

    def _synced(self, dir_fd: int, directories: Sequence[str]) -> StoreError | None:
        """Put all names in a directory on stable storage; why that failed."""
        try:
            os.fsync(dir_fd)
        except OSError as exc:
            # It is not tried again: a second fsync() says that all is well, whatever the first has lost.
            error = store_error(exc, "/".join([self._root, *directories]))
            error.__cause__ = exc
            return error
        return None

    def _stored_or_error(
        self, parts: Sequence[str], instance: Instance, method: TransferMethod
    ) -> Named | StoreError | InvalidDicomError:
        try:
            return self.store(parts, instance, method)
        except (StoreError, InvalidDicomError) as exc:
            return exc

    def _place(self, parts: Sequence[str], instance: Instance, method: TransferMethod) -> Named:
        tree = self._safe_tree if method is TransferMethod.MOVE else self._tree
        with tree.directory(parts[:-1]) as dir_fd:
            return self._place_in(dir_fd, "/".join([self._root, *parts[:-1]]), parts[-1], instance, method)

    def _place_in(
        self,
        dir_fd: int,
        where: str,
        name: str,
        instance: Instance,
        method: TransferMethod,
        *,
        name_later: bool = False,
    ) -> Named:
        kind = placing_for(method, instance)
        if not self._sync and kind.named_at_once(instance, dir_fd, name):
            return Named(name, Outcome.SENT)
        placing = kind(instance, dir_fd, where, conflict=self._conflict, sync=self._sync, name_later=name_later)
        placing.keeps = self._keeps
        return placing.place(name, self._extension)
