"""Files that appear under their name complete, or not at all.

A :class:`TempFile` takes bytes before it has a name. On Linux it has none at all (``O_TMPFILE``), so that a process
killed at any moment leaves nothing behind; where the system or the file system cannot do that (NFS, FAT, macOS), it is
a hidden file, ``.dcm-….part``, which a killed process leaves. :meth:`TempFile.publish` then gives it its final name in
one step.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

__all__ = ["Buffer", "TempFile", "left_after", "publish_small"]

Buffer: TypeAlias = bytes | bytearray | memoryview

_O_TMPFILE: int = getattr(os, "O_TMPFILE", 0)
_FD_LINKS = "/proc/self/fd"  # a file without a name can be linked through here only; not mounted in some chroots
_CREATE = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW

# What a kernel or a file system answers that has no O_TMPFILE: old kernels see O_DIRECTORY and O_RDWR in it (EISDIR).
_NO_TMPFILE = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS})
# What file systems without hard links answer to link(): FAT, exFAT, some network and FUSE file systems.
_NO_LINKS = frozenset({errno.EOPNOTSUPP, errno.ENOTSUP, errno.EPERM, errno.ENOSYS, errno.EINVAL})

_IOV_MAX = 1024  # buffers in one writev(); POSIX promises 16, Linux, macOS and the BSDs have 1024
_rename_lock = threading.Lock()


class TempFile:
    """A file that has no name yet. It has one owner, who publishes it at most once, and discards it in any case.

    One thread at a time may use it.

    Attributes
    ----------
    fd : int
        The open file; -1 after :meth:`discard`.
    size : int
        The bytes written so far.
    published : bool
        Whether it has its final name. It can still be read then, until :meth:`discard`.
    """

    __slots__ = ("_claim", "_dev", "_dir", "_hidden", "fd", "published", "size")

    def __init__(self, fd: int, hidden: str = "", directory: int = -1) -> None:
        self.fd = fd
        self.size = 0
        self.published = False
        self._claim = threading.Lock()
        self._hidden = hidden
        self._dir = directory
        self._dev = -1

    @classmethod
    def create(cls, where: int | str | os.PathLike[str], mode: int = 0o666) -> TempFile:
        """Make an empty one in the file system of a directory.

        Parameters
        ----------
        where : int or path
            The directory, or a file descriptor of it (which stays the caller's).
        mode : int, optional
            The permissions of the file, of which the umask takes some away: those that ``open()`` gives.

        Returns
        -------
        TempFile

        Raises
        ------
        OSError
            Where nothing can be created there.
        """
        if _O_TMPFILE and _fd_links_work():
            try:
                return cls(_open_in(where, ".", _O_TMPFILE | os.O_RDWR, mode))
            except OSError as exc:
                if exc.errno not in _NO_TMPFILE:
                    raise
        directory = _open_in(where, ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            hidden = _hidden_name()
            return cls(os.open(hidden, _CREATE, mode, dir_fd=directory), hidden, directory)
        except BaseException:
            os.close(directory)
            raise

    def claim(self) -> bool:
        """Take the right to publish it, which the first of several threads gets, and no other.

        Two directories that store one instance must not both give its file a name: they would share it.
        """
        return self._claim.acquire(blocking=False)

    @property
    def st_dev(self) -> int:
        """The device that it lies on: it can be published there only."""
        if self._dev < 0:
            self._dev = os.fstat(self.fd).st_dev
        return self._dev

    def write(self, *buffers: Buffer) -> None:
        """Append the bytes of some buffers, all of them.

        Raises
        ------
        OSError
            Where they do not fit, the disk being full for example; :attr:`size` says how many did.
        """
        batch: Sequence[Buffer] = buffers
        if len(buffers) > _IOV_MAX:
            for start in range(0, len(buffers), _IOV_MAX):
                self.write(*buffers[start : start + _IOV_MAX])
            return
        total = sum(buffer.nbytes if isinstance(buffer, memoryview) else len(buffer) for buffer in buffers)
        while total:
            written = os.writev(self.fd, batch)
            self.size += written
            total -= written
            if total:
                if not written:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                batch = list(left_after(batch, written))

    def pread(self, n: int, offset: int) -> bytes:
        """Read up to ``n`` bytes at ``offset``; fewer at the end of the file."""
        data = os.pread(self.fd, n, offset)
        if len(data) == n or not data:
            return data
        parts = [data]
        got = len(data)
        while got < n and (data := os.pread(self.fd, n - got, offset + got)):
            parts.append(data)
            got += len(data)
        return b"".join(parts)

    def publish(self, dir_fd: int, name: str, *, replace: bool = False, sync: bool = False) -> None:
        """Give the file its final name, in one step.

        Parameters
        ----------
        dir_fd : int
            The directory, on the same device (:attr:`st_dev`).
        name : str
            One component. A symbolic link of this name is not followed.
        replace : bool
            Take the name from whatever file has it; the old file is there until the new one is.
        sync : bool
            Return only when the bytes and the name are on stable storage.

        Raises
        ------
        FileExistsError
            The name is taken, and ``replace`` is not set.
        OSError
            Anything else; the name is as it was before, unless ``sync`` failed on the directory.
        """
        if self.published:
            raise ValueError("already published: another name would share the bytes with the first")
        if sync:
            os.fsync(self.fd)
        elif self._hidden:
            # Network file systems report a failed write on close() at the latest, and a copy can be closed now. They
            # have no files without a name: where there are such, write() has said it.
            os.close(os.dup(self.fd))
        if replace:
            self._replace(dir_fd, name)
        else:
            self._link(dir_fd, name)
        self.published = True
        self._drop_hidden()
        if sync:
            os.fsync(dir_fd)

    def discard(self) -> None:
        """Close it, and remove it unless it was published. May be called again; raises nothing."""
        fd, self.fd = self.fd, -1
        if fd < 0:
            return
        self._drop_hidden()
        directory, self._dir = self._dir, -1
        # What publish() promised, it has checked, and an error before that is the one to report.
        with contextlib.suppress(OSError):
            os.close(fd)
        if directory >= 0:
            os.close(directory)

    def __del__(self) -> None:
        # One that is forgotten, with an aborted association say, must not leave its bytes on the disk.
        with contextlib.suppress(AttributeError):  # create() failed, or the interpreter is going down
            self.discard()

    def _link(self, dir_fd: int, name: str) -> None:
        if not self._hidden:
            os.link(f"{_FD_LINKS}/{self.fd}", name, dst_dir_fd=dir_fd)
            return
        try:
            os.link(self._hidden, name, src_dir_fd=self._dir, dst_dir_fd=dir_fd, follow_symlinks=False)
        except OSError as exc:
            if exc.errno not in _NO_LINKS:
                raise
            self._rename_to_free(dir_fd, name)

    def _rename_to_free(self, dir_fd: int, name: str) -> None:
        # Without hard links the only atomic step is rename(), and it would replace: look first, with the door locked.
        # The lock holds for our threads and processes; only a foreign program can still come in between.
        with _rename_lock, _locked(dir_fd):
            try:
                os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
            except FileNotFoundError:
                os.rename(self._hidden, name, src_dir_fd=self._dir, dst_dir_fd=dir_fd)
                self._hidden = ""
            else:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)

    def _replace(self, dir_fd: int, name: str) -> None:
        if not self._hidden:
            # rename() needs a name to start from: link() to the hidden one, which lies in the same directory.
            hidden, directory = _hidden_name(), os.dup(dir_fd)
            try:
                os.link(f"{_FD_LINKS}/{self.fd}", hidden, dst_dir_fd=dir_fd)
            except BaseException:
                os.close(directory)
                raise
            self._hidden, self._dir = hidden, directory
        os.rename(self._hidden, name, src_dir_fd=self._dir, dst_dir_fd=dir_fd)
        self._hidden = ""

    def _drop_hidden(self) -> None:
        hidden, self._hidden = self._hidden, ""
        if hidden:
            with contextlib.suppress(OSError):  # the directory is gone, or no longer ours to write to
                os.unlink(hidden, dir_fd=self._dir)


def publish_small(dir_fd: int, name: str, data: bytes, mode: int = 0o666) -> bool:
    """Make a file of bytes that are at hand: what a `TempFile` does, for those that are made by the thousand.

    Parameters
    ----------
    dir_fd : int
        The directory.
    name : str
        One component. A symbolic link of this name is not followed.
    data : bytes
        All that is to be in it.
    mode : int, optional
        Its permissions, of which the umask takes some away.

    Returns
    -------
    bool
        False where that cannot be done so, and nothing was: a `TempFile` can do it, or says why not.

    Raises
    ------
    FileExistsError
        The name is taken.
    OSError
        Anything else; nothing is left of the file.
    """
    if not (_O_TMPFILE and _fd_links_work()):
        return False
    try:
        fd = os.open(".", _O_TMPFILE | os.O_WRONLY, mode, dir_fd=dir_fd)
    except OSError as exc:
        if exc.errno in _NO_TMPFILE:
            return False
        raise
    try:
        if os.write(fd, data) < len(data):
            return False
        os.link(f"{_FD_LINKS}/{fd}", name, dst_dir_fd=dir_fd)
    finally:
        os.close(fd)
    return True


def _hidden_name() -> str:
    return f".dcm-{os.urandom(8).hex()}.part"


def _open_in(where: int | str | os.PathLike[str], name: str, flags: int, mode: int = 0o666) -> int:
    if isinstance(where, int):
        return os.open(name, flags, mode, dir_fd=where)
    return os.open(Path(where) / name, flags, mode)


@functools.cache
def _fd_links_work() -> bool:
    return Path(_FD_LINKS).is_dir()


def left_after(buffers: Sequence[Buffer], n: int) -> Iterator[memoryview]:
    """What is left of some buffers after their first ``n`` bytes."""
    for buffer in buffers:
        view = memoryview(buffer).cast("B")
        if n < len(view):
            yield view[n:]
        n = max(n - len(view), 0)


@contextlib.contextmanager
def _locked(dir_fd: int) -> Iterator[None]:
    """Keep other processes of ours from naming files in a directory, where the file system has locks."""
    # A file descriptor of its own: flock() belongs to the open file, and `dir_fd` may be shared between threads.
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=dir_fd)
    try:
        with contextlib.suppress(OSError):  # no locks here: then the window is open for other processes
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
