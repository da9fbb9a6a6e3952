"""Some files of a directory, named but not read yet."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dcm.report import TransferReport
from dcm.store._giving import Books, give_each

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dcm._bridge import Bridge
    from dcm.instance import Instance
    from dcm.store.index import IndexedFile

__all__ = ["LocalChunk", "as_it_is"]


class _Reader(Protocol):
    """What a chunk needs of its directory."""

    path: Path

    def _threads(self, n: int = 2) -> contextlib.AbstractAsyncContextManager[Bridge]: ...

    def _read_files(
        self, bridge: Bridge, files: Sequence[IndexedFile], books: Books, *, keep_errors: bool
    ) -> AsyncGenerator[Instance, None]: ...


class LocalChunk:
    """Some files of a directory, as its index knows them.

    Parameters
    ----------
    source : LocalDir
        The directory.
    files : sequence of IndexedFile
        Which files; all copies of an instance are in one chunk.
    """

    def __init__(self, source: _Reader, files: Sequence[IndexedFile]) -> None:
        self.source = source
        self.files = tuple(files)

    def __repr__(self) -> str:
        return f"<LocalChunk of {len(self.files)} files in {self.source.path}>"

    async def gen_data(self) -> AsyncGenerator[Instance, None]:
        """Read them; of files that hold one instance with the same bytes only the first is taken.

        Raises
        ------
        PartialError
            In the end: some could not be read.
        """
        own = TransferReport()
        async with self.source._threads() as bridge:
            found = self.source._read_files(bridge, self.files, Books(own, ("",)), keep_errors=False)
            async with contextlib.aclosing(give_each(found, as_it_is, own, None)) as instances:
                async for instance in instances:
                    yield instance


async def as_it_is(instance: Instance) -> Instance:
    """Give an instance as it is."""
    return instance
