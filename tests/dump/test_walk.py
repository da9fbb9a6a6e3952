"""The walk over all elements: every structure, every way in which it can break, and no more memory than it needs."""

from __future__ import annotations

import contextlib
import os
import re
import struct
import subprocess
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcm.dump import BytesSource, Element, StreamSource, dump_plain, source_of, walk
from dcm.dump._walk import ELEMENT, FRAGMENT, FRAGMENTS, ITEM, SEQUENCE, UNDEFINED
from dcm.errors import InvalidDicomError
from dcm.part10 import pack_meta
from dcm.text import UNSAFE_CHARS
from tests.data import pydicom_part10_files, write_multi_frame

UNSAFE = re.compile(f"[{UNSAFE_CHARS}]")
FILES = list(pydicom_part10_files())
SMALL = [path.read_bytes() for path in FILES if path.stat().st_size < 20_000]
EXPLICIT, IMPLICIT, BIG, DEFLATED = (f"1.2.840.10008.1.2{end}" for end in (".1", "", ".2", ".1.99"))


def element(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    length = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    if vr in ("SQ", "OB", "OW", "UN", "UT"):
        return head + struct.pack("<HL", 0, length) + value
    return head + struct.pack("<H", length) + value


def item(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(value) if length is None else length) + value


ITEM_END = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def part10(data_set: bytes, syntax: str = EXPLICIT) -> bytes:
    return pack_meta("1.2.840.10008.5.1.4.1.1.7", "1.2.3", syntax) + data_set


def read(data: bytes) -> tuple[list[Element], str]:
    """The elements of the data set, and the error at their end."""
    found: list[Element] = []
    try:
        found.extend(found_one for found_one in walk(BytesSource(data)) if found_one.tag >> 16 != 2)
    except InvalidDicomError as exc:
        return found, str(exc)
    return found, ""


def outline(data: bytes) -> list[tuple[int, int, int]]:
    elements, error = read(data)
    assert error == ""
    return [(one.kind, one.depth, one.tag) for one in elements]


NAME = element(0x00100010, "PN", b"A^B ")
EITHER = [
    (SEQUENCE, 0, 0x00081140),
    (ITEM, 1, 0xFFFEE000),
    (ELEMENT, 2, 0x00100010),
    (ITEM, 1, 0xFFFEE000),
    (ELEMENT, 0, 0x00100010),
]


def test_sequences_with_and_without_lengths() -> None:
    explicit = element(0x00081140, "SQ", item(NAME) + item(b"")) + NAME
    delimited = item(NAME + ITEM_END, UNDEFINED) + item(ITEM_END, UNDEFINED) + SEQUENCE_END
    assert outline(part10(explicit)) == EITHER
    assert outline(part10(element(0x00081140, "SQ", delimited, UNDEFINED) + NAME)) == EITHER
    # An item that has a length, and a delimiter all the same
    odd = element(0x00081140, "SQ", item(NAME) + ITEM_END + item(b"") + SEQUENCE_END, UNDEFINED)
    assert outline(part10(odd + NAME)) == EITHER


def test_fragments() -> None:
    pixels = item(b"") + item(b"\xff\xd8ab") + SEQUENCE_END
    elements, error = read(part10(element(0x7FE00010, "OB", pixels, UNDEFINED)))
    assert error == ""
    assert [(one.kind, one.vr, one.number, one.value) for one in elements] == [
        (FRAGMENTS, "OB", 0, b""),
        (FRAGMENT, "pi", 1, b""),
        (FRAGMENT, "pi", 2, b"\xff\xd8ab"),
    ]


def test_offsets_are_where_things_are() -> None:
    for path in FILES:
        data = path.read_bytes()
        syntax_is_deflated = b"1.2.840.10008.1.2.1.99" in data[:1024]
        elements, _ = read(data)
        for one in elements if not syntax_is_deflated else ():
            tag = struct.pack("<HH", one.tag >> 16, one.tag & 0xFFFF)
            swapped = struct.pack(">HH", one.tag >> 16, one.tag & 0xFFFF)
            assert data[one.offset : one.offset + 4] in (tag, swapped)
            assert data[one.start : one.start + len(one.value)] == one.value


NESTED = element(0x00081140, "SQ", item(NAME, 40))


@pytest.mark.parametrize(
    ("data_set", "n_elements", "problem", "offset"),
    [
        (NAME + element(0x00100020, "LO", b"12", 10), 2, "(0010,0020) is longer than the file: 8 of its 10", 12),
        (NAME + b"\x10\0\x20\0LO", 1, "the data ends within the header of an element", 12),
        (NAME + bytes(16), 1, "there are zeros where an element should be", 12),
        (NAME + ITEM_END, 1, "(fffe,e00d) where an element should be", 12),
        (NAME + NESTED, 4, "is longer than what it is in", 44),
        (NAME + element(0x00081140, "SQ", item(NAME), UNDEFINED), 4, "the data ends within a sequence", 44),
        (NAME + element(0x00081140, "SQ", item(NAME, UNDEFINED), UNDEFINED), 4, "the data ends within an item", 44),
        (NAME + element(0x00081140, "SQ", NAME), 2, "(0010,0010) where an item should be", 24),
        (NAME + element(0x7FE00010, "OB", item(b"ab", 90), UNDEFINED), 3, "is longer than the file", 24),
        (NAME + element(0x7FE00010, "OB", item(b"ab", UNDEFINED), UNDEFINED), 2, "a fragment has no length", 24),
    ],
)
def test_what_is_broken(data_set: bytes, n_elements: int, problem: str, offset: int) -> None:
    start = len(part10(b""))
    elements, error = read(part10(data_set))
    assert len(elements) == n_elements
    assert problem in error or (problem == "is longer than the file" and "is longer than what it is in" in error)
    assert error.endswith(f"at offset {start + offset}")


def test_deep_nesting_is_followed_to_its_limit_and_never_recursed_into() -> None:
    def nested(depth: int) -> bytes:
        head = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, UNDEFINED) + struct.pack(
            "<HHL", 0xFFFE, 0xE000, UNDEFINED
        )
        return part10(head * depth + (ITEM_END + SEQUENCE_END) * depth)

    assert len(outline(nested(64))) == 128
    elements, error = read(nested(5000))
    assert len(elements) == 128
    assert "nested deeper than 64" in error


def test_a_deflated_data_set_that_is_cut_off_is_read_as_far_as_it_goes() -> None:
    data_set = b"".join(element(0x00100010 + n, "LO", os.urandom(500).hex().encode()[:600]) for n in range(200))
    packed = zlib.compressobj(wbits=-15)
    deflated = packed.compress(data_set) + packed.flush()
    assert len(read(part10(deflated, DEFLATED))[0]) == 200
    elements, error = read(part10(deflated[: len(deflated) // 2], DEFLATED))
    assert 80 < len(elements) < 120
    assert "the deflated data is cut off" in error
    assert "of the inflated data set" in error


@pytest.mark.parametrize("path", FILES[::9], ids=lambda path: path.name)
def test_a_pipe_gives_what_a_file_gives(path: Path) -> None:
    reader, writer = os.pipe()
    data = path.read_bytes()[: 1 << 16]  # what a pipe holds
    os.write(writer, data)
    os.close(writer)
    source = source_of(reader)
    assert isinstance(source, StreamSource)
    found: list[str] = []
    with contextlib.suppress(InvalidDicomError):
        found.extend(dump_plain(source))
    os.close(reader)
    assert found == dumped(data)


def test_large_values_of_pipes_and_of_deflated_data_come_in_whole(tmp_path: Path) -> None:
    value = os.urandom(1 << 16) * 80  # 5 MiB
    data_set = element(0x00100020, "LO", b"12") + element(0x7FE00010, "OW", value) + element(0x7FE10010, "LO", b"A ")
    packed = zlib.compressobj(1, wbits=-15)
    deflated = packed.compress(data_set) + packed.flush()
    for data in (part10(data_set), part10(deflated, DEFLATED)):
        path = tmp_path / "large.dcm"
        path.write_bytes(data)
        with subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE) as cat:
            assert cat.stdout is not None
            source = source_of(cat.stdout.fileno())
            assert isinstance(source, StreamSource)
            found = [one for one in walk(source) if one.tag >> 16 != 2]
        assert [one.tag for one in found] == [0x00100020, 0x7FE00010, 0x7FE10010]
        assert found[1].value == value
        assert found[2].value == b"A "


def test_large_values_are_not_read(tmp_path: Path) -> None:
    path = write_multi_frame(tmp_path / "large.dcm", 32 << 20).path
    fd = os.open(path, os.O_RDONLY)
    list(dump_plain(source_of(fd)))  # what is imported and cached
    tracemalloc.start()
    lines = list(dump_plain(source_of(fd)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    os.close(fd)
    assert lines[-1].startswith("(7fe0,0010) OW ")
    assert peak < 1 << 20


def dumped(data: bytes, *, full: bool = False) -> list[str]:
    """The lines that can be made, whether there is an error or not."""
    lines: list[str] = []
    with contextlib.suppress(InvalidDicomError):
        lines.extend(dump_plain(BytesSource(data), full=full))
    return lines


@given(st.binary(max_size=300))
def test_any_bytes_lead_to_elements_or_an_error(data: bytes) -> None:
    for syntax in (EXPLICIT, IMPLICIT, BIG, DEFLATED):
        assert not UNSAFE.search("".join(dumped(part10(data, syntax))))


@given(st.data())
def test_damaged_files_lead_to_elements_or_an_error(draws: st.DataObject) -> None:
    data = bytearray(draws.draw(st.sampled_from(SMALL)))
    for _ in range(draws.draw(st.integers(1, 4))):
        data[draws.draw(st.integers(132, len(data) - 1))] = draws.draw(st.integers(0, 255))
    lines = dumped(bytes(data[: draws.draw(st.integers(132, len(data)))]), full=True)
    assert not UNSAFE.search("".join(lines))
