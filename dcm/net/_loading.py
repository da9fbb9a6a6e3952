"""Files that are about to be sent: looked at, found whole, and read, small ones at once. Blocks: for worker threads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from dcm._unchanged import FileMark, unreadable
from dcm.errors import DcmError, InvalidDicomError, StoreError
from dcm.instance import Instance
from dcm.net._data_in import SPILL_SIZE
from dcm.peek import peek_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    Source: TypeAlias = Instance | str | os.PathLike[str]

__all__ = ["BATCH_BYTES", "load_all"]

BATCH_BYTES = 4 << 20

_IDENTITY = frozenset({0x00080016, 0x00080018})
# A named pipe that nobody writes to must not stop us.
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)


def load_all(sources: Sequence[Source]) -> list[Instance | str]:
    """Read files until enough bytes have come together.

    Parameters
    ----------
    sources : sequence of Instance or path

    Returns
    -------
    list of Instance or str
        For the first so many of `sources`, at least one: the instance, in memory if it is small; or why it cannot be
        sent, in words that are the same for all with the same cause.
    """
    loaded: list[Instance | str] = []
    n_bytes = 0
    for source in sources:
        try:
            instance = _in_hand(source) if isinstance(source, Instance) else _load(source)
        except Exception as error:  # noqa: BLE001
            # Whatever it is, a name that can be no name, say: this one fails, and nobody waits for it in vain.
            loaded.append(_without_name(error, source))
        else:
            loaded.append(instance)
            n_bytes += instance.size if instance.in_memory else 0
        if n_bytes >= BATCH_BYTES:
            break
    return loaded


def _load(path: str | os.PathLike[str]) -> Instance:
    name = os.fspath(path)
    data: bytes | None = None
    try:
        fd = os.open(name, _OPEN_FLAGS)
        try:
            mark = FileMark.of(os.fstat(fd))
            header = peek_file(fd, _IDENTITY)
            size = mark.size - header.data_offset
            if size <= SPILL_SIZE:
                data = os.pread(fd, max(size, 0), header.data_offset)
                if len(data) != size or FileMark.of(os.fstat(fd)) != mark:
                    raise StoreError(f"{name} changed while it was read")
        except InvalidDicomError as exc:
            raise InvalidDicomError(f"{name}: {exc.message.removeprefix(f'file descriptor {fd}: ')}") from exc
        finally:
            os.close(fd)
    except OSError as exc:
        raise unreadable(name, exc) from exc
    if not (header.sop_instance_uid and header.sop_class_uid):
        raise InvalidDicomError(f"{name}: does not say which SOP instance it is")
    if header.complete is False:
        # Half a data set would have the peer wait for the rest, or keep it as if it were all.
        raise InvalidDicomError(f"{name}: it is cut short")
    if data is None:
        return Instance.from_file(name)
    uids = header.sop_class_uid, header.sop_instance_uid, header.transfer_syntax_uid
    # Making a Path of a name takes longer than reading a small file.
    return Instance.from_buffer(*uids, data, path=path if isinstance(path, Path) else Path(name))


def _in_hand(instance: Instance) -> Instance:
    """The same instance with its data in memory."""
    data = instance.read(0, instance.size)
    if len(data) < instance.size:
        raise StoreError("its file is shorter than it was")
    uids = instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax_uid
    return Instance.from_buffer(*uids, data, instance.source_ae, path=instance.path)


def _without_name(error: Exception, source: Source) -> str:
    message = error.message if isinstance(error, DcmError) else str(error)
    path = source.path if isinstance(source, Instance) else source
    name = os.fspath(path) if path is not None else "a temporary file"
    return message.removeprefix(f"cannot read {name}: ").removeprefix(f"{name}: ").removeprefix(f"{name} ")
