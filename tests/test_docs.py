"""The documents cannot drift from the code: every command and option, every example, every setting, every link."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest

from dcm.cli._root import COMMANDS, root
from dcm.conf import DcmConfig
from dcm.conf._routes import DynamicRouteSettings, FilterSettings, RepoSettings, StaticRouteSettings
from dcm.conf._schema import AccessSettings, LocalDirSettings
from dcm.conf._selectors import SelectorSettings
from dcm.node import DcmNode, RemoteNode, Timeouts, TlsConfig
from dcm.template import DEFAULT_TEMPLATE, PathTemplate
from tests import data
from tests.examples import ROOT, blocks, commands, run_python, run_shell
from tests.peers import HOST, DcmtkQrscp, DcmtkStorescp, free_port

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.rst"))
CODE = {example.line: example for example in blocks(DOCS / "library.rst") if example.language == "python"}


def text_of(*names: str) -> str:
    return "\n".join((DOCS / f"{name}.rst").read_text(encoding="utf-8") for name in names)


def options(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield from (*parameter.opts, *parameter.secondary_opts)


def all_commands() -> dict[str, click.Command]:
    context = click.Context(root)
    found: dict[str, click.Command] = {"": root}
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        assert command is not None
        found[name] = command
        if isinstance(command, click.Group):
            found.update({f"{name} {inner}": one for inner, one in command.commands.items()})
    return found


# -- the commands ------------------------------------------------------------------------------------------------------


def test_every_command_and_its_options_are_documented() -> None:
    page = text_of("commands")
    for name, command in all_commands().items():
        title = f"dcm {name}".strip()
        section = re.search(
            rf"^{title}\n[=-]+\n\n\.\. help: {title}\n(.*?)(?=^=====|\Z)", page, re.MULTILINE | re.DOTALL
        )
        assert section, f"no section on {title}"
        for option in options(command):
            assert option in section[1], f"{title} {option}"
    assert {name.partition(" ")[0] for name in all_commands()} == {"", *COMMANDS}


def test_the_help_in_the_documents_is_what_dcm_prints() -> None:
    spec = importlib.util.spec_from_file_location("update_help", DOCS / "update_help.py")
    assert spec is not None
    assert spec.loader is not None
    update_help = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(update_help)
    page = text_of("commands")
    assert update_help.updated(page) == page, "run: python docs/update_help.py"
    assert page.count(".. help: ") == len(all_commands())


def test_each_documented_option_exists() -> None:
    known = {option for command in all_commands().values() for option in options(command)} | {"--help"}
    for path in (*PAGES, ROOT / "README.rst", ROOT / "CHANGELOG.rst"):
        text = path.read_text(encoding="utf-8")
        for example in commands(path):
            if not example.text.startswith("dcm"):
                text = text.replace(example.text, "")
        for option in re.findall(r"(?<![-\w])--[a-z][-a-z]*", text):
            assert option in known | {"--slow"}, f"{path.name}: {option}"


def test_every_command_has_a_crisp_help() -> None:
    for name, command in all_commands().items():
        first = (command.help or "").partition("\n\n")[0]
        assert first.endswith("."), name
        assert len(first) < 70, name
        assert "Examples:" in (command.epilog or "Examples:"), name
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, f"{name} {option.opts}"
                assert option.help.endswith((".", ")")), f"{name} {option.opts}"
        if name in COMMANDS:
            assert first == COMMANDS[name]


@pytest.fixture
def configured(dcmtk_archive: DcmtkQrscp, dcmtk_receiver: DcmtkStorescp, isolated_config: Path, tmp_path: Path) -> Path:
    """A directory to run examples in, and a configuration with the nodes that they name."""
    lines = [f'[local_nodes.default]\nhost = "{HOST}"\nae_title = "LOCALAE"\nport = {free_port()}\n']
    for name, peer in (("mypacs", dcmtk_archive), ("otherpacs", dcmtk_receiver)):
        lines.append(f'[remote_nodes.{name}]\nhost = "{HOST}"\nae_title = "{peer.ae_title}"\nport = {peer.port}\n')
    isolated_config.write_text("".join(lines))
    (tmp_path / "cohort.csv").write_text("PatientID,StudyDate\nVamp001,20201031\nVamp003,\n")
    return tmp_path


def shape(output: str) -> str:
    """What is printed, whatever the node is and however much it has."""
    return re.sub(r"[0-9]+", "N", re.sub(r"[\w.]+:[A-Z]+:[0-9]+", "NODE", output)).strip()


@pytest.mark.parametrize("page", [path for path in PAGES if any(commands(path))], ids=lambda path: path.stem)
def test_the_commands_of_a_page(page: Path, configured: Path) -> None:
    for example in commands(page):
        if example.text in ("pip install .", "dcm demo"):
            continue  # tests/test_readme.py and tests/demo run them
        command = re.sub(r"(my|other)pacs\.org:[A-Z]+:11112", r"\1pacs", example.text)
        done = run_shell(command, configured, {})
        assert done.returncode == 0, f"{example}: {done.stderr}"
        if example.output:
            assert shape(done.stdout) == shape("\n".join(example.output)), str(example)


# -- the library -------------------------------------------------------------------------------------------------------


def test_the_library_guide_runs_from_top_to_bottom(
    dcmtk_archive: DcmtkQrscp, tmp_path: Path, samples: list[data.Sample]
) -> None:
    assert len(CODE) > 8
    code = "\n".join(example.text for example in CODE.values())
    code = code.replace('"mypacs.org", "MYPACS", 11112', f'"{HOST}", "{dcmtk_archive.ae_title}", {dcmtk_archive.port}')
    code = code.replace('"LOCALAE", 11112', f'"LOCALAE", {free_port()}').replace("11113", str(free_port()))
    done = run_python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "4 | 127.0.0.1:NOBODY:9 refused the connection | is the service running" in done.stdout
    dracula = {sample.sop_instance_uid for sample in samples if sample.patient_id == "Vamp001"}
    assert {path.stem for path in (tmp_path / "archive" / "Vamp001" / "20201031").iterdir()} == dracula


def python_of(page: str) -> str:
    return "\n".join(example.text for example in blocks(DOCS / f"{page}.rst") if example.language == "python")


def test_the_example_of_a_router(tmp_path: Path) -> None:
    sample = data.write_series(tmp_path / "few", data.SeriesSpec(modality="MR", n_instances=1))[0]
    sample.path.rename(tmp_path / "MR_small.dcm")
    done = run_python(python_of("routing"), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.stem for path in (tmp_path / "archive").rglob("*.dcm")] == [sample.sop_instance_uid]
    assert len([*(tmp_path / "research" / "ANON1").rglob("*.dcm")]) == 1


def test_the_example_of_a_forwarder(tmp_path: Path) -> None:
    port = free_port()
    code = python_of("forwarding").replace("11112", str(port)).replace("=600", "=0.1")
    done = run_python(code, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"listening on {port}\n0 received\n"


def test_what_the_api_page_names_exists() -> None:
    for kind, name in re.findall(r"^\.\. auto(\w+):: ([\w.]+)$", text_of("api"), re.MULTILINE):
        module, _, attribute = (name, "", "") if kind == "module" else name.rpartition(".")
        assert not attribute or hasattr(importlib.import_module(module), attribute), name


# -- the configuration -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "page", [path for path in (*PAGES, ROOT / "README.rst") if "code-block:: toml" in path.read_text()], ids=str
)
def test_the_examples_of_configurations(page: Path, tmp_path: Path) -> None:
    for example in blocks(page):
        if example.language == "toml":
            path = tmp_path / "dcm_conf.toml"
            path.write_text(example.text)
            conf = DcmConfig(path)
            conf.check()
            if "local_nodes" in example.text:
                assert conf.local_node().ae_title == "LOCALAE"
                assert conf.remote_node("mypacs") == RemoteNode("mypacs.org", "MYPACS", 11112)


SETTINGS: tuple[type[Any], ...] = (
    *(DcmNode, AccessSettings, RemoteNode, Timeouts, TlsConfig, LocalDirSettings, RepoSettings, SelectorSettings),
    *(FilterSettings, StaticRouteSettings, DynamicRouteSettings),
)
MORE = ("remote_repos", "selectors", "static_routes", "dynamic_routes")


def test_every_setting_is_documented() -> None:
    page = text_of("configuration")
    documented = set(re.findall(r"^``([a-z_]+)``", page, re.MULTILINE))
    known: set[str] = set()
    for kind in SETTINGS:
        known |= {field.name for field in fields(kind)}
    assert documented == (known | {"all_of", "any_of", "none_of"}) - {"timeouts", "tls"}
    for section in (
        "local_nodes",
        "remote_nodes",
        "remote_nodes.NAME.timeouts",
        "remote_nodes.NAME.tls",
        "local_dirs",
        *MORE,
    ):
        assert f"[{section}" in page
    defaults = RemoteNode("host")
    assert f"how many associations at a time; {defaults.max_assoc}" in page
    for name in ("connect", "association", "dimse"):
        assert re.search(rf"^``{name}`` .*; {getattr(defaults.timeouts, name):.0f}$", page, re.MULTILINE), name


# -- paths, exit codes, links ------------------------------------------------------------------------------------------


def test_the_fields_of_templates() -> None:
    page = text_of("paths")
    assert DEFAULT_TEMPLATE in page
    table = page.partition("Fields\n")[2].partition("Names are safe")[0]
    documented = re.findall(r"``(\{[^`{}]+\})``", table)
    assert len(documented) > 8
    values = {0x00100020: "Vamp001", 0x00100010: "Dracula^Count", 0x00080020: "20201031", 0x00200011: "7"}
    for template in documented:
        PathTemplate(template).render(lambda tag: values.get(tag, ""))
    assert PathTemplate("{SeriesDescription}").render(lambda tag: "Coffin, folded/flat") == ("Coffin, folded%2Fflat",)
    assert "``Coffin, folded%2Fflat``" in page


def test_exit_codes_are_the_same_everywhere() -> None:
    tables = [path.read_text().partition("====  ====")[2] for path in (DOCS / "exit-codes.rst", ROOT / "README.rst")]
    for table in tables:
        assert re.findall(r"^([0-9]+) {2,}\S", table, re.MULTILINE) == ["0", "1", "2", "3", "4", "5", "130", "141"]


def test_troubleshooting_quotes_what_dcm_says() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "dcm").rglob("*.py"))
    sources = re.sub(r"\{[^{}\n]*\}", "", sources)
    page = text_of("troubleshooting")
    for line in re.findall(r"^``.+``$", page, re.MULTILINE):
        for quoted in re.findall(r"``([^`]+)``", line):
            for part in quoted.split(" ... "):
                words = part.partition(": ")[0]
                assert words in sources, quoted


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = set(re.findall(r"^   ([a-z-]+)$", text_of("index"), re.MULTILINE))
    assert listed == {path.stem for path in PAGES} - {"index"}


@pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="Sphinx is not installed (the docs extra)")
def test_the_documents_build_without_warnings(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", str(tmp_path / "trees"), str(DOCS)]
    done = subprocess.run([*command, str(tmp_path / "html")], capture_output=True, text=True, timeout=28, check=False)
    assert done.returncode == 0, done.stderr
