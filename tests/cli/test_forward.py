"""``dcm forward`` with real senders and real destinations."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dcm.spool import DeliveryState, Spool
from tests import data
from tests.cli.runner import run_dcm, run_on_terminal
from tests.data import Sample
from tests.peers import HOST, DcmtkStorescp, OrthancPeer, free_port, pynetdicom_storescu, storescu
from tests.spool.running import ForwardProcess, Sender, contents, holds, until

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="signals and unix sockets")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.fixture
def few(tmp_path: Path) -> list[Sample]:
    return data.write_series(tmp_path / "few", data.SeriesSpec(n_instances=4))


def node(peer: DcmtkStorescp | OrthancPeer) -> str:
    return f"{HOST}:{peer.ae_title}:{peer.port}"


def send(forwarder: ForwardProcess, samples: list[Sample], *, check: bool = True) -> str:
    done = storescu(forwarder.port, "FORWARD", [s.path for s in samples], options=["-v", "-R"], check=check)
    return done.stdout


def left(forwarder: ForwardProcess) -> dict[DeliveryState, int]:
    with Spool(forwarder.spool, exclusive=False) as spool:
        counts = spool.counts()
        assert counts.adds_up
        return {state: n for state in DeliveryState if (n := counts.total(state)) and not state.final}


# -- the whole way -----------------------------------------------------------------------------------------------------


def test_from_three_kinds_of_senders_to_three_kinds_of_destinations(
    samples: list[Sample], work: Path, tmp_path: Path, dcmtk_receiver: DcmtkStorescp, orthanc_archive: OrthancPeer
) -> None:
    """What the destinations hold in the end is exactly what was sent, to the last byte."""
    more = data.write_ct(tmp_path / "ct", 5, patient_id="Vamp009")
    large = data.write_multi_frame(tmp_path / "large.dcm", 3 << 20)
    archive = tmp_path / "archive"
    with OrthancPeer(tmp_path / "orthanc") as orthanc:
        dests = archive, node(dcmtk_receiver), node(orthanc)
        with ForwardProcess(work, "--inactive-timeout", "4", *dests) as forwarder:
            send(forwarder, [*more, large])
            pynetdicom_storescu(forwarder.port, "FORWARD", samples[0].path.parent)
            orthanc_archive.set_destination("FORWARD", forwarder.port)
            ids = json.dumps(orthanc_archive.instance_ids()).encode()
            orthanc_archive.request("POST", "/modalities/FORWARD/store", ids)
            assert forwarder.ended() == 0
            said = forwarder.said
        sent = contents([*samples, *more, large])
        assert holds(archive) == sent
        assert holds(dcmtk_receiver.directory) == sent
        assert orthanc.sop_instance_uids() == sent.keys()
    for dest in dests:
        assert f"To: {dest}\n" in said
        assert f"{dest}: {len(sent)} instances: {len(sent)} delivered.\n" in said
    assert re.search(
        rf"Received {len(sent) + len(samples)} instances: {len(sent)} new, {len(samples)} repeated\.", said
    )
    assert not list((forwarder.spool / "data").rglob("*.dcm"))


RULES = """
[local_dirs]
ct = "{root}/ct"
mr = "{root}/mr"
all = "{root}/all"

[static_routes.everything]
dests = ["all"]

[dynamic_routes.by_modality]
route_level = "series"
exclude = ["PatientID == Vamp002"]

[dynamic_routes.by_modality.routing_map]
"Modality == CT" = "ct"
"{more}" = "mr"

[[dynamic_routes.by_modality.filt]]
reject = ["SeriesDescription == Bowl"]
edit = {{ InstitutionName = "Castle" }}
update_uids = false
"""


def test_by_rules_and_through_filters(samples: list[Sample], work: Path, tmp_path: Path, isolated_config: Path) -> None:
    """What no rule matches is kept for a human, and delivered when there is one; other routes do not wait for that."""
    isolated_config.write_text(RULES.format(root=tmp_path, more="Modality == PT"))
    with ForwardProcess(work, "--inactive-timeout", "0.5", "by_modality", "everything") as forwarder:
        output = send(forwarder, samples)
        assert output.count("Received Store Response (Success)") == len(samples)
        assert forwarder.ended() == 3
    mr = [sample for sample in samples if sample.sop_class_uid.endswith(".4")]
    ct = [sample for sample in samples if sample not in mr and sample.patient_id != "Vamp002"]
    assert holds(tmp_path / "all").keys() == contents(samples).keys()
    assert holds(tmp_path / "ct").keys() == contents(ct).keys()
    assert all(b"Castle" in held for held in holds(tmp_path / "ct").values())
    assert f"without a route: {len(mr)} instances: {len(mr)} quarantined." in forwarder.said
    for sample in mr:
        assert forwarder.said.count(f"{sample.sop_instance_uid} goes into quarantine, without a route: ") == 1
    shown = run_dcm("spool", "ls", "--spool", forwarder.spool)
    assert f"none: {len(mr)} quarantined: " in shown.stdout
    assert "by_modality" in shown.stdout

    # Somebody mends the rules, and has another try.
    isolated_config.write_text(RULES.format(root=tmp_path, more="Modality == MR"))
    done = run_dcm("spool", "retry", "--spool", forwarder.spool, "--dest", "none")
    assert done.stderr == f"{len(mr)} deliveries queued again; they are tried when a forwarder is started.\n"
    with ForwardProcess(work, "--inactive-timeout", "0.3", "by_modality", "everything") as forwarder:
        assert forwarder.ended() == 0
    assert f"without a route: 0 instances, {len(mr)} from before: {len(mr)} routed now." in forwarder.said
    assert holds(tmp_path / "mr").keys() == contents(mr).keys()
    assert holds(tmp_path / "all").keys() == contents(samples).keys()


def test_what_the_rules_send_nowhere_is_counted(
    samples: list[Sample], work: Path, tmp_path: Path, isolated_config: Path
) -> None:
    """It is acknowledged, and kept by nobody: somebody who looks for it must find a trace of that."""
    dest = tmp_path / "dest"
    isolated_config.write_text(
        '[dynamic_routes.rules]\nexclude = ["PatientID == Vamp002"]\n'
        f'[dynamic_routes.rules.routing_map]\n"Modality in [CT, MR]" = "{dest}"\n'
    )
    out = [sample for sample in samples if sample.patient_id == "Vamp002"]
    kept = contents(sample for sample in samples if sample not in out).keys()
    with ForwardProcess(work, "rules") as forwarder:
        send(forwarder, samples)
        until(lambda: holds(dest).keys() == kept, "not delivered")
        assert forwarder.end() == 0
    assert f"{len(out)} instances went nowhere, as the rules say." in forwarder.said
    shown = run_dcm("spool", "ls", "--spool", forwarder.spool)
    assert shown.stdout.endswith(f"{len(out)} instances so far went nowhere, as the rules say.\n")
    shown = run_dcm("spool", "ls", "--spool", forwarder.spool, "--out-format", "json")
    assert json.loads(shown.stdout)["nowhere"] == len(out)


def test_rules_are_read_anew_while_it_runs(
    samples: list[Sample], work: Path, tmp_path: Path, isolated_config: Path
) -> None:
    """No association is lost for it; a fault in the rules changes nothing."""
    rules = '[dynamic_routes.rules.routing_map]\n"Modality in [CT, MR]" = "{}"\n'
    first, second = tmp_path / "first", tmp_path / "second"
    isolated_config.write_text(rules.format(first))
    with ForwardProcess(work, "rules") as forwarder:
        send(forwarder, samples[:2])
        until(lambda: len(holds(first)) == 2, "not delivered")

        isolated_config.write_text(rules.format(second) + "nonsense = true")
        forwarder.tell(signal.SIGHUP)
        until(lambda: "the rules stay as they are: " in forwarder.said, "the fault is not told")
        assert "nonsense" in forwarder.said
        send(forwarder, samples[2:3])
        until(lambda: len(holds(first)) == 3, "not delivered")

        isolated_config.write_text(rules.format(second))
        forwarder.tell(signal.SIGHUP)
        until(lambda: "the rules were read anew: to " in forwarder.said, "not told")
        send(forwarder, samples[3:])
        until(lambda: second.exists() and len(holds(second)) == len(samples) - 3, "not delivered")
        assert forwarder.end() == 0
    assert holds(first).keys() == contents(samples[:3]).keys()
    assert holds(second).keys() == contents(samples[3:]).keys()
    assert str(second) in forwarder.said


@pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
def test_the_end_of_its_terminal_ends_it(samples: list[Sample], tmp_path: Path, stream: str) -> None:
    """What is under way is finished, as with any other signal; whatever else goes to a file."""
    dest = tmp_path / "dest"
    with _at_a_terminal(tmp_path, stream, dest) as (process, port, hang_up):
        storescu(port, "FORWARD", [sample.path for sample in samples])
        hang_up()
        assert process.wait(20) == 0
    if stream != "stderr":
        assert "rules were read anew" not in (tmp_path / "stderr").read_text()
    with Spool(tmp_path / "spool", exclusive=False) as spool:
        assert len(holds(dest)) + spool.counts().entries == len(samples)


def test_the_end_of_a_terminal_that_it_does_not_mind(samples: list[Sample], tmp_path: Path) -> None:
    """As with nohup: it reads the rules anew, and goes on."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with _at_a_terminal(tmp_path, "stdin", tmp_path / "dest") as (process, port, hang_up):
            hang_up()
            until(lambda: "the rules were read anew" in (tmp_path / "stderr").read_text(), "nothing said")
            storescu(port, "FORWARD", [sample.path for sample in samples])
            process.terminate()
            assert process.wait(20) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@contextlib.contextmanager
def _at_a_terminal(
    tmp_path: Path, stream: str, dest: Path
) -> Iterator[tuple[subprocess.Popen[bytes], int, Callable[[], None]]]:
    """A forwarder that has one of its streams on a terminal; gives its port, and what closes the terminal."""
    main, other = pty.openpty()
    port, said = free_port(), tmp_path / "stderr"
    command = [sys.executable, "-m", "dcm", "forward", "--local", f"{HOST}:FORWARD:{port}"]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    with open(said, "wb") as file, contextlib.ExitStack() as stack:
        streams = {**streams, "stderr": file.fileno(), stream: other}
        process = subprocess.Popen(
            [*command, "--spool", str(tmp_path / "spool"), str(dest)],
            stdin=streams["stdin"],
            stdout=streams["stdout"],
            stderr=streams["stderr"],
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        os.close(other)
        if stream == "stderr":
            shown = b""
            while b"Listening on" not in shown:
                shown += os.read(main, 4096)
        else:
            until(lambda: "Listening on" in said.read_text(), "it does not listen")

        def hang_up() -> None:
            os.close(main)
            process.send_signal(signal.SIGHUP)  # the kernel does that for the processes of a session

        yield process, port, hang_up


def test_edits_on_the_command_line(few: list[Sample], work: Path, tmp_path: Path) -> None:
    from pydicom import dcmread

    args = ("--inactive-timeout", "0.3", "-e", "PatientID=ANON1", "--dir-format", "{PatientID}/{InstanceNumber}")
    with ForwardProcess(work, *args, tmp_path / "dest", "--out-file-ext", "") as forwarder:
        send(forwarder, few)
        assert forwarder.ended() == 0
    assert sorted(path.name for path in (tmp_path / "dest" / "ANON1").iterdir()) == ["1", "2", "3", "4"]
    assert dcmread(tmp_path / "dest" / "ANON1" / "1").StudyInstanceUID != few[0].study_uid


# -- again and again ---------------------------------------------------------------------------------------------------


def test_a_restart_goes_on_with_what_was_left(few: list[Sample], work: Path, tmp_path: Path) -> None:
    """A destination that is down delays no other one, and gets all when it is back."""
    receiver = DcmtkStorescp(tmp_path / "receiver")
    archive = tmp_path / "archive"
    with ForwardProcess(work, archive, node(receiver)) as forwarder:
        send(forwarder, few)
        until(lambda: archive.is_dir() and len(holds(archive)) == len(few), "the directory has to wait")
        assert forwarder.end() == 0
        assert f"{node(receiver)}: 4 instances: 4 queued.\n" in forwarder.said
    assert left(forwarder) == {DeliveryState.QUEUED: 4}
    with receiver, ForwardProcess(work, "--inactive-timeout", "0.3", archive, node(receiver)) as forwarder:
        assert forwarder.ended() == 0
        assert "from before: 4 queued" in forwarder.said
        assert f"{node(receiver)}: 0 instances, 4 from before: 4 delivered.\n" in forwarder.said
    assert holds(receiver.directory) == contents(few)


def test_what_was_lost_is_in_the_exit_code(few: list[Sample], work: Path, tmp_path: Path) -> None:
    """Of the forwarder that finds out; the next one has lost nothing."""
    receiver = DcmtkStorescp(tmp_path / "receiver")
    with ForwardProcess(work, node(receiver)) as forwarder:
        send(forwarder, few)
        assert forwarder.end() == 0
    for file in (forwarder.spool / "log").iterdir():
        file.unlink()
    for code in (3, 0):
        with ForwardProcess(work, node(receiver)) as forwarder:
            assert forwarder.end() == code


def test_what_no_route_goes_to_any_more_is_held(few: list[Sample], work: Path, tmp_path: Path) -> None:
    receiver = DcmtkStorescp(tmp_path / "receiver")
    with ForwardProcess(work, node(receiver)) as forwarder:
        send(forwarder, few)
        assert forwarder.end() == 0
    with ForwardProcess(work, "--inactive-timeout", "0.2", tmp_path / "other") as forwarder:
        assert forwarder.ended() == 3
        assert f"4 instances for {node(receiver)} held: no route goes there any more." in forwarder.said
    assert left(forwarder) == {DeliveryState.HELD: 4}
    with receiver, ForwardProcess(work, "--inactive-timeout", "0.2", node(receiver)) as forwarder:
        assert forwarder.ended() == 0
    assert holds(receiver.directory) == contents(few)


def test_the_same_again_and_other_bytes(few: list[Sample], work: Path, tmp_path: Path) -> None:
    """The same bytes are acknowledged, and go nowhere; others are a conflict that is kept."""
    archive = tmp_path / "archive"
    other = tmp_path / "other.dcm"
    content = few[0].path.read_bytes()
    other.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with ForwardProcess(work, "--on-conflict", "quarantine", "--inactive-timeout", "0.5", archive) as forwarder:
        for paths in (few, few):
            send(forwarder, paths)
        storescu(forwarder.port, "FORWARD", [other], options=["-R"])
        assert forwarder.ended() == 3
    assert "Received 9 instances: 4 new, 4 repeated, 1 with other bytes than before.\n" in forwarder.said
    assert f"{archive}: 5 instances: 4 delivered, 1 quarantined.\n" in forwarder.said
    assert "was here before, with other bytes: it is in quarantine now, see dcm spool ls\n" in forwarder.said
    shown = run_dcm("spool", "ls", "--spool", forwarder.spool, "--out-format", "ndjson")
    (delivery,) = [json.loads(line) for line in shown.stdout.splitlines()]
    assert (delivery["sop_instance_uid"], delivery["conflict"]) == (few[0].sop_instance_uid, True)
    run_dcm("spool", "retry", "--spool", forwarder.spool)
    with ForwardProcess(work, "--inactive-timeout", "0.2", archive) as forwarder:
        assert forwarder.ended() == 0
    assert len([path for path in archive.rglob("*") if path.is_file()]) == 5


def test_two_forwarders_on_one_spool(work: Path, tmp_path: Path) -> None:
    with ForwardProcess(work, tmp_path / "dest") as forwarder:
        done = run_dcm("forward", "--local", f"{HOST}:X:{free_port()}", "--spool", forwarder.spool, tmp_path / "b")
        assert done.returncode == 2
        assert f"process {forwarder.pid} has the spool {forwarder.spool}" in done.stderr


def test_a_destination_that_overlaps_the_spool(work: Path) -> None:
    for dest in (work, work / "spool", work / "spool" / "data" / "x"):
        done = run_dcm("forward", "--spool", work / "spool", dest)
        assert done.returncode == 2
        assert "overlaps the spool" in done.stderr


def test_a_destination_that_is_a_file(work: Path, tmp_path: Path) -> None:
    """Nothing would ever get there; into a directory that is not mounted it may."""
    (tmp_path / "file").touch()
    for dest, said in (
        (tmp_path / "file", f"{tmp_path}/file is not a directory\n"),
        (tmp_path / "file" / "a" / "b", f"{tmp_path}/file/a/b is not a directory, for {tmp_path}/file is none\n"),
    ):
        done = run_dcm("forward", "--spool", work / "spool", "--local", f"{HOST}:X:{free_port()}", dest)
        assert (done.returncode, done.stderr) == (2, f"Error: {said}")
    (tmp_path / "away").symlink_to(tmp_path / "nowhere")
    with ForwardProcess(work, tmp_path / "away", tmp_path / "new" / "one") as forwarder:
        assert forwarder.end() == 0


def test_a_port_that_is_taken(work: Path, tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        done = run_dcm("forward", "--local", f"{HOST}:X:{port}", "--spool", work, tmp_path / "dest")
    assert done.returncode == 4
    assert "another program does" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a file that is always full")
def test_nobody_takes_what_it_says(work: Path, tmp_path: Path) -> None:
    """The disk that its messages go to is full: that is no reason to stop."""
    command = [sys.executable, "-m", "dcm", "forward", "--local", f"{HOST}:X:{free_port()}", "--spool", str(work)]
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*command, "--inactive-timeout", "0.1", str(tmp_path / "dest")], stderr=full, timeout=20)
    assert done.returncode == 0


# -- when senders are told ---------------------------------------------------------------------------------------------


def test_told_when_all_destinations_have_it(few: list[Sample], work: Path, tmp_path: Path) -> None:
    receiver = DcmtkStorescp(tmp_path / "receiver")
    archive = tmp_path / "archive"
    args = ("--ack", "delivered", "--ack-timeout", "0.3", archive, node(receiver))
    with ForwardProcess(work, *args) as forwarder:
        assert "senders are told when all destinations have" in forwarder.said
        sender = Sender(forwarder.port, [few[0].path], tmp_path / "sender.log")
        sender.finish()
        assert sender.answers == {few[0].path: "Refused: OutOfResources"}
        assert holds(archive).keys() == {few[0].sop_instance_uid}
        assert forwarder.end() == 0
        assert " 1 answered as failed, as not every destination had it in time; it is kept." in forwarder.said
    with receiver, ForwardProcess(work, "--ack", "delivered", archive, node(receiver)) as forwarder:
        for sample in few:
            sender = Sender(forwarder.port, [sample.path], tmp_path / "sender.log")
            assert sender.finish() == 0
            assert sender.acknowledged == {sample.path}
            assert sample.sop_instance_uid in holds(receiver.directory)
        assert forwarder.end() == 0
    assert holds(receiver.directory) == holds(archive) == contents(few)


def test_told_at_once_warns_what_it_risks(few: list[Sample], work: Path, tmp_path: Path) -> None:
    with ForwardProcess(work, "--ack", "received", "--inactive-timeout", "0.3", tmp_path / "dest") as forwarder:
        assert "Warning: --ack received: what is acknowledged and not on the disk yet is lost" in forwarder.said
        send(forwarder, few)
        assert forwarder.ended() == 0
    assert holds(tmp_path / "dest") == contents(few)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB; needs the right to mount one."""
    path = tmp_path / "disk"
    path.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("needs the right to mount a file system")
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def test_a_full_disk_is_told_to_senders_and_passes(disk: Path, work: Path, tmp_path: Path) -> None:
    """What fits is kept; the rest is refused, until there is room again. Nothing of it is lost or there in part."""
    samples = data.write_ct(tmp_path / "ct", 24)
    receiver = DcmtkStorescp(tmp_path / "receiver")
    args = ("--inactive-timeout", "60", node(receiver))
    with ForwardProcess(work, *args, spool=disk / "spool") as forwarder:
        senders = [Sender(forwarder.port, [sample.path], tmp_path / f"{i}.log") for i, sample in enumerate(samples)]
        for sender in senders:
            sender.finish()
        answers = {path: answer for sender in senders for path, answer in sender.answers.items()}
        kept = {path for path, answer in answers.items() if answer == "Success"}
        assert set(answers.values()) == {"Success", "Refused: OutOfResources"}
        assert forwarder.said.count("senders are told to come back later") == 1
        with receiver:
            run_dcm("spool", "retry", "--spool", forwarder.spool, "--state", "queued")
            until(lambda: len(receiver.received()) == len(kept), "what was kept is not delivered")
            again = [sample for sample in samples if sample.path not in kept]
            sender = Sender(forwarder.port, [again[0].path], tmp_path / "again.log")
            assert sender.finish() == 0
            assert "there is room in the spool again" in forwarder.said
            until(lambda: len(receiver.received()) == len(kept) + 1, "what came then is not delivered")
        assert forwarder.end() == 0
    delivered = [sample for sample in samples if sample.path in kept or sample is again[0]]
    assert holds(receiver.directory) == contents(delivered)


def test_told_at_once_on_a_full_disk(disk: Path, work: Path, tmp_path: Path) -> None:
    """Some are lost before it is known; then senders are told, and in the end whoever reads the exit code."""
    samples = data.write_ct(tmp_path / "ct", 40)
    receiver = DcmtkStorescp(tmp_path / "receiver")
    with ForwardProcess(work, "--ack", "received", node(receiver), spool=disk / "spool") as forwarder:
        sender = Sender(forwarder.port, [sample.path for sample in samples[:30]], tmp_path / "1.log")
        sender.finish()
        until(lambda: "LOST, though acknowledged" in forwarder.said, "nothing is lost")
        sender = Sender(forwarder.port, [sample.path for sample in samples[30:]], tmp_path / "2.log")
        sender.finish()
        assert "Success" not in sender.answers.values()
        assert forwarder.end() == 3
        assert re.search(r"Received \d+ instances: .* LOST", forwarder.said)


# -- who may ----------------------------------------------------------------------------------------------------------


def test_who_may_call(few: list[Sample], work: Path, tmp_path: Path, isolated_config: Path) -> None:
    """What is typed counts more than what is in the file."""
    isolated_config.write_text('[local_nodes.default]\nport = 1\nallowed_ae_titles = ["SCANNER"]\n')
    args = ("--allow-ae", "FRIEND", "--allow-address", "127.0.0.0/8", "--require-called-ae", tmp_path / "dest")
    with ForwardProcess(work, *args) as forwarder:
        for calling, called, code in (("FRIEND", "FORWARD", 0), ("SCANNER", "FORWARD", 1), ("FRIEND", "OTHER", 1)):
            options = ["-R"]
            done = storescu(forwarder.port, called, [few[0].path], calling=calling, options=options, check=False)
            assert done.returncode == code, done.stdout
        assert forwarder.end() == 0
        assert "SCANNER@127.0.0.1 is not an AE title that may call us" in forwarder.said
        assert "Received 1 instance." in forwarder.said


# -- its end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signals(work: Path, tmp_path: Path, number: int, code: int) -> None:
    with ForwardProcess(work, tmp_path / "dest") as forwarder:
        assert forwarder.end(number) == code
        assert forwarder.said.endswith("Received 0 instances.\n")
        assert "Stopping: what is under way has up to 10 s; Ctrl-C or SIGTERM again ends it" in forwarder.said
        assert "Traceback" not in forwarder.said


def test_a_second_signal_ends_it_the_hard_way(few: list[Sample], work: Path, tmp_path: Path) -> None:
    """Here somebody is connected and busy, so that the first one would take ten seconds."""
    with ForwardProcess(work, "--stop-within", "60", tmp_path / "dest") as forwarder:
        with socket.create_connection((HOST, forwarder.port)) as sock:
            sock.sendall(b"\x01\x00\x00")
            forwarder.tell(signal.SIGTERM)
            until(lambda: _refuses(forwarder.port), "it still listens")
            forwarder.tell(signal.SIGTERM)
            assert forwarder.ended() == -signal.SIGTERM


def _refuses(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_systemd_is_told(few: list[Sample], work: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        with ForwardProcess(work, tmp_path / "dest", env={"NOTIFY_SOCKET": str(tmp_path / "notify")}) as forwarder:
            assert manager.recv(1000).startswith(b"READY=1")
            send(forwarder, few)
            until(lambda: b"4 received, 4 delivered" in manager.recv(1000), "no status")
            assert forwarder.end() == 0
            until(lambda: manager.recv(1000).startswith(b"STOPPING=1"), "no goodbye")


@pytest.mark.parametrize("loudness", ["--quiet", "-v", "-vv"])
def test_its_log(few: list[Sample], work: Path, tmp_path: Path, loudness: str) -> None:
    """In a file is what it did, whatever is on stderr; there nothing is said twice."""
    file, dest = tmp_path / "log", tmp_path / "dest"
    before = (loudness, "--log-path", str(file), "--file-log-level", "info")
    args = (dest, "--inactive-timeout", "1")
    with ForwardProcess(work, *args, before=before, wait=False) as forwarder:
        until(lambda: file.exists() and "Listening on" in file.read_text(), "it does not listen")
        send(forwarder, few)
        assert forwarder.ended() == 0
    logged = file.read_text()
    for said in (
        *(f"Listening on {HOST}:{forwarder.port} as FORWARD", f"To: {dest}", "Received 4 instances."),
        *(f"received {sample.sop_instance_uid} of STORESCU@" for sample in few),
        *(f"delivered {sample.sop_instance_uid} to {dest}" for sample in few),
    ):
        assert logged.count(said) == 1
        assert forwarder.said.count(said) == (loudness != "--quiet")
    assert "association" not in logged
    opened = re.findall(
        r"association with STORESCU@127.0.0.1 is open: (\d+) presentation contexts? acc", forwarder.said
    )
    assert len(opened) == (loudness == "-vv")
    assert forwarder.said.count("association over: STORESCU@127.0.0.1 released the association") == len(opened)


def test_on_a_terminal_and_quietly(few: list[Sample], work: Path, tmp_path: Path) -> None:
    port = free_port()
    args = ("--local", f"{HOST}:FORWARD:{port}", "--spool", work / "spool", "--inactive-timeout", "1", tmp_path / "d")
    code, shown = run_on_terminal("forward", *args)
    assert code == 0
    assert "0 received, 0 delivered" in shown
    assert shown.rstrip().endswith("Received 0 instances.")
    done = run_dcm("--quiet", "forward", *args)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = run_dcm("forward", "--no-report", *args)
    assert done.stderr.splitlines()[-1].startswith("To: ")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--min-free", "many", "x"], "'many' is no size"),
        (["--ack", "never", "x"], "'never' is not one of"),
        (["--inactive-timeout", "0", "x"], "0.0 is not in the range"),
        (["--allow-address", "10.0.0.300", "x"], "10.0.0.300"),
        ([], "Missing argument 'DEST...'"),
    ],
)
def test_what_makes_no_sense(args: list[str], said: str) -> None:
    done = run_dcm("forward", *args)
    assert done.returncode == 2
    assert said in done.stderr
