"""Asking an index: levels, keys, counts, earlier results, contradictions; and agreement with pydicom."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
from pydicom import dcmread

from dcm.attrs import Attributes
from dcm.levels import QueryLevel
from dcm.peek import QUERY_TAGS, peek_file
from dcm.query import QueryResult
from dcm.query._elements import up_to
from dcm.report import QueryReport
from dcm.store.index import Index
from tests import data
from tests.store.index.support import keys, result_of, uids
from tests.store.instances import CT, EXPLICIT_LE, write_file

PATIENT, STUDY, SERIES, IMAGE = QueryLevel
NAME, PATIENT_ID, DATE, MODALITY = (0x00100010, "PN"), (0x00100020, "LO"), (0x00080020, "DA"), (0x00080060, "CS")
STUDY_UID, SERIES_UID, SOP_UID = (0x0020000D, "UI"), (0x0020000E, "UI"), (0x00080018, "UI")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[data.Sample]:
    return data.write_studies(tmp_path_factory.mktemp("samples"))


@pytest.fixture
def index(samples: list[data.Sample]) -> Index:
    index = Index.in_memory(samples[0].path.parent)
    index.refresh()
    return index


def test_the_tree(index: Index) -> None:
    assert result_of(index, PATIENT).to_line() == "3 patients | 4 studies | 6 series | 17 instances"
    assert result_of(index, IMAGE).to_line() == "3 patients | 4 studies | 6 series | 17 instances"
    assert result_of(index, STUDY).equivalent(result_of(index, IMAGE))
    assert result_of(index, SERIES).equivalent(result_of(index, IMAGE))
    assert result_of(index, IMAGE).reduced(PATIENT).equivalent(result_of(index, PATIENT))


def test_what_a_record_has(index: Index, samples: list[data.Sample]) -> None:
    (study,) = index.records(STUDY, keys((*PATIENT_ID, "Vamp001"), (0x00080030, "TM", "1643")))
    assert study.text(0x00080061) == "CT\\MR"
    assert study[0x00080062] == tuple(
        sorted({s.sop_class_uid for s in samples if s.study_uid == study.text(0x0020000D)})
    )
    assert [study.text(tag) for tag in (0x00201206, 0x00201208)] == ["3", "9"]
    assert not set(study) & {0x00080060, 0x0020000E, 0x00201200, 0x00080018, 0x00080005}
    assert study.to_dataset().PatientName == "Dracula^Count"
    image = index.records(IMAGE, keys((*SOP_UID, samples[0].sop_instance_uid)))[0]
    assert image.text(0x00083002) == samples[0].transfer_syntax_uid
    assert image.text(0x00080016) == samples[0].sop_class_uid
    header = peek_file(samples[0].path).attributes
    assert {tag: image[tag] for tag in header if tag != 0x00080005} == {t: header[t] for t in header if t != 0x00080005}
    (patient,) = index.records(PATIENT, keys((*PATIENT_ID, "Vamp003")))
    assert patient.text(0x00100010) == "Müller^Jürgen"
    assert [patient.text(tag) for tag in (0x00201200, 0x00201202, 0x00201204)] == ["1", "1", "2"]


@pytest.mark.parametrize(
    ("level", "query", "n"),
    [
        (STUDY, keys((*NAME, "*CULA*")), 3),
        (PATIENT, keys((*NAME, "dracula*")), 1),
        (STUDY, keys((*PATIENT_ID, "Vamp00?")), 4),
        (STUDY, keys((*PATIENT_ID, "Vamp001"), (*DATE, "20201101-")), 0),
        (STUDY, keys((*DATE, "20201031")), 3),
        (STUDY, keys((*MODALITY, "MR")), 2),
        (SERIES, keys((*MODALITY, "MR")), 2),
        (PATIENT, keys((*MODALITY, "MR")), 2),
        (STUDY, keys((0x00080061, "CS", "MR")), 2),
        (SERIES, keys((0x00080061, "CS", "MR")), 4),
        (IMAGE, keys((0x00200013, "IS", "1")), 6),
        (STUDY, keys((0x00200013, "IS", "4")), 1),
        (SERIES, keys((0x00200013, "IS", "4"), (*MODALITY, "MR")), 0),
        (STUDY, keys((0x00201208, "IS", "9")), 1),
        (SERIES, keys((0x00201209, "IS", "3")), 3),
        (IMAGE, keys((0x00280010, "US", "32")), 17),
        (STUDY, keys((0x0008103E, "LO", "*teeth"), (0x00080052, "CS", "STUDY")), 1),
        (STUDY, keys((*STUDY_UID, "1.2.3")), 0),
        # What the index does not hold is looked for in the files.
        (STUDY, keys((0x00280004, "CS", "MONO*")), 4),
        (IMAGE, keys((0x00281052, "DS", "-1024"), (*PATIENT_ID, "Vamp001")), 10),
        (IMAGE, keys((0x00281052, "DS", "0")), 0),
    ],
)
def test_keys(index: Index, level: QueryLevel, query: Attributes, n: int) -> None:
    assert len(result_of(index, level, query)) == n


def test_lists_of_uids_and_contradictory_keys(index: Index, samples: list[data.Sample]) -> None:
    wanted = sorted({sample.series_uid for sample in samples})[:2]
    found = index.records(SERIES, Attributes.from_items([(*SERIES_UID, tuple(wanted))]))
    assert sorted(uids(found, SERIES)) == wanted
    other = next(sample for sample in samples if sample.series_uid not in wanted)
    assert not index.records(
        IMAGE, Attributes.from_items([(*SERIES_UID, tuple(wanted)), (*SOP_UID, other.sop_instance_uid)])
    )


def test_attributes_that_are_only_asked_for(index: Index) -> None:
    query = Attributes.from_items([(0x00280004, "CS", None), (0x00201208, "IS", None), (*PATIENT_ID, "Vamp002")])
    for record in index.records(IMAGE, query):
        assert record.text(0x00280004) == "MONOCHROME2"
        assert record.text(0x00201208) == "3"


def test_within_an_earlier_result(index: Index, samples: list[data.Sample]) -> None:
    everything = {level: result_of(index, level) for level in QueryLevel}
    mine = [sample for sample in samples if sample.patient_id == "Vamp001"]
    for level in QueryLevel:
        earlier = everything[level] & QueryResult(PATIENT, index.records(PATIENT, keys((*PATIENT_ID, "Vamp001"))))
        for asked in QueryLevel:
            found = QueryResult(asked, index.records(asked, None, earlier))
            assert found.to_line() == f"1 patients | 2 studies | 4 series | {len(mine)} instances"
    one = QueryResult(IMAGE, index.records(IMAGE, keys((*SOP_UID, mine[0].sop_instance_uid))))
    assert uids(index.records(SERIES, None, one), SERIES) == [mine[0].series_uid]
    assert not index.records(IMAGE, keys((*MODALITY, "MR")), one)


def test_files_of_a_result(index: Index, samples: list[data.Sample]) -> None:
    for level in QueryLevel:
        found = list(index.files(result_of(index, level)))
        assert len(found) == len(samples)
        assert {(file.path, file.sop_instance_uid) for file in found} == {
            (s.path.name, s.sop_instance_uid) for s in samples
        }
    study = QueryResult(STUDY, index.records(STUDY, keys((*PATIENT_ID, "Vamp002"))))
    for file in index.files(study):
        sample = next(sample for sample in samples if sample.sop_instance_uid == file.sop_instance_uid)
        status = sample.path.stat()
        assert (file.size, file.mtime_ns, file.inode) == (status.st_size, status.st_mtime_ns, status.st_ino)
        assert (file.series_uid, file.sop_class_uid) == (sample.series_uid, sample.sop_class_uid)
        assert file.transfer_syntax_uid == sample.transfer_syntax_uid


def test_several_files_of_one_instance(tmp_path: Path) -> None:
    for name in ("b/x.dcm", "a/y.dcm", "a/x.dcm", "z.dcm"):
        write_file(tmp_path / name, "1.2.3.4")
    write_file(tmp_path / "other.dcm", "1.2.3.5")
    index = Index.in_memory(tmp_path)
    result = index.refresh()
    assert (result.n_files, result.n_instances) == (5, 2)
    (series,) = index.records(SERIES)
    assert series.text(0x00201209) == "2"
    assert len(result_of(index)) == 2
    files = list(index.files(result_of(index)))
    assert [(file.path, file.copy) for file in files] == [
        *(("z.dcm", 0), ("a/x.dcm", 1), ("a/y.dcm", 2), ("b/x.dcm", 3), ("other.dcm", 0))
    ]
    (tmp_path / "z.dcm").unlink()
    write_file(tmp_path / "a" / "x.dcm", "1.2.3.6")
    index.refresh()
    assert [file.path for file in index.files(result_of(index))] == ["a/y.dcm", "b/x.dcm", "other.dcm", "a/x.dcm"]
    assert index.records(SERIES)[0].text(0x00201209) == "3"


CONTRADICTIONS = {
    "a study of two patients": [
        ("1.1", {"patient_id": "B", "study_uid": "9"}),
        ("1.2", {"patient_id": "A", "study_uid": "9"}),
        ("1.3", {"patient_id": "", "study_uid": "9"}),
    ],
    "an instance of two series": [("1.1", {"study_uid": "8"}), ("1.1", {"study_uid": "9"})],
}


@pytest.mark.parametrize("reason", CONTRADICTIONS)
def test_contradictions_are_settled_and_named(tmp_path: Path, reason: str) -> None:
    trees = []
    report = QueryReport()
    for order in itertools.permutations(enumerate(CONTRADICTIONS[reason])):
        root = tmp_path / "-".join(str(number) for number, _ in order)
        index = Index.in_memory(root)
        for number, (uid, values) in order:
            write_file(root / f"{number}.dcm", uid, **values)  # type: ignore[arg-type]
            report = QueryReport()
            index.refresh(report)
        (problem,) = report.files
        assert (problem.kind, problem.message) == ("inconsistent", reason)
        assert problem.path.endswith("0.dcm" if "patients" in reason else "1.dcm")
        assert report.exit_code == 0
        trees.append([uids(index.records(level), level) for level in QueryLevel])
        for level in QueryLevel:
            assert result_of(index, level).equivalent(result_of(index))
        assert len(list(index.files(result_of(index)))) >= len(result_of(index))
    assert all(tree == trees[0] for tree in trees)
    if "patients" in reason:
        assert trees[0][0] == ["A"]
        assert len(trees[0][3]) == 3


def test_a_series_of_two_studies(tmp_path: Path) -> None:
    from dcm.part10 import pack_meta
    from tests.store.instances import encode

    def write(name: str, uid: str, study: str) -> None:
        content = encode(uid, study_uid=study).replace(f"{study}.9".encode(), b"777.9" if len(study) == 3 else b"")
        (tmp_path / name).write_bytes(pack_meta(CT, uid, EXPLICIT_LE) + content)

    write("a.dcm", "1.1", "222")
    write("b.dcm", "1.2", "111")
    index = Index.in_memory(tmp_path)
    report = QueryReport()
    index.refresh(report)
    assert [(problem.message, Path(problem.path).name) for problem in report.files] == [
        ("a series of two studies", "a.dcm")
    ]
    assert uids(index.records(STUDY), STUDY) == ["111"]
    assert result_of(index).to_line() == "1 patients | 1 studies | 1 series | 2 instances"
    (tmp_path / "b.dcm").unlink()
    report = QueryReport()
    index.refresh(report)
    assert not report.files
    assert uids(index.records(STUDY), STUDY) == ["222"]


def test_headers_that_differ_within_a_series(tmp_path: Path) -> None:
    for number, text in enumerate(["T1", "T2", "T1"]):
        write_file(tmp_path / f"{number}.dcm", f"1.{number}", description=text)
    index = Index.in_memory(tmp_path)
    index.refresh()
    description = (0x0008103E, "LO")
    assert [record.text(description[0]) for record in index.records(SERIES)] == ["T1"]
    (found,) = index.records(SERIES, keys((*description, "T2")))
    assert (found.text(description[0]), found.text(0x00201209)) == ("T2", "3")
    assert uids(index.records(IMAGE, keys((*description, "T2")))) == ["1.1"]


def test_patients_without_an_id(tmp_path: Path) -> None:
    write_file(tmp_path / "a.dcm", "1.1", patient_id="", study_uid="5")
    write_file(tmp_path / "b.dcm", "1.2", patient_id="", study_uid="6")
    index = Index.in_memory(tmp_path)
    index.refresh()
    assert uids(index.records(PATIENT), PATIENT) == [""]
    assert result_of(index, STUDY).to_line() == "1 patients | 2 studies | 2 series | 2 instances"
    assert len(list(index.files(result_of(index, STUDY)))) == 2


def test_identifiers_with_control_characters(tmp_path: Path) -> None:
    """What is in no text on earth, and in a file all the same, must not keep an instance out."""
    odd = ["AB", "AB\0CD", "AB\0", "AB\1b", "AB\1aCD", "A\0\1"]
    for number, patient_id in enumerate(odd):
        write_file(tmp_path / f"{number}.dcm", f"1.{number}", patient_id=patient_id, study_uid=f"5.{number}")
        write_file(tmp_path / f"uid{number}.dcm", f"2.{number}\0{number}", patient_id="P", study_uid=f"6\0{number}")
    index = Index.in_memory(tmp_path)
    index.refresh()
    for level in (PATIENT, STUDY, QueryLevel.SERIES, QueryLevel.IMAGE):
        found = result_of(index, level)
        assert found.n_instances() == 12
        assert len(list(index.files(found))) == 12
        assert index.records(level, None, found) == index.records(level)


def test_it_does_not_matter_in_what_order_files_come(tmp_path: Path) -> None:
    """However a directory became what it is, the index says the same of it."""
    rng = random.Random(7)
    root = tmp_path / "root"
    root.mkdir()
    index = Index(root)
    for _ in range(12):
        for _ in range(rng.randrange(1, 6)):
            path = root / rng.choice("ab") / f"{rng.randrange(6)}.dcm"
            if rng.random() < 0.3:
                path.unlink(missing_ok=True)
            else:
                study = rng.choice(["1.1", "1.2"])
                write_file(path, f"1.9.{rng.randrange(5)}", patient_id=rng.choice(["A", "B", ""]), study_uid=study)
        index.refresh()
        anew = Index.in_memory(root)
        anew.refresh()
        for level in QueryLevel:
            assert index.records(level) == anew.records(level)
        assert list(index.files(result_of(index))) == list(anew.files(result_of(anew)))
    index.close()


@pytest.mark.filterwarnings("ignore")  # pydicom's, about its own files
def test_every_file_of_pydicom(tmp_path: Path) -> None:
    """Each is in the index as pydicom reads it, or was left out for a reason that pydicom confirms."""
    for number, path in enumerate((*data.pydicom_files(), *data.pydicom_charset_files())):
        (tmp_path / f"{number:04d}-{path.name}").write_bytes(path.read_bytes())
    index = Index.in_memory(tmp_path)
    report = QueryReport()
    index.refresh(report)
    named = {Path(problem.path).name for problem in report.files if problem.kind != "inconsistent"}
    known = {file.path: file for file in index.all_files()}
    assert named.isdisjoint(known)
    assert len(named) + len(known) == len(list(tmp_path.iterdir()))
    records = {record.text(0x00080018): record for record in index.records(IMAGE)}
    assert set(records) == {file.sop_instance_uid for file in known.values()}
    for name, file in known.items():
        if file.copy:
            continue
        ds = dcmread(tmp_path / name, stop_before_pixels=True, force=True)
        record = records[file.sop_instance_uid]
        assert ds.SOPInstanceUID == file.sop_instance_uid
        assert ds.SOPClassUID == file.sop_class_uid
        expected = Attributes.from_dataset(ds, QUERY_TAGS - {0x00080005, 0x00100020, 0x0020000D})
        for tag in expected:
            assert record.text(tag) == expected.text(tag), (name, hex(tag))
        header = peek_file(tmp_path / name)
        if not any(problem.kind == "inconsistent" for problem in report.files):
            assert record.only(up_to(STUDY)).text(0x0020000D) == header.text(0x0020000D)
