"""Files on their way into a directory as they are: copied, moved, linked.

The rules for names are those of `dcm.store._placing`: what is there already stays, and whether it is the same is
decided by the data set, not by preamble and file meta information. Only how a name comes to its file differs.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dcm._atomic import TempFile, publish_small
from dcm._unchanged import FileMark, check_unchanged, opened
from dcm.errors import StoreError
from dcm.report import Outcome
from dcm.store._placing import NOT_REMOVED, Conflict, Found, Named, Placing
from dcm.store._tree import reason_of, unsafe_path
from dcm.store.base import TransferMethod

if TYPE_CHECKING:
    from dcm.instance import Instance

__all__ = ["METHODS", "SymlinkPlacing", "placing_for"]

_T = TypeVar("_T")

_FICLONE = 0x40049409  # ioctl_ficlone(2): share the blocks until one of the two files is written to
_FD_LINKS = "/proc/self/fd"
_CHUNK = 8 << 20
_PERMISSIONS = 0o777  # no set-user-ID and the like: they would say something of another file
_SMALL = 64 << 10  # such a file is read and written in less time than it takes to ask for another way

# What is answered where one of the ways to copy is not there for these two files.
_NO_SUCH_COPY = frozenset(
    {errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV, errno.ENOSYS, errno.EPERM, errno.EBADF}
)
# What is answered where a file cannot be linked, though it may well be copied.
_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


def placing_for(method: TransferMethod, instance: Instance) -> type[Placing]:
    """How an instance gets its name; one that has no file of its own is written in any case."""
    if instance.mark is None:
        return Placing
    # Asked first: most of a million files in a run can be linked, and to hash a member of an Enum takes a while.
    return _HardLinkPlacing if method is TransferMethod.LINK else _PLACINGS.get(method, Placing)


class _FilePlacing(Placing):
    """An instance whose file is copied as it is: whole, with its own preamble and file meta information.

    As with cp(1), a copy has the permissions of its file less the umask: who may not read the one may not read the
    other.
    """

    def __init__(
        self,
        instance: Instance,
        dir_fd: int,
        where: str,
        *,
        conflict: Conflict,
        sync: bool,
        name_later: bool = False,
    ) -> None:
        super().__init__(instance, dir_fd, where, conflict=conflict, sync=sync, name_later=name_later)
        assert instance.mark is not None
        self._mark: FileMark = instance.mark

    @classmethod
    def named_at_once(cls, instance: Instance, dir_fd: int, name: str) -> bool:
        whole, mark = instance.whole_file, instance.mark
        if not whole or mark is None or os.access(name, os.F_OK, dir_fd=dir_fd, follow_symlinks=False):
            return False
        # Read after the mark was taken; if the file still looks like that, this is what is in it.
        status = check_unchanged(instance.path_text, mark)
        try:
            return publish_small(dir_fd, name, whole, status.st_mode & _PERMISSIONS)
        except FileExistsError:
            return False

    @property
    def _source(self) -> Path:
        path = self._instance.path
        assert path is not None
        return path

    def _written(self) -> TempFile:
        return self._copied()[0]

    def _copied(self) -> tuple[TempFile, os.stat_result]:
        """A copy, and what the file looks like."""
        path, whole = self._instance.path_text, self._instance.whole_file
        temp: TempFile | None = None
        try:
            if whole:
                status = check_unchanged(path, self._mark)  # as above
                temp = TempFile.create(self._dir_fd, status.st_mode & _PERMISSIONS)
                temp.write(whole)
            else:
                with opened(path, self._mark) as fd:
                    status = os.fstat(fd)
                    temp = TempFile.create(self._dir_fd, status.st_mode & _PERMISSIONS)
                    _copy(fd, temp, self._mark.size)
        except BaseException:
            if temp is not None:
                temp.discard()
            raise
        return temp, status


class _LinkPlacing(_FilePlacing):
    """An instance whose file gets one more name."""

    @classmethod
    def named_at_once(cls, instance: Instance, dir_fd: int, name: str) -> bool:
        return False

    def _taken(self, name: str) -> bool:
        return False  # nothing needs to be written to find out: the name is made, or it is not

    def _publish(self, name: str) -> bool:
        try:
            self._name(name)
        except FileExistsError:
            return False
        return True

    def _replace(self, name: str) -> None:
        hidden = f".dcm-{os.urandom(8).hex()}.part"
        self._name(hidden)
        try:
            os.rename(hidden, name, src_dir_fd=self._dir_fd, dst_dir_fd=self._dir_fd)
        finally:
            # rename() does nothing where both names are of one file.
            self._unname(hidden)

    def _name(self, name: str) -> None:
        """Make the name, which nothing has; FileExistsError where something does."""
        made = False
        try:
            with opened(self._instance.path_text, self._mark, self._instance.fd) as fd:
                # The file that was looked at, whatever has its name by now.
                os.link(f"{_FD_LINKS}/{fd}" if _fd_links_work() else self._source, name, dst_dir_fd=self._dir_fd)
                made = True
        except StoreError:
            if made:
                self._unname(name)
            raise

    def _unname(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._dir_fd)


class _HardLinkPlacing(_LinkPlacing):
    """The same, where it gets that name and nothing else happens to it."""

    @classmethod
    def named_at_once(cls, instance: Instance, dir_fd: int, name: str) -> bool:
        fd, mark = instance.fd, instance.mark
        if fd < 0 or mark is None or not _fd_links_work():
            return False
        # As in `_name`, without what takes twice as long as the looks themselves.
        if not mark.fits(os.fstat(fd)):
            raise StoreError(f"{instance.path_text} has changed since it was looked at")
        try:
            os.link(f"{_FD_LINKS}/{fd}", name, dst_dir_fd=dir_fd)
        except FileExistsError:
            return False
        if not mark.fits(os.fstat(fd)):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=dir_fd)
            raise StoreError(f"{instance.path_text} changed while it was read")
        return True


class SymlinkPlacing(_LinkPlacing):
    """An instance whose file is pointed to, by its absolute path."""

    def _name(self, name: str) -> None:
        with opened(self._instance.path_text, self._mark):
            os.symlink(self._target, name, dir_fd=self._dir_fd)

    def _look(self, name: str) -> Found:
        try:
            target = os.readlink(name, dir_fd=self._dir_fd)
        except OSError:  # it is no link
            return super()._look(name)
        if target == self._target:
            return Found.SAME
        # A link that an earlier run made, to another file with the same data set perhaps: it is only read.
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK, dir_fd=self._dir_fd)
        except FileNotFoundError as exc:
            raise unsafe_path(self._path(name)) from exc  # it leads nowhere
        try:
            return self._compare(fd, name)
        finally:
            os.close(fd)

    @property
    def _target(self) -> str:
        return str(self._source.resolve())


class _MovePlacing(_LinkPlacing):
    """An instance whose file gets another name, and loses its own when the other is safe.

    Where the file is the same as one that is there already, or is kept beside one with other bytes, its own name goes,
    too: as with ``rsync --remove-source-files``, what is safe at the destination is not left behind. Directories stay.
    """

    def __init__(
        self,
        instance: Instance,
        dir_fd: int,
        where: str,
        *,
        conflict: Conflict,
        sync: bool,
        name_later: bool = False,
    ) -> None:
        super().__init__(instance, dir_fd, where, conflict=conflict, sync=sync, name_later=name_later)
        # What a symbolic link points to belongs to somebody else: it is copied, and only the link goes.
        self._is_link = self._source.is_symlink()
        self._may_link = not self._is_link

    def _taken(self, name: str) -> bool:
        return Placing._taken(self, name)  # it may have to be copied

    def place(self, name: str, extension: str) -> Named:
        stored = super().place(name, extension)
        if stored.outcome is Outcome.FAILED:
            return stored  # it was not to be stored: its own name is the only one that it has
        try:
            with contextlib.suppress(FileNotFoundError):  # gone already, and safe here
                self._remove_source(stored.name)
        except (OSError, StoreError) as exc:
            outcome = Outcome.WARNED if stored.outcome is Outcome.SENT else stored.outcome
            reason = f"{NOT_REMOVED}: {reason_of(exc)}"
            return Named(stored.name, outcome, reason)
        return stored

    def _publish(self, name: str) -> bool:
        return self._in_some_way(_LinkPlacing._publish, _FilePlacing._publish, name)

    def _replace(self, name: str) -> None:
        self._in_some_way(_LinkPlacing._replace, _FilePlacing._replace, name)

    def _written(self) -> TempFile:
        temp, status = self._copied()
        if not self._is_link:
            try:
                _keep(temp.fd, status)
            except BaseException:
                temp.discard()
                raise
        return temp

    def _in_some_way(self, link: Callable[..., _T], copy: Callable[..., _T], name: str) -> _T:
        """Link, or else copy: onto stable storage, since the source goes then."""
        if self._may_link:
            try:
                return link(self, name)
            except OSError as exc:
                if exc.errno not in _NO_LINK:
                    raise
                self._may_link = False
        self._sync = True
        return copy(self, name)

    def _remove_source(self, name: str) -> None:
        """Take the own name from the file, which is safe under another one."""
        here = self._source.lstat()
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self._dir_fd)
        try:
            there = os.fstat(fd)
            if not os.path.samestat(here, there):
                # It may have been there before us, and not on the disk yet.
                os.fsync(fd)
                os.fsync(self._dir_fd)
            elif there.st_nlink == 1 or self._is_own_name(name):
                return  # it has been there all the time
        finally:
            os.close(fd)
        if FileMark.of(self._source.stat()) != self._mark:
            raise StoreError("it has changed since")
        self._source.unlink()

    def _is_own_name(self, name: str) -> bool:
        same_parent = os.path.samestat(self._source.parent.stat(), os.fstat(self._dir_fd))
        return same_parent and self._source.name.casefold() == name.casefold()


def _copy(fd: int, temp: TempFile, size: int) -> None:
    """Copy a file into a new one: by sharing its blocks, or else within the kernel, or else through us."""
    if sys.platform == "linux" and size > _SMALL:
        with _unless_impossible():
            fcntl.ioctl(temp.fd, _FICLONE, fd)
            temp.size = size
            return
        with _unless_impossible():
            while temp.size < size and (n := os.copy_file_range(fd, temp.fd, size - temp.size, temp.size, temp.size)):
                temp.size += n
        os.lseek(temp.fd, temp.size, os.SEEK_SET)
    while temp.size < size and (data := os.pread(fd, min(_CHUNK, size - temp.size), temp.size)):
        temp.write(data)
    if temp.size < size:
        raise StoreError("the file is shorter than it was")


def _keep(fd: int, status: os.stat_result) -> None:
    """Have a file look like another that it takes the place of, as with mv(1), as far as the file system can."""
    with contextlib.suppress(OSError):
        os.fchown(fd, status.st_uid, status.st_gid)  # whom but root may give a file to is none but himself
    with contextlib.suppress(OSError):
        os.fchmod(fd, status.st_mode & _PERMISSIONS)
    with contextlib.suppress(OSError):
        os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))


@contextlib.contextmanager
def _unless_impossible() -> Iterator[None]:
    """Let an error pass that says no more than that there is no such way to copy here."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in _NO_SUCH_COPY:
            raise


@functools.cache
def _fd_links_work() -> bool:
    return Path(_FD_LINKS).is_dir()


_PLACINGS: dict[TransferMethod, type[Placing]] = {
    TransferMethod.LOCAL_COPY: _FilePlacing,
    TransferMethod.MOVE: _MovePlacing,
    TransferMethod.LINK: _HardLinkPlacing,
    TransferMethod.SYMLINK: SymlinkPlacing,
}
METHODS = frozenset(_PLACINGS)
"""The ways into a directory besides `TransferMethod.PROXY`."""
