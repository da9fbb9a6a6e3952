"""The sample studies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pydicom
import pytest
from pydicom import dcmread

from dcm.demo._samples import SAMPLE_SERIES, pydicom_files, write_samples


def test_samples_are_readable_and_distinct(tmp_path: Path) -> None:
    paths = write_samples(tmp_path)
    data_sets = [dcmread(path) for path in paths]
    assert len({ds.SOPInstanceUID for ds in data_sets}) == len(paths) == sum(s.n_instances for s in SAMPLE_SERIES)
    assert len({ds.SeriesInstanceUID for ds in data_sets}) == len(SAMPLE_SERIES)
    for ds in data_sets:
        assert len(ds.PixelData) == ds.Rows * ds.Columns * 2
        assert any(ds.PixelData)
        assert max(memoryview(ds.PixelData).cast("H")) < 1 << ds.BitsStored


def test_samples_are_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first, second = write_samples(tmp_path / "a"), write_samples(tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_samples_need_no_numpy(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['numpy'] = None\n"
        "from pathlib import Path; from dcm.demo._samples import write_samples\n"
        "print(len(write_samples(Path(sys.argv[1]))))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(list(tmp_path.iterdir()))


def test_pydicom_files_may_be_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert {path.suffix for path in pydicom_files()} == {".dcm"}
    assert len({dcmread(path).file_meta.TransferSyntaxUID for path in pydicom_files()}) == 4
    monkeypatch.setattr(pydicom, "__file__", str(tmp_path / "__init__.py"))
    assert pydicom_files() == []
