"""Walking through a directory: which files there are, and what they look like from outside.

Every file is found once, where it is. A symbolic link to a file is followed, wherever it leads, if whoever made it is
the user who runs us, owns the root, or owns the file: nobody else can make us give away what only we may read.
A symbolic link to a directory is not followed, so that there are no loops; one that leads out of the root is named.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from dcm.store.index._stamp import LeftOut, Stamp, stamp_of

__all__ = ["Folder", "walk"]

_OUR_TEMPORARY = re.compile(rb"\.dcm-[0-9a-f]{16}\.part")  # see dcm._atomic


@dataclass(slots=True)
class Folder:
    """What is in one directory.

    Parameters
    ----------
    path : bytes
        Relative to the root, b"" for the root itself.
    files : list of (name, stamp)
        What may be instances.
    names : list of bytes
        The same, where only names were asked for; a symbolic link is in `files` all the same.
    left_out : list of (name, reason)
        What is none, as seen from outside, or cannot be seen. The name b"" stands for the directory.
    """

    path: bytes
    files: list[tuple[bytes, Stamp]] = field(default_factory=list)
    names: list[bytes] = field(default_factory=list)
    left_out: list[tuple[bytes, LeftOut]] = field(default_factory=list)

    def join(self, name: bytes) -> bytes:
        """The path of something in it, relative to the root."""
        return self.path + b"/" + name if self.path and name else self.path or name


def walk(root: bytes, *, recurse: bool, file_ext: str, stamps: bool = True) -> Iterator[Folder]:
    """Go through a directory.

    Parameters
    ----------
    root : bytes
        Its real path.
    recurse : bool
        Whether to go through its subdirectories, too.
    file_ext : str
        Only files with this extension, in whatever case, without a dot; '' for all.
    stamps : bool
        Whether to see what files look like; names alone are listed ten times as fast.

    Yields
    ------
    Folder
        One for each directory, those above before those below.

    Raises
    ------
    OSError
        The root itself cannot be listed.
    """
    status = os.stat(root)  # noqa: PTH116 - bytes
    ending = b"." + os.fsencode(file_ext).lower() if file_ext else b""
    owners = {os.geteuid(), status.st_uid}
    todo = [b""]
    while todo:
        folder = Folder(todo.pop())
        below: list[bytes] = []
        try:
            _list(root, folder, below, ending, owners, stamps)
        except OSError as exc:
            if not folder.path:
                raise
            if not isinstance(exc, (FileNotFoundError, NotADirectoryError)):  # it may have gone in the meantime
                folder = Folder(folder.path, left_out=[(b"", LeftOut("unreadable", exc.strerror or str(exc)))])
                below = []
        yield folder
        if recurse:
            todo.extend(sorted(below, reverse=True))


def _list(root: bytes, folder: Folder, below: list[bytes], ending: bytes, owners: set[int], stamps: bool) -> None:
    add: Callable[[tuple[bytes, Stamp]], None] = folder.files.append
    with os.scandir(os.path.join(root, folder.path) if folder.path else root) as entries:  # noqa: PTH118 - bytes
        for entry in entries:
            name = entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    below.append(folder.join(name))
                    continue
                if (ending and not name.lower().endswith(ending)) or _OUR_TEMPORARY.fullmatch(name):
                    continue
                if not stamps and entry.is_file(follow_symlinks=False):
                    folder.names.append(name)
                    continue
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    add((name, stamp_of(status)))
                elif stat.S_ISLNK(status.st_mode):
                    _link(root, folder, entry, status.st_uid, owners)
                else:
                    folder.left_out.append((name, LeftOut("foreign", "not a regular file")))
            except FileNotFoundError:
                continue
            except OSError as exc:
                folder.left_out.append((name, LeftOut("unreadable", exc.strerror or str(exc))))


def _link(root: bytes, folder: Folder, entry: os.DirEntry[bytes], owner: int, owners: set[int]) -> None:
    """Look where a symbolic link leads."""
    try:
        status = entry.stat()
    except OSError as exc:
        if exc.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        # Nothing is lost by it: whatever it stood for is not in this directory.
        folder.left_out.append((entry.name, LeftOut("foreign", "a symbolic link that leads nowhere")))
        return
    if stat.S_ISDIR(status.st_mode):
        if os.path.commonpath([root, os.path.realpath(entry.path)]) != root:
            folder.left_out.append(
                (entry.name, LeftOut("foreign", "a symbolic link to a directory outside: not followed"))
            )
    elif not stat.S_ISREG(status.st_mode):
        folder.left_out.append((entry.name, LeftOut("foreign", "not a regular file")))
    elif owner in owners or owner == status.st_uid:
        folder.files.append((entry.name, stamp_of(status)))
    else:
        folder.left_out.append((entry.name, LeftOut("unreadable", "a symbolic link that somebody else made")))
