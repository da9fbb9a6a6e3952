"""What names, inline nodes and paths on the command line stand for."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import dcm
from dcm.conf import DcmConfig, LocalDirSettings, Overrides
from dcm.conf._guess import Guess, guess
from dcm.errors import ConfigError, NodeSyntaxError, TemplateError, UsageError
from dcm.node import DcmNode, RemoteNode
from dcm.store.local_dir import LocalDir

TEXT = """
[local_nodes.default]
ae_title = "MYAE"
[local_nodes.second]
ae_title = "SECOND"
[remote_nodes.mypacs]
host = "mypacs.org"
ae_title = "MYPACS"
max_assoc = 2
[remote_nodes."dotted.name"]
host = "elsewhere.org"
[local_dirs.archive]
path = "store"
out_fmt = "{PatientID}/{SOPInstanceUID}"
file_ext = "ima"
[static_routes.clinical]
dests = ["mypacs"]
"""


@pytest.fixture
def conf_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "dcm_conf.toml"
    path.write_text(TEXT)
    return path


@pytest.fixture
def conf(conf_path: Path) -> DcmConfig:
    return DcmConfig(conf_path)


def test_a_remote_is_a_name_or_an_inline_node(conf: DcmConfig) -> None:
    assert conf.remote_node("mypacs") == RemoteNode("mypacs.org", "MYPACS", max_assoc=2)
    assert conf.remote_node("dotted.name").host == "elsewhere.org"
    assert conf.remote_node("pacs1:AE:104") == RemoteNode("pacs1", "AE", 104)
    assert conf.remote_node("pacs1:104") == RemoteNode("pacs1", port=104)
    assert conf.remote_node("AE@pacs1") == RemoteNode("pacs1", "AE")
    assert conf.remote_node("other.org") == RemoteNode("other.org")
    assert conf.remote_node("localhost") == RemoteNode("localhost")
    assert conf.remote_node("127.0.0.1") == RemoteNode("127.0.0.1")
    assert conf.remote_node("[::1]") == RemoteNode("::1")


def test_an_unknown_word_is_no_host_but_gets_the_nearest_name(conf: DcmConfig) -> None:
    with pytest.raises(ConfigError) as caught:
        conf.remote_node("mypcas")
    assert caught.value.message == f"no node called 'mypcas' in {conf.path}"
    assert caught.value.hint == "did you mean 'mypacs'? An inline node is HOST:AE:PORT"
    with pytest.raises(ConfigError) as caught:
        conf.remote_node("xyz")
    assert caught.value.hint == "An inline node is HOST:AE:PORT"


def test_without_a_file_an_unknown_word_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCM_CONFIG_PATH", str(tmp_path / "none.toml"))
    with pytest.raises(ConfigError, match=r"no node called 'mypacs': there is no .*none.toml \(dcm conf makes one\)"):
        DcmConfig().remote_node("mypacs")


def test_what_is_no_node_is_said_to_be_none(conf: DcmConfig) -> None:
    for text in ("archive", "./out", "path/to", "..", "~", "out:{PatientID}"):
        with pytest.raises(ConfigError, match="is a directory; a DICOM node is needed"):
            conf.remote_node(text)
    with pytest.raises(NodeSyntaxError):
        conf.remote_node("::1")
    with pytest.raises(ConfigError, match=r"'clinical' is of \[static_routes\]"):
        conf.remote_node("clinical")


def test_who_we_are(conf: DcmConfig, conf_path: Path) -> None:
    assert conf.local_node() == DcmNode("0.0.0.0", "MYAE", 11112)
    assert conf.local_node("second") == DcmNode("0.0.0.0", "SECOND", 11112)
    assert conf.local_node("127.0.0.1:ME:4000") == DcmNode("127.0.0.1", "ME", 4000)
    over = DcmConfig(conf_path, overrides=Overrides(local="second"))
    assert over.local_node().ae_title == "SECOND"
    assert over.local_node("default").ae_title == "MYAE"
    with pytest.raises(ConfigError, match="no local node called 'secnd'") as caught:
        conf.local_node("secnd")
    assert caught.value.hint == "did you mean 'second'? An inline node is 0.0.0.0:AE:PORT"


def test_the_only_local_node_is_the_default_and_of_several_one_must_be(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[local_nodes.a]\nae_title = "A"\n')
    assert DcmConfig(path).local_node().ae_title == "A"
    path.write_text('[local_nodes.a]\nae_title = "A"\n[local_nodes.b]\nae_title = "B"\n')
    with pytest.raises(ConfigError, match="which local node is it: a, b") as caught:
        DcmConfig(path).local_node()
    assert "--local" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("host:AE:104", Guess.NODE),
        ("host:104", Guess.NODE),
        ("AE@host", Guess.NODE),
        ("[::1]:AE:104", Guess.NODE),
        ("host:A/B:104", Guess.NODE),
        ("path/to/save", Guess.DIR),
        ("/abs", Guess.DIR),
        ("./x", Guess.DIR),
        (".", Guess.DIR),
        ("..", Guess.DIR),
        ("~/x", Guess.DIR),
        ("~", Guess.DIR),
        ("a/b:c", Guess.DIR),
        ("out:{PatientID}/{SOPInstanceUID}", Guess.DIR),
        ("there", Guess.DIR),
        ("there.too", Guess.DIR),
        ("mypacs.org", Guess.HOST),
        ("localhost", Guess.HOST),
        ("word", Guess.WORD),
        ("", Guess.WORD),
    ],
)
def test_how_texts_look(text: str, kind: Guess) -> None:
    assert guess(text, lambda path: path in ("there", "there.too")) is kind


def test_a_source_is_a_node_or_a_directory_that_is_there(conf: DcmConfig, tmp_path: Path) -> None:
    assert conf.source("mypacs") == RemoteNode("mypacs.org", "MYPACS", max_assoc=2)
    assert conf.source("host:AE:104") == RemoteNode("host", "AE", 104)
    assert conf.source("host.org") == RemoteNode("host.org")
    (tmp_path / "here").mkdir()
    assert isinstance(conf.source("here"), LocalDir)
    archive = conf.local_dir("archive", is_dest=False)
    for text in ("archive", str(archive.path), "./gone"):
        with pytest.raises(UsageError, match="no such directory"):
            conf.source(text)
    archive.path.mkdir()
    assert isinstance(conf.source("archive"), LocalDir)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is not a directory"):
        conf.source("./file")
    with pytest.raises(ConfigError, match="no node or directory called 'archve'") as caught:
        conf.source("archve")
    assert "did you mean 'archive'?" in caught.value.hint
    with pytest.raises(ConfigError, match="static_routes"):
        conf.source("clinical")


def test_a_name_that_is_also_a_directory_is_refused(conf: DcmConfig, tmp_path: Path) -> None:
    for name, section in (("mypacs", "remote_nodes"), ("archive", "local_dirs"), ("clinical", "static_routes")):
        (tmp_path / name).mkdir()
        for resolve in (conf.source, conf.dest):
            with pytest.raises(ConfigError, match=rf"'{name}' is two things: \[{section}.{name}\] and") as caught:
                resolve(name)
            assert f"./{name} is the directory" in caught.value.hint
            assert isinstance(resolve(f"./{name}"), LocalDir)


def test_a_name_may_be_that_of_the_directory_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "c.toml").write_text('[local_dirs]\narchive = "archive"\n')
    monkeypatch.chdir(tmp_path)
    assert isinstance(DcmConfig("c.toml").source("archive"), LocalDir)


def test_a_source_named_by_its_path_has_the_settings_of_its_section(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[local_dirs.archive]\npath = "store"\nrecurse = false\nfile_ext = "ima"\n')
    (tmp_path / "store").mkdir()
    conf = DcmConfig(tmp_path / "c.toml")
    for text in ("archive", str(tmp_path / "store")):
        source = conf.source(text)
        assert isinstance(source, LocalDir)
        assert (source.recurse, source.in_file_ext) == (False, "ima")


def test_a_destination_may_be_a_new_directory_but_no_misspelled_name(conf: DcmConfig, tmp_path: Path) -> None:
    assert conf.dest("mypacs") == RemoteNode("mypacs.org", "MYPACS", max_assoc=2)
    assert conf.dest("host:AE:104") == RemoteNode("host", "AE", 104)
    for text in ("path/to/save", "out", "./mypacs", "out:{SOPInstanceUID}", "archive"):
        assert isinstance(conf.dest(text), LocalDir)
    with pytest.raises(ConfigError, match="no node, directory or route called 'mypcas'") as caught:
        conf.dest("mypcas")
    assert caught.value.hint == "did you mean 'mypacs'? For a new directory write ./mypcas"
    with pytest.raises(ConfigError, match=r"'out\.2020' is a host or a new directory") as caught:
        conf.dest("out.2020")
    assert caught.value.hint == "write out.2020:AE:PORT for the one, ./out.2020 for the other"
    (tmp_path / "out.2020").mkdir()
    assert isinstance(conf.dest("out.2020"), LocalDir)
    with pytest.raises(UsageError, match="no path before the format"):
        conf.dest("{PatientID}/{SOPInstanceUID}")
    with pytest.raises(ConfigError, match="static_routes"):
        conf.dest("clinical")


def test_directories_have_the_settings_of_the_file_and_over_them_those_of_the_command_line(conf_path: Path) -> None:
    plain = DcmConfig(conf_path)
    archive = plain.local_dir("archive", is_dest=True)
    assert archive.path == conf_path.parent / "store"
    assert str(archive.out_fmt) == "{PatientID}/{SOPInstanceUID}"
    assert archive.file_ext == "ima"
    assert plain.local_dir("~/x", is_dest=True).path == Path.home() / "x"
    assert (
        str(plain.local_dir("x:{StudyDate}/{SOPInstanceUID}", is_dest=True).out_fmt) == "{StudyDate}/{SOPInstanceUID}"
    )

    over = DcmConfig(
        conf_path,
        overrides=Overrides(out_fmt="{SOPInstanceUID}", recurse=False, in_file_ext="", out_file_ext="dicom"),
    )
    for text in ("archive", "./other"):
        dest, source = over.local_dir(text, is_dest=True), over.local_dir(text, is_dest=False)
        assert (str(dest.out_fmt), dest.file_ext, dest.recurse) == ("{SOPInstanceUID}", "dicom", True)
        assert (source.in_file_ext, source.recurse) == ("", False)
    inline = over.local_dir("x:{StudyDate}/{SOPInstanceUID}", is_dest=True)
    assert str(inline.out_fmt) == "{StudyDate}/{SOPInstanceUID}"


def test_a_bad_template_is_a_usage_error_that_names_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[local_dirs.bad]\npath = "x"\nout_fmt = "{PatientIDD}"\n')
    with pytest.raises(ConfigError, match=r"c.toml: \[local_dirs.bad\]: .*PatientIDD") as caught:
        DcmConfig(path).local_dir("bad", is_dest=True)
    assert "PatientID" in caught.value.hint
    with pytest.raises(TemplateError):
        DcmConfig(path).local_dir("x:{PatientIDD}", is_dest=True)


def test_the_settings_of_a_directory_are_those_of_local_dir() -> None:
    settings = {field.name for field in fields(LocalDirSettings)}
    # What the extension of a source is follows from file_ext; conflicts are a matter of one command.
    assert settings == set(inspect.signature(LocalDir).parameters) - {"in_file_ext", "conflict"}


def test_configuring_needs_neither_pydicom_nor_the_network(conf_path: Path) -> None:
    code = (
        "import sys; from dcm.conf import DcmConfig; DcmConfig(sys.argv[1]).remote_node('mypacs');"
        "print([m for m in ('pydicom', 'pynetdicom', 'numpy', 'dcm.net') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(conf_path)],
        cwd=Path(dcm.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_a_home_that_nobody_has(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    for text in (
        '[local_dirs]\nx = "~nobody-at-all/x"',
        '[remote_nodes.x]\nhost = "h"\ntls = { ca = "~nobody-at-all/ca.pem" }',
        '[static_routes]\nx = "~nobody-at-all/x"',
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"c.toml: \[\w+.x\]: '~nobody-at-all/.*': there is no such user"):
            DcmConfig(path).check()
    path.write_text("")
    for resolve in (DcmConfig(path).source, DcmConfig(path).dest):
        for text in ("~nobody-at-all/x", "~nobody-at-all:{PatientID}"):
            with pytest.raises(UsageError, match="there is no such user"):
                resolve(text)
