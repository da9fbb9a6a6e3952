"""Selectors in the configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dcm.attrs import Attributes
from dcm.conf import DcmConfig
from dcm.conf._selectors import plain
from dcm.errors import ConfigError

STUDY_DATE, STUDY_DESCRIPTION, MODALITY = 0x00080020, 0x00081030, 0x00080060


def read(tmp_path: Path, text: str) -> DcmConfig:
    path = tmp_path / "c.toml"
    path.write_text(text)
    return DcmConfig(path)


def record(**values: str) -> Attributes:
    tags = {"date": (STUDY_DATE, "DA"), "description": (STUDY_DESCRIPTION, "LO"), "modality": (MODALITY, "CS")}
    return Attributes.from_items((*tags[name], value) for name, value in values.items())


def test_conditions_tables_and_combinations(tmp_path: Path) -> None:
    selectors = read(
        tmp_path,
        """
        [selectors]
        mine = "StudyDescription == ProjectA"
        not_mine = "not StudyDescription == ProjectA"
        same = "mine"
        [selectors.old]
        attr = "StudyDate"
        op = "<"
        rvalue = 2020-01-01
        reject_missing = true
        [selectors.both]
        all_of = ["mine", "Modality in [CT, MR]"]
        none_of = "old"
        [selectors.any]
        any_of = [{ all_of = ["both"] }, { attr = "Modality", op = "==", rvalue = "US" }, "Modality == XA"]
        """,
    ).selectors
    assert list(selectors) == ["mine", "not_mine", "same", "old", "both", "any"]
    assert len(selectors) == 6
    mine = record(date="20210101", description="ProjectA", modality="CT")
    old = record(date="20190101", description="ProjectA", modality="CT")
    ultrasound = record(date="", description="", modality="US")
    assert {name: [selectors[name](one) for one in (mine, old, ultrasound)] for name in selectors} == {
        "mine": [True, True, False],
        "not_mine": [False, False, True],
        "same": [True, True, False],
        "old": [False, True, False],
        "both": [True, False, False],
        "any": [True, False, True],
    }
    assert selectors["mine"] is selectors["mine"]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('[selectors]\na = "b"\nb = ["a"]', r"\[selectors.b\] must be a selector, not a list", ""),
        ("[selectors]\na = 1", r"\[selectors.a\] must be a selector, not a number", "a name, a condition or a table"),
        ('[selectors]\nmine = "A == B"\nx = "mien"', r"\[selectors.x\]: no selector called 'mien'", "mean 'mine'"),
        ('[selectors]\nx = "StudyDate"', r"no selector called 'StudyDate'", "StudyDescription == ProjectA say"),
        ('[selectors]\nx = "Modality = MR"', r"no selector called 'Modality = MR'", "one of == !="),
        ('[selectors.x]\nall_of = ["nobody"]', r"\[selectors.x\] all_of: no selector called 'nobody'", ""),
        ("[selectors.x]\nnone_of = []", r"\[selectors.x\] none_of is empty", ""),
        ('[selectors.x]\nall_off = ["A == B"]', r"\[selectors.x\] has no setting 'all_off'", "mean 'all_of'"),
        ('[selectors.x]\nall_of = ["A == B"]\nattr = "A"', r"\[selectors.x\] has attr beside all_of", ""),
        ('[selectors.x]\nattr = "StudyDate"\nrvalue = 1', r"\[selectors.x\] has no op", ""),
        ('[selectors.x]\nop = "=="', r"\[selectors.x\] has no attr", ""),
        ('[selectors.x]\nattr = "A"\nop = "=="\ninvert = 1', r"invert must be true or false, not a whole number", ""),
        ('[selectors.x]\nall_of = [{ attr = "A" }]', r"\[selectors.x\] all_of has no op", ""),
        ('[selectors]\na = "a"', r"\[selectors.a\] refers to itself: a -> a", ""),
        ('[selectors]\n"A == B" = "C == D"', "is two things: the name of a selector and a condition", "rename it"),
        ('[selectors]\na = "b"\n[selectors.b]\nany_of = ["A == B", { none_of = "a" }]', "itself: a -> b -> a", ""),
        ('[selectors]\nc = "a"\na = "b"\nb = "a"', "itself: a -> b -> a", ""),
    ],
)
def test_what_is_wrong_is_found_when_the_file_is_read(tmp_path: Path, text: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read(tmp_path, text)
    assert caught.value.message.startswith(str(tmp_path))
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('[selectors]\nx = "StudyDat == 1"', r"\[selectors.x\]: there is no attribute 'StudyDat'", "StudyDate"),
        ('[selectors]\nx = "StudyDate < soon"', r"\[selectors.x\]: .*soon", ""),
        ('[selectors.x]\nattr = "StudyDate"\nop = "=<"', r"\[selectors.x\]: there is no operator '=<'", "<="),
        ('[selectors.x]\nall_of = ["PatientID ~= ("]', r"\[selectors.x\] all_of: ", ""),
    ],
)
def test_what_needs_the_dictionary_is_found_by_check(tmp_path: Path, text: str, message: str, hint: str) -> None:
    conf = read(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as caught:
        conf.check()
    assert hint in caught.value.hint


def test_dates_and_times_of_toml_are_those_of_dicom() -> None:
    import datetime

    zone = datetime.timezone(datetime.timedelta(hours=1))
    values: list[tuple[Any, Any]] = [
        (datetime.date(2020, 1, 2), "20200102"),
        (datetime.time(9, 5), "090500"),
        (datetime.time(9, 5, 1, 20), "090501.000020"),
        (datetime.datetime(2020, 1, 2, 3, 4, 5), "20200102030405"),
        (datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=zone), "20200102030405+0100"),
        ({"a": [datetime.date(2020, 1, 2), 1.5, "x"]}, {"a": ["20200102", 1.5, "x"]}),
        (True, True),
    ]
    assert [plain(value) for value, _ in values] == [expected for _, expected in values]
