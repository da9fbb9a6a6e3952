"""What makes no sense is refused before anything moves; a file that does not keep still fails by itself."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dcm.instance import Instance
from dcm.net import DcmNode, LocalEntity
from dcm.report import Outcome, TransferReport
from dcm.store.local_dir import LocalDir
from dcm.store.net_repo import NetRepo
from dcm.sync import sync
from tests import data
from tests.cli.runner import run_dcm
from tests.peers import HOST, DcmtkQrscp, DcmtkStorescp
from tests.store.conftest import other_device, read_only_disk, small_disk
from tests.sync import places
from tests.sync.places import files_in

__all__ = ["other_device", "read_only_disk", "small_disk"]

ROOT = Path(__file__).parents[2]

CONFIG = """\
[remote_nodes.mypacs]
host = "{host}"
ae_title = "{ae_title}"
port = {port}

[local_dirs.mydata]
path = "{path}"
"""


def tree(directory: Path) -> dict[str, tuple[int, int]]:
    """What changes when anything moves. Empty directories do not count."""
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in files_in(directory)}


@pytest.fixture
def here(tmp_path: Path, isolated_config: Path, dcmtk_archive: DcmtkQrscp) -> Path:
    """A directory with data in ``archive``, some ways to get there, and a configuration that has a node and it."""
    data.write_studies(tmp_path / "archive", [data.SeriesSpec()])
    data.write_studies(tmp_path / "archive/deeper", [data.SeriesSpec(series=2)])
    (tmp_path / "link").symlink_to(tmp_path / "archive")
    (tmp_path / "other").mkdir()
    (tmp_path / "file").write_text("mine")
    peer = dcmtk_archive
    isolated_config.write_text(
        CONFIG.format(host=peer.host, ae_title=peer.ae_title, port=peer.port, path=tmp_path / "archive")
    )
    return tmp_path


def refused(here: Path, *args: str) -> str:
    """Run a sync that is to be refused: the exit code is 2, and nothing moves. Gives what it says."""
    before = tree(here)
    done = run_dcm("sync", *args, cwd=here, env={"PYTHONPATH": str(ROOT)})
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith("Error: ")
    assert tree(here) == before
    return done.stderr


@pytest.mark.parametrize(
    ("source", "dest"),
    [
        ("./archive", "./archive"),
        ("mydata", "./archive"),
        ("./archive/", "mydata"),
        ("./archive", "./link"),
        ("./link", "mydata"),
        ("./archive/../archive", "./archive/."),
        ("./archive", "./archive:{PatientID}/{SOPInstanceUID}"),
        ("./archive", "./archive/new"),
        ("./archive", "./link/deeper"),
        ("./archive/deeper", "mydata"),
        ("./archive/deeper", "./link"),
    ],
)
def test_a_directory_that_is_both(here: Path, source: str, dest: str) -> None:
    for dests in ([dest], ["other", dest]):
        said = refused(here, "-s", source, *dests)
        assert "is source and destination at once, or one is within the other" in said


def test_a_node_that_is_both(here: Path, dcmtk_archive: DcmtkQrscp) -> None:
    inline = f"{HOST}:{dcmtk_archive.ae_title}:{dcmtk_archive.port}"
    localhost = inline.replace(HOST, "LocalHost")
    for source, dest in (("mypacs", "mypacs"), ("mypacs", inline), (inline, "mypacs"), (localhost, "mypacs")):
        assert "is source and destination at once" in refused(here, "-s", source, "-q", "PatientID=x", dest)
        # It is refused even where it is the last of the sources.
        sources = ("-s", "./archive", "-s", source)
        assert "is source and destination at once" in refused(here, *sources, "other", dest)


def test_how_a_host_is_written_makes_no_other_node() -> None:
    def store(text: str) -> NetRepo:
        return NetRepo(LocalEntity(DcmNode(HOST, "LOCALAE")), DcmNode.parse(text))

    mine = ("127.0.0.1:PACS:104", "localhost:PACS:104", "[::1]:PACS:104", "[0:0:0:0:0:0:0:1]:PACS:104")
    assert all(store(one).overlaps(store(other)) for one in mine for other in mine)
    assert store("mypacs.org:PACS:104").overlaps(store("MyPACS.org:PACS:104"))
    for other in ("localhost:PACS:105", "localhost:OTHER:104", "127.0.0.2:PACS:104", "mypacs.org:PACS:104"):
        assert not store(other).overlaps(store("localhost:PACS:104"))


@pytest.mark.parametrize("method", ["copy", "move", "link", "symlink"])
def test_a_directory_that_is_both_whatever_the_method(here: Path, method: str) -> None:
    assert "is source and destination at once" in refused(here, "-s", "./archive", "-m", method, "./link")


@pytest.mark.parametrize(
    ("sources", "dests", "message"),
    [
        (["./none"], ["other"], "none is not there"),
        (["./archive", "./none"], ["other"], "none is not there"),
        (["./file"], ["other"], "is not a directory"),
        (["./archive"], ["./file"], "is not a directory"),
        (["./archive"], ["./file/deeper"], "file"),
        (["./archive"], ["other", "./other"], "two of the destinations are the same"),
        (
            ["./archive"],
            ["other", "./other/deeper"],
            "two of the destinations are the same, or one is within the other",
        ),
        (["./archive"], ["mypacs", "./file"], "is not a directory"),
        (["none"], ["other"], "no node or directory called 'none'"),
        (["./archive"], ["mypac"], "did you mean 'mypacs'?"),
        (["http://mypacs.org"], ["other"], "it is a URL"),
        (["./archive"], ["https://mypacs.org/dicom-web"], "it is a URL"),
    ],
)
def test_what_is_not_there(here: Path, sources: Sequence[str], dests: Sequence[str], message: str) -> None:
    assert message in refused(here, *(option for source in sources for option in ("-s", source)), *dests)


def test_a_root_that_cannot_be_written_to(here: Path, read_only_disk: Path) -> None:
    for dests in ([f"{read_only_disk}"], [f"{read_only_disk}/there"], [f"{read_only_disk}/new"]):
        assert "read-only file system" in refused(here, "-s", "./archive", *dests)
        assert "read-only file system" in refused(here, "-s", "./archive", "other", *dests)
    said = refused(here, "-s", str(read_only_disk), "-m", "move", "other")
    assert "cannot be moved" in said


def test_a_name_that_is_two_things(here: Path, isolated_config: Path) -> None:
    config = isolated_config.read_text()
    isolated_config.write_text(config + '[local_dirs.mypacs]\npath = "other"\n')
    for args in (("-s", "mypacs", "./new"), ("-s", "./archive", "mypacs")):
        assert "'mypacs' is two things: [remote_nodes.mypacs] and [local_dirs.mypacs]" in refused(here, *args)
    # A name of the configuration that is a directory here, too.
    isolated_config.write_text(config.replace("mydata", "other"))
    for args in (("-s", "other", "./new"), ("-s", "./archive", "other")):
        said = refused(here, *args)
        assert "'other' is two things: [local_dirs.other] and a directory that is here" in said
        assert "./other is the directory" in said


def test_no_links_between_file_systems(here: Path, other_device: Path) -> None:
    far = other_device / "new"
    said = refused(here, "-s", "./archive", "-m", "link", str(far))
    assert "are on different file systems" in said
    assert not far.exists()
    assert "are on different file systems" in refused(here, "-s", "./archive", "-m", "link", "other", str(far))
    # Another method that is possible is taken, where it is allowed.
    done = run_dcm("sync", "-s", here / "archive", "-m", "link", "-m", "copy", far)
    assert (done.returncode, done.stderr[-8:]) == (0, " 6 sent\n")


def test_ways_that_there_are_not(here: Path) -> None:
    for method in ("copy", "move", "link", "symlink"):
        assert "is a node" in refused(here, "-s", "./archive", "-m", method, "mypacs")
        assert "is no directory" in refused(here, "-s", "mypacs", "-q", "PatientID=x", "-m", method, "other")
    assert "is a directory" in refused(here, "-s", "./archive", "-m", "remote_copy", "other")
    assert "is no node" in refused(here, "-s", "./archive", "-m", "remote_copy", "mypacs")


# -- files that do not keep still --------------------------------------------------------------------------------------


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def rewrite(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-2] + b"\x01\x02")


@pytest.fixture
def many(tmp_path: Path) -> list[data.Sample]:
    """More files than are read ahead, small ones and large ones."""
    large = data.SeriesSpec(series=3, n_instances=2, rows=1024, columns=1024)
    return data.write_studies(tmp_path / "many", [data.SeriesSpec(n_instances=300), large])


@pytest.mark.parametrize("happens", [Path.unlink, shorten, rewrite])
async def test_a_file_that_changes_fails_and_the_others_go_on(
    happens: Callable[[Path], None], many: list[data.Sample], dcmtk_receiver: DcmtkStorescp, tmp_path: Path
) -> None:
    victims = [many[298], many[-1]]
    begun = False

    def change_others(instance: Instance) -> str:
        nonlocal begun
        if not begun:
            begun = True
            for victim in victims:
                happens(victim.path)
        return ""

    home = LocalDir(tmp_path / "home")
    receiver = NetRepo(LocalEntity(DcmNode(HOST, "LOCALAE")), dcmtk_receiver.node)
    report = TransferReport()
    await sync(LocalDir(tmp_path / "many"), [home, receiver], validators=[change_others], report=report)
    lost = {victim.sop_instance_uid for victim in victims}
    wanted = {sample.sop_instance_uid: sample.data_set_bytes for sample in many if sample.sop_instance_uid not in lost}
    assert (report.exit_code, report.adds_up()) == (3, True)
    for dest in (str(home), str(receiver)):
        assert set(report.uids(Outcome.FAILED, dest)) == lost
        assert set(report.uids(Outcome.SENT, dest)) == set(wanted)
    for problem in report.problems:
        assert any(why in problem.message for why in ("vanished", "No such file", "changed"))
    assert {uid: held.encoded for uid, held in places.directory(tmp_path / "home").holds().items()} == wanted
    received = [path.read_bytes() for path in dcmtk_receiver.received()]
    assert sorted(map(data.data_set_of, received)) == sorted(wanted.values())


def test_a_directory_that_vanishes(here: Path) -> None:
    # Its index is still there.
    assert run_dcm("query", here / "archive", "PatientID=*", "-y").returncode == 0
    shutil.rmtree(here / "archive")
    assert "is not there" in refused(here, "-s", "mydata", "other")
    assert "is not there" in refused(here, "-s", "./archive", "other")
