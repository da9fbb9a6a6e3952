"""Repositories and routes of the configuration file: what may stand in them, and what is made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcm.conf import DcmConfig, Overrides
from dcm.errors import ConfigError, RouteError, UsageError
from dcm.instance import Instance
from dcm.levels import QueryLevel
from dcm.net import LocalEntity
from dcm.node import DcmNode, RemoteNode
from dcm.route import DynamicRoute, Router, StaticRoute
from dcm.store.base import TransferMethod
from dcm.store.local_dir import LocalDir
from dcm.store.net_repo import NetRepo
from tests import data

COPY, PROXY, LINK = TransferMethod.LOCAL_COPY, TransferMethod.PROXY, TransferMethod.LINK

TEXT = """
[local_nodes.default]
ae_title = "ME"
[local_nodes.other]
ae_title = "OTHER"
[remote_nodes.pacs]
host = "pacs.example.org"
ae_title = "PACS"
[remote_nodes.research]
host = "research.example.org"
ae_title = "RESEARCH"
[local_dirs.archive]
path = "archive"
out_fmt = "{PatientID}/{SOPInstanceUID}"
[remote_repos.ct]
remote = "pacs"
local = "other"
base_query = { Modality = "CT", StudyDate = 2020-10-31, SeriesNumber = 7 }
level = "series"
chunk_size = 10
[selectors]
night = "StudyDescription == 'Night scan'"
[static_routes]
plain = ["pacs", "archive"]
[static_routes.anonymous]
dests = ["research", "out:{SOPInstanceUID}"]
filt = [{ reject = ["Modality == MR"] }, { edit = { PatientID = "ANON1" }, delete = ["PatientSex"] }]
[dynamic_routes.rules]
default_dests = ["archive"]
exclude = ["PatientID == Vamp003"]
[dynamic_routes.rules.routing_map]
night = ["anonymous", "archive"]
"StudyDescription == Breakfast" = "research"
"""


@pytest.fixture
def conf_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "conf" / "c.toml"
    path.parent.mkdir()
    path.write_text(TEXT)
    return path


@pytest.fixture
def conf(conf_path: Path) -> DcmConfig:
    return DcmConfig(conf_path)


def test_a_repository_is_a_node_seen_through_a_query(conf: DcmConfig) -> None:
    repo = conf.repo("ct")
    assert isinstance(repo, NetRepo)
    assert (str(repo.remote), repo.level, repo.chunk_size) == ("pacs.example.org:PACS:11112", QueryLevel.SERIES, 10)
    assert repo.local.local.ae_title == "OTHER"
    assert repo.base_query is not None
    assert (repo.base_query.Modality, repo.base_query.StudyDate, repo.base_query.SeriesNumber) == ("CT", "20201031", 7)
    sink = conf.sink("ct")
    assert isinstance(sink, NetRepo)
    assert sink.remote == conf.remote_node("ct") == conf.source("ct") == conf.dest("ct") == conf.remote_nodes["pacs"]


def test_the_local_node_of_the_command_line_counts_more(conf_path: Path) -> None:
    repo = DcmConfig(conf_path, overrides=Overrides(local="default")).repo("ct")
    assert isinstance(repo, NetRepo)
    assert repo.local.local.ae_title == "ME"


def test_one_entity_for_each_node(conf: DcmConfig) -> None:
    first, second = conf.repo("pacs"), conf.sink("research")
    assert isinstance(first, NetRepo)
    assert isinstance(second, NetRepo)
    assert first.local is second.local is conf.entity()
    assert conf.entity("other") is not conf.entity()
    assert isinstance(conf.entity("0.0.0.0:X:1"), LocalEntity)


def test_a_repository_may_be_called_like_its_node_and_is_what_data_is_read_from(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[remote_nodes.p]\nhost="h"\n[remote_repos.p]\nremote="p"\nbase_query={Modality="CT"}\n')
    conf = DcmConfig(path)
    repo = conf.repo("p")
    assert isinstance(repo, NetRepo)
    assert repo.base_query is not None
    assert conf.remote_node("p") == RemoteNode("h")


def test_a_static_route_has_the_methods_that_its_filter_allows(conf: DcmConfig) -> None:
    plain = conf.route("plain")
    assert isinstance(plain, StaticRoute)
    assert [str(sink) for sink in plain.dests] == [
        "pacs.example.org:PACS:11112",
        str(conf.path.parent / "archive"),
    ]
    assert (plain.filt, plain.methods, plain.name) == (None, (COPY, PROXY), "plain")
    anonymous = conf.route("anonymous")
    assert isinstance(anonymous, StaticRoute)
    assert anonymous.methods == (PROXY,)
    out = anonymous.dests[1]
    assert isinstance(out, LocalDir)
    assert (out.path, str(out.out_fmt)) == (conf.path.parent / "out", "{SOPInstanceUID}")  # beside the file


def test_a_filter_rejects_and_then_edits(conf: DcmConfig, samples: list[data.Sample]) -> None:
    route = conf.route("anonymous")
    assert isinstance(route, StaticRoute)
    assert route.filt is not None
    by_modality = {}
    for sample in samples[:6] + samples[7:9]:
        with Instance.from_file(sample.path) as instance:
            after = route.filt(instance.dataset)
            by_modality[instance.dataset.Modality] = after
    assert by_modality["MR"] is None
    assert by_modality["CT"] is not None
    assert by_modality["CT"].PatientID == "ANON1"
    assert "PatientSex" not in by_modality["CT"]


def decided(router: Router, samples: list[data.Sample]) -> dict[tuple[str, str], set[tuple[str, bool]]]:
    """Where the studies go, and whether through a filter."""
    found = {}
    for sample in samples:
        with Instance.from_file(sample.path) as instance:
            ways = {(str(way.sink), way.filt is not None) for way in router.decide(instance)}
        found[sample.patient_id, sample.study_uid] = ways
    return found


def test_a_dynamic_route_leads_through_static_ones(conf: DcmConfig, samples: list[data.Sample]) -> None:
    route = conf.route("rules")
    assert isinstance(route, DynamicRoute)
    archive, research = str(conf.path.parent / "archive"), "research.example.org:RESEARCH:11112"
    out = str(conf.path.parent / "out")
    for (patient, _), ways in decided(Router([route]), samples).items():
        assert (
            ways
            == {
                "Vamp001": {(research, True), (out, True), (archive, False)},
                "Vamp002": {(research, False)},
                "Vamp003": set(),
            }[patient]
        )
    # All ways are known beforehand, the one to the same node without a filter, too.
    assert {(str(way.sink), way.filt is not None) for way in route.ways} == {
        (research, True),
        (out, True),
        (archive, False),
        (research, False),
    }
    assert len({way.key for way in route.ways}) == 4


def test_the_first_rule_that_names_a_destination_says_through_what(tmp_path: Path, samples: list[data.Sample]) -> None:
    for order in (["anonymous", "research"], ["research", "anonymous"]):
        path = tmp_path / "c.toml"
        path.write_text(
            TEXT.partition("[dynamic_routes")[0]
            + "[dynamic_routes.r]\nstop_on_first = false\n"
            + f'routing_map = [["night", "{order[0]}"], ["night", "{order[1]}"]]'
        )
        for ways in decided(Router([DcmConfig(path).route("r")]), samples[:1]).values():
            research = [filtered for sink, filtered in ways if "RESEARCH" in sink]
            assert research == [order[0] == "anonymous"]


def test_without_a_default_what_no_rule_matches_is_an_error(tmp_path: Path, samples: list[data.Sample]) -> None:
    path = tmp_path / "c.toml"
    for default, outcome in (("", RouteError), ("default_dests = []", None)):
        path.write_text(f'[dynamic_routes.r]\n{default}\n[dynamic_routes.r.routing_map]\n"Modality == US" = "./us"\n')
        router = Router([DcmConfig(path).route("r")])
        with Instance.from_file(samples[0].path) as instance:
            if outcome is None:
                assert router.decide(instance) == ()
            else:
                with pytest.raises(outcome, match="no rule matches"):
                    router.decide(instance)


def test_methods_of_destinations(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(
        '[static_routes.s]\ndests="./s"\nmethods=["move"]\n'
        '[dynamic_routes.r]\nroute_level="IMAGE"\nmethods=["PROXY"]\ndest_methods={"./a"=["link","local_copy"]}\n'
        'routing_map=[{selector="Modality == CT", dests=["./a", "./b", "s"]}]\n'
    )
    route = DcmConfig(path).route("r")
    assert isinstance(route, DynamicRoute)
    assert route.route_level is QueryLevel.IMAGE
    assert [way.methods for way in route.ways] == [(LINK, COPY), (PROXY,), (TransferMethod.MOVE,)]


def test_destinations_of_the_command_line_are_routes(conf: DcmConfig) -> None:
    routes = conf.routes_to(["./new", "rules", "pacs", "plain", "./new"])
    assert [type(route).__name__ for route in routes] == ["StaticRoute", "DynamicRoute", "StaticRoute"]
    own = routes[0]
    assert isinstance(own, StaticRoute)
    assert [str(sink) for sink in own.dests] == ["new", "pacs.example.org:PACS:11112"]
    assert (own.filt, own.methods) == (None, (COPY, PROXY))
    assert [route.name for route in conf.dests("rules")] == ["rules"]
    (alone,) = conf.dests("archive")
    assert isinstance(alone, StaticRoute)
    assert isinstance(alone.dests[0], LocalDir)


def test_names_that_are_no_route_or_no_store(conf: DcmConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no route called 'ruels'") as caught:
        conf.route("ruels")
    assert "did you mean 'rules'?" in caught.value.hint
    with pytest.raises(ConfigError, match=r"'pacs' is of \[remote_nodes\]; a route is needed"):
        conf.route("pacs")
    for name, section in (("rules", "dynamic_routes"), ("plain", "static_routes")):
        for resolve in (conf.repo, conf.sink, conf.remote_node):
            with pytest.raises(ConfigError, match=rf"'{name}' is of \[{section}\], a route"):
                resolve(name)
    with pytest.raises(ConfigError, match="no node, directory or route called 'anonymos'") as caught:
        conf.routes_to(["anonymos"])
    assert "did you mean 'anonymous'?" in caught.value.hint
    for name in ("rules", "ct"):
        (tmp_path / name).mkdir()
        with pytest.raises(ConfigError, match=f"'{name}' is two things"):
            conf.routes_to([name])


NODES = '[remote_nodes.pacs]\nhost="h"\n[local_dirs]\narchive="a"\n[selectors]\nmine="Modality == CT"\n'
STATIC = NODES + '[static_routes.plain]\ndests=["pacs"]\n'


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('[remote_repos.x]\nremote="pcas"', r"\[remote_repos.x\] remote: no node called 'pcas'", "did you mean 'pacs'"),
        ('[remote_repos.x]\nremote="./dir"', r"\[remote_repos.x\] remote: no node called './dir'", "HOST:AE:PORT"),
        ('[remote_repos.x]\nremote="pacs"\nlocal="me"', r"local: no node called 'me' in \[local_nodes\]", ""),
        ('[remote_repos.x]\nremote="::1"', r"\[remote_repos.x\] remote: not a node", ""),
        ('[remote_repos.x]\nlevel="study"', r"\[remote_repos.x\] has no remote", ""),
        ('[remote_repos.x]\nremote="pacs"\nlevel="stdy"', "level must be patient, study, series or image, not", ""),
        ('[remote_repos.x]\nremote="pacs"\nchunk_size=0', "chunk_size must be at least 1, not 0", ""),
        ('[remote_repos.x]\nremote="pacs"\nbase_qery={}', r"has no setting 'base_qery'", "base_query"),
        ('[remote_repos.pacs]\nremote="h:AE:104"', r"'pacs' is two things: \[remote_nodes.pacs\]", "rename"),
        ('[remote_repos.archive]\nremote="pacs"', r"'archive' is two things: \[local_dirs.archive\]", "rename"),
        ("[static_routes.x]\nmethods=[]", r"\[static_routes.x\] has no dests", ""),
        ("[static_routes.x]\ndests=[]", r"\[static_routes.x\] dests is empty", ""),
        ("[static_routes.x]\ndests=[1]", r"dests must be a list of texts, not a number in it", ""),
        ('[static_routes.x]\ndests="pcas"', r"dests: no node, directory or repository called 'pcas'", "mean 'pacs'"),
        ('[static_routes.x]\ndests="elsewhere"', r"repository called 'elsewhere'", "a directory ./elsewhere"),
        ('[static_routes.x]\ndests="pacs.example.org"', r"called 'pacs.example.org'", "HOST:AE:PORT"),
        ('[static_routes.x]\ndests="a:b:c:d"', r"\[static_routes.x\] dests: not a node", ""),
        ('[static_routes.x]\ndests=["pacs","pacs"]', r"dests: 'pacs' is there twice", ""),
        ('[static_routes.x]\ndests="plain"', r"'plain' is a static route", "takes nodes, directories, repositories"),
        ('[static_routes.pacs]\ndests="archive"', r"'pacs' is two things", ""),
        ('[static_routes.x]\ndests="pacs"\nmethods="prxy"', r"methods has no 'prxy'", "did you mean 'proxy'"),
        ('[static_routes.x]\ndests="pacs"\nmethods=[]', r"methods is empty", ""),
        ('[static_routes.x]\ndests="pacs"\nfilt="y"', r"\[static_routes.x\] filt must be a table, not a text", ""),
        (
            '[static_routes.x]\ndests="pacs"\nfilt={}',
            r"\[static_routes.x\] filt does nothing",
            "edit, delete or reject",
        ),
        ('[static_routes.x]\ndests="pacs"\nfilt={edits={}}', r"filt has no setting 'edits'", "did you mean 'edit'"),
        ('[static_routes.x]\ndests="pacs"\nfilt={reject="mein"}', r"filt reject: no selector called 'mein'", "mine"),
        (
            '[static_routes.x]\ndests="pacs"\nfilt={edit={A=1},delete=["A"]}',
            "filt: 'A' is edited and deleted",
            "",
        ),
        ("[dynamic_routes.x]\nexclude=[]", r"\[dynamic_routes.x\] has no routing_map", "selector to destinations"),
        ("[dynamic_routes.x]\nrouting_map=1", r"routing_map must be a table or a list, not a number", "a rule is"),
        ("[dynamic_routes.x]\nrouting_map=[1]", r"routing_map: '1' is no rule", "a rule is"),
        ('[dynamic_routes.x]\nrouting_map=[{selector="mine"}]', r"a rule without dests", ""),
        ('[dynamic_routes.x]\nrouting_map=[{selctor="mine"}]', r"has no setting 'selctor'", "mean 'selector'"),
        ('[dynamic_routes.x]\nrouting_map={mien="pacs"}', r"routing_map: no selector called 'mien'", "mean 'mine'"),
        ('[dynamic_routes.x]\nrouting_map={mine="pcas"}', r"routing_map mine: no node, .* called 'pcas'", "'pacs'"),
        ('[dynamic_routes.x]\nrouting_map={mine="plan"}', r"called 'plan'", "did you mean 'plain'"),
        ('[dynamic_routes.x]\nrouting_map={mine="x"}', r"'x' is a dynamic route", "or static routes"),
        ('[dynamic_routes.x]\ndefault_dests=["pcas"]', r"\[dynamic_routes.x\] default_dests: no node", "'pacs'"),
        ('[dynamic_routes.x]\ndefault_dests=[]\nexclude=["mien"]', r"exclude: no selector called 'mien'", "'mine'"),
        ("[dynamic_routes.x]\ndefault_dests=[]\nroute_level=1", r"route_level must be patient, .* not a number", ""),
        ('[dynamic_routes.x]\ndefault_dests=[]\nstop_on_first="no"', r"stop_on_first must be true or false", ""),
        (
            '[dynamic_routes.x]\ndefault_dests=["pacs"]\ndest_methods={archive="copy"}',
            r"dest_methods: 'archive' is none of its destinations",
            "there are pacs",
        ),
    ],
)
def test_what_is_wrong_is_found_when_the_file_is_read(tmp_path: Path, text: str, message: str, hint: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(STATIC + text)
    with pytest.raises(ConfigError, match=message) as caught:
        DcmConfig(path)
    assert caught.value.message.startswith(str(path))
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('[remote_repos.x]\nremote="pacs"\nbase_query={Modalit="CT"}', r"x\] base_query: there is no attribute", "Mod"),
        ('[remote_repos.x]\nremote="pacs"\nbase_query={Modality="ct"}', r"base_query: Modality=ct: a code is", "=CT"),
        ('[remote_repos.x]\nremote="pacs"\nbase_query={Modality=true}', r"base_query: Modality must be text", ""),
        ('[remote_repos.x]\nremote="pacs"\nbase_query={PixelData="1"}', r"base_query: PixelData cannot be", ""),
        ('[static_routes.x]\ndests="pacs"\nfilt={edit={PatientI="1"}}', r"\[static_routes.x\].*PatientI", "PatientID"),
        ('[static_routes.x]\ndests="pacs"\nfilt={edit={StudyDate="1"}}', r"\[static_routes.x\].*a date is", ""),
        ('[static_routes.x]\ndests="pacs"\nfilt={reject="A == B"}', r"\[static_routes.x\] filt reject: .*'A'", ""),
        ('[static_routes.x]\ndests="pacs"\nfilt={reject="mine"}\nmethods="link"', r"cannot change what .* link", ""),
        ('[static_routes.x]\ndests="./d:{PatientIDD}"', r"\[static_routes.x\]: .*PatientIDD", "PatientID"),
        ('[dynamic_routes.x]\nrouting_map={"ModalitiesInStudy == CT"="pacs"}', r"dynamic_routes.x\]: .*Modalities", ""),
        (
            '[static_routes.h]\ndests="pacs"\nfilt={edit={PatientID="1"}}\n[dynamic_routes.x]\ndefault_dests=["pacs","h"]',
            r"dynamic_routes.x\]: 'pacs' and 'h' both lead to .*, through different filters",
            "once to a destination",
        ),
        ('[local_dirs.y]\npath="y"\nout_fmt="{X}"', r"\[local_dirs.y\]", ""),
        ('[local_nodes.y]\nallowed_addresses=["10.0.0.1/8"]', r"\[local_nodes.y\]: not an address", "10.0.0.0/8"),
    ],
)
def test_what_needs_the_dictionary_is_found_by_check(tmp_path: Path, text: str, message: str, hint: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(STATIC + text)
    conf = DcmConfig(path)
    with pytest.raises(ConfigError, match=message) as caught:
        conf.check()
    assert hint in caught.value.hint


def test_who_may_call(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(
        '[local_nodes.default]\nallowed_ae_titles="SCANNER"\nallowed_addresses=["10.0.0.0/8"]\nrequire_called_ae=true\n'
        "max_assoc=20\nmax_assoc_per_peer=2\n[local_nodes.open]\nport=1\n"
    )
    policy = DcmConfig(path).access_policy()
    assert policy.calling_ae_titles == frozenset({"SCANNER"})
    assert policy.addresses == frozenset({"10.0.0.0/8"})
    assert (policy.require_called_ae, policy.max_associations, policy.max_per_peer) == (True, 20, 2)
    assert policy.max_per_address == 20
    assert DcmConfig(path).access_policy("open").calling_ae_titles is None
    assert DcmConfig(path).local_nodes["default"] == DcmNode("0.0.0.0")
    # Who writes out the address of a node gets no other access by that.
    assert DcmConfig(path).access_policy("0.0.0.0:ANYAE:11112") == policy
    for text, message in (("max_assoc=0", "max_assoc must be at least 1"), ("allowed_ae_titles=1", "list of texts")):
        path.write_text(f"[local_nodes.default]\n{text}\n")
        with pytest.raises(ConfigError, match=message):
            DcmConfig(path)


def test_edits_and_methods_that_do_not_go_together(conf_path: Path) -> None:
    conf = DcmConfig(conf_path, overrides=Overrides(methods=("link",), edits={"PatientID": "X"}))
    with pytest.raises(UsageError, match="cannot change what gets there by link"):
        conf.routes_to(["./new"])
    with pytest.raises(ConfigError, match=r"\[static_routes.plain\]: .* cannot change what gets there by link"):
        conf.routes_to(["plain"])


def test_one_place_through_two_filters_is_refused_in_whatever_order(tmp_path: Path) -> None:
    path = tmp_path / "dcm_conf.toml"
    path.write_text(
        'local_dirs.research = "./research"\n'
        '[static_routes]\nplain = ["research"]\nagain = ["research"]\n'
        '[static_routes.anonymous]\ndests = ["research"]\nfilt = { edit = { PatientID = "ANON" } }\n'
    )
    conf = DcmConfig(path)
    for names in (["research", "anonymous"], ["anonymous", "research"], ["plain", "anonymous"], ["anonymous", "plain"]):
        with pytest.raises(UsageError, match="twice, through different filters"):
            conf.routes_to(names)
    assert len(conf.routes_to(["plain", "again"])) == 2
    assert len(conf.routes_to(["anonymous"])) == 1
