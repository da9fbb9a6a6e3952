"""Archives and DICOMDIRs: what is in them, and what hostile ones may not do."""

from __future__ import annotations

import errno
import gzip
import io
import itertools
import lzma
import random
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from pydicom import DataElement, dcmread
from pydicom.config import IGNORE
from pydicom.data import get_testdata_file

from dcm._atomic import Buffer, TempFile
from dcm.sort import SortState, _archives
from tests.sort.messes import MESS, TREE, contents, counts, mess, of_state, states, tarred, zipped
from tests.sort.test_sort import run
from tests.store.instances import write_file

PACKED = ("a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz")
INSIDE = {**MESS, "a": "sorted"}
del INSIDE["nowhere"]


def packed(path: Path, members: dict[str, bytes]) -> Path:
    return (zipped if path.suffix == ".zip" else tarred)(path, members)


# -- archives


@pytest.mark.parametrize("name", PACKED)
async def test_the_members_are_sorted_byte_for_byte(name: str, tmp_path: Path) -> None:
    inside = contents(mess(tmp_path / "mess"))
    archive = packed(tmp_path / name, inside)
    thought = await run(archive, tmp_path / "sorted", dry_run=True)
    assert not (tmp_path / "sorted").exists()
    report = await run(archive, tmp_path / "sorted")
    assert thought.found == report.found
    assert states(report) == INSIDE
    here = contents(tmp_path / "sorted")
    assert len(here) == 4
    assert here["Vamp001/1.2.3.dcm"] == inside["c.dcm"]
    assert set(here.values()) <= set(inside.values())
    assert {file.path.partition("!/")[0] for file in report.found} == {str(archive)}
    assert counts(await run(archive, tmp_path / "sorted"))["duplicate"] == 5


@pytest.mark.parametrize("jobs", [1, 3])
async def test_the_first_of_the_sources_gets_the_name_whatever_it_is(jobs: int, tmp_path: Path) -> None:
    one = {name: write_file(tmp_path / name, "1.2.1", pixels=name.encode()[:6]) for name in ("d/file1", "file2")}
    write_file(tmp_path / "d" / "deep" / "file3", "1.2.1", pixels=b"3" * 6)
    inside = write_file(tmp_path / "x", "1.2.1", pixels=b"inside").read_bytes()
    archive = zipped(tmp_path / "a.zip", {"member": inside})
    named: dict[Path, bytes] = {
        tmp_path / "d": one["d/file1"].read_bytes(),
        one["file2"]: one["file2"].read_bytes(),
        archive: inside,
        tmp_path / "d" / "deep": (tmp_path / "d" / "deep" / "file3").read_bytes(),
    }
    for n, sources in enumerate(itertools.permutations(named)):
        dest = tmp_path / f"sorted{n}"
        thought = await run(sources, dest, dry_run=True, jobs=jobs)
        done = await run(sources, dest, jobs=jobs)
        assert sorted(done.found) == sorted(thought.found)
        assert counts(done) == {"sorted": 1, "conflict": 3}
        assert (dest / "Vamp001" / "1.2.1.dcm").read_bytes() == named[sources[0]]


async def test_no_member_replaces_what_came_in_the_same_run(tmp_path: Path) -> None:
    mine = write_file(tmp_path / "mess" / "mine", "1.2.1").read_bytes()
    inside = {str(n): write_file(tmp_path / "x", f"1.2.{n}", pixels=b"inside").read_bytes() for n in (1, 2)}
    inside["2 again"] = write_file(tmp_path / "x", "1.2.2", pixels=b"others").read_bytes()
    write_file(tmp_path / "sorted" / "Vamp001" / "1.2.2.dcm", "1.2.2", pixels=b"before")
    sources = [tmp_path / "mess", zipped(tmp_path / "a.zip", inside)]
    thought = await run(sources, tmp_path / "sorted", conflict="replace", dry_run=True)
    done = await run(sources, tmp_path / "sorted", conflict="replace")
    assert states(thought) == states(done) == {"mine": "sorted", "1": "conflict", "2": "sorted", "2 again": "conflict"}
    assert contents(tmp_path / "sorted") == {"Vamp001/1.2.1.dcm": mine, "Vamp001/1.2.2.dcm": inside["2"]}


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
async def test_names_of_members_lead_nowhere(name: str, tmp_path: Path) -> None:
    one = write_file(tmp_path / "one").read_bytes()
    wild = ("../../escape.dcm", "/tmp/dcm-escape.dcm", "..\\..\\escape.dcm", "C:\\escape.dcm", "a\x1b[2J.dcm")
    inside = {wild[n]: one.replace(b"1.2.3.4\0", b"1.2.3.%d\0" % n) for n in range(5)}
    (tmp_path / "in").mkdir()
    archive = packed(tmp_path / "in" / name, inside)
    report = await run(archive, tmp_path / "out" / "sorted")
    assert counts(report) == {"sorted": 5}
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == {
        *("one", f"in/{name}"),
        *(f"out/sorted/Vamp001/1.2.3.{n}.dcm" for n in range(5)),
    }
    assert not Path("/tmp/dcm-escape.dcm").exists()


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
async def test_archives_in_archives_are_counted(name: str, tmp_path: Path) -> None:
    inner = zipped(tmp_path / "inner.zip", {"x": write_file(tmp_path / "one").read_bytes()}).read_bytes()
    inner_tar = tarred(tmp_path / "inner.tar", {"x": b"hello"}).read_bytes()
    archive = packed(tmp_path / name, {"inner.zip": inner, "inner.tar": inner_tar, "inner.tgz": gzip.compress(b"x")})
    report = await run(archive, tmp_path / "sorted")
    assert of_state(report, SortState.FOREIGN) == ["an archive in an archive: not opened"] * 3


async def test_a_large_member_that_is_not_dicom_is_not_unpacked_to_its_end(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"film.mp4": bytes(range(256)) * (1 << 14)})
    assert of_state(await run(archive, tmp_path / "sorted"), SortState.FOREIGN) == ["not a DICOM file"]


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
async def test_bombs_go_off_in_nobodys_face(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_archives, "_FREE", 1 << 20)
    one = write_file(tmp_path / "one").read_bytes()
    archive = packed(tmp_path / name, {"one": one, "bomb": one + bytes(32 << 20), "after": one})
    report = await run(archive, tmp_path / "sorted")
    assert report.counts[SortState.SORTED] == 1
    assert of_state(report, SortState.UNREADABLE) == [
        "not read to its end: it unpacks to more than 200 times the size of its archive"
    ]
    assert report.exit_code == 3


async def test_a_tar_header_that_fills_the_memory_is_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 24 << 20
    archive = tmp_path / "a.tar.gz"
    with gzip.open(archive, "wb") as stream:
        stream.write(header.tobuf())
        for _ in range(24):
            stream.write(bytes(1 << 20))
    report = await run(archive, tmp_path / "sorted")
    # Whether it is taken for an archive at all is the matter of Python's version.
    assert report.counts[SortState.SORTED] == 0
    assert report.n_files == 1


async def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_archives, "_MAX_MEMBERS", 3)
    inside = {str(n): b"x" for n in range(5)}
    for archive in (zipped(tmp_path / "a.zip", inside), tarred(tmp_path / "a.tar", inside)):
        report = await run(archive, tmp_path / "sorted")
        assert "more than 3 members" in of_state(report, SortState.UNREADABLE)[0]


async def test_a_directory_of_a_zip_archive_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_archives, "_MAX_DIRECTORY", 100)
    archive = zipped(tmp_path / "a.zip", {str(n): b"x" for n in range(5)})
    assert of_state(await run(archive, tmp_path / "sorted"), SortState.UNREADABLE) == [
        "not read: its directory is too large"
    ]


async def test_what_is_only_compressed_is_no_archive_and_not_damaged(tmp_path: Path) -> None:
    one = write_file(tmp_path / "one").read_bytes()
    for name, content in (("one.dcm.gz", gzip.compress(one)), ("one.dcm.xz", lzma.compress(one))):
        archive = tmp_path / name
        archive.write_bytes(content)
        told = of_state(await run(archive, tmp_path / "sorted"), SortState.UNREADABLE)
        assert told == ["compressed, and no tar archive: unpack it first"]
        archive.write_bytes(content[:40])
        told = of_state(await run(archive, tmp_path / "sorted"), SortState.UNREADABLE)
        assert told == ["not read to its end: it is damaged"]


@pytest.mark.parametrize(
    ("magic", "name"), [(b"\x28\xb5\x2f\xfd", "zstd"), (b"7z\xbc\xaf\x27\x1c", "7-Zip"), (b"Rar!\x1a\x07", "RAR")]
)
async def test_what_is_packed_in_a_way_that_is_not_supported_is_not_damaged(
    magic: bytes, name: str, tmp_path: Path
) -> None:
    (tmp_path / "a.tar.zst").write_bytes(magic + bytes(1000))
    report = await run(tmp_path / "a.tar.zst", tmp_path / "sorted")
    assert report.exit_code == 3
    told = f"packed by {name}, which is not supported: unpack it first"
    assert of_state(report, SortState.UNREADABLE) == [told]


async def test_damaged_and_encrypted_members(tmp_path: Path) -> None:
    one = write_file(tmp_path / "one", pixels=bytes(range(256)) * 64).read_bytes()
    whole = bytearray(zipped(tmp_path / "a.zip", {"bad": one, "locked": one, "odd": one, "good": one}).read_bytes())
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        bad = archive.infolist()[0]
    for n in range(40):
        whole[bad.header_offset + 33 + n] ^= 0xFF
    directory = whole.index(b"PK\x01\x02")
    entries = [directory]
    for _ in range(3):
        entries.append(whole.index(b"PK\x01\x02", entries[-1] + 4))
    whole[entries[1] + 8] |= 1  # general purpose flags: encrypted
    whole[entries[2] + 10 : entries[2] + 12] = struct.pack("<H", 97)  # a method that nobody has
    (tmp_path / "b.zip").write_bytes(whole)
    report = await run(tmp_path / "b.zip", tmp_path / "sorted")
    assert states(report) == {"bad": "unreadable", "locked": "unreadable", "odd": "unreadable", "good": "sorted"}
    assert of_state(report, SortState.UNREADABLE) == ["damaged", "encrypted", "packed in a way that is not known"]


@pytest.mark.parametrize("name", PACKED)
async def test_an_archive_that_is_cut_short_says_so(name: str, tmp_path: Path) -> None:
    inside = {
        str(n): write_file(tmp_path / "x", f"1.2.{n}", pixels=random.Random(n).randbytes(3000)).read_bytes()
        for n in range(9)
    }
    whole = packed(tmp_path / name, inside).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) * 2 // 3 // 512 * 512])
    report = await run(tmp_path / name, tmp_path / "sorted")
    assert report.counts[SortState.SORTED] < 9
    assert report.exit_code == 3


async def test_links_and_devices_in_archives_are_no_files(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo("x")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    assert of_state(await run(tmp_path / "a.tar", tmp_path / "s"), SortState.FOREIGN) == ["not a regular file"] * 4


async def test_no_room_to_unpack_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = write_file(tmp_path / "one").read_bytes()
    write = TempFile.write

    def full(self: TempFile, *buffers: Buffer) -> None:
        write(self, *buffers)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(TempFile, "write", full)
    report = await run(zipped(tmp_path / "a.zip", {"one": one, "two": one}), tmp_path / "sorted")
    assert of_state(report, SortState.FAILED) == ["not read to its end: disk full"]
    assert contents(tmp_path / "sorted") == {}


# -- DICOMDIRs


@pytest.fixture
def disc(tmp_path: Path) -> Path:
    """A disc with a DICOMDIR, as pydicom has one."""
    found = get_testdata_file("dicomdirtests/DICOMDIR")
    assert isinstance(found, str)
    return Path(shutil.copytree(Path(found).parent, tmp_path / "disc"))


async def test_a_dicomdir_stands_for_the_files_that_it_names(disc: Path, tmp_path: Path) -> None:
    write_file(disc / "not named")
    named = {
        "/".join(record.ReferencedFileID)
        for record in dcmread(disc / "DICOMDIR").DirectoryRecordSequence
        if "ReferencedFileID" in record
    }
    report = await run(disc / "DICOMDIR", tmp_path / "sorted")
    assert {file.path for file in report.found} == {str(disc / name) for name in named}
    assert counts(report) == {"sorted": len(named)}
    assert counts(await run(disc, tmp_path / "all"))["foreign"] >= 1  # the DICOMDIR itself


@pytest.mark.parametrize("shown", [str.lower, lambda name: f"{name};1", lambda name: f"{name.lower()}.;1"])
async def test_names_as_systems_show_those_of_a_cd(shown: object, disc: Path, tmp_path: Path) -> None:
    assert callable(shown)
    for path in sorted(disc.rglob("*"), reverse=True):
        if path.name != "DICOMDIR":
            path.rename(path.with_name(shown(path.name) if path.is_file() else path.name.lower()))
    report = await run(disc / "DICOMDIR", tmp_path / "sorted")
    assert set(counts(report)) == {"sorted"}


async def test_references_never_lead_out_of_the_disc(disc: Path, tmp_path: Path) -> None:
    write_file(tmp_path / "SECRET")
    (disc / "LINK").symlink_to(tmp_path)
    ds = dcmread(disc / "DICOMDIR")
    records = [record for record in ds.DirectoryRecordSequence if "ReferencedFileID" in record]
    wild = [["..", "SECRET"], [str(tmp_path), "SECRET"], ["LINK", "SECRET"], ["NONE"], [".", "..", "SECRET"], "/SECRET"]
    for record, reference in zip(records, wild, strict=False):
        record["ReferencedFileID"] = DataElement(0x00041500, "CS", reference, validation_mode=IGNORE)
    ds.save_as(disc / "DICOMDIR")
    report = await run(disc / "DICOMDIR", tmp_path / "sorted")
    assert report.counts[SortState.UNREADABLE] == len(wild)
    assert "Vamp001" not in {path.name for path in (tmp_path / "sorted").iterdir()}
    reasons = set(of_state(report, SortState.UNREADABLE))
    assert reasons == {
        "the DICOMDIR names a file outside of its directory",
        "the DICOMDIR names it, and a symbolic link is in the way",
        "the DICOMDIR names it, and it is not there",
    }


async def test_a_dicomdir_that_cannot_be_read(disc: Path, tmp_path: Path) -> None:
    whole = (disc / "DICOMDIR").read_bytes()
    (disc / "DICOMDIR").write_bytes(whole[: len(whole) // 2])
    report = await run(disc / "DICOMDIR", tmp_path / "sorted", TREE)
    assert report.exit_code == 3
