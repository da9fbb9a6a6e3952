"""What is remembered of one file must never be told of another."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcm.peek import Header, peek_file
from dcm.peek import _file as file_module
from dcm.peek import _layout as layout_module
from tests import data

TAGS = frozenset({0x00080016, 0x00080018, 0x00100010, 0x00100020, 0x0020000D, 0x00200013})


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout_module, "_layouts", {})


def scanned(path: Path, tags: frozenset[int] = TAGS) -> Header:
    """What a scan says that remembers nothing."""
    known = layout_module._layouts.copy()
    layout_module._layouts.clear()
    header = peek_file(path, tags)
    layout_module._layouts.clear()
    layout_module._layouts.update(known)
    return header


def told(header: Header) -> tuple[object, ...]:
    """All that a header says."""
    return (
        *(header.sop_class_uid, header.sop_instance_uid, header.transfer_syntax_uid, header.complete, header.problem),
        *(header.data_offset, header.pixel_offset, dict(header.encoded), header.attributes, header.wanted),
    )


def hits() -> int:
    return sum(layout.hits for layout in layout_module._layouts.values() if layout is not None)


def test_the_third_of_a_series_is_not_scanned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [sample.path for sample in data.write_tiny(tmp_path, 5)]
    for path in paths[:2]:
        peek_file(path, TAGS)
    with monkeypatch.context() as patched:
        patched.setattr(file_module, "_scanned", None)
        headers = [peek_file(path, TAGS) for path in paths[2:]]
    assert hits() == 3
    assert [told(header) for header in headers] == [told(scanned(path)) for path in paths[2:]]
    assert len({header.sop_instance_uid for header in headers}) == 3


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_nothing_changes_for_any_file() -> None:
    """All of pydicom's files, each three times: what is told is the same with a layout and without."""
    for path in data.pydicom_part10_files():
        try:
            first = told(scanned(path))
        except Exception:  # noqa: BLE001 - what is no DICOM is told by other tests
            continue
        assert [told(peek_file(path, TAGS)) for _ in range(3)] == [first] * 3
    assert hits() > 50


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return data.write_tiny(tmp_path_factory.mktemp("original"), 1)[0].path.read_bytes()


@settings(max_examples=200, deadline=None)
@given(change=st.tuples(st.integers(128, 3193), st.binary(min_size=1, max_size=4)))
def test_whatever_is_changed_a_scan_says_the_same(
    change: tuple[int, bytes], original: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.getbasetemp()
    path, other = directory / "original.dcm", directory / "changed.dcm"
    path.write_bytes(original)
    layout_module._layouts.clear()
    for _ in range(3):
        peek_file(path, TAGS)
    at, new = change
    other.write_bytes((original[:at] + new + original[at + len(new) :])[: len(original)])
    outcomes = []
    for look in (peek_file, scanned):
        try:
            outcomes.append(told(look(other, TAGS)))
        except Exception as exc:  # noqa: BLE001 - whatever it is, both say it
            outcomes.append((type(exc), str(exc)))
    assert outcomes[0] == outcomes[1]


@settings(max_examples=60, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(128, 1200), st.binary(min_size=1, max_size=4)), min_size=1, max_size=12))
def test_whatever_differs_from_file_to_file_a_scan_says_the_same(
    changes: list[tuple[int, bytes]], original: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each file is the one before it with one more change, or the first one again."""
    path = tmp_path_factory.getbasetemp() / "changing.dcm"
    layout_module._layouts.clear()
    files, last = [original] * 3, original
    for at, new in changes:
        last = (last[:at] + new + last[at + len(new) :])[: len(original)]
        files += [last, original, last]
    for data_of_file in files:
        path.write_bytes(data_of_file)
        outcomes = []
        for look in (peek_file, scanned):
            try:
                outcomes.append(told(look(path, TAGS)))
            except Exception as exc:  # noqa: BLE001 - whatever it is, both say it
                outcomes.append((type(exc), str(exc)))
        assert outcomes[0] == outcomes[1]


def test_the_values_of_series_that_take_turns_are_not_mixed_up(tmp_path: Path) -> None:
    series = [data.write_tiny(tmp_path / str(number), 40, n_series=2) for number in range(2)]
    for pair in zip(*series, strict=True):
        for sample in pair:
            assert told(peek_file(sample.path, TAGS)) == told(scanned(sample.path))
    assert hits() > 70


def test_what_the_files_of_a_series_have_in_common_is_compared_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where every file is of another series than the one before it, that is given up."""
    paths = [sample.path for sample in data.write_tiny(tmp_path, 60)]
    for path in paths:
        peek_file(path, TAGS)
    (layout,) = (layout for layout in layout_module._layouts.values() if layout is not None)
    assert layout._n_series < 5
    assert layout._alike is not None
    layout._n_series = 1000
    monkeypatch.setattr(layout._alike, "_expected", ())
    assert [told(peek_file(path, TAGS)) for path in paths] == [told(scanned(path)) for path in paths]
    assert layout._alike is None


def test_a_file_that_ends_within_its_last_value_is_not_taken_for_whole(original: bytes, tmp_path: Path) -> None:
    """It was longer when its size was asked for."""
    path = tmp_path / "a.dcm"
    last = struct.pack("<HH2sH", 0x0020, 0x9999, b"LO", 8)
    pixels = original.index(b"\x28\x00\x10\x00US")
    tags = TAGS | {0x00209999}
    # No image, which would have to have pixel data.
    whole = original[:pixels].replace(b"10008.5.1.4.1.1.", b"10008.5.1.4.1.9.") + last + b"lastword"
    path.write_bytes(whole)
    for _ in range(4):
        peek_file(path, tags)
    (layout,) = (layout for layout in layout_module._layouts.values() if layout is not None)
    assert layout.hits == 2
    assert layout.found_in(whole[:-1]) is None
    assert layout.found_in(whole) is not None


def test_a_uid_in_the_file_meta_information_that_is_another_one_is_told(original: bytes, tmp_path: Path) -> None:
    uid = original.index(b"\x02\x00\x03\x00UI") + 8
    path, other = tmp_path / "a.dcm", tmp_path / "b.dcm"
    path.write_bytes(original)
    other.write_bytes(original[: uid + 30] + b"9" + original[uid + 31 :])
    for _ in range(3):
        peek_file(path, TAGS)
    assert hits() == 1
    assert peek_file(other, TAGS).problem == "the file meta information names another instance"


def test_files_of_one_size_that_never_are_alike_are_soon_only_scanned(
    original: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = original.index(b"\x10\x00\x20\x00LO") + 8
    (length,) = struct.unpack_from("<H", original, at - 2)
    made = 0
    real = layout_module._layout_of

    def counted(*args: object) -> object:
        nonlocal made
        made += 1
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(layout_module, "_layout_of", counted)
    path = tmp_path / "a.dcm"
    for number in range(60):
        # The same size, another split of it between two values.
        cut = 2 * (number % 2)
        text = original[at : at + length - cut]
        extra = struct.pack("<HH2sH", 0x0010, 0x0021, b"LO", cut) + b"xx"[:cut]
        head = original[: at - 2] + struct.pack("<H", len(text)) + text
        path.write_bytes(head + extra + original[at + length :])
        assert told(peek_file(path, TAGS)) == told(scanned(path))
    assert made < 12
