"""Filters that do the same have the same fingerprint, in every process; others have another one."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

from pydicom import Dataset

from dcm.filt import Filter, MultiFilter, MultiSelector, Selector, make_edit_filter, make_reject_filter, parse_selector

EDITS = {"PatientID": "ANON", "PatientName": None, "RequestAttributesSequence[0].StudyInstanceUID": "1.2"}


def shout(ds: Dataset) -> Dataset:
    return ds


class Shouter:
    def __call__(self, ds: Dataset) -> Dataset:
        return ds


def test_edits_and_all_settings_count() -> None:
    prints = [
        make_edit_filter(EDITS).fingerprint,
        make_edit_filter({**EDITS, "PatientID": "ANON2"}).fingerprint,
        make_edit_filter({**EDITS, "PatientName": ""}).fingerprint,
        make_edit_filter({"PatientID": "ANON", "PatientName": None}).fingerprint,
        make_edit_filter(EDITS, update_uids=False).fingerprint,
        make_edit_filter(EDITS, uid_prefix="1.2.3.").fingerprint,
        make_edit_filter(EDITS, add_uid_entropy="secret").fingerprint,
        make_edit_filter(EDITS, add_uid_entropy=["se", "cret"]).fingerprint,
    ]
    assert len(set(prints)) == len(prints)
    assert not any("secret" in one for one in prints)


def test_the_same_edits_however_they_are_written() -> None:
    written = {"PatientName": None, "(0010,0020)": "ANON", "(0040,0275)[0].(0020,000d)": "1.2"}
    assert make_edit_filter(written, name="mine").fingerprint == make_edit_filter(EDITS).fingerprint


def test_selectors_count() -> None:
    one, other = parse_selector("Modality == CT"), parse_selector("Modality != CT")
    selectors: list[Selector] = [
        one,
        other,
        MultiSelector([one]),
        MultiSelector([one, other]),
        MultiSelector(any_of=[one, other]),
    ]
    assert len({make_reject_filter(selector).fingerprint for selector in selectors}) == len(selectors)
    assert make_reject_filter(one, name="x").fingerprint == make_reject_filter(one).fingerprint


def test_parts_count_and_their_order() -> None:
    edit, reject = make_edit_filter(EDITS), make_reject_filter(parse_selector("Modality == CT"))
    assert MultiFilter([edit, reject]).fingerprint == f"{edit.fingerprint} then {reject.fingerprint}"
    assert MultiFilter([reject, edit]).fingerprint != MultiFilter([edit, reject]).fingerprint
    assert MultiFilter([]).fingerprint == "no filter"


def test_functions_are_known_by_their_names() -> None:
    assert Filter(shout).fingerprint == f"{__name__}.shout"
    assert Filter(functools.partial(shout)).fingerprint == f"{__name__}.shout"
    assert Filter(Shouter()).fingerprint == f"{__name__}.Shouter"
    assert Filter(shout, fingerprint="shout-2").fingerprint == "shout-2"


def test_it_is_the_same_in_every_process() -> None:
    code = f"from dcm.filt import make_edit_filter; print(make_edit_filter({EDITS!r}).fingerprint)"
    env = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parents[2])}
    result = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == make_edit_filter(EDITS).fingerprint
