"""Which files a command reads of what the user names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dcm.cli._files import files_of
from dcm.cli._root import root
from dcm.cli._run import run
from dcm.errors import DcmError, StoreError
from tests import data


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """Three directories, of which nobody may list the second one."""
    for name in "abc":
        data.write_series(tmp_path / "tree" / name, data.SeriesSpec(n_instances=1))
    return tmp_path / "tree"


@pytest.fixture
def closed(series: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    real, closed = os.scandir, series / "b"

    def scandir(path: Any = ".") -> Any:
        if os.fspath(path) == str(closed):
            raise PermissionError(13, "Permission denied", str(closed))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)  # permissions are nothing to root
    return closed


def test_a_directory_that_cannot_be_listed_keeps_nobody_from_the_others(series: Path, closed: Path) -> None:
    told: list[tuple[str, str]] = []

    def complain(name: str, error: StoreError) -> None:
        told.append((name, error.message))

    found = [path for path, _ in files_of([str(series), "missing"], True, complain)]
    assert [Path(path).parent.name for path in found] == ["a", "c", ""]
    assert told == [(str(closed), "cannot be read: Permission denied")]


def test_json_is_whole_whatever_cannot_be_read(
    series: Path, closed: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run(root, ["dump", "-r", "--out-format", "json", "-i", "PatientID", str(series)]) == 1
    shown = capsysbinary.readouterr()
    assert len(json.loads(shown.out)) == 2
    assert shown.err.decode() == f"Error: {closed}: cannot be read: Permission denied\n"


def test_names_below_what_may_not_be_entered_are_only_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stat(*args: Any, **kwargs: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    def complain(name: str, error: DcmError) -> None:
        raise AssertionError

    monkeypatch.setattr(os, "stat", stat)
    assert list(files_of([str(tmp_path)], True, complain)) == [(str(tmp_path), False)]
