"""C-ECHO, and all the ways in which an association does not come about."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from pathlib import Path

import pytest

from dcm.errors import (
    AssociationAbortedError,
    AssociationRejectedError,
    ConnectionFailedError,
    NetworkError,
    NoContextError,
    PeerTimeoutError,
    ProtocolError,
)
from dcm.net import DcmNode, LocalEntity, RemoteNode, Timeouts
from dcm.net.wire import AssociateReject
from tests.net.scripted import HOST, Link, ScriptedPeer
from tests.peers import DcmtkQrscp, Fault, FaultProxy, OrthancPeer, PynetdicomEchoscp
from tests.peers.fixtures import Archive, Receiver

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_echo_in_one_event_loop_after_the_other(local: LocalEntity, archive: Archive) -> None:
    for _ in range(3):
        assert asyncio.run(local.echo(archive.node)) is True


async def test_echo_of_plain_receivers(local: LocalEntity, receiver: Receiver) -> None:
    assert await local.echo(receiver.node)
    assert await asyncio.gather(*(local.echo(RemoteNode.from_node(receiver.node)) for _ in range(5))) == [True] * 5


async def test_a_peer_that_answers_with_a_failure(local: LocalEntity) -> None:
    async def script(link: Link) -> None:
        await link.accept()
        link.answer(await link.message(), 0x0122)
        assert (await link.rest())[-1] == "release"

    async with ScriptedPeer(script) as peer:
        assert await local.echo(peer.node) is False


async def test_an_unknown_host(local: LocalEntity) -> None:
    node = DcmNode("no-such-host.invalid", "PACS", 104)
    with pytest.raises(ConnectionFailedError, match="unknown host no-such-host") as caught:
        await local.echo(node)
    assert caught.value.peer == str(node)
    assert "spelling" in caught.value.hint


async def test_a_refused_connection(local: LocalEntity, free_port: int) -> None:
    with pytest.raises(ConnectionFailedError, match="refused the connection") as caught:
        await local.echo(DcmNode(HOST, "PACS", free_port))
    assert str(free_port) in caught.value.hint


async def test_a_host_that_does_not_answer(local: LocalEntity) -> None:
    # A full backlog: the kernel drops what comes after it, as a firewall does.
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((HOST, port))
            fillers.append(filler)
        with pytest.raises(ConnectionFailedError, match=r"no connection to .* within 0.2 s"):
            await local.echo(RemoteNode(HOST, "PACS", port, timeouts=Timeouts(connect=0.2)))
        for filler in fillers:
            filler.close()


async def test_a_wrong_called_ae_title(tmp_path: Path, local: LocalEntity) -> None:
    with OrthancPeer(tmp_path / "orthanc", settings={"DicomCheckCalledAet": True}) as orthanc:
        with pytest.raises(AssociationRejectedError, match="called AE title not recognised") as caught:
            await local.echo(DcmNode(HOST, "WRONG", orthanc.port))
        assert caught.value.hint == "is WRONG its AE title, and does it know us as LOCALAE?"
        assert not caught.value.transient
        assert await local.echo(orthanc.node)


async def test_a_called_ae_title_that_dcmtk_does_not_have(local: LocalEntity, dcmtk_archive: DcmtkQrscp) -> None:
    with pytest.raises(AssociationRejectedError, match="called AE title not recognised"):
        await local.echo(DcmNode(HOST, "WRONG", dcmtk_archive.port))


class _Choosy(DcmtkQrscp):
    """Takes only the AE title FRIEND."""

    def command(self) -> list[str]:
        command = list(super().command())
        config = self.work_dir / "dcmqrscp.cfg"
        text = config.read_text().replace("HostTable BEGIN\n", "HostTable BEGIN\nfriend = (FRIEND, localhost, 1)\n")
        config.write_text(text.replace(") ANY\n", ") friend\n"))
        return command


async def test_a_calling_ae_title_that_is_not_registered(tmp_path: Path, local: LocalEntity) -> None:
    with _Choosy(tmp_path / "dcmqrscp") as peer:
        friend = LocalEntity(DcmNode(HOST, "FRIEND", local.local.port))
        assert await friend.echo(peer.node)
        with pytest.raises(AssociationRejectedError, match="rejected the association") as caught:
            await local.echo(peer.node)
        assert local.local.ae_title in caught.value.hint


@pytest.mark.parametrize(
    ("reject", "said", "hint"),
    [
        (AssociateReject(1, 1, 3), "calling AE title not recognised", "must be registered there"),
        (AssociateReject(1, 1, 7), "called AE title not recognised", "is SCRIPTED its AE title"),
        (AssociateReject(2, 3, 1), "temporary congestion", "try again later"),
        (AssociateReject(2, 3, 2), "local limit exceeded", "max_assoc"),
        (AssociateReject(1, 2, 2), "protocol version not supported", "does it know us as LOCALAE"),
        (AssociateReject(1, 3, 9), "source 3, reason 9", "does it know us as LOCALAE"),
    ],
)
async def test_what_a_rejection_says(local: LocalEntity, reject: AssociateReject, said: str, hint: str) -> None:
    async def script(link: Link) -> None:
        await link.event()
        link.raw(link.wire.reject(reject))

    async with ScriptedPeer(script) as peer:
        with pytest.raises(AssociationRejectedError, match=said) as caught:
            await local.echo(peer.node)
    assert hint in caught.value.hint
    assert caught.value.peer == str(peer.node)
    assert caught.value.transient == (reject.result == 2)
    assert "\n" not in str(caught.value)


async def test_a_service_that_is_not_offered(local: LocalEntity, echo_only: PynetdicomEchoscp) -> None:
    assert await local.echo(echo_only.node)
    with pytest.raises(NoContextError, match="accepted no presentation context for Study Root"):
        await local.query(echo_only.node)


async def test_a_port_that_is_not_dicom(local: LocalEntity, orthanc_archive: OrthancPeer) -> None:
    """A web server waits for the end of a header that never comes, or sends an error page."""
    with pytest.raises(NetworkError) as caught:
        await local.echo(RemoteNode(HOST, "ORTHANC", orthanc_archive.http_port, timeouts=Timeouts(association=0.5)))
    assert "port" in caught.value.hint

    async def web_server(link: Link) -> None:
        await link.event()
        link.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await link.rest()

    async with ScriptedPeer(web_server) as peer:
        with pytest.raises(ProtocolError, match="unknown PDU type 0x48") as broken:
            await local.echo(peer.node)
    assert broken.value.hint == "is this the port of a DICOM service?"


async def test_a_peer_that_accepts_connections_and_says_nothing(local: LocalEntity) -> None:
    async def script(link: Link) -> None:
        assert await link.rest() == ["associate", "abort", "end"]

    async with ScriptedPeer(script) as peer:
        node = RemoteNode(HOST, "SCRIPTED", peer.port, timeouts=Timeouts(association=0.2))
        with pytest.raises(PeerTimeoutError, match=r"did not negotiate an association within 0\.2 s"):
            await local.echo(node)


async def test_a_peer_that_never_answers_the_request(local: LocalEntity) -> None:
    async def script(link: Link) -> None:
        await link.accept()
        assert await link.rest() == ["associate", "C-ECHO-RQ", "abort", "end"]

    async with ScriptedPeer(script) as peer:
        node = RemoteNode(HOST, "SCRIPTED", peer.port, timeouts=Timeouts(dimse=0.2))
        with pytest.raises(PeerTimeoutError, match=r"did not go on with the operation within 0\.2 s"):
            await local.echo(node)


async def test_a_byte_now_and_then_does_not_buy_time(local: LocalEntity, dcmtk_archive: DcmtkQrscp) -> None:
    with FaultProxy(dcmtk_archive.port, to_client=Fault(chunk=1, delay=0.05), ae_title="DCMQRSCP") as proxy:
        node = RemoteNode(HOST, "DCMQRSCP", proxy.port, timeouts=Timeouts(association=0.4, dimse=0.4))
        with pytest.raises(PeerTimeoutError):
            await local.echo(node)


async def test_one_byte_at_a_time(local: LocalEntity, archive: Archive) -> None:
    with FaultProxy(archive.port, to_client=Fault(chunk=1), to_peer=Fault(chunk=1), ae_title=archive.ae_title) as proxy:
        assert await local.echo(proxy.node)


async def test_a_peer_that_hangs_up_anywhere(local: LocalEntity, dcmtk_archive: DcmtkQrscp) -> None:
    with FaultProxy(dcmtk_archive.port, ae_title="DCMQRSCP") as proxy:
        assert await local.echo(proxy.node)
        n_bytes = proxy.bytes_to_client
    answered = 0
    errors: list[tuple[int, FaultProxy, NetworkError]] = []
    cuts = [*range(0, n_bytes, 3), n_bytes]
    for offset in cuts:
        with FaultProxy(dcmtk_archive.port, to_client=Fault(cut_at=offset), ae_title="DCMQRSCP") as proxy:
            try:
                answered += await local.echo(proxy.node)
            except NetworkError as error:
                errors.append((offset, proxy, error))
    for offset, proxy, failure in errors:
        assert re.search(f"{re.escape(str(proxy.node))} (hung up|aborted)", failure.message), (offset, failure.message)
    # Only the answer to our release comes after that to the C-ECHO, which is lost with the connection if we are slow.
    assert answered in range(1, 6)
    assert answered + len(errors) == len(cuts)


async def test_an_abort_says_what_may_be_the_reason(local: LocalEntity) -> None:
    async def script(link: Link) -> None:
        await link.event()
        link.raw(link.wire.abort())

    async with ScriptedPeer(script) as peer:
        with pytest.raises(AssociationAbortedError, match="aborted the association") as caught:
            await local.echo(peer.node)
    assert "does the peer know us as LOCALAE" in caught.value.hint


async def test_cancelling_while_connecting_and_while_waiting(local: LocalEntity) -> None:
    reached = asyncio.Event()

    async def script(link: Link) -> None:
        await link.event()
        reached.set()
        assert await link.rest() == ["associate", "abort", "end"]

    async with ScriptedPeer(script) as peer:
        task = asyncio.ensure_future(local.echo(peer.node))
        await reached.wait()
        started = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - started < 2.5


async def test_a_peer_that_does_not_answer_the_release(local: LocalEntity) -> None:
    async def script(link: Link) -> None:
        await link.accept()
        link.answer(await link.message(), 0)
        while await link.event() is not None:
            pass
        assert link.seen[-3:] == ["release", "abort", "end"]

    async with ScriptedPeer(script) as peer:
        assert await local.echo(peer.node)


async def test_cancelling_while_releasing_leaves_no_connection(local: LocalEntity) -> None:
    releasing = asyncio.Event()

    async def script(link: Link) -> None:
        await link.accept()
        link.answer(await link.message(), 0)
        await link.event()
        releasing.set()
        await link.rest()
        assert link.seen[-1] == "end"

    async with ScriptedPeer(script) as peer:
        task = asyncio.ensure_future(local.echo(peer.node))
        await releasing.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
