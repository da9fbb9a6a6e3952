"""Two directories."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from dcm.diff import FileDiff, FileState, TreeCounts, diff_trees
from dcm.errors import UsageError
from dcm.report import NullProgress
from tests.data import SAMPLE_STUDIES, pydicom_files, write_series, write_studies

FILES = {path.name: path for path in pydicom_files()}


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """The same files twice, under other names and in other places."""
    left, right = tmp_path / "left", tmp_path / "right"
    for number, sample in enumerate(write_studies(left, SAMPLE_STUDIES[:2])):
        place = right / f"{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(sample.path, place / f"{number}.ima")
    return left, right


def diffs(left: Path, right: Path, **options: Any) -> tuple[list[FileDiff], TreeCounts]:
    counts = TreeCounts()
    return list(diff_trees(left, right, counts=counts, **options)), counts


def edit(path: Path, **values: str) -> None:
    ds = dcmread(path)
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    ds.save_as(path)


def test_files_belong_together_by_what_they_are(trees: tuple[Path, Path]) -> None:
    assert diffs(*trees) == ([], TreeCounts(same=7))
    assert TreeCounts(same=7).exit_code == 0


def test_differences_and_what_only_one_side_has(trees: tuple[Path, Path]) -> None:
    left, right = trees
    edit(right / "0" / "0.ima", PatientID="Other")
    (right / "1" / "1.ima").unlink()
    (extra,) = write_series(right / "more", SAMPLE_STUDIES[4].__class__(n_instances=1, patient_id="New"))
    names = sorted(left.iterdir())
    found, counts = diffs(left, right)
    assert [(diff.state, diff.left, diff.right) for diff in found] == [
        (FileState.DIFFERENT, names[0], right / "0" / "0.ima"),
        (FileState.ONLY_LEFT, names[1], None),
        (FileState.ONLY_RIGHT, None, extra.path),
    ]
    assert [diff.path for diff in found[0].differences] == ["PatientID"]
    assert found[2].sop_instance_uid == extra.sop_instance_uid
    assert counts == TreeCounts(same=5, different=1, only_left=1, only_right=1)
    assert counts.exit_code == 1
    assert counts.summary() == "5 same, 1 different, 1 only on the left, 1 only on the right"
    back, _ = diffs(right, left)
    assert sorted(diff.state.value for diff in back) == ["different", "only-left", "only-right"]
    assert diffs(left, right, only=["Modality"])[1].different == 0


def test_several_files_of_one_instance(tmp_path: Path) -> None:
    left, right = tmp_path / "left", tmp_path / "right"
    left.mkdir()
    right.mkdir()
    path = FILES["CT_small.dcm"]
    for place in (left / "same-name", left / "b", left / "c", right / "same-name", right / "x", right / "y"):
        shutil.copy(path, place)
    edit(left / "same-name", PatientID="1")
    edit(right / "same-name", PatientID="2")
    edit(left / "b", PatientID="3")
    edit(right / "y", PatientID="3")  # the same bytes as b
    found, counts = diffs(left, right)
    assert [(diff.left, diff.right) for diff in found] == [(left / "same-name", right / "same-name")]
    assert counts == TreeCounts(same=2, different=1)
    edit(right / "y", PatientID="4")
    (right / "x").unlink()
    found, counts = diffs(left, right)
    assert counts.only_left == 1
    assert {(diff.left, diff.right) for diff in found} == {
        (left / "same-name", right / "same-name"),
        (left / "b", right / "y"),
        (left / "c", None),
    }


def test_foreign_and_unreadable_files(trees: tuple[Path, Path]) -> None:
    left, right = trees
    (left / "notes.txt").write_text("no DICOM")
    shutil.copy(FILES["DICOMDIR"], right / "DICOMDIR")
    os.mkfifo(right / "pipe")
    assert diffs(left, right) == ([], TreeCounts(same=7, foreign=3))
    (left / "nowhere").symlink_to("none")
    assert diffs(left, right) == ([], TreeCounts(same=7, foreign=4)), "a link that leads nowhere holds no instance"


def test_a_truncated_file(trees: tuple[Path, Path]) -> None:
    left, right = trees
    victim = right / "0" / "0.ima"
    victim.write_bytes(victim.read_bytes()[:-10])
    (found,), counts = diffs(left, right)
    assert found.state is FileState.TROUBLE
    assert str(victim) in found.problem
    assert [diff.path for diff in found.differences] == ["PixelData"]
    assert (counts.trouble, counts.exit_code) == (1, 2)


def test_files_without_a_uid_belong_together_by_name(tmp_path: Path) -> None:
    left, right = tmp_path / "left", tmp_path / "right"
    for place in (left, right):
        place.mkdir()
        shutil.copy(FILES["nested_priv_SQ.dcm"], place / "a")
    assert diffs(left, right) == ([], TreeCounts(same=1))
    (right / "a").rename(right / "b")
    assert [diff.state for diff in diffs(left, right)[0]] == [FileState.ONLY_LEFT, FileState.ONLY_RIGHT]


def test_a_file_and_a_directory(trees: tuple[Path, Path]) -> None:
    left, right = trees
    path = sorted(left.iterdir())[2]
    assert diffs(path, right) == ([], TreeCounts(same=1))
    assert diffs(right, path) == ([], TreeCounts(same=1))
    (right / "0" / "2.ima").unlink()
    (found,), _ = diffs(path, right)
    assert (found.state, found.left) == (FileState.ONLY_LEFT, path)
    (found,), _ = diffs(right, FILES["README.txt"])
    assert (found.state, found.right) == (FileState.TROUBLE, FILES["README.txt"])


def test_which_files_are_looked_at(trees: tuple[Path, Path]) -> None:
    left, right = trees
    assert diffs(left, right, recurse=False)[1] == TreeCounts(only_left=7)
    assert diffs(left, right, file_ext="ima")[1] == TreeCounts(only_right=7)


def test_what_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or directory"):
        diff_trees(tmp_path, tmp_path / "none")
    with pytest.raises(UsageError, match="PatientIDD"):
        diff_trees(tmp_path, tmp_path, ignore=["PatientIDD"])


def test_progress(trees: tuple[Path, Path]) -> None:
    class Recorder(NullProgress):
        total = done = 0

        def expected(self, n_instances: int, n_bytes: int | None = None) -> None:
            self.total = n_instances

        def advanced(self, n_instances: int, n_bytes: int) -> None:
            self.done += n_instances

    recorder = Recorder()
    diffs(*trees, progress=recorder)
    assert recorder.total == recorder.done == 7
