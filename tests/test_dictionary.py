"""pydicom's dictionaries without pydicom say what pydicom says."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydicom import datadict
from pydicom._dicom_dict import DicomDictionary
from pydicom.uid import UID

from dcm._dictionary import entry_of, keywords, private_entry_of, uid_keyword


def test_every_attribute() -> None:
    for tag in DicomDictionary:
        assert entry_of(tag) == datadict.get_entry(tag)


@pytest.mark.parametrize("tag", [0x60000010, 0x60FE3000, 0x50200005, 0x00203132, 0x7F200010, 0x10000012, 0x10100034])
def test_repeating_groups(tag: int) -> None:
    assert entry_of(tag) == datadict.get_entry(tag)


@pytest.mark.parametrize("tag", [0x00090010, 0x00091001, 0x60010010, 0x0008FFFF, 0x00080000])
def test_what_the_dictionary_does_not_have(tag: int) -> None:
    assert entry_of(tag) is None


def test_private_attributes() -> None:
    entry = private_entry_of(0x00091001, "GEMS_IDEN_01")
    assert entry is not None
    assert tuple(entry[:4]) == datadict.get_private_entry(0x00091001, "GEMS_IDEN_01")
    assert private_entry_of(0x00091001, "nobody") is None


def test_keywords_and_uids() -> None:
    assert keywords()["PatientID"] == 0x00100020
    assert "" not in keywords()
    assert uid_keyword("1.2.840.10008.5.1.4.1.1.2") == UID("1.2.840.10008.5.1.4.1.1.2").keyword
    assert uid_keyword("1.2.3") == ""


def test_pydicom_is_not_imported() -> None:
    code = (
        "import sys\nfrom dcm._dictionary import *\n"
        "assert entry_of(0x00100020).keyword == 'PatientID' and private_entry_of(0x00091001, 'GEMS_IDEN_01')\n"
        "assert uid_keyword('1.2.840.10008.1.2') and 'pydicom' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=25)
