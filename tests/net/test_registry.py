"""What is written down of the registries agrees with pydicom's and pynetdicom's."""

from __future__ import annotations

from pydicom.uid import UID, AllTransferSyntaxes
from pynetdicom import AllStoragePresentationContexts

from dcm.net._registry import STORAGE_SYNTAXES, class_name, status_text, storage_classes

ELSEWHERE = ("1.2.840.10008.1.2.4.204", "1.2.840.10008.1.2.4.205", "1.2.840.10008.1.2.7.")


def test_every_transfer_syntax_for_storage_is_known_once() -> None:
    """A new one in pydicom's registry is to be added, or to be named among those that are not for storage."""
    stored = {str(uid) for uid in AllTransferSyntaxes if not uid.startswith(ELSEWHERE)}
    assert set(STORAGE_SYNTAXES) == stored
    assert len(STORAGE_SYNTAXES) == len(stored)


def test_the_syntaxes_that_every_peer_knows_come_first() -> None:
    assert [UID(uid).name for uid in STORAGE_SYNTAXES[:2]] == ["Explicit VR Little Endian", "Implicit VR Little Endian"]


def test_every_storage_class_that_pynetdicom_knows_is_known_once() -> None:
    """A new one in pynetdicom's registry is to be added."""
    known = {str(context.abstract_syntax) for context in AllStoragePresentationContexts}
    assert set(storage_classes()) == known
    assert len(storage_classes()) == len(known)


def test_a_name_where_there_is_one_else_the_uid() -> None:
    assert class_name("1.2.840.10008.5.1.4.1.1.2") == "CT Image Storage"
    assert class_name("1.2.3.4") == "1.2.3.4"
    assert class_name("") == ""


def test_statuses_in_words() -> None:
    assert status_text("C-STORE", 0xA700) == "0xA700 Refused: Out of Resources"
    assert status_text("C-MOVE", 0xA801) == "0xA801 Move destination unknown"
    assert status_text("C-STORE", 0x1234) == "0x1234"
    assert status_text("C-FIND", None) == "no status"
