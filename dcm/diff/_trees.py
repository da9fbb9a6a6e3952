"""Comparing two directories: files belong together by what is in them, wherever they are."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

from dcm.diff._files import FileDiff, FileState, Method
from dcm.errors import DcmError, InvalidDicomError, StoreError, UsageError
from dcm.peek import peek_file
from dcm.report import NullProgress, Progress
from dcm.text import plural, safe_text

__all__ = ["TreeCounts", "diff_trees"]

_DIRECTORY_CLASS = "1.2.840.10008.1.3.10"  # Media Storage Directory: a DICOMDIR
_NO_TAGS: frozenset[int] = frozenset()
_STEP = 256

# The UID of an instance to its files, relative to the root of their side; "/" and its name for one without a UID.
_Files: TypeAlias = "dict[str, list[bytes]]"


@dataclass
class TreeCounts:
    """How many pairs of files were the same, and so on.

    Attributes
    ----------
    same, different : int
        Pairs of files.
    only_left, only_right : int
        Files of instances that the other side does not have, or of which it has fewer files.
    trouble : int
        Files and pairs of files that could not be read, or not to their end.
    foreign : int
        Files on both sides that are no instances: no DICOM, or a DICOMDIR.
    """

    same: int = 0
    different: int = 0
    only_left: int = 0
    only_right: int = 0
    trouble: int = 0
    foreign: int = 0

    def add(self, state: FileState) -> None:
        """Count one more."""
        name = state.value.replace("-", "_")
        setattr(self, name, getattr(self, name) + 1)

    @property
    def exit_code(self) -> int:
        """As diff(1) has it: 0 all is the same, 1 there are differences, 2 something could not be compared."""
        return 2 if self.trouble else 1 if self.different or self.only_left or self.only_right else 0

    def summary(self) -> str:
        """In a line."""
        parts = [f"{self.same} same", f"{self.different} different"]
        parts += [f"{self.only_left} only on the left", f"{self.only_right} only on the right"]
        if self.trouble:
            parts.append(f"{self.trouble} not compared to the end")
        if self.foreign:
            parts.append(f"{plural(self.foreign, 'file')} left out: not DICOM")
        return ", ".join(parts)

    def to_json(self) -> dict[str, int]:
        """The same for programs."""
        return asdict(self)


def diff_trees(
    left: str | os.PathLike[str],
    right: str | os.PathLike[str],
    *,
    file_meta: bool = True,
    pixels: bool = False,
    ignore: Iterable[str | int] = (),
    only: Iterable[str | int] | None = None,
    recurse: bool = True,
    file_ext: str = "",
    counts: TreeCounts | None = None,
    progress: Progress | None = None,
) -> Iterator[FileDiff]:
    """Compare what is in two directories.

    Files belong together by their SOP Instance UID. Where there are several of one instance, those with the same
    relative path belong together, then those with the same bytes, then the rest in the order of their names. A DICOM
    file that has no SOP Instance UID belongs to the one with its relative path.

    Parameters
    ----------
    left, right : path
        Directories. Where one is a file, it is compared with what the other side has of its instance.
    file_meta, pixels, ignore, only
        As for `diff_files`.
    recurse : bool, optional
        Whether to go through subdirectories.
    file_ext : str, optional
        Only files with this extension; '' for all that are DICOM.
    counts : TreeCounts, optional
        Counts what is found, also what is the same, while the result is read.
    progress : Progress, optional

    Yields
    ------
    FileDiff
        For each pair of files that is not the same, in the order of the names on the left; then what is only on the
        right. First what could not be read. Little is kept: UIDs and names.

    Raises
    ------
    UsageError
        There is no such keyword, or no such directory.
    StoreError
        A directory cannot be listed.
    """
    method = Method.of(file_meta=file_meta, pixels=pixels, ignore=ignore, only=only)
    sides = _Tree(left, recurse, file_ext), _Tree(right, recurse, file_ext)
    return _diffs(method, sides, counts or TreeCounts(), progress or NullProgress())


def _diffs(method: Method, sides: tuple[_Tree, _Tree], counts: TreeCounts, progress: Progress) -> Iterator[FileDiff]:
    left, right = sides
    for is_left, side in ((True, left), (False, right)):
        for path, problem in side.scan(progress):
            counts.add(FileState.TROUBLE)
            yield FileDiff(path if is_left else None, None if is_left else path, problem=problem)
        counts.foreign += side.n_foreign
    if left.is_file != right.is_file:
        alone, other = sides if left.is_file else sides[::-1]
        other.files = {uid: names for uid, names in other.files.items() if uid in alone.files}
    progress.phase("comparing")
    progress.expected(sum(map(len, left.files.values())))
    for key, a, b in _pairs(left, right):
        uid = "" if key.startswith("/") else key
        found = _compared(method, uid, a, b)
        counts.add(found.state)
        if a is not None:
            progress.advanced(1, 0)
        if found.state is not FileState.SAME:
            yield found


def _compared(method: Method, uid: str, left: Path | None, right: Path | None) -> FileDiff:
    if left is None or right is None:
        return FileDiff(left, right, uid)
    try:
        return method.files(left, right)
    except DcmError as exc:
        return FileDiff(left, right, uid, problem=exc.message, hint=exc.hint)


class _Tree:
    """One side: a directory, or a file."""

    def __init__(self, root: str | os.PathLike[str], recurse: bool, file_ext: str) -> None:
        self.root = Path(root)
        self.files: _Files = {}
        self.n_foreign = 0
        self.is_file = not self.root.is_dir()
        self._recurse = recurse
        self._file_ext = file_ext
        if not self.root.exists():
            raise UsageError(f"no such file or directory: {safe_text(self.root)}")

    def path(self, name: bytes) -> Path:
        """The path of one of its files."""
        return self.root / os.fsdecode(name) if name else self.root

    def scan(self, progress: Progress) -> Iterator[tuple[Path, str]]:
        """Find the instances; yields what cannot be read, and why."""
        if self.is_file:
            yield from self._add(b"")
            return
        from dcm.store.index._walk import walk  # the rest of the index comes with it, a database too

        n_files = 0
        try:
            root = os.fsencode(self.root.resolve())
            for folder in walk(root, recurse=self._recurse, file_ext=self._file_ext):
                for name, why in sorted(folder.left_out):
                    if why.kind == "foreign":
                        self.n_foreign += 1
                    else:
                        path = self.path(folder.join(name))
                        yield path, f"cannot read {path}: {why.reason}"
                for name, _ in sorted(folder.files):
                    if n_files % _STEP == 0:
                        progress.phase(f"reading {safe_text(self.root)}: {plural(n_files, 'file')}")
                    n_files += 1
                    yield from self._add(folder.join(name))
        except OSError as exc:
            raise StoreError(f"cannot read {safe_text(self.root)}: {exc.strerror or exc}") from exc

    def _add(self, name: bytes) -> Iterator[tuple[Path, str]]:
        path = self.path(name)
        try:
            header = peek_file(path, _NO_TAGS)
        except InvalidDicomError as exc:
            if self.is_file:  # that one was asked for
                yield path, exc.message
            self.n_foreign += not self.is_file
            return
        except StoreError as exc:
            if not isinstance(exc.__cause__, FileNotFoundError):  # it may have gone in the meantime
                yield path, exc.message
            return
        if header.sop_class_uid == _DIRECTORY_CLASS:
            self.n_foreign += 1
        else:
            key = header.sop_instance_uid or "/" + os.fsdecode(name)
            self.files.setdefault(key, []).append(name)


def _pairs(left: _Tree, right: _Tree) -> Iterator[tuple[str, Path | None, Path | None]]:
    """What belongs together."""
    for uid, names in left.files.items():
        for a, b in _matched(left, names, right, right.files.get(uid, [])):
            yield uid, None if a is None else left.path(a), None if b is None else right.path(b)
    for uid, names in right.files.items():
        if uid not in left.files:
            for name in names:
                yield uid, None, right.path(name)


def _matched(
    left: _Tree, lefts: list[bytes], right: _Tree, rights: list[bytes]
) -> Iterator[tuple[bytes | None, bytes | None]]:
    """Pairs of the files of one instance; None where one side has fewer."""
    if len(lefts) == 1 == len(rights):
        yield lefts[0], rights[0]
        return
    partners: dict[bytes, bytes] = {name: name for name in set(lefts).intersection(rights)}
    open_lefts = [name for name in lefts if name not in partners]
    open_rights = [name for name in rights if name not in partners]
    if open_lefts and open_rights:
        by_digest: dict[bytes, list[bytes]] = {}
        for name in reversed(open_rights):
            by_digest.setdefault(_digest(right.path(name)), []).append(name)
        for name in open_lefts:
            same = by_digest.get(_digest(left.path(name)))
            if same:
                partners[name] = same.pop()
    taken = set(partners.values())
    rest = iter([name for name in rights if name not in taken])
    for name in lefts:
        yield name, partners[name] if name in partners else next(rest, None)
    for name in rest:
        yield None, name


def _digest(path: Path) -> bytes:
    """Of a file; of one that cannot be read, what no other file has."""
    sha256 = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                sha256.update(chunk)
    except OSError:
        return os.fsencode(path)
    return sha256.digest()
