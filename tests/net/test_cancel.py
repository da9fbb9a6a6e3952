"""Leaving an operation before its end: the peer is told with a C-CANCEL, and the association is over in two seconds."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Iterator

import pytest

from dcm.net import LocalEntity, RemoteNode
from dcm.net.wire import State
from dcm.node import RetrieveMethod
from dcm.report import Outcome, TransferReport
from tests import data
from tests.net.scripted import CANCELLED, HOST, PENDING, SUCCESS, ConnectionEndedError, Link, Message, ScriptedPeer
from tests.net.support import open_things, result_of
from tests.peers import OrthancPeer

pytestmark = pytest.mark.usefixtures("nothing_left")

# The rule is two seconds; the rest is for machines that are busy with other things.
BOUND = 3.5


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < BOUND


def remote(peer: ScriptedPeer, method: RetrieveMethod = "GET", max_assoc: int = 5) -> RemoteNode:
    return RemoteNode(HOST, peer.ae_title, peer.port, retrieve_methods=(method,), max_assoc=max_assoc)


def study_response() -> bytes:
    from dcm.attrs import Attributes
    from dcm.net._identifier import encode_identifier

    record = Attributes.from_items([(0x00080052, "CS", "STUDY"), (0x0020000D, "UI", "1.2.3"), (0x00100020, "LO", "P")])
    return encode_identifier(record, "1.2.840.10008.1.2.1")


class Obedient:
    """A peer that has begun an operation, and ends it when it is told to."""

    def __init__(self, *, obeys: bool = True) -> None:
        self.begun = asyncio.Event()
        self.obeys = obeys

    async def __call__(self, link: Link) -> None:
        await link.accept()
        request = await link.message()
        await self.begin(link, request)
        self.begun.set()
        while True:
            try:
                message = await link.message()
            except ConnectionEndedError:
                link.raw(link.wire.confirm_release() if link.seen[-1] == "release" else b"")
                return
            if message.command.name == "C-CANCEL-RQ":
                assert message.command.responding_to == request.command.message_id
            if message.command.name == "C-CANCEL-RQ" and self.obeys and link.wire.state is State.ESTABLISHED:
                link.answer(request, CANCELLED)

    async def begin(self, link: Link, request: Message) -> None:
        link.answer(request, PENDING, study_response() if request.command.name == "C-FIND-RQ" else None)


@pytest.mark.parametrize("obeys", [True, False])
async def test_cancelling_a_query(local: LocalEntity, obeys: bool) -> None:
    script = Obedient(obeys=obeys)
    async with ScriptedPeer(script) as peer:
        task = asyncio.ensure_future(local.query(peer.node))
        await script.begun.wait()
        with in_time():
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    end = ["release"] if obeys else ["abort"]
    assert peer.links[0].seen == ["associate", "C-FIND-RQ", "C-CANCEL-RQ", *end]


@pytest.mark.parametrize("obeys", [True, False])
@pytest.mark.parametrize("method", ["GET", "MOVE"])
async def test_cancelling_a_retrieval(
    local: LocalEntity, samples: list[data.Sample], method: RetrieveMethod, obeys: bool
) -> None:
    script = Obedient(obeys=obeys)
    report = TransferReport()
    async with ScriptedPeer(script) as peer:

        async def fetch() -> None:
            async for _ in local.instances(remote(peer, method, 1), result_of(samples[:2]), report):
                raise AssertionError("nothing comes")

        task = asyncio.ensure_future(fetch())
        await script.begun.wait()
        with in_time():
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    end = ["release"] if obeys else ["abort"]
    assert peer.links[0].seen == ["associate", f"C-{method}-RQ", "C-CANCEL-RQ", *end]
    report.finish()
    assert report.adds_up()
    assert report.counts[Outcome.MISSING] == 2


@pytest.mark.parametrize("leave", ["break", "aclose", "raise"])
async def test_leaving_the_loop_over_what_comes(local: LocalEntity, samples: list[data.Sample], leave: str) -> None:
    """The peer waits for our answer to its second instance when we leave."""
    statuses: list[int | None] = []

    class Giver(Obedient):
        async def begin(self, link: Link, request: Message) -> None:
            statuses.append(await link.store(samples[0]))
            await link.store(samples[1], answered=False)
            answer = await link.message()
            if answer.command.name == "C-CANCEL-RQ":
                link.answer(request, CANCELLED)
                answer = await link.message()
            statuses.append(answer.command.status)

    async with ScriptedPeer(Giver()) as peer:
        found = local.retrieve(remote(peer), result_of(samples[:3]))
        with in_time():
            if leave == "aclose":
                assert (await found.__anext__()).SOPInstanceUID == samples[0].sop_instance_uid
                await found.aclose()
            elif leave == "break":
                async with contextlib.aclosing(found):
                    async for _ in found:
                        break
            else:
                with pytest.raises(ZeroDivisionError):  # noqa: PT012
                    async with contextlib.aclosing(found):
                        async for _ in found:
                            raise ZeroDivisionError
    assert statuses[0] == SUCCESS
    assert statuses[1] != SUCCESS
    assert "C-CANCEL-RQ" in peer.links[0].seen
    assert peer.links[0].seen[-1] == "release"


def test_a_generator_that_is_forgotten_ends_with_its_loop(
    local: LocalEntity, orthanc_archive: OrthancPeer, samples: list[data.Sample]
) -> None:
    async def first() -> str:
        async for ds in local.retrieve(orthanc_archive.node, result_of(samples)):
            return str(ds.SOPInstanceUID)
        return ""

    assert asyncio.run(first())
    assert not [thing for thing in open_things() if thing.startswith("thread")]


async def test_leaving_queries_after_the_first_part(local: LocalEntity) -> None:
    class Talker(Obedient):
        async def begin(self, link: Link, request: Message) -> None:
            from dcm.attrs import Attributes
            from dcm.net._identifier import encode_identifier

            for number in range(600):
                record = Attributes.from_items(
                    [(0x00080052, "CS", "STUDY"), (0x0020000D, "UI", f"1.2.{number}"), (0x00100020, "LO", "P")]
                )
                link.answer(request, PENDING, encode_identifier(record, "1.2.840.10008.1.2.1"))

    async with ScriptedPeer(Talker()) as peer:
        with in_time():
            async with contextlib.aclosing(local.queries(peer.node)) as parts:
                async for part in parts:
                    assert len(part) >= 500
                    break
    assert peer.links[0].seen == ["associate", "C-FIND-RQ", "C-CANCEL-RQ", "release"]


async def test_cancelling_a_send(local: LocalEntity, samples: list[data.Sample]) -> None:
    """A C-STORE cannot be cancelled (PS3.7 section 9.1.1): the association is aborted."""
    reached = asyncio.Event()

    async def script(link: Link) -> None:
        await link.accept()
        await link.message()
        reached.set()
        assert (await link.rest())[-2:] == ["abort", "end"]

    report = TransferReport()
    async with ScriptedPeer(script) as peer:
        task = asyncio.ensure_future(local.upload(peer.node, [sample.path for sample in samples], report))
        await reached.wait()
        with in_time():
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    report.finish()
    assert report.adds_up()
    assert report.counts[Outcome.SENT] == 0


async def test_cancelling_a_third_party_move(local: LocalEntity, samples: list[data.Sample]) -> None:
    script = Obedient()
    async with ScriptedPeer(script) as source, ScriptedPeer(Obedient()) as dest:
        task = asyncio.ensure_future(local.move(source.node, dest.node, result_of(samples[:1])))
        await script.begun.wait()
        with in_time():
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    assert source.links[0].seen == ["associate", "C-MOVE-RQ", "C-CANCEL-RQ", "release"]


_RETRIEVE = """
import asyncio, sys
from dcm.attrs import Attributes
from dcm.net import DcmNode, LocalEntity, RemoteNode
from dcm.query import QueryLevel, QueryResult

async def main():
    remote = RemoteNode("127.0.0.1", "SCRIPTED", int(sys.argv[1]), retrieve_methods=("GET",))
    record = Attributes.from_items([(0x00100020, "LO", "P"), (0x0020000D, "UI", "1.2"), (0x0020000E, "UI", "1.2.3"),
                                    (0x00080018, "UI", "1.2.3.4"), (0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.2")])
    async for ds in LocalEntity(DcmNode("127.0.0.1")).retrieve(remote, QueryResult(QueryLevel.IMAGE, [record])):
        pass

try:
    asyncio.run(main())
except KeyboardInterrupt:
    sys.exit(130)
"""


async def test_ctrl_c() -> None:
    script = Obedient()
    async with ScriptedPeer(script) as peer:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _RETRIEVE, str(peer.port), stderr=asyncio.subprocess.PIPE
        )
        await script.begun.wait()
        with in_time():
            process.send_signal(signal.SIGINT)
            _, stderr = await process.communicate()
    assert process.returncode == 130, stderr
    # Before Python 3.11 asyncio.run cancels everything at once, what awaits the answer to the C-CANCEL as well.
    end = ["release"] if sys.version_info >= (3, 11) else ["abort"]
    assert peer.links[0].seen == ["associate", "C-GET-RQ", "C-CANCEL-RQ", *end]
