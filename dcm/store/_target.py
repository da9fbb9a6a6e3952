"""A directory as a destination: where instances go in it, and getting them there, without event loop and index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from dcm._atomic import TempFile
from dcm.peek import QUERY_TAGS, Header, peek, peek_file
from dcm.store._naming import Naming
from dcm.store._tree import Tree, store_error
from dcm.store._writer import Writer
from dcm.store.base import TransferMethod

if TYPE_CHECKING:
    from pathlib import Path

    from dcm.errors import InvalidDicomError, StoreError
    from dcm.instance import Instance
    from dcm.store._placing import Conflict, Named
    from dcm.template import PathTemplate

__all__ = ["DirTarget"]


class DirTarget:
    """The half of `dcm.store.local_dir.LocalDir` that takes; a process that does nothing else has no more of it.

    Parameters
    ----------
    path : Path
        The root.
    out_fmt : PathTemplate
        Where instances go below it.
    file_ext : str
        What their names end with, without a dot; '' for nothing.
    make_missing, conflict, sync
        As for `dcm.store.local_dir.LocalDir`.
    """

    path: Path

    def __init__(
        self,
        path: Path,
        out_fmt: PathTemplate,
        file_ext: str,
        *,
        make_missing: bool,
        conflict: Conflict,
        sync: bool,
    ) -> None:
        self.path = path
        self.out_fmt = out_fmt
        self.file_ext = file_ext
        self.extension = f".{file_ext}" if file_ext else ""
        self.make_missing = make_missing
        self.conflict = conflict
        self.sync = sync
        self._naming = Naming(out_fmt, self.extension)
        self._tree = Tree(path, make_missing=make_missing, sync=sync)
        # What is moved must be safe before its source goes: new directories are synced, too.
        self._safe_tree = self._tree if sync else Tree(path, make_missing=make_missing, sync=True)
        trees = self._tree, self._safe_tree
        self._writer = Writer(*trees, conflict=conflict, sync=sync, extension=self.extension)
        self._keeper = Writer(*trees, conflict=conflict, sync=sync, extension=self.extension, keeps=True)

    def close(self) -> None:
        """Let go of the open root directory; the next use opens it again."""
        self._tree.close()
        self._safe_tree.close()

    def check(self) -> None:
        """Find out whether anything can be stored here at all, before anything moves. The root is made if missing.

        Raises
        ------
        UsageError
            It is not a directory, or is missing and may not be made.
        StoreError
            It cannot be opened or written to.
        """
        self._tree.renew()
        self._safe_tree.renew()
        self.new_temp().discard()

    def new_temp(self) -> TempFile:
        """Make a file without a name in the root's file system, for an instance that is still arriving.

        Raises
        ------
        StoreError
            Nothing can be made there.
        """
        try:
            with self._tree.root() as root_fd:
                return TempFile.create(root_fd)
        except OSError as exc:
            raise store_error(exc, self.path) from exc

    def parts_of(self, instance: Instance, header: Header | None = None) -> list[str]:
        """Say where an instance goes, as names of directories and of the file; see `path_of`.

        A header with all attributes of `out_fmt`, where somebody has read one, saves another look.
        """
        return self._naming.parts_of(instance.sop_instance_uid, header or self._header(instance))

    def store_each(
        self,
        instances: Iterable[tuple[Sequence[str], Instance]],
        method: TransferMethod = TransferMethod.PROXY,
        *,
        keeps: bool = False,
    ) -> Iterator[Named | StoreError | InvalidDicomError]:
        """Write instances whose paths are known, as `store` does; those of one directory are best given together.

        Parameters
        ----------
        instances : iterable of (parts, Instance)
            Each with its path below the root, as `parts_of` makes it.
        method : TransferMethod
        keeps : bool, optional
            Replace nothing, whatever is to be done about conflicts: it may have come here in the same run.

        Yields
        ------
        Named, StoreError or InvalidDicomError
            For each of them, in that order: what was done, as `Stored` but for its path, or why it could not be.
        """
        return (self._keeper if keeps else self._writer).store_each(instances, method)

    def _header(self, instance: Instance) -> Header:
        if self.out_fmt.tags <= QUERY_TAGS:
            return instance.header
        tags = self.out_fmt.tags | QUERY_TAGS
        if instance.temp is not None:
            return peek_file(instance.temp.fd, tags)
        if instance.path is not None and not instance.in_memory:
            return peek_file(instance.path, tags)
        return peek(instance.read(0, instance.size), instance.transfer_syntax_uid, tags)
