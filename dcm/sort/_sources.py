"""What there is to sort: directories, files, DICOMDIRs and archives, listed in a fixed order."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from pathlib import Path
from typing import NamedTuple

from dcm.errors import DcmError, InvalidDicomError, StoreError, UsageError
from dcm.peek import peek_file
from dcm.sort._look import DICOMDIR_CLASS, PORTION, SORT_TAGS
from dcm.store import TransferMethod
from dcm.store._why_not import why_no_link_between
from dcm.store.index._walk import walk
from dcm.text import safe_text

__all__ = ["LeftOut", "Portion", "Source", "Sources", "survey"]


class LeftOut(NamedTuple):
    """A file that is none to sort, as can be seen from outside."""

    path: bytes
    state: str
    reason: str


@dataclass
class Portion:
    """Some files, and what was left out while they were listed."""

    paths: list[bytes] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.paths) + len(self.left_out)


class Source(NamedTuple):
    """One of the sources: "directory", "dicomdir", "file" or "archive", and its path."""

    kind: str
    path: str


@dataclass(frozen=True)
class Sources:
    """What there is to sort.

    Attributes
    ----------
    each : list of Source
        In the order in which they were named.
    skip : bytes
        The real path of the destination, where that is within a source; what is in there is no source.
    in_place : bool
        The destination is a source itself, or a source is in it.
    """

    each: list[Source] = field(default_factory=list)
    skip: bytes = b""
    in_place: bool = False
    recurse: bool = True
    file_ext: str = ""

    def groups(self) -> list[str | Iterator[Portion]]:
        """Divide them, in their order: into archives, and the portions of all that is between two of them.

        Each file is listed once, whatever group it is in; to go through portions blocks.
        """
        seen: set[bytes] | None = set() if sum(each.kind != "archive" for each in self.each) > 1 else None
        found: list[str | Iterator[Portion]] = []
        for is_archive, some in groupby(self.each, key=lambda each: each.kind == "archive"):
            if is_archive:
                found += [each.path for each in some]
            else:
                found.append(_portions(self._found([*some], seen)))
        return found

    def _found(self, sources: Sequence[Source], seen: set[bytes] | None) -> Iterator[bytes | LeftOut]:
        for found in chain.from_iterable(map(self._listing, sources)):
            if seen is not None:
                path = found if isinstance(found, bytes) else found.path
                if path in seen:
                    continue
                seen.add(path)
            yield found

    def _listing(self, source: Source) -> Iterable[bytes | LeftOut]:
        if source.kind == "directory":
            return self._in_directory(os.fsencode(source.path))
        return _in_dicomdir(source.path) if source.kind == "dicomdir" else [os.fsencode(source.path)]

    def _in_directory(self, root: bytes) -> Iterator[bytes | LeftOut]:
        try:
            for folder in walk(root, recurse=self.recurse, file_ext=self.file_ext, stamps=False):
                place = root.rstrip(b"/") + b"/" + folder.path if folder.path else root
                if self.skip and (place + b"/").startswith(self.skip + b"/"):
                    continue
                place = place.rstrip(b"/") + b"/"
                names = sorted([*folder.names, *[name for name, _ in folder.files]])
                yield from [place + name for name in names]
                for name, why in folder.left_out:
                    yield LeftOut(place + name, why.kind, why.reason)
        except OSError as exc:
            yield LeftOut(root, "unreadable", exc.strerror or str(exc))


def _portions(listing: Iterable[bytes | LeftOut]) -> Iterator[Portion]:
    portion = Portion()
    for found in listing:
        if isinstance(found, bytes):
            portion.paths.append(found)
        else:
            portion.left_out.append(found)
        if len(portion) >= PORTION:
            yield portion
            portion = Portion()
    if portion:
        yield portion


def _in_dicomdir(path: str) -> Iterator[bytes | LeftOut]:
    from dcm.sort._dicomdir import referenced_files

    try:
        for file, reason in referenced_files(path):
            raw = os.fsencode(file)
            yield LeftOut(raw, "unreadable", reason) if reason else raw
    except DcmError as exc:
        yield LeftOut(os.fsencode(path), "unreadable", f"a DICOMDIR that cannot be read: {exc.message}")


def survey(
    sources: Sequence[str | os.PathLike[str]],
    dest: str,
    *,
    method: TransferMethod,
    recurse: bool,
    file_ext: str,
) -> Sources:
    """Find out what the sources are, and whether they can be sorted so. Blocks.

    Parameters
    ----------
    sources : sequence of path
    dest : str
        The destination; it need not be there.
    method, recurse, file_ext
        See `sort`.

    Raises
    ------
    UsageError
        A source is not there or nothing that can be sorted, an archive cannot be treated so, links cannot lead from
        one file system to another, or the destination is a source and files would not leave it.
    """
    found = _named(sources, recurse)
    archive = next((each.path for each in found if each.kind == "archive"), None)
    if archive is not None and method is not TransferMethod.LOCAL_COPY:
        raise UsageError(
            f"{safe_text(archive)} is an archive: what is in it can only be copied",
            hint="use --method copy, or unpack it first",
        )
    if method is TransferMethod.LINK:
        _check_links(found, Path(dest))
    directories = [each.path for each in found if each.kind == "directory"]
    real_dest = os.path.realpath(dest)
    in_place = real_dest in directories
    if in_place and method is not TransferMethod.MOVE:
        raise UsageError(
            f"{safe_text(real_dest)} is source and destination: every file would be in there twice",
            hint="sort in place with --method move, or name another destination",
        )
    inside = recurse and any(_is_within(real_dest, each) for each in directories)
    # What is moved and what is in the destination already may be the same.
    movable = found if method is TransferMethod.MOVE else [each for each in found if each.kind == "directory"]
    return Sources(
        found,
        os.fsencode(real_dest) if inside else b"",
        in_place or any(_is_within(each.path, real_dest) for each in movable),
        recurse,
        file_ext.removeprefix("."),
    )


def _named(sources: Sequence[str | os.PathLike[str]], recurse: bool) -> list[Source]:
    """What was named, each once, in its order; no directory that is listed with an earlier one."""
    found: dict[Source, None] = {}
    above: set[str] = set()
    for named in sources:
        path = os.path.abspath(named)  # noqa: PTH100 - a file's own name: a link is moved as a link
        kind = _kind_of(path)
        if kind != "file":
            path = os.path.realpath(path)
        if kind == "directory":
            if recurse and any(str(parent) in above for parent in Path(path).parents):
                continue
            above.add(path)
        found[Source(kind, path)] = None
    return [*found]


def _check_links(found: Sequence[Source], dest: Path) -> None:
    """See whether there can be links at all: what is on another file system need not be tried file by file."""
    for kind, path in found:
        if kind == "file":
            continue
        if kind == "dicomdir":
            path = os.path.dirname(path)  # noqa: PTH120
        if why := why_no_link_between(Path(path), dest):
            raise UsageError(safe_text(why), hint="use --method copy, or symlink")


def _is_within(path: str, other: str) -> bool:
    return path != other and path.startswith(other.rstrip("/") + "/")


def _kind_of(path: str) -> str:
    told = safe_text(path)
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - as the others
        if stat.S_ISDIR(mode):
            os.scandir(path).close()
            return "directory"
        if not stat.S_ISREG(mode):  # an archive is read more than once, and nobody may ever write to a pipe
            hint = "write what comes from it to a file first"
            raise UsageError(f"{told} is neither a file nor a directory", hint=hint)
        header = peek_file(path, SORT_TAGS)
    except FileNotFoundError as exc:
        raise UsageError(f"there is no {told}") from exc
    except OSError as exc:
        raise UsageError(f"cannot read {told}: {exc.strerror}") from exc
    except StoreError as exc:
        raise UsageError(exc.message) from exc
    except InvalidDicomError:
        from dcm.sort._archives import is_archive_file  # tarfile and zipfile take a while

        return "archive" if is_archive_file(path) else "file"
    return "dicomdir" if header.sop_class_uid == DICOMDIR_CLASS else "file"
