"""Looking at files, and placing those that were looked at. Blocking, for one thread of whatever process."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from dcm._unchanged import FileMark
from dcm.errors import ConflictError, DcmError, InvalidDicomError, StoreError
from dcm.instance import Instance
from dcm.peek import Header, peek_open_file
from dcm.report import Outcome
from dcm.store import TransferMethod, reason_of
from dcm.store._placing import NOT_REMOVED, Conflict, Named

if TYPE_CHECKING:
    from typing import TypeAlias

    from dcm.store._target import DirTarget

    NamedOrError: TypeAlias = Named | StoreError | InvalidDicomError

__all__ = [
    "DICOMDIR_CLASS",
    "NOT_REACHED",
    "PORTION",
    "SORT_TAGS",
    "Looked",
    "Placed",
    "Sorter",
    "ThreadSorter",
    "claim_key",
    "is_archive",
    "judge",
    "look_at",
    "placed",
]

SORT_TAGS = frozenset({0x00080016, 0x00080018})
"""What is read of a file besides the attributes that make its path."""

DICOMDIR_CLASS = "1.2.840.10008.1.3.10"  # Media Storage Directory
PORTION = 256
"""How many files a sorter is given at a time: some milliseconds of work."""
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)

# What os.fsdecode() looks up for each name.
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()

# zip (with members, or empty), gzip, bzip2, xz, 7-Zip, RAR, zstd
_MAGIC = (
    *(b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"),
    *(b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"\x28\xb5\x2f\xfd"),
)

_STATES = {
    Outcome.SENT: "sorted",
    Outcome.WARNED: "sorted",
    Outcome.PRESENT: "duplicate",
    Outcome.CONFLICT: "conflict",
    Outcome.FAILED: "conflict",
}


class Looked(NamedTuple):
    """What a file turned out to be.

    Attributes
    ----------
    state : str
        Why it is left alone, as in `SortState`; '' for an instance.
    text : str
        The reason; the path of an instance below the destination.
    size : int
        How many bytes it has, where it is an instance.
    """

    state: str
    text: str
    size: int = 0


class Placed(NamedTuple):
    """What became of an instance: state, path below the destination, reason, and whether that ends the whole run."""

    state: str
    dest: str = ""
    reason: str = ""
    fatal: bool = False


NOT_REACHED = Placed("not reached", "", "the run ended before its turn")


class Sorter(Protocol):
    """What looks at files and places them, a portion at a time."""

    def look(self, paths: Sequence[bytes]) -> list[Looked]:
        """Look at a portion of files, and keep in mind what they are."""

    def place(self, chosen: Sequence[int], keeps: bool = False) -> list[Placed]:
        """Place some of them, by their numbers in the portion; with `keeps`, nothing is replaced."""

    def close(self) -> None:
        """End."""


class ThreadSorter:
    """A `Sorter` that works where it is called.

    Parameters
    ----------
    dest : DirTarget
        A `LocalDir`, for example.
    method : TransferMethod
    """

    def __init__(self, dest: DirTarget, method: TransferMethod) -> None:
        self._dest = dest
        self._method = method
        self._one_by_one = dest.conflict is Conflict.FAIL
        self._tags = dest.out_fmt.tags | SORT_TAGS
        self._held: list[tuple[list[str], Instance, str] | None] = []
        # To link a file one needs it open, and it is when it is looked at.
        self._keep_open = _many_open_files() if method is TransferMethod.LINK else 0
        # And to copy a small one, what is in it, which has been read.
        self._keep_whole = method is TransferMethod.LOCAL_COPY

    def look(self, paths: Sequence[bytes]) -> list[Looked]:
        """Look at a portion of files, and keep in mind what they are."""
        self.close()
        found: list[Looked] = []
        for path in paths:
            name = path.decode(_ENCODING, _ERRORS)
            keep_open = len(found) < self._keep_open
            seen = look_at(name, self._tags, keep_open=keep_open, keep_whole=self._keep_whole)
            if isinstance(seen, Looked):
                self._held.append(None)
                found.append(seen)
            else:
                instance, header = seen
                parts = self._dest.parts_of(instance, header)
                target = "/".join(parts)
                self._held.append((parts, instance, target))
                found.append(Looked("", target, instance.mark.size if instance.mark else 0))
        return found

    def place(self, chosen: Sequence[int], keeps: bool = False) -> list[Placed]:
        """Place some of them, by their numbers in the portion; with `keeps`, nothing is replaced."""
        held = self._held
        items = [(item, n) for n, index in enumerate(chosen) if (item := held[index]) is not None]
        if not self._one_by_one:
            # Those of one directory together; those of one name stay in their order.
            items.sort(key=lambda entry: entry[0][0][:-1])
        members = [(parts, instance) for (parts, instance, _), _ in items]
        done = self._dest.store_each(members, self._method, keeps=keeps)
        results = [NOT_REACHED] * len(chosen)
        for ((parts, _, target), n), result in zip(items, done, strict=False):
            if isinstance(result, Named) and result.outcome is Outcome.SENT and result.name == parts[-1]:
                results[n] = Placed("sorted", target, result.reason)  # as nearly all of them
            else:
                results[n] = placed(parts, result)
                if results[n].fatal:
                    break
        return results

    def close(self) -> None:
        """Forget all."""
        held, self._held = self._held, []
        for item in held:
            if item is not None:
                item[1].close()


def _many_open_files() -> int:
    """How many files may be kept open at a time: all of a portion, unless there is a low limit."""
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return PORTION if limit < 0 or limit >= 4 * PORTION else 0


def look_at(
    path: str, tags: frozenset[int], *, keep_open: bool = False, keep_whole: bool = False
) -> Looked | tuple[Instance, Header]:
    """Look at one file: the instance that it is, or why it is left alone."""
    keep = False
    try:
        fd = os.open(path, _FLAGS)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return Looked("foreign", "not a regular file")
            try:
                header, window = peek_open_file(fd, status, tags)
            except InvalidDicomError:
                return Looked("foreign", (_archive_kind(fd) or "not a DICOM file") if status.st_size else "empty")
            why = judge(header)
            keep = keep_open and why is None
        finally:
            if not keep:
                os.close(fd)
    except OSError as exc:
        return Looked("unreadable", exc.strerror or str(exc))
    except StoreError as exc:
        return Looked("unreadable", reason_of(exc))
    if why is not None:
        return why
    mark = FileMark.of(status)
    whole = window if keep_whole and len(window) == mark.size else b""
    instance = Instance.from_header(path, header, mark, whole)
    if keep:
        instance.fd = fd
    return instance, header


def claim_key(target: str, conflict: Conflict) -> int:
    """What tells a path that is claimed from others.

    Where something may be replaced, paths that differ in case alone are one: the file system may not tell them apart.
    """
    return hash(target.casefold() if conflict is Conflict.REPLACE else target)


def judge(header: Header) -> Looked | None:
    """Say why a file with such a header is left alone; None for an instance."""
    uid = header.sop_instance_uid
    if header.sop_class_uid == DICOMDIR_CLASS:
        return Looked("foreign", "a DICOMDIR")
    if header.complete is False:
        return Looked("truncated", "the data ends too early")
    if not uid or "\\" in uid:
        return Looked("unreadable", "no SOPInstanceUID")
    return None if header.sop_class_uid else Looked("unreadable", "no SOPClassUID")


def _archive_kind(fd: int) -> str:
    """What to say of a file that is an archive; '' for any other."""
    head = os.pread(fd, 512, 0)
    return "an archive: name it as a source of its own" if is_archive(head) else ""


def is_archive(head: bytes) -> bool:
    """Whether a file that begins with these 512 bytes is an archive, or is compressed."""
    return head.startswith(_MAGIC) or head[257:262] == b"ustar"


def placed(parts: Sequence[str], result: NamedOrError) -> Placed:
    """What became of an instance, in the words of a report."""
    if isinstance(result, Named):
        state = _STATES[result.outcome]
        if result.reason.startswith(NOT_REMOVED) and state != "conflict":
            state = "failed"  # a move that has only copied, now or earlier
        return Placed(state, "/".join([*parts[:-1], result.name]), result.reason)
    target = "/".join(parts)
    if isinstance(result, ConflictError):
        return Placed("conflict", target, _cause(result), fatal=True)
    return Placed("failed", target, _cause(result))


def _cause(error: DcmError) -> str:
    """Why, without the path: the same words for the same cause."""
    if isinstance(error, ConflictError):
        return error.message.rpartition(": ")[2]
    return reason_of(error) if isinstance(error, StoreError) else error.message
