"""Messes to be sorted."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

from dcm.sort import SortReport, SortState
from tests.store.instances import write_file

TREE = "{PatientID}/{SOPInstanceUID}"


def contents(root: Path) -> dict[str, bytes]:
    """All files below a directory, links followed."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def states(report: SortReport) -> dict[str, str]:
    """The state of each file by its name."""
    assert report.adds_up()
    found = {os.path.basename(file.path): file.state.value for file in report.found}  # noqa: PTH119
    assert len(found) == len(report.found), "two files of one name"
    return found


def counts(report: SortReport) -> dict[str, int]:
    """How many files are in each state that any is in."""
    assert report.adds_up()
    assert sum(report.counts.values()) == len(report.found)
    return {state.value: n for state, n in report.counts.items() if n}


def mess(root: Path) -> Path:
    """One of everything: 3 instances, copies of one, other bytes under its UID, and what is no whole instance."""
    write_file(root / "a", "1.2.1")
    write_file(root / "deep" / "er" / "b.IMA", "1.2.2", patient_id="../../Vamp/002")
    write_file(root / "c.dcm", "1.2.3")
    whole = (root / "a").read_bytes()
    (root / "a again").write_bytes(whole)
    (root / "a with another preamble").write_bytes(b"\xff" * 128 + whole[128:])
    write_file(root / "a with other bytes", "1.2.1", pixels=b"others")
    (root / "short").write_bytes(whole[:-3])
    (root / "notes.txt").write_text("not DICOM")
    (root / "empty").touch()
    (root / "nowhere").symlink_to(root / "not there")
    return root


MESS = {
    "a": "sorted",
    "b.IMA": "sorted",
    "c.dcm": "sorted",
    "a again": "duplicate",
    "a with another preamble": "duplicate",
    "a with other bytes": "conflict",
    "short": "truncated",
    "notes.txt": "foreign",
    "empty": "foreign",
    "nowhere": "foreign",
}


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    """A zip archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, members: dict[str, bytes]) -> Path:
    """A tar archive, packed as its name says."""
    kind = {".gz": "gz", ".tgz": "gz", ".bz2": "bz2", ".xz": "xz"}.get(path.suffix, "")
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=f"w:{kind}") as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    path.write_bytes(data.getvalue())
    return path


def of_state(report: SortReport, state: SortState) -> list[str]:
    """The reasons of the files in a state."""
    return [file.reason for file in report.found if file.state is state]
