"""How the command line is merged into the configuration file, and how that is shown."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import click
import pytest

from dcm.cli._root import root
from dcm.cli.sync_cmd import command as sync
from dcm.conf import EXAMPLE, METHODS, RULES, AccessOverrides, DcmConfig, Overrides
from dcm.conf._file import parse_config
from dcm.errors import ConfigError, UsageError
from dcm.instance import Instance
from dcm.route import DynamicRoute, StaticRoute
from dcm.store.base import TransferMethod
from dcm.store.local_dir import LocalDir
from tests import data

COPY, PROXY, LINK = TransferMethod.LOCAL_COPY, TransferMethod.PROXY, TransferMethod.LINK
TEXT = """
[local_nodes.default]
ae_title = "ME"
allowed_ae_titles = ["SCANNER"]
max_assoc = 20
[remote_nodes.pacs]
host = "h"
[local_dirs.archive]
path = "archive"
out_fmt = "{PatientID}/{SOPInstanceUID}"
file_ext = "ima"
[static_routes]
plain = ["archive", "out:{StudyDate}/{SOPInstanceUID}"]
[static_routes.linked]
dests = ["archive"]
methods = ["link"]
[static_routes.anonymous]
dests = ["archive"]
filt = [{ reject = "PatientID == NEW" }, { edit = { PatientID = "ANON1" }, add_uid_entropy = "s3cret" }]
[dynamic_routes.rules]
routing_map = { "Modality == CT" = ["anonymous", "./ct"] }
dest_methods = { "./ct" = ["link"] }
default_dests = []
"""


@pytest.fixture
def conf_path(tmp_path: Path) -> Path:
    path = tmp_path / "c.toml"
    path.write_text(TEXT)
    return path


def static(conf: DcmConfig, name: str) -> StaticRoute:
    route = conf.route(name)
    assert isinstance(route, StaticRoute)
    return route


def dirs(conf: DcmConfig, name: str) -> list[LocalDir]:
    return [way.sink for way in conf.route(name).ways if isinstance(way.sink, LocalDir)]


def test_an_override_is_a_value() -> None:
    edits = {"PatientID": "X"}
    over = Overrides(methods=("link",), edits=edits)
    edits["PatientID"] = "Y"
    assert over == Overrides(methods=("link",), edits={"PatientID": "X"})
    assert hash(over) == hash(replace(over))
    with pytest.raises(FrozenInstanceError):
        over.local = "x"  # type: ignore[misc]  # that is what is tested
    with pytest.raises(TypeError):
        over.edits["PatientID"] = "Z"  # type: ignore[index]  # that is what is tested


def test_settings_of_directories_are_those_of_all_destinations(conf_path: Path) -> None:
    over = Overrides(out_fmt="{SOPInstanceUID}", out_file_ext="", sync=True, index=False)
    conf = DcmConfig(conf_path, overrides=over)
    for name, count in (("plain", 2), ("anonymous", 1), ("rules", 2)):
        found = dirs(conf, name)
        assert len(found) == count
        assert {(str(one.out_fmt), one.file_ext, one.sync, one.index) for one in found} == {
            ("{SOPInstanceUID}", "", True, False)
        }
    before = dirs(DcmConfig(conf_path), "plain")
    assert [(str(one.out_fmt), one.file_ext, one.sync, one.index) for one in before] == [
        ("{PatientID}/{SOPInstanceUID}", "ima", False, True),
        ("{StudyDate}/{SOPInstanceUID}", "dcm", False, True),
    ]
    # What is typed behind a path is for that one alone.
    typed = conf.sink("x:{PatientID}/{SOPInstanceUID}")
    assert isinstance(typed, LocalDir)
    assert str(typed.out_fmt) == "{PatientID}/{SOPInstanceUID}"


def test_methods_replace_those_of_every_route(conf_path: Path) -> None:
    def methods(conf: DcmConfig) -> list[tuple[TransferMethod, ...]]:
        routes = conf.routes_to(["plain", "linked", "rules", "./typed"])
        return [way.methods for route in routes for way in route.ways]

    assert methods(DcmConfig(conf_path)) == [(COPY, PROXY), (COPY, PROXY), (LINK,), (PROXY,), (LINK,), (COPY, PROXY)]
    over = Overrides(methods=("symlink", "proxy"))
    assert set(methods(DcmConfig(conf_path, overrides=over))) == {(TransferMethod.SYMLINK, PROXY)}


def test_a_method_that_there_is_not(conf_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no method 'teleport'"):
        DcmConfig(conf_path, overrides=Overrides(methods=("teleport",))).routes_to(["./x"])


def test_edits_come_behind_the_filters_of_a_route(conf_path: Path, samples: list[data.Sample]) -> None:
    edits = {"PatientID": "NEW", "StudyDescription": None}
    conf = DcmConfig(conf_path, overrides=Overrides(edits=edits, methods=("proxy",)))
    with Instance.from_file(samples[0].path) as instance:
        before = instance.dataset
    plain, anonymous = static(conf, "plain"), static(conf, "anonymous")
    assert plain.filt is not None
    assert plain.methods == (PROXY,)
    assert anonymous.filt is not None
    for route in (plain, anonymous):
        assert route.filt is not None
        after = route.filt(before)
        assert after is not None
        assert after.PatientID == "NEW"  # and not rejected: the route sees the data as it was
        assert "StudyDescription" not in after
        assert after.StudyInstanceUID != before.StudyInstanceUID
    assert {way.filt is not None for way in conf.route("rules").ways} == {True}
    (typed,) = conf.dests("./typed")
    assert isinstance(typed, StaticRoute)
    assert typed.filt is not None
    # No option turns off what a route does.
    only_other = DcmConfig(conf_path, overrides=Overrides(edits={"StudyDescription": "x"}))
    kept = static(only_other, "anonymous").filt
    assert kept is not None
    result = kept(before)
    assert result is not None
    assert (result.PatientID, result.StudyDescription) == ("ANON1", "x")


def test_who_may_call_by_the_command_line(conf_path: Path) -> None:
    said = AccessOverrides(allowed_addresses=("10.0.0.0/8",), require_called_ae=True, max_assoc_per_peer=3)
    policy = DcmConfig(conf_path, overrides=Overrides(access=said)).access_policy()
    assert policy.calling_ae_titles == frozenset({"SCANNER"})
    assert policy.addresses == frozenset({"10.0.0.0/8"})
    assert (policy.require_called_ae, policy.max_associations, policy.max_per_peer) == (True, 20, 3)


def test_every_option_that_is_merged_has_its_rule() -> None:
    options = {
        option
        for name in ("sync", "forward", "conf")
        for parameter in (root.get_command(click.Context(root), name) or root).params
        if isinstance(parameter, click.Option)
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    ruled = {option for names, _ in RULES for option in names}
    assert ruled <= options
    assert {"--local", "--dir-format", "--out-file-ext", "--no-index", "--edit", "--edit-json", "--method"} <= ruled
    assert {method.value for method in TransferMethod} == {"local_copy" if word == "copy" else word for word in METHODS}
    choice = next(one.type for one in sync.params if one.name == "methods")
    assert isinstance(choice, click.Choice)
    assert tuple(choice.choices) == METHODS


# -- shown -------------------------------------------------------------------------------------------------------------


def test_what_is_shown_means_the_same_as_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    uncommented = re.sub(r"^#(?=[\[a-z ])(?! The| you)", "", EXAMPLE, flags=re.MULTILINE)
    for text in (TEXT.replace(', add_uid_entropy = "s3cret"', ""), uncommented.replace('add_uid_entropy = "a', "#")):
        path.write_text(text)
        before = DcmConfig(path)
        before.check()
        shown = before.shown()
        again = parse_config(shown, path)
        for section in ("local_nodes", "access", "remote_nodes", "remote_repos"):
            assert getattr(again, section) == getattr(before._sections, section), section
        assert {name: str(one) for name, one in again.selectors.items()} == {
            name: str(one) for name, one in before.selectors.items()
        }
        path.write_text(shown)
        after = DcmConfig(path)
        for name in (*before.static_routes, *before.dynamic_routes):
            assert [way.key for way in after.route(name).ways] == [way.key for way in before.route(name).ways]
            assert [way.methods for way in after.route(name).ways] == [way.methods for way in before.route(name).ways]
        assert after.shown() == shown


def test_secrets_are_not_shown(conf_path: Path) -> None:
    shown = DcmConfig(conf_path).shown()
    assert "s3cret" not in shown
    assert 'add_uid_entropy = "(not shown)"' in shown


def test_what_options_do_is_shown(conf_path: Path) -> None:
    over = Overrides(out_fmt="{SOPInstanceUID}", in_file_ext="dcm", methods=("proxy",), edits={"PatientID": None})
    shown = DcmConfig(conf_path, overrides=over).shown()
    sections = dict(re.findall(r"^\[([\w.]+)\]\n(.*?)(?=^\[|\Z)", shown, re.MULTILINE | re.DOTALL))
    assert 'out_fmt = "{SOPInstanceUID}"' in sections["local_dirs.archive"]
    assert '# as a source: file_ext = "dcm"' in sections["local_dirs.archive"]
    assert 'methods = ["proxy"]' in sections["static_routes.linked"]
    assert 'filt = [{ delete = ["PatientID"] }]' in sections["static_routes.linked"]
    assert "by proxy, through: edit" in sections["static_routes.linked"]
    assert "then the edits of anonymous then edit" in re.sub(r"\n# +", " ", sections["static_routes.anonymous"])
    for options, does in RULES:
        assert f"{', '.join(options)}: {does}" in re.sub(r"\n# +", " ", shown)


def test_what_is_shown_does_nothing_to_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[remote_nodes."a\\u001b[31m\\u202e"]\nhost = "h"\n[selectors]\nx = "PatientID == \\u001b[2J"\n')
    shown = DcmConfig(path).shown()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)
    assert list(parse_config(shown, path).remote_nodes) == ["a\x1b[31m\u202e"]


def test_where_only_an_option_can_say_who_we_are(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(
        "[local_nodes.a]\nport = 1\n[local_nodes.b]\nport = 2\n[static_routes]\nr = 'h:A:1'\n"
        "[remote_repos.x]\nremote = 'h:A:1'\n"
    )
    conf = DcmConfig(path)
    conf.check()
    assert "# We are what --local says: a, b; here, the first of them." in conf.shown()
    assert parse_config(conf.shown(), path).remote_repos["x"].local is None
    assert "# We are 0.0.0.0:ANYAE:2 " in DcmConfig(path, overrides=Overrides(local="b")).shown()
    with pytest.raises(ConfigError, match="which local node is it: a, b"):
        conf.routes_to(["r"])


def test_without_a_file_there_is_still_the_rule(isolated_config: Path) -> None:
    shown = DcmConfig(overrides=Overrides(local="h:ME:104")).shown()
    assert "# We are h:ME:104" in shown
    assert "--dir-format" in shown


def test_a_dynamic_route_is_shown_as_it_decides(conf_path: Path) -> None:
    route = DcmConfig(conf_path).route("rules")
    assert isinstance(route, DynamicRoute)
    assert 'routing_map = [["Modality == CT", ["anonymous", "./ct"]]]' in DcmConfig(conf_path).shown()
