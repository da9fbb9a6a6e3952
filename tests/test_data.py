"""The sample data is what it says it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import UID

from tests import data


@pytest.mark.parametrize("spec", data.SAMPLE_STUDIES)
def test_series_are_sound(tmp_path: Path, spec: data.SeriesSpec) -> None:
    samples = data.write_series(tmp_path, spec)
    assert len(samples) == spec.n_instances == len(list(tmp_path.iterdir()))
    for number, sample in enumerate(samples, 1):
        ds = dcmread(sample.path)
        assert ds.SOPInstanceUID == ds.file_meta.MediaStorageSOPInstanceUID == sample.sop_instance_uid
        assert ds.SOPClassUID == ds.file_meta.MediaStorageSOPClassUID == sample.sop_class_uid
        assert (ds.StudyInstanceUID, ds.SeriesInstanceUID) == (sample.study_uid, sample.series_uid)
        assert ds.file_meta.TransferSyntaxUID == sample.transfer_syntax_uid
        assert (ds.InstanceNumber, ds.SeriesNumber) == (number, spec.series)
        assert (ds.PatientID, ds.PatientName) == (spec.patient_id, spec.patient_name)
        assert len(ds.PixelData) == spec.rows * spec.columns * 2
        assert UID(sample.sop_instance_uid).is_valid


def test_sample_studies_are_told_apart(samples: list[data.Sample]) -> None:
    assert len({sample.sop_instance_uid for sample in samples}) == len(samples)
    assert len({sample.data_set_bytes for sample in samples}) == len(samples)
    assert len({sample.study_uid for sample in samples}) == 4
    assert len({sample.series_uid for sample in samples}) == len(data.SAMPLE_STUDIES)


def test_multi_frame(tmp_path: Path) -> None:
    sample = data.write_multi_frame(tmp_path / "huge" / "one.dcm", 4 << 20, rows=512, columns=512)
    ds = dcmread(sample.path)
    assert (ds.NumberOfFrames, len(ds.PixelData)) == (8, 4 << 20)
    assert ds.SOPInstanceUID == sample.sop_instance_uid


def test_data_set_is_what_is_written(tmp_path: Path) -> None:
    (sample,) = data.write_series(tmp_path, data.SeriesSpec(n_instances=1))
    assert data.data_set() == dcmread(sample.path)


def test_data_set_of_leaves_out_the_meta_information(tmp_path: Path) -> None:
    (sample,) = data.write_series(tmp_path, data.SeriesSpec(n_instances=1))
    assert sample.data_set_bytes.startswith(b"\x08\x00\x05\x00CS")
    assert sample.path.read_bytes().endswith(sample.data_set_bytes)


def test_pydicom_files_are_there() -> None:
    assert len(data.pydicom_files()) > 150
    assert len(data.pydicom_charset_files()) >= 15
    assert len(list(data.pydicom_part10_files())) > 100
