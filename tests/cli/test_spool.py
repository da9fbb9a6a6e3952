"""``dcm spool``, with a forwarder that runs and without."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from dcm.cli._spool_export import export
from dcm.errors import RouteError
from dcm.instance import Instance
from dcm.report import Outcome
from dcm.spool import Delivery, DeliveryState, Origin, Settled, Spool
from dcm.store.local_dir import LocalDir
from tests import data
from tests.cli.runner import run_dcm, run_on_terminal
from tests.peers import HOST, DcmtkStorescp, free_port, storescu
from tests.spool.running import ForwardProcess, contents, holds, until
from tests.spool.support import files
from tests.store.instances import make

HERE = Origin("SCANNER", "DCM", "192.0.2.7")
PACS = "192.0.2.1:PACS:104"
ARCHIVE = "/archive"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A spool with something of everything: 1.1 waits, 1.2 is in quarantine, 1.3 is new, 1.4 goes nowhere."""
    with Spool(tmp_path / "spool") as spool:
        for number in (1, 2, 3):
            spool.admit(make(f"1.{number}", pixels=b"pixels"), HERE, lambda _: [ARCHIVE, PACS])
        spool.admit(make("1.4", pixels=b"pixels"), HERE, _no_rule)
        spool.hold([ARCHIVE, PACS])
        for delivery in spool.take(ARCHIVE, 10, time.time()):
            spool.settle([Settled(delivery.id, DeliveryState.DELIVERED)])
        first, second, _ = spool.take(PACS, 10, time.time())
        later = time.time() + 3655
        spool.settle([Settled(first.id, DeliveryState.QUEUED, "out of resources", 0xA700, later)])
        spool.settle([Settled(second.id, DeliveryState.QUARANTINED, "refused\x1b[2J: 0xA900", 0xA900)])
    return tmp_path / "spool"


def _no_rule(instance: object) -> list[str]:
    raise RouteError("no rule of scanner_rules matches")


def states(path: Path) -> dict[str, str]:
    """What is not at an end: UID and way to state."""
    with Spool(path, exclusive=False) as spool:
        return {f"{one.sop_instance_uid} {one.way}".strip(): one.state.value for one in spool.ls()}


# -- ls ----------------------------------------------------------------------------------------------------------------


def test_a_table_of_destinations(path: Path) -> None:
    done = run_dcm("spool", "ls", "--spool", path)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "DESTINATION         QUEUED  TO RETRY   NEXT TRY  QUARANTINED",
        "/archive                 0",
        "192.0.2.1:PACS:104       2         1  in 60 min            1",
        "none                     0                                 1",
        "192.0.2.1:PACS:104: 2 queued: out of resources",
        r"192.0.2.1:PACS:104: 1 quarantined: refused\x1b[2J: 0xA900 (1.2)",
        "none: 1 quarantined: no rule of scanner_rules matches (1.4)",
        "4 instances in the spool, 712 bytes.",
    ]


def test_a_table_of_deliveries(path: Path) -> None:
    done = run_dcm("spool", "ls", "--spool", path, "1.1", "1.2")
    head, *rows = done.stdout.splitlines()
    assert head.split()[:4] == ["INSTANCE", "DESTINATION", "STATE", "RECEIVED"]
    assert [row.split()[:3] for row in rows] == [
        *(["1.1", ARCHIVE, "delivered"], ["1.1", PACS, "queued"]),
        *(["1.2", ARCHIVE, "delivered"], ["1.2", PACS, "quarantined"]),
    ]
    assert "SCANNER" in rows[1]
    assert "in 60 min" in rows[1]
    assert rows[1].endswith("out of resources")
    done = run_dcm("spool", "ls", "--spool", path, "--state", "delivered", "--dest", ARCHIVE)
    assert len(done.stdout.splitlines()) == 4
    done = run_dcm("spool", "ls", "--spool", path, "--state", "lost")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "Nothing there.\n")


def test_tables_of_nothing(tmp_path: Path) -> None:
    Spool(tmp_path / "new").open().close()
    done = run_dcm("spool", "ls", "--spool", tmp_path / "new")
    assert done.stdout == "0 instances in the spool, 0 bytes.\n"


def test_for_programs(path: Path) -> None:
    done = run_dcm("spool", "ls", "--spool", path, "--out-format", "json")
    document = json.loads(done.stdout)
    assert (document["received"], document["instances"], document["spool"]) == (4, 4, str(path))
    assert [one["destination"] for one in document["destinations"]] == [ARCHIVE, PACS, None]
    assert "\x1b" not in done.stdout
    lines = run_dcm("spool", "ls", "--spool", path, "--out-format", "ndjson", "--state", "quarantined")
    found = [json.loads(line) for line in lines.stdout.splitlines()]
    assert [(one["sop_instance_uid"], one["destination"], one["status"]) for one in found] == [
        ("1.2", PACS, 0xA900),
        ("1.4", None, None),
    ]
    assert [one for one in document["deliveries"] if one["state"] == "quarantined"] == found
    assert found[0]["received"].endswith("Z")


def test_no_patient_is_named(tmp_path: Path) -> None:
    samples = data.write_series(tmp_path / "few", data.SeriesSpec(n_instances=2))
    receiver = DcmtkStorescp(tmp_path / "receiver")
    with ForwardProcess(tmp_path / "work", f"{HOST}:{receiver.ae_title}:{receiver.port}") as forwarder:
        storescu(forwarder.port, "FORWARD", [sample.path for sample in samples], options=["-R"])
        for args in (["ls"], ["ls", "--state", "queued"], ["ls", "--out-format", "json"]):
            done = run_dcm("spool", *args, "--spool", forwarder.spool)
            assert done.returncode == 0
            assert "Vamp" not in done.stdout
            assert "Dracula" not in done.stdout
        assert forwarder.end() == 0
        assert "Vamp" not in forwarder.said


# -- retry and drop ----------------------------------------------------------------------------------------------------


def test_another_try(path: Path) -> None:
    done = run_dcm("spool", "retry", "--spool", path, "--dest", PACS)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "1 delivery queued again; it is tried when a forwarder is started.\n"
    assert states(path) == {f"1.{n} {PACS}": "queued" for n in (1, 2, 3)} | {"1.4": "quarantined"}
    done = run_dcm("spool", "retry", "--spool", path, "--dest", PACS)
    assert done.returncode == 1
    assert done.stderr == "Nothing quarantined there to be tried again, but 3 queued (--state queued).\n"
    done = run_dcm("spool", "retry", "--spool", path, "--dest", ARCHIVE)
    assert (done.returncode, done.stderr) == (1, "Nothing there to be tried again.\n")


def test_another_try_where_no_route_goes(path: Path) -> None:
    with Spool(path) as spool:
        spool.hold([ARCHIVE])
    done = run_dcm("spool", "retry", "--spool", path, "--state", "held")
    assert done.stderr == "2 deliveries queued again; they are held until a route goes there.\n"
    done = run_dcm("spool", "retry", "--spool", path)
    when = "they are tried when a forwarder is started, but 1 held until a route goes there"
    assert done.stderr == f"2 deliveries queued again; {when}.\n"


def test_by_the_name_of_the_configuration(path: Path, isolated_config: Path) -> None:
    isolated_config.write_text('[remote_nodes]\nmypacs = "192.0.2.1:PACS:104"\n')
    assert run_dcm("spool", "retry", "--spool", path, "--dest", "mypacs").returncode == 0
    done = run_dcm("spool", "retry", "--spool", path, "--dest", "mypac")
    assert done.returncode == 2
    assert "nothing in the spool is for 'mypac'" in done.stderr
    assert PACS in done.stderr


def test_a_destination_that_nothing_has_come_in_for(path: Path, isolated_config: Path) -> None:
    isolated_config.write_text('[remote_nodes]\nnewpacs = "192.0.2.9:NEW:104"\n')
    done = run_dcm("spool", "ls", "--spool", path, "--dest", "newpacs")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].split() == ["192.0.2.9:NEW:104", "0"]
    done = run_dcm("spool", "drop", "--spool", path, "--dest", "newpacs")
    assert (done.returncode, done.stderr) == (1, "Nothing there to be given up.\n")


def test_giving_up(path: Path) -> None:
    done = run_dcm("spool", "drop", "--spool", path)
    assert done.returncode == 2
    assert "there is nobody to ask" in done.stderr
    code, shown = run_on_terminal("spool", "drop", "--spool", path, "1.2", answer="n\n")
    assert code == 1
    assert "Give up 1 delivery of 1 instance, quarantined, for good?" in shown
    assert f"1.2 {PACS}" in states(path)
    code, shown = run_on_terminal("spool", "drop", "--spool", path, "1.2", answer="y\n")
    assert code == 0
    assert "1 delivery given up." in shown
    done = run_dcm("spool", "drop", "-y", "--spool", path, "--dest", PACS, "--state", "queued")
    assert done.stderr == "2 deliveries given up.\n"
    assert states(path) == {"1.4": "quarantined"}
    done = run_dcm("spool", "drop", "-y", "--spool", path, "--dest", "none", "--state", "queued", "--state", "held")
    assert done.returncode == 1
    assert done.stderr == ("Nothing queued or held there to be given up, but 1 quarantined (--state quarantined).\n")
    done = run_dcm("spool", "drop", "-y", "--spool", path, "--dest", "none")
    assert states(path) == {}
    assert not list((path / "data").rglob("*.dcm"))


# -- move --------------------------------------------------------------------------------------------------------------

NEW = "192.0.2.2:PACS:104"


def test_moving_to_another_destination(path: Path) -> None:
    """What one has already, or is about to get, it gets no second time; counts add up."""
    done = run_dcm("spool", "move", "--spool", path, "--dest", PACS, NEW)
    assert done.returncode == 0
    assert done.stderr == (f"3 deliveries moved to {NEW}; tried when a forwarder is started that has a route to it.\n")
    # No forwarder has said that it has a route there.
    assert states(path) == {f"1.1 {NEW}": "held", f"1.2 {NEW}": "held", f"1.3 {NEW}": "held", "1.4": "quarantined"}
    done = run_dcm("spool", "move", "--spool", path, "--dest", NEW, "1.2", ARCHIVE)
    assert done.stderr.startswith(f"1 delivery moved to {ARCHIVE}; ")
    assert states(path) == {f"1.1 {NEW}": "held", f"1.3 {NEW}": "held", "1.4": "quarantined"}  # it is there already
    with Spool(path) as spool:
        counts = spool.counts()
        assert counts.adds_up
        assert counts.entries == 3
        assert counts.ways[PACS].received == 0
        assert counts.ways[NEW].received == 2
        assert [one.state for one in spool.ls(uids=["1.2"], states=list(DeliveryState))] == [DeliveryState.DELIVERED]
        spool.hold([NEW])
        assert [one.sop_instance_uid for one in spool.take(NEW, 10, time.time())] == ["1.1", "1.3"]


def test_moving_what_was_given_up_at_the_other_one(path: Path) -> None:
    assert run_dcm("spool", "drop", "-y", "--spool", path, "--dest", PACS, "1.2").returncode == 0
    assert run_dcm("spool", "move", "--spool", path, "--dest", "none", PACS).returncode == 0
    done = run_dcm("spool", "move", "--spool", path, "--dest", PACS, "--state", "quarantined", NEW)
    assert done.returncode == 1
    assert done.stderr == "Nothing quarantined there to be moved, but 3 queued (--state queued).\n"
    assert states(path) == {f"1.1 {PACS}": "queued", f"1.3 {PACS}": "queued", f"1.4 {PACS}": "queued"}


def test_moving_needs_to_know_what_and_where(path: Path, isolated_config: Path) -> None:
    isolated_config.write_text('[static_routes]\nboth = ["/one", "/two"]\n')
    done = run_dcm("spool", "move", "--spool", path, NEW)
    assert done.returncode == 2
    assert "say which: --dest DEST" in done.stderr
    done = run_dcm("spool", "move", "--spool", path, "--dest", PACS, "both")
    assert done.returncode == 2
    assert "'both' leads to 2 destinations" in done.stderr
    assert len(states(path)) == 4


def test_an_archive_whose_title_was_wrong(tmp_path: Path, isolated_config: Path) -> None:
    """Under another title it is another destination: what was queued is held, until it is moved to that."""
    samples = data.write_series(tmp_path / "few", data.SeriesSpec(n_instances=3))
    node = '[remote_nodes.mypacs]\nhostname = "{}"\nae_title = "{}"\nport = {}\n'
    with DcmtkStorescp(tmp_path / "receiver") as receiver:
        isolated_config.write_text(node.format(HOST, "WRONG", free_port()))
        wrong = isolated_config.read_text()
        with ForwardProcess(tmp_path / "work", "mypacs") as forwarder:
            storescu(forwarder.port, "FORWARD", [sample.path for sample in samples], options=["-R"])
            until(lambda: "is left alone for a while" in forwarder.said, "it has not noticed")
            old = run_dcm("spool", "ls", "--spool", forwarder.spool).stdout.splitlines()[1].split()[0]
            isolated_config.write_text(node.format(HOST, receiver.ae_title, receiver.port))
            assert isolated_config.read_text() != wrong
            forwarder.tell(signal.SIGHUP)
            until(lambda: "the rules were read anew" in forwarder.said, "not told")
            done = run_dcm("spool", "move", "--spool", forwarder.spool, "--dest", old, "mypacs")
            assert done.stderr == "3 deliveries moved to mypacs; the forwarder was told.\n"
            until(lambda: len(receiver.received()) == 3, "it was not told")
            assert forwarder.end() == 0
    assert holds(receiver.directory) == contents(samples)


# -- export ------------------------------------------------------------------------------------------------------------


def test_copying_what_waits(path: Path, tmp_path: Path) -> None:
    """Each instance once, however many destinations wait for it; the spool stays as it is."""
    with Spool(path, segment_size=0) as spool:
        spool.admit(make("1.5", pixels=b"large" * 500_000), HERE, lambda _: [PACS])  # a file of its own
    before = states(path)
    out = tmp_path / "out"
    done = run_dcm("spool", "export", "--spool", path, f"{out}:{{SOPInstanceUID}}")
    assert done.returncode == 0
    assert done.stderr.endswith(": 5 sent\n")
    expected = {f"1.{n}": make(f"1.{n}", pixels=b"large" * 500_000 if n == 5 else b"pixels") for n in range(1, 6)}
    assert {file.stem for file in out.iterdir()} == set(expected)
    for uid, instance in expected.items():
        found = Instance.from_file(out / f"{uid}.dcm")
        assert found.read(0, found.size) == instance.read(0, instance.size)
        assert pydicom.dcmread(out / f"{uid}.dcm").file_meta.SourceApplicationEntityTitle == "SCANNER"
    assert states(path) == before
    done = run_dcm("spool", "export", "--spool", path, f"{out}:{{SOPInstanceUID}}")
    assert done.returncode == 0
    assert done.stderr.endswith(": 5 already there\n")


def test_copying_some(path: Path, tmp_path: Path) -> None:
    def copied(*options: str) -> list[str]:
        done = run_dcm("spool", "export", "--spool", path, *options, tmp_path / "out")
        assert done.returncode == 0, done.stderr
        found = sorted(Instance.from_file(file).sop_instance_uid for file in (tmp_path / "out").rglob("*.dcm"))
        shutil.rmtree(tmp_path / "out")
        return found

    assert copied("--state", "quarantined") == ["1.2", "1.4"]
    assert copied("--dest", PACS) == ["1.1", "1.2", "1.3"]
    assert copied("--dest", "none") == ["1.4"]
    assert copied("1.3", "1.4") == ["1.3", "1.4"]
    done = run_dcm("spool", "export", "--spool", path, "--state", "held", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.startswith("Nothing held there to be copied, but 2 queued (--state queued), 2 quarantined")
    assert not (tmp_path / "out").exists()


def test_copying_beside_other_bytes(path: Path, tmp_path: Path) -> None:
    with Spool(path) as spool:
        spool.admit(make("1.3", pixels=b"others"), HERE, lambda _: [PACS])
    done = run_dcm("spool", "export", "--spool", path, "1.3", f"{tmp_path}/out:{{SOPInstanceUID}}")
    assert done.returncode == 3
    assert "1 conflicting: other bytes under this UID are there already, both are kept (1.3)" in done.stderr
    kept = [Instance.from_file(file) for file in (tmp_path / "out").iterdir()]
    assert {bytes(one.read(0, one.size))[-6:] for one in kept} == {b"pixels", b"others"}


def test_what_cannot_be_copied(path: Path, tmp_path: Path) -> None:
    with Spool(path, segment_size=0) as spool:
        spool.admit(make("1.5", pixels=b"large" * 500_000), HERE, lambda _: [PACS])
    (lost,) = files(path)
    lost.unlink()
    done = run_dcm("spool", "export", "--spool", path, f"{tmp_path}/out:{{SOPInstanceUID}}")
    assert done.returncode == 3
    assert ": 4 sent, 1 failed" in done.stderr
    assert f"cannot read {lost}: it has vanished (1.5)" in done.stderr
    assert len(list((tmp_path / "out").iterdir())) == 4
    done = run_dcm("spool", "export", "--spool", path, f"{HOST}:PACS:104")
    assert done.returncode == 2
    assert f"'{HOST}:PACS:104' is no directory" in done.stderr


def test_what_is_delivered_while_it_is_copied_is_left_out(path: Path, tmp_path: Path) -> None:
    with Spool(path) as spool:

        def listed() -> Iterator[Delivery]:
            yield from list(spool.ls())
            # The list is read beforehand, some at a time; meanwhile couriers go on.
            spool.settle([Settled(one.id, DeliveryState.DELIVERED) for one in spool.take(PACS, 10, 1e12)])

        report = export(spool, listed(), LocalDir(tmp_path / "out"))
    assert report.adds_up()
    assert {*report.uids(Outcome.SENT)} == {"1.2", "1.4"}
    assert not report.uids(Outcome.FAILED)


# -- while a forwarder runs --------------------------------------------------------------------------------------------


def test_while_a_forwarder_runs(tmp_path: Path) -> None:
    """It is told, and begins at once: by itself it would wait for longer than this test."""
    samples = data.write_series(tmp_path / "few", data.SeriesSpec(n_instances=3))
    receiver = DcmtkStorescp(tmp_path / "receiver")
    dest = f"{HOST}:{receiver.ae_title}:{receiver.port}"
    with ForwardProcess(tmp_path / "work", dest) as forwarder:
        storescu(forwarder.port, "FORWARD", [sample.path for sample in samples], options=["-R"])
        until(lambda: "is left alone for a while" in forwarder.said, "it has not noticed")
        done = run_dcm("spool", "export", "--spool", forwarder.spool, tmp_path / "out")
        assert (done.returncode, holds(tmp_path / "out")) == (0, contents(samples))
        with receiver:
            done = run_dcm("spool", "retry", "--spool", forwarder.spool, "--state", "queued", "--dest", dest)
            assert done.stderr == "3 deliveries queued again; the forwarder was told.\n"
            until(lambda: len(receiver.received()) == 3, "it was not told")
        assert forwarder.end() == 0
    assert holds(receiver.directory) == contents(samples)


@pytest.mark.parametrize("command", ["ls", "retry", "drop", "move", "export"])
def test_there_is_no_spool(tmp_path: Path, command: str) -> None:
    after: dict[str, list[str | Path]] = {"export": [tmp_path / "out"], "move": ["1.2", NEW]}
    arguments = after.get(command, [])
    done = run_dcm("spool", command, "--spool", tmp_path / "none", *arguments)
    assert done.returncode == 1
    assert f"there is no spool in {tmp_path / 'none'}" in done.stderr
    assert not (tmp_path / "none").exists()
    assert not (tmp_path / "out").exists()
    assert "dcm/spool" in run_dcm("spool", command, *arguments).stderr
