"""What sorting would make, without making it: the rules are those of the store, the files are only thought of."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

from dcm.errors import StoreError
from dcm.instance import Instance
from dcm.sort._look import Looked, Placed, look_at, placed
from dcm.store import TransferMethod, reason_of
from dcm.store._methods import SymlinkPlacing
from dcm.store._placing import Found, Placing
from dcm.store._tree import unsafe_path
from dcm.store.local_dir import LocalDir

__all__ = ["Preview"]


class _Claim(NamedTuple):
    """Who would have a name: a file to be read again when it matters, or the digest of what was in an archive."""

    path: bytes
    uid: str = ""
    digest: str = ""


class Preview:
    """A destination that is only thought of. One thread uses it.

    Parameters
    ----------
    dest : LocalDir
        The true one. It is looked at, and not changed.
    method : TransferMethod
        How files would get there.
    tags : frozenset of int
        What is read of a file.
    """

    def __init__(self, dest: LocalDir, method: TransferMethod, tags: frozenset[int]) -> None:
        self.dest = dest
        self._method = method
        self._in_the_way: dict[str, str] = {}
        self.names: dict[str, _Claim] = {}
        self._claimed: set[str] = set()  # by those that did not get their name at once
        self._tags = tags
        self._root = os.fspath(dest.path.absolute())
        self._exists = os.path.isdir(self._root)  # noqa: PTH112

    def claim(self, wanted: Sequence[tuple[str, bytes]]) -> list[Placed | None]:
        """Give paths to files, where nothing has them or is in the way; None where something has them."""
        return [self._claim(target, path) for target, path in wanted]

    def place_each(self, wanted: Sequence[tuple[str, bytes]]) -> list[Placed | None]:
        """Say what would become of files, one by one, to the first conflict that ends the run."""
        done: list[Placed | None] = []
        for target, path in wanted:
            result = self._claim(target, path) or self.place_file(path)
            done.append(result)
            if result.fatal:
                break
        return done

    def _claim(self, target: str, path: bytes) -> Placed | None:
        if self._exists and (why := self._why_not(target.rpartition("/")[0])):
            return Placed("failed", target, why)
        if target in self.names or (self._exists and os.path.lexists(f"{self._root}/{target}")):
            return None
        self.names[target] = _Claim(path)
        return Placed("sorted", target)

    def _why_not(self, directory: str) -> str:
        """Say why nothing can be stored in a directory, '' where something can, as far as can be seen."""
        known = self._in_the_way.get(directory)
        if known is None:
            above = self._why_not(directory.rpartition("/")[0]) if directory else ""
            known = self._in_the_way[directory] = above or self._seen_from_outside(directory)
        return known

    def _seen_from_outside(self, directory: str) -> str:
        path = f"{self._root}/{directory}"
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            return ""
        except OSError as exc:
            return reason_of(exc)
        if directory and stat.S_ISLNK(mode):
            return reason_of(unsafe_path(path))
        if not os.path.isdir(path):  # noqa: PTH112
            return reason_of(NotADirectoryError(errno.ENOTDIR, ""))
        return "" if os.access(path, os.W_OK | os.X_OK) else reason_of(PermissionError(errno.EACCES, ""))

    def place_file(self, path: bytes, keeps: bool = False) -> Placed:
        """Say what would become of a file whose path something else has; with `keeps`, nothing is replaced."""
        seen = look_at(os.fsdecode(path), self._tags)
        if isinstance(seen, Looked):
            return Placed(seen.state, "", seen.text)
        instance, header = seen
        return self.place(self.dest.parts_of(instance, header), instance, keeps)

    def place(self, parts: Sequence[str], instance: Instance, keeps: bool = False) -> Placed:
        """Say what would become of an instance."""
        directory = "/".join(parts[:-1])
        dir_fd = -1
        with contextlib.suppress(OSError):
            dir_fd = os.open(f"{self._root}/{directory}", os.O_RDONLY | os.O_DIRECTORY)
        try:
            kind = _SymlinkThought if self._method is TransferMethod.SYMLINK else _Thought
            placing = kind(self, instance, dir_fd, directory)
            target = "/".join(parts)
            placing.keeps = keeps or target in self._claimed or target in self.names
            self._claimed.add(target)
            return placed(parts, placing.place(parts[-1], self.dest.extension))
        except StoreError as exc:
            return placed(parts, exc)
        except OSError as exc:
            return Placed("failed", "/".join(parts), exc.strerror or str(exc))
        finally:
            if dir_fd >= 0:
                os.close(dir_fd)


class _Thought(Placing):
    """The placing of one instance, as it would come out."""

    def __init__(self, preview: Preview, instance: Instance, dir_fd: int, directory: str) -> None:
        super().__init__(instance, dir_fd, directory, conflict=preview.dest.conflict, sync=False)
        self._names = preview.names

    def _path(self, name: str) -> str:
        return f"{self._where}/{name}" if self._where else name  # as it was claimed

    def _taken(self, name: str) -> bool:
        return self._path(name) in self._names or (self._dir_fd >= 0 and Placing._taken(self, name))

    def _publish(self, name: str) -> bool:
        self._replace(name)
        return True

    def _replace(self, name: str) -> None:
        instance = self._instance
        # What comes out of an archive will be gone; a file can be read again.
        by_digest = instance.path is None
        path = b"" if instance.path is None else os.fsencode(instance.path)
        self._names[self._path(name)] = _Claim(
            path, instance.sop_instance_uid if by_digest else "", self._digest() if by_digest else ""
        )

    def _look(self, name: str) -> Found:
        claim = self._names.get(self._path(name))
        if claim is None:
            return super()._look(name)
        if claim.path:
            fd = os.open(claim.path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                return self._compare(fd, name)
            finally:
                os.close(fd)
        if claim.digest == self._digest():
            return Found.SAME
        return Found.OTHER_BYTES if claim.uid == self._instance.sop_instance_uid else Found.OTHER_INSTANCE


class _SymlinkThought(_Thought, SymlinkPlacing):
    """The same for a file that would be pointed to: a link that has the name already is followed."""
