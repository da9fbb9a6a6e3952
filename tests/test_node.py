"""Addresses, inline nodes and the settings of peers."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcm.errors import NodeSyntaxError, UsageError
from dcm.node import DcmNode, DicomOpType, DicomRole, QueryModel, RemoteNode, Timeouts, TlsConfig


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("mypacs.org", DcmNode("mypacs.org", "ANYAE", 11112)),
        ("mypacs.org:MYPACS", DcmNode("mypacs.org", "MYPACS", 11112)),
        ("mypacs.org:104", DcmNode("mypacs.org", "ANYAE", 104)),
        ("mypacs.org:MYPACS:104", DcmNode("mypacs.org", "MYPACS", 104)),
        ("MYPACS@mypacs.org:104", DcmNode("mypacs.org", "MYPACS", 104)),
        ("MYPACS@mypacs.org", DcmNode("mypacs.org", "MYPACS", 11112)),
        ("12@mypacs.org:104", DcmNode("mypacs.org", "12", 104)),
        ("host:12:104", DcmNode("host", "12", 104)),
        ("  host:MY AE:104 ", DcmNode("host", "MY AE", 104)),
        ("127.0.0.1", DcmNode("127.0.0.1")),
        ("[::1]", DcmNode("::1")),
        ("[::1]:104", DcmNode("::1", port=104)),
        ("[fe80::1%eth0]:MYPACS:104", DcmNode("fe80::1%eth0", "MYPACS", 104)),
        ("MYPACS@[::1]:104", DcmNode("::1", "MYPACS", 104)),
        ("pacs_1.klinik-süd.de:P", DcmNode("pacs_1.klinik-süd.de", "P")),
        ("3com.org:3COM:1", DcmNode("3com.org", "3COM", 1)),
    ],
)
def test_inline_nodes_are_read(text: str, node: DcmNode) -> None:
    assert DcmNode.parse(text) == node


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no host"),
        ("   ", "no host"),
        (":MYPACS:104", "no host"),
        ("11112", "a number alone"),
        ("::1", r"in brackets: \[::1\]"),
        ("fe80::1", "in brackets"),
        ("::1:11112", "in brackets"),
        ("host:1:2:3:4", "too many colons"),
        ("http://host", "it is a URL"),
        ("https://host:8042/dicom-web", "it is a URL"),
        ("host:104:MYPACS", "the port comes last: host:MYPACS:104"),
        ("host:MYPACS:here", "'here' is no port"),
        ("host:0", "'0' is no port"),
        ("host:MYPACS:65536", "no port"),
        ("host:MYPACS:" + "9" * 5000, "no port"),
        ("host:MYPACS:¹", "no port"),
        ("host:", "nothing behind a colon"),
        ("host::104", "nothing behind a colon"),
        ("@host", "no AE title"),
        ("A:B@host:104", "two ways"),
        ("host:A@B:104", "two ways"),
        ("A@B@host", "two ways"),
        ("AE@host:AE:104", "too many colons"),
        ("AE@host:AE", "no port"),
        ("[::1", "brackets"),
        ("[mypacs.org]:104", "brackets"),
        ("[::1]104", "a colon must follow"),
        ("256.1.1.1:A:1", "not a host"),
        ("1.2.3:A:1", "not a host"),
        ("my pacs:A:1", "not a host"),
        ("-host:A:1", "not a host"),
        ("a..b:A:1", "not a host"),
        ("path/to/save", "not a host"),
        ("ho\x1b[31mst:A:1", "not a host"),
        ("h" * 300, "not a host"),
        (r"C:\data", "not an AE title"),
        ("host:ABCDEFGHIJKLMNOPQ:104", "not an AE title"),
        ("host:MÜNCHEN:104", "not an AE title"),
        ("host: :104", "not an AE title"),
    ],
)
def test_what_is_no_node_or_ambiguous_is_refused_with_what_is_accepted(text: str, why: str) -> None:
    with pytest.raises(NodeSyntaxError, match=why) as caught:
        DcmNode.parse(text)
    assert caught.value.hint
    assert caught.value.exit_code == 2
    assert caught.value.message.isprintable()


hosts = st.one_of(
    st.from_regex(r"[a-z][a-z0-9-]{0,20}[a-z0-9](\.[a-z]{2,5}){0,2}", fullmatch=True),
    st.ip_addresses().map(str),
)
ae_titles = st.from_regex(r"[!-9;-?A-\[\]-~][ -9;-?A-\[\]-~]{0,14}[!-9;-?A-\[\]-~]", fullmatch=True)


@given(hosts, ae_titles, st.integers(1, 65535))
def test_what_is_printed_is_read_back(host: str, ae_title: str, port: int) -> None:
    node = DcmNode(host, ae_title, port)
    assert DcmNode.parse(str(node)) == node
    if ":" not in host:
        assert str(node) == f"{host}:{ae_title}:{port}"


@given(st.text(max_size=40))
def test_any_text_is_a_node_or_a_syntax_error(text: str) -> None:
    try:
        node = DcmNode.parse(text)
    except NodeSyntaxError:
        return
    assert DcmNode.parse(str(node)) == node


def test_an_address_has_the_documented_defaults_and_is_a_good_key() -> None:
    node = DcmNode("mypacs.org")
    assert (node.ae_title, node.port) == ("ANYAE", 11112)
    assert str(node) == "mypacs.org:ANYAE:11112"
    assert {node: 1}[DcmNode("mypacs.org", "ANYAE", 11112)] == 1
    with pytest.raises(AttributeError):
        node.port = 1  # type: ignore[misc]


def test_spaces_around_an_ae_title_and_brackets_around_an_address_mean_nothing() -> None:
    assert DcmNode("[::1]", " PACS  ") == DcmNode("::1", "PACS")
    assert str(DcmNode("::1", "PACS", 104)) == "[::1]:PACS:104"


def test_port_0_is_for_local_nodes_only() -> None:
    assert DcmNode("127.0.0.1", "ME", 0).port == 0
    with pytest.raises(NodeSyntaxError):
        DcmNode.parse("127.0.0.1:ME:0")


@pytest.mark.parametrize("port", [-1, 65536, True, "104", 1.5, None])
def test_what_is_no_port_is_refused(port: object) -> None:
    with pytest.raises(NodeSyntaxError, match="not a port"):
        DcmNode("host", "AE", port)  # type: ignore[arg-type]


@pytest.mark.parametrize("title", ["", "   ", "A" * 17, "A\\B", "A\nB", "A\x1bB", "É"])
def test_what_is_no_ae_title_is_refused(title: str) -> None:
    with pytest.raises(NodeSyntaxError, match="not an AE title"):
        DcmNode("host", title)


def test_a_remote_node_is_an_address_with_settings() -> None:
    node = RemoteNode("mypacs.org", "MYPACS", 104)
    assert isinstance(node, DcmNode)
    assert node.supported_ops == frozenset(DicomOpType)
    assert node.query_models == (QueryModel.STUDY_ROOT, QueryModel.PATIENT_ROOT)
    assert node.retrieve_methods == ("GET", "MOVE")
    assert node.max_assoc == 5
    assert node.timeouts == Timeouts(10, 30, 60)
    assert node.tls is None
    assert node.relational is None
    assert node.charset == ""
    assert node.address == DcmNode("mypacs.org", "MYPACS", 104)
    assert type(node.address) is DcmNode
    assert str(node) == "mypacs.org:MYPACS:104"
    assert isinstance(RemoteNode.parse("a:B:1"), RemoteNode)


def test_settings_are_part_of_what_a_remote_node_is() -> None:
    node = RemoteNode("a", "B", 1)
    assert node == RemoteNode("a", "B", 1)
    assert hash(node) == hash(RemoteNode("a", "B", 1))
    assert node != RemoteNode("a", "B", 1, max_assoc=2)
    assert node != DcmNode("a", "B", 1)
    assert node.address == DcmNode("a", "B", 1).address
    assert pickle.loads(pickle.dumps(node)) == node


def test_a_plain_node_is_good_where_a_remote_is_wanted() -> None:
    plain, remote = DcmNode("a", "B", 1), RemoteNode("a", "B", 1, max_assoc=2)
    assert RemoteNode.from_node(plain) == RemoteNode("a", "B", 1)
    assert RemoteNode.from_node(remote) is remote


def test_lists_and_names_become_tuples_and_members() -> None:
    node = RemoteNode(
        "a",
        supported_ops=["echo", DicomOpType.FIND],  # type: ignore[arg-type]
        query_models=["patient_root"],  # type: ignore[arg-type]
        retrieve_methods=["move"],  # type: ignore[arg-type]
        transfer_syntaxes=["1.2.840.10008.1.2.1"],  # type: ignore[arg-type]
    )
    assert node.supported_ops == {DicomOpType.ECHO, DicomOpType.FIND}
    assert node.supports(DicomOpType.ECHO)
    assert not node.supports(DicomOpType.MOVE)
    assert node.query_models == (QueryModel.PATIENT_ROOT,)
    assert node.retrieve_methods == ("MOVE",)
    assert node.transfer_syntaxes == ("1.2.840.10008.1.2.1",)
    assert isinstance(hash(node), int)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"supported_ops": ["FND"]}, "supported_ops has no 'FND'"),
        ({"supported_ops": "FIND"}, "supported_ops must be a list"),
        ({"query_models": []}, "query_models must name"),
        ({"query_models": ["ROOT"]}, "query_models has no 'ROOT'"),
        ({"retrieve_methods": []}, "retrieve_methods must be"),
        ({"retrieve_methods": ["GET", "GET"]}, "retrieve_methods must be"),
        ({"retrieve_methods": ["PUSH"]}, "retrieve_methods must be"),
        ({"transfer_syntaxes": ["JPEG"]}, "transfer_syntaxes must list UIDs"),
        ({"private_store_classes": ["1." * 40 + "1"]}, "private_store_classes must list UIDs"),
        ({"include_storage_classes": ["("]}, "include_storage_classes has"),
        ({"exclude_storage_classes": ["*"]}, "exclude_storage_classes has"),
        ({"max_assoc": 0}, "max_assoc"),
        ({"max_assoc": True}, "max_assoc"),
        ({"charset": "latin1"}, "not a Specific Character Set"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        RemoteNode("a", **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("charset", ["", "ISO_IR 100", "ISO_IR 192", "GB18030", "\\ISO 2022 IR 87", "GBK"])
def test_the_character_sets_of_the_standard_are_accepted(charset: str) -> None:
    assert RemoteNode("a", charset=charset).charset == charset


def test_storage_classes_are_chosen_by_uid_or_name() -> None:
    ct, mr = ("1.2.840.10008.5.1.4.1.1.2", "CT Image Storage"), ("1.2.840.10008.5.1.4.1.1.4", "MR Image Storage")
    assert RemoteNode("a").wants_storage_class(*ct)
    by_uid = RemoteNode("a", include_storage_classes=(ct[0],))
    assert by_uid.wants_storage_class(*ct)
    assert not by_uid.wants_storage_class(*mr)
    assert not by_uid.wants_storage_class(ct[0] + ".1", "Enhanced CT Image Storage")
    by_name = RemoteNode("a", include_storage_classes=("^(ct|mr) image",), exclude_storage_classes=(mr[0],))
    assert by_name.wants_storage_class(*ct)
    assert not by_name.wants_storage_class(*mr)
    assert not by_name.wants_storage_class("1.3.12.2.1107.5.9.1")


def test_timeouts_are_positive_and_may_be_endless() -> None:
    assert Timeouts(dimse=float("inf")).dimse is None
    assert Timeouts(connect=None).connect is None
    for bad in (0, -1, float("nan")):
        with pytest.raises(UsageError, match="association timeout"):
            Timeouts(association=bad)


def test_a_key_needs_its_certificate() -> None:
    assert TlsConfig(cert="me.pem", key="me.key").verify
    with pytest.raises(UsageError, match="without its certificate"):
        TlsConfig(key="me.key")


def test_roles_have_the_names_of_the_standard() -> None:
    assert [role.value for role in DicomRole] == ["SCU", "SCP"]


def test_nodes_need_neither_pydicom_nor_pynetdicom() -> None:
    code = "import sys, dcm.node; print([m for m in ('pydicom', 'pynetdicom', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
