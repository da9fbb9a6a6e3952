"""``dcm echo``, with real peers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.runner import run_dcm
from tests.peers.dcmtk import DcmtkQrscp
from tests.peers.fixtures import Archive
from tests.peers.process import HOST
from tests.peers.proxy import Fault, FaultProxy


def test_it_answers(archive: Archive) -> None:
    done = run_dcm("echo", f"{HOST}:{archive.ae_title}:{archive.port}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Success\n", "")


def test_it_answers_to_its_name_and_to_ours(dcmtk_archive: DcmtkQrscp, isolated_config: Path) -> None:
    isolated_config.write_text(
        f'[local_nodes.default]\nae_title = "ME"\n[remote_nodes.mypacs]\nhostname = "{HOST}"\n'
        f'ae_title = "{dcmtk_archive.ae_title}"\nport = {dcmtk_archive.port}\n'
    )
    assert run_dcm("echo", "mypacs").stdout == "Success\n"
    assert run_dcm("echo", "mypacs", "--local", "0.0.0.0:OTHER:11112").stdout == "Success\n"
    done = run_dcm("echo", "mypcas")
    assert done.returncode == 2
    assert "did you mean 'mypacs'?" in done.stderr


def test_nobody_is_there(free_port: int) -> None:
    done = run_dcm("echo", f"{HOST}:NOBODY:{free_port}")
    assert done.returncode == 1
    assert done.stdout.startswith("Failed: ")
    assert f"{HOST}:NOBODY:{free_port}" in done.stdout
    assert "refused" in done.stdout
    assert done.stdout.count("\n") == 1
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_an_unknown_host() -> None:
    done = run_dcm("echo", "no-such-host.invalid:PACS:104")
    assert done.returncode == 1
    assert done.stdout.startswith("Failed: ")
    assert "no-such-host.invalid" in done.stdout


def test_a_peer_that_does_not_know_the_ae_title(dcmtk_archive: DcmtkQrscp) -> None:
    done = run_dcm("echo", f"{HOST}:WRONG:{dcmtk_archive.port}")
    assert done.returncode == 1
    assert done.stdout.startswith("Failed: ")
    assert "AE title" in done.stdout + done.stderr


@pytest.mark.parametrize("n_bytes", [0, 5, 100, 200])
def test_a_peer_that_hangs_up(dcmtk_archive: DcmtkQrscp, n_bytes: int) -> None:
    with FaultProxy(dcmtk_archive.port, to_client=Fault(cut_at=n_bytes)) as proxy:
        done = run_dcm("echo", f"{HOST}:{dcmtk_archive.ae_title}:{proxy.port}")
    assert done.returncode == 1
    assert done.stdout.startswith("Failed: ")
    assert f"{HOST}:{dcmtk_archive.ae_title}:{proxy.port}" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("text", ["::1", "host:104:AE", "./path", "h" * 300 + ".org"])
def test_what_is_no_node_is_a_usage_error(text: str) -> None:
    done = run_dcm("echo", text)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
