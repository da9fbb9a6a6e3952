"""A directory of DICOM files: the place where most transfers end, and many begin.

Every instance becomes a file of its own, whose path a template makes of its attributes (`dcm.template`). A file appears
complete or not at all, never outside the root, never through a symbolic link below it, and never in place of another
one with other bytes unless that is asked for.

What is in it is known to an index (`dcm.store.index`), so that a directory answers queries as an archive does; how it
gives its instances away is in `dcm.store._source`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dcm._bridge import Bridge
from dcm.errors import DcmError, InvalidDicomError, StoreError, UsageError
from dcm.instance import Instance
from dcm.report import TransferReport
from dcm.store._methods import METHODS
from dcm.store._placing import Conflict, Named, Stored
from dcm.store._queue import StoreQueue
from dcm.store._source import DirSource, LocalChunk
from dcm.store._target import DirTarget
from dcm.store._why_not import why_not
from dcm.store.base import DataSink, Features, TransferMethod
from dcm.template import DEFAULT_TEMPLATE, PathTemplate
from dcm.text import safe_text

__all__ = ["Conflict", "LocalChunk", "LocalDir", "Stored"]

_EXTENSION_RE = re.compile(r"[A-Za-z0-9_-]{0,12}")


class LocalDir(DirSource, DirTarget):
    """A directory of DICOM files on a file system, on Linux or another POSIX system.

    Parameters
    ----------
    path : path
        The root.
    recurse : bool, optional
        As a source: whether files in subdirectories belong to it.
    file_ext : str, optional
        The extension of its files, with or without a dot, ``''`` for none: as a destination, what their names end with.
    in_file_ext : str, optional
        As a source, and to see what is there already: only files whose names end so, in upper or lower case, are looked
        at, ``''`` for all of them; what is DICOM is then told by content. By default as `file_ext`.
    max_chunk : int, optional
        As a source: how many files make one chunk.
    out_fmt : str or PathTemplate, optional
        Where instances go below the root; `dcm.template` describes the grammar. The extension is added unless the
        template ends with it.
    force_overwrite : bool, optional
        Replace a file of the same instance that has other bytes, as `Conflict.REPLACE` does. A file of another instance
        is never replaced.
    make_missing : bool, optional
        Make the root where it is missing.
    conflict : Conflict, optional
        What to do where something else has the name of an instance.
    sync : bool, optional
        Return from :meth:`store` only when the file is on stable storage (fsync).
    index : bool, optional
        As a source: keep the index of what is in it in the user's cache directory, so that the next time only files
        that have changed are read. False: read all of them, each time.

    Raises
    ------
    TemplateError
        `out_fmt` cannot be used.
    UsageError
        Another argument cannot be used.
    """

    features = Features(METHODS, readable=True, queryable=True)

    def __init__(
        self,
        path: str | os.PathLike[str],
        recurse: bool = True,
        file_ext: str = "dcm",
        max_chunk: int = 1000,
        out_fmt: str | PathTemplate | None = None,
        force_overwrite: bool = False,
        make_missing: bool = True,
        *,
        in_file_ext: str | None = None,
        conflict: Conflict = Conflict.RENAME,
        sync: bool = False,
        index: bool = True,
    ) -> None:
        DirSource.__init__(self)
        if not os.fspath(path) or "\0" in os.fspath(path):
            raise UsageError(f"no path of a directory: {safe_text(path)!r}")
        self.recurse = recurse
        self.in_file_ext = (file_ext if in_file_ext is None else in_file_ext).removeprefix(".")
        self.max_chunk = max_chunk
        self.force_overwrite = force_overwrite
        self.index = index
        for extension in (file_ext.removeprefix("."), self.in_file_ext):
            if not _EXTENSION_RE.fullmatch(extension):
                raise UsageError(f"no file extension: {safe_text(extension)!r}")
        if max_chunk < 1:
            raise UsageError(f"max_chunk must be at least 1, not {max_chunk}")
        DirTarget.__init__(
            self,
            Path(path),
            out_fmt if isinstance(out_fmt, PathTemplate) else PathTemplate(out_fmt or DEFAULT_TEMPLATE),
            file_ext.removeprefix("."),
            make_missing=make_missing,
            conflict=Conflict.REPLACE if force_overwrite else conflict,
            sync=sync,
        )

    @classmethod
    def parse(cls, text: str, **settings: Any) -> LocalDir:
        """Make one of what is written on a command line: ``path`` or ``path:format``.

        Parameters
        ----------
        text : str
            A format has fields (``{PatientID}``), and the last ``:`` before the first of them separates it from the
            path. Without any, or if a directory has this very name, all of it is the path. ``~`` is the home directory.
        **settings
            Further arguments of the class.

        Raises
        ------
        UsageError
            There are fields, but nothing separates them from a path.
        TemplateError
            The format cannot be used.
        """
        path, colon, _ = text.partition("{")[0].rpartition(":")
        if "{" not in text or Path(text).is_dir():
            return cls(_expanded(text), **settings)
        if not colon or not path:
            raise UsageError(f"no path before the format: {safe_text(text)!r}", hint="write PATH:FORMAT")
        out_fmt = text[len(path) + 1 :]
        return cls(_expanded(path), **{**settings, "out_fmt": out_fmt})

    def __repr__(self) -> str:
        return f"LocalDir({str(self.path)!r}, out_fmt={str(self.out_fmt)!r})"

    def __str__(self) -> str:
        return str(self.path)

    def close(self) -> None:
        """Let go of the open root directory and of the index; the next use opens them again."""
        DirTarget.close(self)
        DirSource.close(self)

    # -- blocking calls, for worker threads

    def path_of(self, instance: Instance) -> Path:
        """Say where an instance goes, if nothing else has its name.

        Raises
        ------
        InvalidDicomError
            Its header cannot be read.
        """
        return self._tree.path.joinpath(*self.parts_of(instance))

    def store(self, instance: Instance, method: TransferMethod = TransferMethod.PROXY) -> Stored:
        """Write an instance, unless it is there already. May be called from several threads at once.

        An instance that lies complete in a `TempFile` on the same device only gets its name.

        Parameters
        ----------
        instance : Instance
            It stays the caller's, who closes it.
        method : TransferMethod
            How an instance that is a file gets here. A copy is the whole file, with its own preamble and file meta
            information. A symbolic link is absolute. A file that is moved loses its old name when the new one is safe,
            and also where the same data set is here already (as with ``rsync --remove-source-files``).

        Returns
        -------
        Stored
            Where it is, and what was done.

        Raises
        ------
        InvalidDicomError
            Its header cannot be read.
        StoreError
            It cannot be written; nothing of it stays on the disk. The message names path and cause, `reason_of` gives
            the cause alone.
        UnsafePathError
            A symbolic link is in the way.
        """
        parts = self.parts_of(instance)
        stored = self._writer.store(parts, instance, method)
        self._noted(stored, parts, instance)
        name, outcome, reason = stored
        return Stored(self._tree.path.joinpath(*parts[:-1], name), outcome, reason)

    def store_each(
        self,
        instances: Iterable[tuple[Sequence[str], Instance]],
        method: TransferMethod = TransferMethod.PROXY,
        *,
        keeps: bool = False,
    ) -> Iterator[Named | StoreError | InvalidDicomError]:
        """Write instances whose paths are known; see `DirTarget.store_each`."""
        members = list(instances)
        for (parts, instance), result in zip(members, super().store_each(members, method, keeps=keeps), strict=True):
            if self._index is not None:
                self._noted(result, parts, instance)
            yield result

    def store_all(
        self, instances: Sequence[Instance], method: TransferMethod = TransferMethod.PROXY
    ) -> list[Stored | DcmError]:
        """Write several instances, as `store` does, with one wait for the names of all in one directory.

        Returns
        -------
        list of Stored or DcmError
            For each of them: where it is and what was done, or why it could not be. With ``sync`` they are all on
            stable storage.
        """
        results: list[Stored | DcmError | None] = [None] * len(instances)
        members: list[tuple[list[str], Instance, int]] = []
        for n, instance in enumerate(instances):
            try:
                members.append((self.parts_of(instance), instance, n))
            except DcmError as exc:  # noqa: PERF203
                results[n] = exc
        # Those of one directory together; those of one name stay in their order.
        members.sort(key=lambda member: member[0][:-1])
        done = self.store_each([(parts, instance) for parts, instance, _ in members], method)
        for (parts, _, n), result in zip(members, done, strict=True):
            if isinstance(result, Named):
                name, outcome, reason = result
                results[n] = Stored(self._tree.path.joinpath(*parts[:-1], name), outcome, reason)
            else:
                results[n] = result
        return [result for result in results if result is not None]

    def _noted(self, stored: Named | DcmError, parts: Sequence[str], instance: Instance) -> None:
        if isinstance(stored, Named) and stored.outcome.moved:
            self._note("/".join([*parts[:-1], stored.name]), instance)

    def overlaps(self, other: object) -> bool:
        """Whether another store is the same directory, or one of the two is within the other."""
        if not isinstance(other, LocalDir):
            return False
        mine, theirs = self.path.resolve(), other.path.resolve()
        return mine.is_relative_to(theirs) or theirs.is_relative_to(mine)

    def why_not(self, method: TransferMethod, source: DataSink) -> str:
        """Say why instances of a source cannot get here in some way, '' where they can."""
        if method is TransferMethod.PROXY:
            return ""
        if method not in METHODS:
            return f"{self.path} is a directory: nothing gets there by {method.value}"
        if not isinstance(source, LocalDir):
            return f"{source} is no directory: it has no files that could get to {self.path} by {method.value}"
        return why_not(method, source.path, self.path)

    def check_source(self) -> None:
        """Find out whether anything can be read here at all, before anything moves.

        Raises
        ------
        UsageError
            It does not exist, is no directory, or may not be read.
        """
        try:
            with os.scandir(self.path):
                pass
        except OSError as exc:
            raise UsageError(f"cannot read {safe_text(self.path)}: {exc.strerror}") from exc

    # -- from the event loop

    @contextlib.asynccontextmanager
    async def send(
        self,
        report: TransferReport | None = None,
        *,
        dest: str = "",
        method: TransferMethod = TransferMethod.PROXY,
    ) -> AsyncIterator[StoreQueue]:
        """Open it for instances: worker threads write them, and `put` waits while too much is under way.

        Parameters
        ----------
        report : TransferReport, optional
            Learns what became of each instance.
        dest : str, optional
            The name of this destination in the report.
        method : TransferMethod
            How instances that are files get here; see `store`.

        Yields
        ------
        StoreQueue
            With ``await put(x)``, x an Instance, a Dataset or the path of a file.

        Raises
        ------
        UsageError, StoreError
            On entry: nothing can be stored here, see :meth:`check`.
        PartialError
            On exit, without a report: some could not be stored, or conflict.
        """
        own = report or TransferReport()
        async with Bridge() as bridge:
            await bridge.run(self.check)
            store = self.store if method is TransferMethod.PROXY else functools.partial(self.store, method=method)
            # What is moved waits for the disk one by one.
            together = self.sync and method is not TransferMethod.MOVE
            store_all = functools.partial(self.store_all, method=method) if together else None
            async with StoreQueue(store, bridge, own, dest, store_all) as queue:
                yield queue
            await bridge.run(self._rest)
            await bridge.run(self._tree.leave)
        if report is None:
            own.finish()
            own.raise_failures()


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as exc:  # ~somebody, whom the system does not know
        raise UsageError(f"'{safe_text(path)}': there is no such user", hint="./~name is a directory") from exc
