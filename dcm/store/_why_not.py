"""Whether the files of one directory can get into another in some way, as far as is known before anything moves."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from dcm.store.base import TransferMethod

__all__ = ["why_no_link_between", "why_not"]


def why_not(method: TransferMethod, source: Path, dest: Path) -> str:
    """Say why the files of one directory cannot get into another in some way, '' where they can.

    Parameters
    ----------
    method : TransferMethod
        One of `METHODS`.
    source, dest : Path
        The directories; `dest` need not be there yet.
    """
    if method is TransferMethod.MOVE and not os.access(source, os.W_OK):
        return f"files cannot be moved out of {source}: it cannot be written to"
    return _why_no_link(source, dest) if method is TransferMethod.LINK else ""


def why_no_link_between(source: Path, dest: Path) -> str:
    """Say why no file right in one directory can be linked into another, '' where it can; see `why_not`."""
    there = dest.absolute()
    while not there.exists():
        there = there.parent
    try:
        mounts = [_mount_of(place) for place in (source, there)]
    except OSError as exc:
        return f"{source} and {dest} cannot be linked: {exc.strerror}"
    same = mounts[0] == mounts[1]
    return "" if same else f"{source} and {dest} are on different file systems: no file can be in both"


def _why_no_link(source: Path, dest: Path) -> str:
    why = why_no_link_between(source, dest)
    if why:
        return why
    there = dest.absolute()
    while not there.exists():
        there = there.parent
    for place in (source, there):
        below = _mounts_below(place)
        if below:
            return f"{below} in {place} is another file system: what is there cannot be linked"
    return ""


def _mount_of(path: Path) -> tuple[int, str]:
    """The device of a directory, and the mount: two mounts of one device have no links between them."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        mount = ""
        with contextlib.suppress(FileNotFoundError):  # no Linux
            text = Path(f"/proc/self/fdinfo/{fd}").read_text()
            mount = next((line for line in text.splitlines() if line.startswith("mnt_id")), "")
        return os.fstat(fd).st_dev, mount
    finally:
        os.close(fd)


def _mounts_below(path: Path) -> str:
    """A place below a directory where something else is mounted, '' where there is none or it cannot be known."""
    root = os.fsencode(path.resolve()).rstrip(b"/") + b"/"
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
            # proc_pid_mountinfo(5): the fifth field, with blanks and the like as three octal digits.
            place = re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), line.split(b" ")[4])
            if place.startswith(root):
                return os.fsdecode(place)
    return ""
