"""The configuration file: what may stand in it, what is said where it is wrong, and that it is never rewritten."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcm.conf import EXAMPLE, DcmConfig, LocalDirSettings, create_config, default_path
from dcm.conf._file import parse_config
from dcm.conf._routes import DynamicRouteSettings, FilterSettings, RepoSettings, StaticRouteSettings
from dcm.conf._schema import AccessSettings
from dcm.conf._selectors import SelectorSettings
from dcm.errors import ConfigError
from dcm.node import DcmNode, DicomOpType, QueryModel, RemoteNode, Timeouts, TlsConfig


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "dcm_conf.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_nodes_and_directories_are_read(tmp_path: Path) -> None:
    conf = DcmConfig(
        write(
            tmp_path,
            """
            [local_nodes.default]
            ae_title = "MYAE"
            port = 11114
            [local_nodes.other]
            ae_title = "OTHER"
            host = "127.0.0.1"
            [remote_nodes.one]
            host = "one.example.org"
            [remote_nodes.two]
            hostname = "two.example.org"
            ae_title = "TWO"
            port = 104
            [local_dirs.archive]
            path = "/data"
            out_fmt = "{PatientID}/{SOPInstanceUID}"
            recurse = false
            """,
        )
    )
    assert conf.local_nodes == {"default": DcmNode("0.0.0.0", "MYAE", 11114), "other": DcmNode("127.0.0.1", "OTHER")}
    assert conf.remote_nodes == {
        "one": RemoteNode("one.example.org"),
        "two": RemoteNode("two.example.org", "TWO", 104),
    }
    assert conf.local_dirs == {
        "archive": LocalDirSettings("/data", out_fmt="{PatientID}/{SOPInstanceUID}", recurse=False)
    }


def test_every_setting_of_a_remote_node_can_be_given(tmp_path: Path) -> None:
    conf = DcmConfig(
        write(
            tmp_path,
            """
            [remote_nodes.full]
            host = "h"
            ae_title = "A"
            port = 1
            supported_ops = ["echo", "FIND"]
            query_models = ["patient_root"]
            retrieve_methods = ["move", "GET"]
            transfer_syntaxes = ["1.2.840.10008.1.2", "JPEG2000Lossless"]
            include_storage_classes = ["^CT"]
            exclude_storage_classes = ["1.2.840.10008.5.1.4.1.1.4"]
            private_store_classes = ["1.3.12.2.1107.5.9.1"]
            max_assoc = 2
            relational = true
            charset = "ISO_IR 100"
              [remote_nodes.full.timeouts]
              connect = 1
              association = 2.5
              dimse = inf
              [remote_nodes.full.tls]
              ca = "ca.pem"
              cert = "/etc/me.pem"
              check_hostname = false
            """,
        )
    )
    assert conf.remote_nodes["full"] == RemoteNode(
        "h",
        "A",
        1,
        supported_ops=frozenset({DicomOpType.ECHO, DicomOpType.FIND}),
        query_models=(QueryModel.PATIENT_ROOT,),
        retrieve_methods=("MOVE", "GET"),
        transfer_syntaxes=("1.2.840.10008.1.2", "1.2.840.10008.1.2.4.90"),
        include_storage_classes=("^CT",),
        exclude_storage_classes=("1.2.840.10008.5.1.4.1.1.4",),
        private_store_classes=("1.3.12.2.1107.5.9.1",),
        max_assoc=2,
        relational=True,
        charset="ISO_IR 100",
        timeouts=Timeouts(1, 2.5, None),
        tls=TlsConfig(ca=str(tmp_path / "ca.pem"), cert="/etc/me.pem", check_hostname=False),
    )


def test_an_entry_may_be_inline(tmp_path: Path) -> None:
    conf = DcmConfig(write(tmp_path, '[remote_nodes]\nx = "host:AE:104"\n[local_dirs]\nd = "sub"\n'))
    assert conf.remote_nodes == {"x": RemoteNode("host", "AE", 104)}
    assert conf.local_dirs == {"d": LocalDirSettings(str(tmp_path / "sub"))}


def test_older_files_are_understood_and_left_alone(tmp_path: Path) -> None:
    text = '# mine\n[local]\nae_title="ME"\nport=11112\n\n[remotes.pacs]\nhostname = "h" # the old one\n'
    text += 'private_store_classes = [["SiemensProprietaryMRStorage", "1.3.12.2.1107.5.9.1"]]\n'
    path = write(tmp_path, text)
    before = path.stat()
    conf = DcmConfig(path)
    assert conf.local_node() == DcmNode("0.0.0.0", "ME", 11112)
    assert conf.remote_node("pacs") == RemoteNode("h", private_store_classes=("1.3.12.2.1107.5.9.1",))
    assert path.read_text() == text
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_a_name_may_be_in_sections_that_never_meet(tmp_path: Path) -> None:
    conf = DcmConfig(
        write(
            tmp_path,
            """
            [remote_nodes.pacs]
            host = "h"
            [remote_repos.pacs]
            remote = "pacs"
            base_query = { Modality = "CT" }
            [selectors]
            pacs = "StudyDescription == ProjectA"
            [static_routes.r]
            dests = ["pacs"]
            [dynamic_routes.d]
            routing_map = { pacs = ["pacs"] }
            """,
        )
    )
    conf.check()
    assert conf.remote_node("pacs").host == "h"
    with pytest.raises(ConfigError, match=r"'r' is of \[static_routes\]"):
        conf.remote_node("r")


def test_a_list_may_hold_names_and_tables_and_a_place_is_named(tmp_path: Path) -> None:
    write(tmp_path, '[selectors]\na = { any_of = ["A == B", { all_of = ["PatientID == X"] }] }\n')
    for text, line in (
        ("a = 1\n\nb = [1,\n", 3),
        ("[x]\n[x]\n", 2),
        ("[x]\ny = 1\n[[x]]\n", 3),
        ("x=" + "[" * 5000, 1),
    ):
        path = write(tmp_path, text)
        with pytest.raises(ConfigError, match=rf"(, line {line}: not TOML|nested too deeply)"):
            DcmConfig(path)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('[remote_node.x]\nhost="h"', r"there is no section \[remote_node\]", "did you mean 'remote_nodes'"),
        ('[zzz]\nhost="h"', r"there is no section \[zzz\]", "there are local_nodes, remote_nodes"),
        ("local_nodes = 1", r"\[local_nodes\] must be a section", ""),
        ('[remote_nodes.x]\nhost="h"\nprot=1', r"\[remote_nodes.x\] has no setting 'prot'", "did you mean 'port'"),
        ('[local_nodes.x]\nae="h"', r"\[local_nodes.x\] has no setting 'ae'", "there are host, ae_title, port"),
        ('[local_dirs.x]\npath="h"\nfmt="h"', r"\[local_dirs.x\] has no setting 'fmt'", "did you mean 'out_fmt'"),
        ("[remote_nodes.x]\nport=1", r"\[remote_nodes.x\] has no host", ""),
        ('[remote_nodes.x]\nhost="h"\nhostname="h"', r"both host and hostname", "keep one"),
        ('[remote_nodes.x]\nhost="h"\nport="104"', r"\[remote_nodes.x\] port must be a whole number, not a text", ""),
        ('[remote_nodes.x]\nhost="h"\nport=70000', r"\[remote_nodes.x\]: not a port: 70000", "1 to 65535"),
        ('[remote_nodes.x]\nhost="h"\nport=true', r"port must be a whole number, not true or false", ""),
        ('[remote_nodes.x]\nhost="h h"', r"\[remote_nodes.x\]: not a host: 'h h'", "a name or an IP address"),
        ('[remote_nodes.x]\nhost="h"\nrelational=1', "relational must be true or false, not a whole number", ""),
        ('[remote_nodes.x]\nhost="h"\nretrieve_methods="GET"', "retrieve_methods must be a list, not a text", ""),
        ('[remote_nodes.x]\nhost="h"\nretrieve_methods=["PUSH"]', "retrieve_methods has no 'PUSH'; there are GET", ""),
        ('[remote_nodes.x]\nhost="h"\nsupported_ops=["FND"]', "supported_ops has no 'FND'; there are ECHO", ""),
        ('[remote_nodes.x]\nhost="h"\nquery_models=["X"]', "query_models has no 'X'; there are STUDY_ROOT", ""),
        ('[remote_nodes.x]\nhost="h"\ntransfer_syntaxes=[1]', "transfer_syntaxes must be a text .*, not a whole", ""),
        (
            '[remote_nodes.x]\nhost="h"\ntransfer_syntaxes=["JPEG2000Losless"]',
            "transfer_syntaxes has no 'JPEG2000Losless'",
            "did you mean 'JPEG2000Lossless'",
        ),
        ('[remote_nodes.x]\nhost="h"\n[remote_nodes.x.timeouts]\ndimze=1', "timeouts has no setting 'dimze'", "dimse"),
        ('[remote_nodes.x]\nhost="h"\n[remote_nodes.x.timeouts]\ndimse="1"', "timeouts.dimse must be a number", ""),
        ('[remote_nodes.x]\nhost="h"\n[remote_nodes.x.timeouts]\ndimse=0', "dimse timeout must be more than 0", ""),
        ('[remote_nodes.x]\nhost="h"\ntls=true', "tls must be a table, not true or false", ""),
        ('[remote_nodes.x]\nhost="h"\n[remote_nodes.x.tls]\nkey="k"', "a TLS key without its certificate", "cert"),
        ("[remote_nodes]\nx = 1", r"\[remote_nodes.x\] must be a table, not a number", ""),
        ('[remote_nodes]\nx = "::1"', r"\[remote_nodes.x\] is not a node: '::1'", "a node is HOST"),
        ("[local_dirs.x]\nrecurse=true", r"\[local_dirs.x\] has no path", ""),
        ('[local_dirs.x]\npath="d"\nrecurse="yes"', r"\[local_dirs.x\] recurse must be true or false, not a text", ""),
        ('[remote_nodes.x]\nhost="h"\n[local_dirs.x]\npath="d"', r"'x' is two things: \[remote_nodes.x\]", "rename"),
        ('[remotes.x]\nhost="h"\n[remote_nodes.x]\nhost="h"', r"\[remote_nodes.x\] is there twice", ""),
        ("[local]\nport=1\n[local_nodes.default]\nport=1", r"\[local_nodes.default\] is there twice", ""),
        ("local = 1\nlocal_nodes = 1", r"\[local\] must be a section", ""),
        ("[remote_nodes.x\nhost=1", "line 1: not TOML", ""),
        ("a = 1\na = 2", "line 2: not TOML", ""),
        ("[local]\nport=1\n[local]\nport=2", r"not TOML: local is there twice$", ""),
    ],
)
def test_what_is_wrong_is_named_with_the_nearest_right(tmp_path: Path, text: str, message: str, hint: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as caught:
        DcmConfig(path)
    assert caught.value.message.startswith(str(path))
    assert hint in caught.value.hint
    assert caught.value.exit_code == 2
    assert path.read_text() == text


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "conf.toml"
    path.write_bytes(b'[local]\nae_title = "\xff"\n')
    with pytest.raises(ConfigError, match="not a text in UTF-8"):
        DcmConfig(path)
    with pytest.raises(ConfigError, match="cannot read"):
        DcmConfig(tmp_path)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "conf.toml"
    path.write_bytes(b"\xef\xbb\xbf[local]\nport=1\n")
    assert DcmConfig(path).local_node().port == 1


@given(st.text(alphabet=st.sampled_from("[]{}=.,\"'#\n\\ ax1-_:é\x00"), max_size=60))
def test_any_text_is_read_or_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        parse_config(text, Path("x.toml"))


def test_there_need_be_no_file_at_the_default_place_but_a_given_one_must_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DCM_CONFIG_PATH", str(tmp_path / "none.toml"))
    conf = DcmConfig()
    assert conf.path == tmp_path / "none.toml"
    assert conf.local_node() == DcmNode("0.0.0.0", "ANYAE", 11112)
    with pytest.raises(ConfigError, match=r"cannot read the configuration file .*none.toml"):
        DcmConfig(tmp_path / "none.toml")


@pytest.mark.skipif(sys.platform != "linux", reason="the directory differs between platforms")
def test_the_default_place_is_the_platforms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DCM_CONFIG_PATH", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_path() == tmp_path / "dcm" / "dcm_conf.toml"


def test_a_new_file_has_the_examples_for_its_owners_eyes_and_is_never_made_twice(tmp_path: Path) -> None:
    path = tmp_path / "new" / "dcm_conf.toml"
    old_umask = os.umask(0)
    try:
        assert create_config(path)
    finally:
        os.umask(old_umask)
    assert path.read_text() == EXAMPLE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("# changed\n")
    assert not create_config(path)
    assert path.read_text() == "# changed\n"
    with pytest.raises(ConfigError, match="cannot make the configuration file"):
        create_config(path / "below")


def test_the_examples_say_nothing_until_they_are_uncommented(tmp_path: Path) -> None:
    conf = DcmConfig(write(tmp_path, EXAMPLE))
    assert not conf.remote_nodes
    assert not conf.local_nodes
    assert not conf.selectors
    assert not conf.static_routes
    uncommented = re.sub(r"^#(?=[\[a-z ])(?! The| you)", "", EXAMPLE, flags=re.MULTILINE)
    conf = DcmConfig(write(tmp_path, uncommented))
    assert list(conf.local_nodes) == ["default", "other"]
    assert list(conf.remote_nodes) == ["mypacs", "oldpacs", "safepacs"]
    assert list(conf.local_dirs) == ["archive"]
    assert list(conf.remote_repos) == ["recent_mr"]
    assert list(conf.selectors) == ["project_a", "screenshots", "old", "research"]
    assert list(conf.static_routes) == ["clinical", "anonymous"]
    assert list(conf.dynamic_routes) == ["scanner_rules"]
    conf.check()


def test_the_examples_show_every_setting() -> None:
    from dataclasses import fields

    names = [
        field.name
        for kind in (
            *(AccessSettings, RemoteNode, Timeouts, TlsConfig, LocalDirSettings, RepoSettings, SelectorSettings),
            *(FilterSettings, StaticRouteSettings, DynamicRouteSettings),
        )
        for field in fields(kind)
    ]
    assert [name for name in names if not re.search(rf"\b{name} = |\.{name}\]", EXAMPLE)] == []
