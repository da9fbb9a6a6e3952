"""Directories below a root, reached one component at a time, through no symbolic link.

A path is walked from the root's file descriptor on each use. Four components cost 10 µs; keeping descriptors of
directories would be faster by that, and would go on writing into one that was moved away or replaced by a link.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from dcm.errors import StoreError, UnsafePathError, UsageError
from dcm.text import safe_text

__all__ = ["Tree", "is_link", "reason_of", "store_error", "unsafe_path"]

# A descriptor that only stands for the directory needs no read permission, and on NFS no request. It cannot be synced.
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_PLACE = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY

_MOST_SAFE = 10_000  # directories of which we know that they are on the disk

_LINK_IN_THE_WAY = "a symbolic link is in the way"
_REASONS = {
    errno.ENOSPC: "disk full",
    errno.EDQUOT: "disk quota exceeded",
    errno.EROFS: "read-only file system",
    errno.EACCES: "permission denied",
    errno.EPERM: "not permitted",
    errno.EFBIG: "too large for the file system, or for the limit of this process",
    errno.EMFILE: "too many open files",
    errno.ENFILE: "too many open files",
    errno.ENOTDIR: "a file has the name of a directory",
    errno.EISDIR: "a directory has the name of the file",
    errno.ENOENT: "it has vanished",
    errno.EXDEV: "on another file system",
    errno.EMLINK: "too many links to the file",
}
_HINTS = {
    errno.ENOSPC: "make room and run it again: what is there already is not sent twice",
    errno.EDQUOT: "make room and run it again: what is there already is not sent twice",
    errno.EMFILE: "raise the limit with ulimit -n",
}


def store_error(exc: OSError, path: str | os.PathLike[str], doing: str = "write") -> StoreError:
    """Make a StoreError of an OSError: what failed, on which path, why.

    Parameters
    ----------
    exc : OSError
        What happened; raise the result from it, so that :func:`reason_of` finds it.
    path : path
        What was to be written or read.
    doing : str, optional
        The verb.
    """
    return StoreError(f"cannot {doing} {safe_text(path)}: {_reason(exc)}", hint=_HINTS.get(exc.errno or 0, ""))


def unsafe_path(path: str | os.PathLike[str]) -> UnsafePathError:
    """Make the error for a symbolic link at a path below the root."""
    return UnsafePathError(
        f"{safe_text(path)} is a symbolic link, nothing is written through one",
        hint="replace it by what it points to, or make that a destination of its own",
    )


def reason_of(error: StoreError | OSError) -> str:
    """Why something could not be stored: the same words for the same cause, without the path; for reports."""
    if isinstance(error, OSError):
        return _reason(error)
    if isinstance(error, UnsafePathError):
        return _LINK_IN_THE_WAY
    return _reason(error.__cause__) if isinstance(error.__cause__, OSError) else error.message


def _reason(exc: OSError) -> str:
    return _REASONS.get(exc.errno or 0) or safe_text(exc.strerror or exc)


class _Directory:
    """An open directory, closed when nobody holds it any more."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            os.close(self.fd)


class Tree:
    """A root directory, opened when it is first needed, and the directories below it. Thread-safe.

    Parameters
    ----------
    path : Path
        The root; it may be, or lead through, a symbolic link. What is below it may not.
    make_missing : bool
        Make the root, and its parents, where it is not there.
    sync : bool
        Return only when new directories are on stable storage.
    """

    def __init__(self, path: Path, *, make_missing: bool, sync: bool = False) -> None:
        self.path = path.absolute()
        self.sync = sync
        self._make_missing = make_missing
        self._flags = (_DIRECTORY if sync else _PLACE) | os.O_NOFOLLOW
        self._lock = threading.Lock()
        self._root: _Directory | None = None
        self._made: list[Path] = []
        self._safe: dict[tuple[str, ...], None] = {}  # with `sync`: directories whose names are on stable storage

    def close(self) -> None:
        """Let go of the root. The next use opens it again."""
        with self._lock:
            self._root = None
            self._safe.clear()  # what is there then may be another one

    def renew(self) -> None:
        """Before a new beginning: let go of a root that has lost its place to another directory of its file system.

        Where that one is on another file system, the first may only not be mounted: to write there stays an error.
        """
        with self._lock:
            if self._root is None:
                return
            with contextlib.suppress(OSError):  # nothing is there now, which the next use says
                before, now = os.fstat(self._root.fd), self.path.stat()
                if now.st_dev == before.st_dev and now.st_ino != before.st_ino:
                    self._root = None
                    self._safe.clear()

    def leave(self) -> None:
        """Remove the root, and its parents, if they were made here and nothing has come into them."""
        with self._lock:
            made, self._made = self._made, []
            with contextlib.suppress(OSError):  # something is in it, or it is gone already
                for path in made:
                    path.rmdir()
                    self._root = None

    @contextlib.contextmanager
    def root(self) -> Iterator[int]:
        """Give a file descriptor of the root.

        Raises
        ------
        UsageError
            There is no such directory.
        StoreError
            It cannot be opened or made, or it is not the one any more that it was before.
        """
        root = self._open_root()  # held to the end, close() or not
        yield root.fd

    @contextlib.contextmanager
    def directory(self, parts: Sequence[str]) -> Iterator[int]:
        """Give a file descriptor of a directory below the root, which is made where it is missing.

        Directories made here are removed again if the body raises, unless something else is in them by then.

        Parameters
        ----------
        parts : sequence of str
            Names, not paths: nothing in them has a separator, none is ``.`` or ``..``.

        Raises
        ------
        UnsafePathError
            One of them is a symbolic link.
        OSError
            It cannot be opened or made.
        """
        root = self._open_root()
        fds = [root.fd]
        made: list[int] = []
        try:
            for depth in range(len(parts)):
                self._enter(parts, depth, fds, made)
            yield fds[-1]
        except BaseException:
            for depth in reversed(made):
                with contextlib.suppress(OSError):  # something is in it, or it is gone already
                    os.rmdir(parts[depth], dir_fd=fds[depth])
            raise
        finally:
            for fd in fds[1:]:
                os.close(fd)

    def _enter(self, parts: Sequence[str], depth: int, fds: list[int], made: list[int]) -> None:
        name, parent = parts[depth], fds[depth]
        try:
            try:
                fds.append(os.open(name, self._flags, dir_fd=parent))
            except FileNotFoundError:
                try:
                    os.mkdir(name, dir_fd=parent)
                except FileExistsError:
                    pass  # another thread was faster
                else:
                    made.append(depth)
                    self._safe.pop(tuple(parts[: depth + 1]), None)
                fds.append(os.open(name, self._flags, dir_fd=parent))
            if self.sync:
                self._make_safe(tuple(parts[: depth + 1]), parent)
        except OSError as exc:
            # With O_DIRECTORY, systems disagree on whether a link is ENOTDIR, ELOOP or EMLINK: look.
            if exc.errno in (errno.ENOTDIR, errno.ELOOP, errno.EMLINK) and is_link(name, parent):
                raise unsafe_path(self.path.joinpath(*parts[: depth + 1])) from exc
            raise

    def _make_safe(self, path: tuple[str, ...], parent: int) -> None:
        """Put the name of a directory on stable storage, once: who has made it may have died before that."""
        if path in self._safe:
            return
        os.fsync(parent)
        with self._lock:
            if len(self._safe) >= _MOST_SAFE:
                self._safe.clear()
            self._safe[path] = None

    def _open_root(self) -> _Directory:
        root = self._root
        if root is None:
            with self._lock:
                root = self._root = self._root or self._first_open()
            return root
        # The user may unmount or rename it while we write. Better to stop than to write into what nobody looks at.
        try:
            same = os.path.samestat(self.path.stat(), os.fstat(root.fd))
        except OSError as exc:
            raise store_error(exc, self.path) from exc
        if not same:
            raise StoreError(
                f"{safe_text(self.path)} is not the directory any more that it was at the beginning",
                hint="start again if it is to be this one",
            )
        return root

    def _first_open(self) -> _Directory:
        try:
            try:
                return _Directory(os.open(self.path, self._flags & ~os.O_NOFOLLOW))
            except FileNotFoundError:
                if not self._make_missing:
                    raise
            self._made = [path for path in (self.path, *self.path.parents) if not path.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            return _Directory(os.open(self.path, self._flags & ~os.O_NOFOLLOW))
        except (NotADirectoryError, FileExistsError) as exc:
            raise UsageError(f"{safe_text(self.path)} is not a directory") from exc
        except FileNotFoundError as exc:
            raise UsageError(f"there is no directory {safe_text(self.path)}", hint="make it first") from exc
        except OSError as exc:
            raise store_error(exc, self.path, "open") from exc


def is_link(name: str, dir_fd: int) -> bool:
    """Whether a name in a directory is a symbolic link."""
    with contextlib.suppress(FileNotFoundError):
        return stat.S_ISLNK(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode)
    return False
