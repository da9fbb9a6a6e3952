"""Large instances on their way to disk while they arrive: whole at the end, or not there at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from dcm import _atomic
from dcm._atomic import TempFile
from dcm.errors import StoreError
from dcm.net import DcmNode, DicomEvent, LocalEntity
from dcm.net.wire import Command, CommandField
from dcm.report import TransferReport
from dcm.store.local_dir import LocalDir
from tests import data
from tests.net.scripted import HOST, Link, calling
from tests.store.test_full_disk import fails_after

pytestmark = pytest.mark.usefixtures("nothing_left")

MIB = 1 << 20
REFUSED = 0xA700


@pytest.fixture(params=["unnamed", "hidden"], autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With O_TMPFILE, and as on a file system without it."""
    if request.param == "hidden":
        monkeypatch.setattr(_atomic, "_O_TMPFILE", 0)


@pytest.fixture
def small(tmp_path: Path) -> data.Sample:
    (sample,) = data.write_series(tmp_path / "small", data.SeriesSpec(n_instances=1))
    return sample


@pytest.fixture
def large(tmp_path: Path) -> data.Sample:
    return data.write_multi_frame(tmp_path / "large.dcm", 6 * MIB)


@contextlib.asynccontextmanager
async def receiving(
    directory: Path, *samples: data.Sample, new_temp: Callable[[], TempFile] | None = None
) -> AsyncIterator[Link]:
    """A listener that writes into a directory, and somebody who sends to it."""
    store = LocalDir(directory)
    async with store.send(TransferReport()) as queue:

        async def keep(event: DicomEvent) -> int:
            assert event.instance is not None
            return 0 if await queue.place(event.instance) else REFUSED

        us = LocalEntity(DcmNode(HOST, "LOCALAE", 0))
        async with us.listen(keep, new_temp=new_temp or store.new_temp) as port, calling(port) as link:
            await link.associate(*((sample.sop_class_uid, sample.transfer_syntax_uid) for sample in samples))
            yield link
    # Now: what is logged keeps the error, with its traceback.
    store.close()


def files_in(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


async def test_what_streamed_is_the_same_byte_for_byte(tmp_path: Path, large: data.Sample) -> None:
    async with receiving(tmp_path / "out", large) as link:
        assert await link.store(large) == 0
    (path,) = files_in(tmp_path / "out")
    assert data.data_set_of(path.read_bytes()) == large.data_set_bytes


@pytest.mark.parametrize("room", [0, 200, 3 * MIB])
async def test_a_disk_that_fills_while_it_arrives(
    tmp_path: Path, large: data.Sample, small: data.Sample, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender is told, nothing stays, and there is room again for what comes next."""
    async with receiving(tmp_path / "out", large, small) as link:
        with monkeypatch.context() as patch:
            patch.setattr(os, "writev", fails_after(room, errno.ENOSPC))
            assert await link.store(large) == REFUSED
        assert files_in(tmp_path / "out") == []
        assert await link.store(small) == 0
        assert await link.store(large) == 0
    assert len(files_in(tmp_path / "out")) == 2


async def test_a_directory_in_which_no_file_can_be_made(tmp_path: Path, large: data.Sample, small: data.Sample) -> None:
    def refuse() -> TempFile:
        raise StoreError("no room for another file")

    async with receiving(tmp_path / "out", large, small, new_temp=refuse) as link:
        assert await link.store(large) == REFUSED
        assert await link.store(small) == 0
    assert len(files_in(tmp_path / "out")) == 1


@pytest.mark.parametrize("sent", [MIB // 2, 3 * MIB, 5 * MIB])
async def test_an_association_that_is_cut_in_the_middle(tmp_path: Path, large: data.Sample, sent: int) -> None:
    async with receiving(tmp_path / "out", large) as link:
        command = Command(
            CommandField.C_STORE_RQ,
            message_id=1,
            affected_class=large.sop_class_uid,
            affected_instance=large.sop_instance_uid,
            has_data=True,
        )
        link.raw(*link.wire.send_message(1, command))
        link.raw(*link.wire.send_data(1, large.data_set_bytes[:sent], last=False))
        await link.drained()
    assert files_in(tmp_path / "out") == []


@pytest.mark.parametrize("rest", [b"\xff" * 40, b"\xff" * (2 * MIB)], ids=["in memory", "streamed"])
async def test_a_malformed_data_set_is_treated_alike_however_it_came(
    tmp_path: Path, large: data.Sample, small: data.Sample, rest: bytes
) -> None:
    """It is what the sender has: kept as it is, under the UID that it was sent as."""
    malformed = small.data_set_bytes[:1000] + rest
    async with receiving(tmp_path / "out", small) as link:
        assert await link.store(small, malformed) == 0
    (path,) = files_in(tmp_path / "out")
    assert path.stem == small.sop_instance_uid
    assert data.data_set_of(path.read_bytes()) == malformed
