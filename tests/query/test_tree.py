"""A QueryResult as a tree: nodes, paths, walks and counts."""

from __future__ import annotations

import pytest
from hypothesis import given

from dcm.errors import QueryError
from dcm.query import DataNode, DataPath, QueryLevel, QueryResult
from tests.query.samples import (
    IMAGE,
    PATIENT,
    SERIES,
    STUDY,
    images,
    instance_sets,
    levels,
    nodes,
    record,
    result,
    studies,
    study,
    uids_of,
    uncounted,
)

Numbers = frozenset[int]


def test_paths_and_nodes() -> None:
    path = DataPath.from_uids(("P", "1", "2"))
    assert path == DataPath(SERIES, ("P", "1", "2"))
    assert path.end == DataNode(SERIES, "2")
    assert path.parent == DataPath(STUDY, ("P", "1"))
    assert DataPath(PATIENT, ("P",)).parent is None
    assert len({path, DataPath.from_uids(("P", "1", "2"))}) == 1
    with pytest.raises(ValueError, match="STUDY level has 2 unique keys, not 3"):
        DataPath(STUDY, ("P", "1", "2"))


@given(instance_sets, levels)
def test_lists_of_uids(numbers: Numbers, level: QueryLevel) -> None:
    qr = result(numbers, level)
    listing = (qr.patients, qr.studies, qr.series, qr.instances)
    for lvl in QueryLevel:
        if lvl > level:
            with pytest.raises(
                QueryError, match=f"a query result at {level.name} level has no .*; query at {lvl.name}"
            ):
                listing[lvl]()
            continue
        assert set(listing[lvl]()) == nodes(numbers, lvl)
    below = (qr.studies, qr.series, qr.instances)
    for lvl in list(QueryLevel)[:level]:
        for parent in nodes(numbers, lvl):
            expected = {uids_of(i)[lvl + 1] for i in numbers if uids_of(i)[lvl] == parent}
            assert set(below[lvl](parent)) == expected
            assert set(qr.children(DataNode(lvl, parent))) == {DataNode(QueryLevel(lvl + 1), uid) for uid in expected}
    assert set(qr.children()) == {DataNode(PATIENT, uid) for uid in nodes(numbers, PATIENT)}


def test_leaves_have_no_children_and_strangers_raise() -> None:
    qr = result([0], STUDY)
    assert list(qr.children(DataNode(STUDY, "1.1.0"))) == []
    assert list(images([0]).children(DataNode(IMAGE, "1.3.0"))) == []
    for node in (DataNode(STUDY, "1.1.1"), DataNode(PATIENT, "P7"), DataNode(SERIES, "1.2.0")):
        with pytest.raises(KeyError):
            qr.children(node)
        with pytest.raises(KeyError):
            qr.get_path(node)
        with pytest.raises(KeyError):
            qr.walk(node)
        with pytest.raises(KeyError):
            qr.node_info(node)
    with pytest.raises(KeyError):
        qr.studies("P7")
    with pytest.raises(KeyError):
        qr.n_instances(DataNode(PATIENT, "P7"))


def test_walk_is_depth_first() -> None:
    assert [path.uids for path, _ in images([0, 2, 1, 8]).walk()] == [
        ("P0",),
        ("P0", "1.1.0"),
        ("P0", "1.1.0", "1.2.0"),
        ("P0", "1.1.0", "1.2.0", "1.3.0"),
        ("P0", "1.1.0", "1.2.0", "1.3.1"),
        ("P0", "1.1.0", "1.2.1"),
        ("P0", "1.1.0", "1.2.1", "1.3.2"),
        ("P1",),
        ("P1", "1.1.2"),
        ("P1", "1.1.2", "1.2.4"),
        ("P1", "1.1.2", "1.2.4", "1.3.8"),
    ]


def test_walk_from_a_node() -> None:
    qr = images(range(8))
    assert [path.uids[-1] for path, _ in qr.walk(DataNode(SERIES, "1.2.1"))] == ["1.2.1", "1.3.2", "1.3.3"]
    assert [path.uids for path, _ in qr.walk(DataNode(IMAGE, "1.3.2"))] == [uids_of(2)]


def test_walk_leaves_out_what_is_taken_away() -> None:
    seen = []
    for path, sub_uids in images(range(8)).walk():
        seen.append(path.uids[-1])
        if path.end == DataNode(STUDY, "1.1.0"):
            sub_uids.clear()
        elif path.end == DataNode(STUDY, "1.1.1"):
            sub_uids.remove("1.2.2")
    assert seen == ["P0", "1.1.0", "1.1.1", "1.2.3", "1.3.6", "1.3.7"]


def test_nodes_may_be_removed_during_a_walk() -> None:
    qr = images(range(8))
    for path, sub_uids in qr.walk():
        if path.level == SERIES:
            for uid in list(sub_uids):
                del qr[uid]
            sub_uids.clear()
    assert len(qr) == 0


@given(instance_sets, levels, levels)
def test_level_paths(numbers: Numbers, level: QueryLevel, target: QueryLevel) -> None:
    qr = result(numbers, level)
    if target > level:
        with pytest.raises(QueryError):
            qr.level_paths(target)
    else:
        assert {path.uids for path in qr.level_paths(target)} == {uids_of(i)[: target + 1] for i in numbers}


@given(instance_sets, levels)
def test_counts(numbers: Numbers, level: QueryLevel) -> None:
    qr, unknown = result(numbers, level), uncounted(numbers, level)
    for counted in QueryLevel:
        n_nodes = len(nodes(numbers, counted))
        assert qr.get_count(counted) == n_nodes
        assert unknown.get_count(counted) == (n_nodes if counted <= level or not numbers else None)
        for lvl in range(level + 1):
            for uid in nodes(numbers, QueryLevel(lvl)):
                node = DataNode(QueryLevel(lvl), uid)
                if counted <= lvl:
                    with pytest.raises(ValueError, match="are not below a node"):
                        qr.get_count(counted, node)
                    continue
                expected = len({uids_of(i)[counted] for i in numbers if uids_of(i)[lvl] == uid})
                assert qr.get_count(counted, node) == expected
                assert unknown.get_count(counted, node) == (expected if counted <= level else None)
    assert (qr.n_patients(), qr.n_studies(), qr.n_series(), qr.n_instances()) == tuple(map(qr.get_count, QueryLevel))


def test_one_unknown_count_makes_the_sum_unknown() -> None:
    qr = studies(study("1", 10, 1), study("2", None, 2), study("3", 5, 3, patient="Q"))
    assert qr.n_instances() is None
    assert qr.n_series() == 6
    assert qr.n_instances(DataNode(PATIENT, "P")) is None
    assert qr.n_instances(DataNode(PATIENT, "Q")) == 5
    reduced = qr.reduced(PATIENT)
    assert reduced.n_instances(DataNode(PATIENT, "P")) is None
    assert reduced.n_series(DataNode(PATIENT, "P")) == 3
    assert reduced.n_studies() == 3


def test_reducing_counts_what_is_there_not_what_the_peer_has() -> None:
    rec = record(
        PatientID="P", StudyInstanceUID="1", NumberOfPatientRelatedInstances="999", NumberOfStudyRelatedInstances="10"
    )
    qr = QueryResult(STUDY, [rec])
    assert qr.reduced(PATIENT).n_instances() == 10
    assert QueryResult(STUDY, [rec.without([0x00201208])]).reduced(PATIENT).n_instances() is None


# --- attributes


def test_node_info() -> None:
    qr = images([0, 1, 2])
    assert qr.node_info() == {"n_patients": 1, "n_studies": 1, "n_series": 2, "n_instances": 3}
    assert qr.node_info(DataNode(PATIENT, "P0")) == {
        "PatientID": "P0",
        "PatientName": "Name^P0",
        "n_studies": 1,
        "n_series": 2,
        "n_instances": 3,
    }
    assert qr.node_info(DataNode(SERIES, "1.2.1")) == {
        "SeriesInstanceUID": "1.2.1",
        "SeriesNumber": 2,
        "SeriesDescription": "Teeth",
        "Modality": "CT",
        "n_instances": 1,
    }
    assert qr.node_info(DataNode(IMAGE, "1.3.1")) == {"SOPInstanceUID": "1.3.1", "InstanceNumber": 2, "Rows": 512}
    assert "n_instances" not in qr.node_info(DataNode(SERIES, "1.2.1"), counts=False)


def test_a_data_set_has_what_is_in_no_table_too() -> None:
    rec = study("1").replace(
        [
            (0x00091001, "DS", ("1.50", "x")),
            (0x00080080, "LO", "Hospital"),
            (0x00101010, "AS", "099Y"),
            (0x00080005, "CS", "ISO_IR 100"),
            (0x00100030, "DA", ""),
        ]
    )
    qr = studies(rec)
    info = qr.node_info(DataNode(STUDY, "1"))
    assert info["(0009,1001)"] == (1.5, "x")
    assert info["InstitutionName"] == "Hospital"
    assert info["PatientAge"] == "099Y"
    assert info["n_instances"] is info["n_series"] is None
    assert "SpecificCharacterSet" not in info
    assert qr.node_info(DataNode(PATIENT, "P"), counts=False) == {"PatientID": "P", "PatientBirthDate": ""}


def test_path_info_and_path_data_set() -> None:
    qr = images([0, 1, 2])
    path = qr.get_path(DataNode(SERIES, "1.2.0"))
    info = qr.path_info(path)
    assert (info["PatientID"], info["StudyDate"], info["SeriesNumber"]) == ("P0", "20200101", 1)
    assert info["n_instances"] == 2
    assert "n_series" not in info
    ds = qr.path_data_set(path)
    assert (ds.PatientID, ds.StudyInstanceUID, ds.SeriesInstanceUID) == path.uids
    assert ds.NumberOfSeriesRelatedInstances == 2
    assert "SOPInstanceUID" not in ds
    assert "Rows" not in ds
    assert qr.path_data_set(DataPath(IMAGE, uids_of(0))) == qr["1.3.0"]
    for wrong in (DataPath(IMAGE, uids_of(5)), DataPath(SERIES, ("P0", "1.1.1", "1.2.0"))):
        with pytest.raises(KeyError):
            qr.path_info(wrong)
        with pytest.raises(KeyError):
            qr.path_data_set(wrong)


def test_rows() -> None:
    qr = studies(
        study("1", 10), study("2").replace([(0x00080061, "CS", ("CT", "MR")), (0x00081110, "SQ", (study("9"),))])
    )
    columns = qr.columns()
    assert columns == (
        *("StudyDate", "ModalitiesInStudy", "PatientID", "StudyInstanceUID", "NumberOfStudyRelatedInstances"),
    )
    assert list(qr.rows()) == [("20200101", "", "P", "1", "10"), ("20200101", "CT\\MR", "P", "2", "")]
    assert list(qr.rows(["PatientID", "(0020,000d)"])) == [("P", "1"), ("P", "2")]
    overlay = studies(study("1").replace([(0x60000010, "US", 1), (0x60020010, "US", 2)]))
    assert overlay.columns()[-2:] == ("(6000,0010)", "(6002,0010)")
    assert next(overlay.rows())[-2:] == ("1", "2")
    with pytest.raises(QueryError, match="unknown keyword 'Nonsense'"):
        qr.rows(["Nonsense"])
