"""Sorting, as a whole: what is asked for, and whether it can be done."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dcm._bridge import Bridge
from dcm.errors import StoreError, UsageError
from dcm.sort._report import SortReport
from dcm.sort._run import MAX_JOBS, Run
from dcm.sort._sources import Sources, survey
from dcm.store import TransferMethod
from dcm.store.local_dir import Conflict, LocalDir

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["sort"]

_METHODS = {
    "copy": TransferMethod.LOCAL_COPY,
    "move": TransferMethod.MOVE,
    "link": TransferMethod.LINK,
    "symlink": TransferMethod.SYMLINK,
}


async def sort(
    sources: str | PathLike[str] | Sequence[str | PathLike[str]],
    dest: str | PathLike[str] | LocalDir,
    *,
    method: str | TransferMethod = TransferMethod.LOCAL_COPY,
    conflict: str | Conflict | None = None,
    dry_run: bool = False,
    recurse: bool = True,
    file_ext: str = "",
    jobs: int | None = None,
    report: SortReport | None = None,
) -> SortReport:
    """Sort files into a tree.

    Which file is an instance, and which, is told by its content. Its place is what the template of the destination
    makes of its attributes. A file that has the same data set as one that is there is a duplicate, and is not stored
    again. What is foreign, truncated or unreadable is left where it is.

    Parameters
    ----------
    sources : path or sequence of path
        Directories, files, zip and tar archives (packed by gzip, bzip2 or xz, too) and DICOMDIRs, in any mix. A
        DICOMDIR stands for the files that it names.
    dest : path or LocalDir
        Where to. The names, the extension and what else there is to say about it are those of the `LocalDir`.
    method : str or TransferMethod
        "copy", "move", "link" or "symlink". A moved file loses its name only when its new one is safe, and also where
        it is a duplicate. What is in an archive can only be copied.
    conflict : str or Conflict, optional
        "rename", "replace", "skip" or "fail": what to do where something else has the name. "fail" ends the run at the
        first one. Unless given, that of `dest`, else "rename".
    dry_run : bool
        Write nothing: the report says what would come out.
    recurse : bool
        Whether subdirectories belong to a directory.
    file_ext : str
        Look only at files with this extension, in directories; '' for all.
    jobs : int, optional
        How many processes look at files and place them; 1 for none but this one. Unless given, as many as there are
        processors, four at most, where there are more than a thousand files.
    report : SortReport, optional
        Learns what becomes of each file while that goes on, and is what is returned.

    Returns
    -------
    SortReport

    Raises
    ------
    UsageError
        A source is not there, cannot be sorted by this method, or is the destination; or the destination cannot be
        written to. Nothing has been done.
    PartialError
        Without a report: some files conflict, are not whole, or could not be used.

    Notes
    -----
    Where the destination is within a source, what is in it is no source. Where it *is* the source, files can be moved
    to their places in it.

    The first of several files that want one name gets it, in the order of the sources and of the names in them, however
    many processes there are.
    """
    many = [sources] if isinstance(sources, (str, os.PathLike)) else [*sources]
    if not many:
        raise UsageError("nothing to sort: no source")
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs must be at least 1, not {jobs}")
    way = _method(method)
    place = _place(dest, conflict)
    own = report if report is not None else SortReport()
    own.dry_run = dry_run
    async with Bridge((jobs or MAX_JOBS) + 1) as bridge:
        plan = await bridge.run(_prepare, many, place, way, recurse, file_ext, dry_run)
        run = Run(place, way, own, bridge, dry_run)
        try:
            await _uninterrupted(run, plan, jobs)
        finally:
            own.finish()
            if place is not dest:
                await bridge.run(place.close)
    if report is None:
        own.raise_failures()
    return own


def _method(method: str | TransferMethod) -> TransferMethod:
    way = _METHODS.get(method) if isinstance(method, str) else method
    if way is None or way not in _METHODS.values():
        raise UsageError(f"files cannot be sorted by {method}", hint=f"there are {', '.join(_METHODS)}")
    return way


def _place(dest: str | PathLike[str] | LocalDir, conflict: str | Conflict | None) -> LocalDir:
    try:
        wanted = None if conflict is None else Conflict(conflict)
    except ValueError as exc:
        known = ", ".join(each.value for each in Conflict)
        raise UsageError(f"nothing can be done about conflicts by {conflict!r}", hint=f"there are {known}") from exc
    if not isinstance(dest, LocalDir):
        return LocalDir(dest, conflict=wanted or Conflict.RENAME)
    if wanted is None:
        return dest
    return LocalDir(
        *(dest.path, dest.recurse, dest.file_ext, dest.max_chunk, dest.out_fmt),
        make_missing=dest.make_missing,
        conflict=wanted,
        sync=dest.sync,
    )


def _prepare(
    sources: Sequence[str | PathLike[str]],
    dest: LocalDir,
    method: TransferMethod,
    recurse: bool,
    file_ext: str,
    dry_run: bool,
) -> Sources:
    """Find out what there is, and whether it can be done, before anything is."""
    found = survey(sources, os.fspath(dest.path), method=method, recurse=recurse, file_ext=file_ext)
    if not dry_run:
        try:
            dest.check()
        except StoreError as exc:
            raise UsageError(exc.message, hint=exc.hint) from exc
    return found


async def _uninterrupted(run: Run, sources: Sources, jobs: int | None) -> None:
    """Do it; when cancelled, let what is under way come to its end, so that the report knows of it."""
    task = asyncio.ensure_future(run.run(sources, jobs))
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:  # noqa: PERF203
            if task.cancelled():
                break
            cancelled = True
            run.report.interrupted = True
            run.stopped = True
    task.result()
    if cancelled:
        raise asyncio.CancelledError
