"""What there is to sort: directories, files, DICOMDIRs and archives, listed in a fixed order."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dcm.errors import DcmError, InvalidDicomError, StoreError, UsageError
from dcm.peek import peek_file
from dcm.sort._look import DICOMDIR_CLASS, PORTION, SORT_TAGS
from dcm.store import TransferMethod
from dcm.store._methods import why_no_link_between
from dcm.store.index._walk import walk
from dcm.text import safe_text

__all__ = ["LeftOut", "Portion", "Sources", "survey"]


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


@dataclass(frozen=True)
class Sources:
    """What there is to sort.

    Attributes
    ----------
    directories, dicomdirs, files, archives : list of str
        Their paths.
    skip : bytes
        The real path of the destination, where that is within a source; what is in there is no source.
    in_place : bool
        The destination is a source itself, or a source is in it.
    """

    directories: list[str] = field(default_factory=list)
    dicomdirs: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    skip: bytes = b""
    in_place: bool = False
    recurse: bool = True
    file_ext: str = ""

    def portions(self) -> Iterator[Portion]:
        """List all files outside of archives, each once. Blocks."""
        portion = Portion()
        for found in self._found():
            if isinstance(found, bytes):
                portion.paths.append(found)
            else:
                portion.left_out.append(found)
            if len(portion.paths) + len(portion.left_out) >= PORTION:
                yield portion
                portion = Portion()
        if portion.paths or portion.left_out:
            yield portion

    def _found(self) -> Iterator[bytes | LeftOut]:
        several = len(self.directories) + len(self.dicomdirs) + len(self.files) > 1
        seen: set[bytes] = set()
        for listing in self._listings():
            for found in listing:
                if several:
                    path = found if isinstance(found, bytes) else found.path
                    if path in seen:
                        continue
                    seen.add(path)
                yield found

    def _listings(self) -> Iterator[Iterator[bytes | LeftOut]]:
        for directory in self.directories:
            yield self._in_directory(os.fsencode(directory))
        for dicomdir in self.dicomdirs:
            yield _in_dicomdir(dicomdir)
        yield map(os.fsencode, self.files)

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
    found: dict[str, list[str]] = {"directories": [], "dicomdirs": [], "files": [], "archives": []}
    for source in sources:
        path = os.path.abspath(source)  # noqa: PTH100 - a file's own name: a link is moved as a link
        kind = _kind_of(path)
        if kind != "files":
            path = os.path.realpath(path)
        if path not in found[kind]:
            found[kind].append(path)
    if found["archives"] and method is not TransferMethod.LOCAL_COPY:
        raise UsageError(
            f"{safe_text(found['archives'][0])} is an archive: what is in it can only be copied",
            hint="use --method copy, or unpack it first",
        )
    if method is TransferMethod.LINK:
        _check_links(found, Path(dest))
    directories = found["directories"]
    if recurse:  # one within another is listed with it
        directories = [each for each in directories if not any(_is_within(each, other) for other in directories)]
    real_dest = os.path.realpath(dest)
    in_place = real_dest in directories
    if in_place and method is not TransferMethod.MOVE:
        raise UsageError(
            f"{safe_text(real_dest)} is source and destination: every file would be in there twice",
            hint="sort in place with --method move, or name another destination",
        )
    inside = recurse and any(_is_within(real_dest, each) for each in directories)
    return Sources(
        directories,
        found["dicomdirs"],
        found["files"],
        found["archives"],
        os.fsencode(real_dest) if inside else b"",
        in_place
        or any(_is_within(each, real_dest) for each in directories)
        or (method is TransferMethod.MOVE and any(_is_within(each, real_dest) for each in found["files"])),
        recurse,
        file_ext.removeprefix("."),
    )


def _check_links(found: dict[str, list[str]], dest: Path) -> None:
    """See whether there can be links at all: what is on another file system need not be tried file by file."""
    for path in [*found["directories"], *[os.path.dirname(each) for each in found["dicomdirs"]]]:  # noqa: PTH120
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
            return "directories"
        if not stat.S_ISREG(mode):  # nobody may ever write to a pipe
            return "files"
        header = peek_file(path, SORT_TAGS)
    except FileNotFoundError as exc:
        raise UsageError(f"there is no {told}") from exc
    except OSError as exc:
        raise UsageError(f"cannot read {told}: {exc.strerror}") from exc
    except StoreError as exc:
        raise UsageError(exc.message) from exc
    except InvalidDicomError:
        from dcm.sort._archives import is_archive_file  # tarfile and zipfile take a while

        return "archives" if is_archive_file(path) else "files"
    return "dicomdirs" if header.sop_class_uid == DICOMDIR_CLASS else "files"
