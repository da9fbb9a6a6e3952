"""A segment of the log: what is in it is what was appended, as far as that is certain; nothing else ever is."""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcm.spool import _segment
from dcm.spool._segment import (
    BLOCK,
    MOST_RECORDS,
    Record,
    Segment,
    fill,
    is_needed,
    make_header,
    mark_done,
)
from dcm.spool._segment_reader import DamagedSegmentError, SegmentReader, read_header

SIZE = 1 << 20
LARGE = 150_000

Batch = Sequence[bytes]


def no_step(name: str) -> None:
    """Nothing happens between two steps."""


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[Segment]:
    fd = os.open(tmp_path / "segment", os.O_RDWR | os.O_CREAT, 0o600)
    fill(fd, SIZE, written=True)
    segment = make_header(fd, 7, SIZE)
    yield segment
    segment.close()


def append(segment: Segment, first: int, batch: Batch, step: Callable[[str], None] = no_step) -> list[Record]:
    """Append some images, each with a head of ten bytes."""
    records = [(first + i, 1000 + i, 10, len(image) - 10) for i, image in enumerate(batch)]
    return segment.append(records, [[image[:10], memoryview(image)[10:]] for image in batch], step)


def read(segment: Segment, record: Record) -> bytes:
    return os.pread(segment.fd, record.offset + record.size, record.position)


def again(segment: Segment) -> list[Record]:
    """What somebody finds who opens it."""
    return [record for batch in reader(segment).batches() for record in batch.records if batch.is_sound(record)]


def reader(segment: Segment) -> SegmentReader:
    found = read_header(segment.fd)
    assert found is not None
    assert found.number == segment.number
    return found


def test_what_is_appended_is_there(segment: Segment) -> None:
    batches = [[b"a" * 10], [b"b" * 3000, b"c" * LARGE], [bytes([i]) * (20 + i) for i in range(MOST_RECORDS)]]
    records = []
    for i, batch in enumerate(batches):
        placed = append(segment, 100 * i + 1, batch)
        assert [read(segment, record) for record in placed] == list(batch)
        assert segment.end % BLOCK == 0
        records += placed
    assert again(segment) == records
    assert [record.number for record in records[:3]] == [1, 101, 102]


images = st.binary(min_size=11, max_size=300)


@settings(max_examples=60)
@given(
    batches=st.lists(st.lists(images, min_size=1, max_size=4), min_size=1, max_size=6),
    damage=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=600)), max_size=2),
)
def test_whatever_is_damaged_what_is_found_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[bytes]],
    damage: list[tuple[float, bytes]],
) -> None:
    path = tmp_path_factory.mktemp("segment") / "segment"
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    segment = make_header(fd, 1, SIZE)
    written = [append(segment, 100 * i + 1, batch) for i, batch in enumerate(batches)]
    images_of = {
        r.number: bytes(image)
        for rs, batch in zip(written, batches, strict=True)
        for r, image in zip(rs, batch, strict=True)
    }
    for where, data in damage:
        os.pwrite(fd, data, BLOCK + int(where * (segment.end - BLOCK)))
    found = again(segment)
    assert found == sorted(found)
    assert {r.number: read(segment, r) for r in found}.items() <= images_of.items()
    if not damage:
        assert len(found) == len(images_of)
    # That something is missing in between is seen, if the batch behind it is there.
    heads = [written.index(batch.records) for batch in reader(segment).batches()]
    seen = [batch.behind_damage for batch in reader(segment).batches()]
    assert seen == [i > before + 1 for before, i in zip([-1, *heads], heads, strict=False)]
    segment.close()


@pytest.mark.parametrize("size", [3000, LARGE])
def test_a_batch_is_synced_when_all_of_it_is_written(
    segment: Segment, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    seen: list[str] = []
    real = _segment._sync

    def sync(fd: int) -> None:
        seen.append(f"sync of {len(again(segment))}")
        real(fd)

    monkeypatch.setattr(_segment, "_sync", sync)
    append(segment, 1, [os.urandom(size), os.urandom(size)], seen.append)
    assert seen == ["write", "fsync", "sync of 2"]


@pytest.mark.parametrize("size", [5000, LARGE])
def test_of_a_batch_that_is_there_in_part_only_what_is_whole_counts(segment: Segment, size: int) -> None:
    """The disk takes what it is given before a sync in any order, and has taken any part of it when the power goes."""
    first = append(segment, 1, [b"a" * size])
    before = os.pread(segment.fd, SIZE, 0)
    begin = segment.end
    second = append(segment, 2, [os.urandom(size), os.urandom(size)])
    written = os.pread(segment.fd, SIZE, 0)
    for page in range(begin, segment.end, BLOCK):
        os.pwrite(segment.fd, before[page : page + BLOCK], page)
        whole = [r for r in second if page >= r.position + r.offset + r.size or page + BLOCK <= r.position]
        assert again(segment) == first + (whole if page > begin else [])  # in the first one is its head
        os.pwrite(segment.fd, written[page : page + BLOCK], page)
    assert len(again(segment)) == 3


def test_what_was_there_before_is_not_there_any_more(segment: Segment) -> None:
    for i in range(5):
        append(segment, i + 1, [b"x" * 9000])
    renewed = make_header(segment.fd, 8, SIZE)
    assert again(renewed) == []
    placed = append(renewed, 50, [b"y" * 100])
    assert again(renewed) == placed  # and not what lies behind it


def test_what_a_sender_puts_into_an_instance_is_not_taken_for_a_batch(segment: Segment) -> None:
    """A segment is used again: behind what is written then there are bytes that a sender has chosen."""
    position = 2 * BLOCK
    guess = _segment.HEAD.pack(_segment.BATCH_MAGIC, bytes(8), position, BLOCK, 1)
    guess += _segment.RECORD.pack(66, 1, 600, 10, 100, zlib.crc32(bytes(110)))
    guess += struct.pack("<I", zlib.crc32(guess))
    os.pwrite(segment.fd, guess, position)
    placed = append(segment, 1, [b"y" * 100])
    assert segment.end == position
    assert again(segment) == placed
    # With the salt, which nobody outside can know, it would be one.
    known = bytearray(guess)
    known[8:16] = segment.salt
    known[-4:] = struct.pack("<I", zlib.crc32(bytes(known[:-4])))
    os.pwrite(segment.fd, known, position)
    assert [record.number for record in again(segment)] == [1, 66]


def test_what_nobody_needs_is_marked(segment: Segment) -> None:
    one, two = append(segment, 1, [b"a" * 50, b"b" * 50])
    assert is_needed(segment.fd, one.position)
    mark_done(segment.fd, one.position)
    assert not is_needed(segment.fd, one.position)
    assert is_needed(segment.fd, two.position)
    assert again(segment) == [one, two]  # it is still whole


def test_room(segment: Segment) -> None:
    n = 0
    while segment.has_room([100_000]):
        append(segment, n + 1, [b"x" * 100_000])
        n += 1
    assert n == 10
    assert segment.end <= SIZE
    assert segment.has_room([SIZE - segment.end - BLOCK])
    assert not segment.has_room([SIZE - segment.end])
    assert len(again(segment)) == n


@pytest.mark.parametrize("n", [0, 8, 20, 4095])
def test_a_file_that_is_no_segment(tmp_path: Path, n: int) -> None:
    with open(tmp_path / "file", "w+b") as file:
        file.write(b"dcm seg\x01".ljust(4096, b"x")[:n])
        file.flush()
        if n:
            with pytest.raises(DamagedSegmentError):
                read_header(file.fileno())
        else:
            assert read_header(file.fileno()) is None
        file.seek(0)
        file.write(bytes(4096))  # it has its blocks, and was not used yet
        file.flush()
        assert read_header(file.fileno()) is None


def cannot(*args: object) -> None:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("reserves", [True, False])
def test_all_blocks_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: bool, reserves: bool) -> None:
    if not reserves:
        monkeypatch.setattr(os, "posix_fallocate", cannot)
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:700_000], offset))
    for size in (64 << 10, 4 << 20):
        with open(tmp_path / "file", "w+b") as file:
            fill(file.fileno(), size, written=written)
            status = os.fstat(file.fileno())
            assert status.st_size == size
            assert status.st_blocks * 512 >= size
            assert file.read() == bytes(size)
