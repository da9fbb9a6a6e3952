"""Listening: who may come in, what is answered to what, handlers that share a port, limits."""

from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
import sys
import weakref
from collections.abc import Iterable
from pathlib import Path

import pytest

from dcm.errors import ListenError
from dcm.net import AccessPolicy, DcmNode, DicomEvent, DicomOpType, EventFilter, LocalEntity, Timeouts
from dcm.net.wire import Command, CommandField
from dcm.part10 import read_meta
from tests import data
from tests.net.scripted import HOST, ConnectionEndedError, calling
from tests.net.support import bytes_of
from tests.peers import echoscu, pynetdicom_storescu, storescu

pytestmark = pytest.mark.usefixtures("nothing_left")

VERIFICATION, CT, FIND = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.2.2.1"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
CT_PAIR = (CT, EXPLICIT)


def entity(policy: AccessPolicy | None = None, timeouts: Timeouts | None = None) -> LocalEntity:
    """One of our own, on whatever port is free."""
    return LocalEntity(DcmNode(HOST, "LOCALAE", 0), policy=policy, timeouts=timeouts)


def chosen(types: Iterable[DicomOpType] | None = None, ae_titles: Iterable[str] | None = None) -> EventFilter:
    return EventFilter(None if types is None else frozenset(types), None if ae_titles is None else frozenset(ae_titles))


class Taker:
    """A handler that keeps what comes."""

    def __init__(self, status: int = 0) -> None:
        self.status = status
        self.events: list[DicomEvent] = []

    async def __call__(self, event: DicomEvent) -> int:
        self.events.append(event)
        return self.status

    @property
    def data_sets(self) -> set[bytes]:
        return {bytes(e.instance.read(0, e.instance.size)) for e in self.events if e.instance is not None}


# -- real callers ------------------------------------------------------------------------------------------------------


def test_in_one_event_loop_after_the_other(samples: list[data.Sample], free_port: int) -> None:
    local = LocalEntity(DcmNode(HOST, "LOCALAE", free_port))

    async def receive(sample: data.Sample) -> set[bytes]:
        taker = Taker()
        async with local.listen(taker) as port:
            assert port == free_port
            await asyncio.to_thread(storescu, port, "LOCALAE", [sample.path], options=["-R", "-xe"])
        (event,) = taker.events
        assert (event.type, event.calling_ae, event.called_ae) == (DicomOpType.STORE, "STORESCU", "LOCALAE")
        assert event.address == HOST
        assert event.instance is not None
        assert event.instance.sop_instance_uid == sample.sop_instance_uid
        return taker.data_sets

    for sample in samples[:3]:
        assert asyncio.run(receive(sample)) == bytes_of([sample])


async def test_dcmtk_and_pynetdicom_at_the_same_time(samples: list[data.Sample]) -> None:
    taker = Taker()
    async with entity().listen(taker) as port:
        explicit = [sample for sample in samples if sample.transfer_syntax_uid == EXPLICIT]
        await asyncio.gather(
            asyncio.to_thread(storescu, port, "LOCALAE", [s.path for s in explicit], options=["-R"]),
            asyncio.to_thread(pynetdicom_storescu, port, "LOCALAE", samples[0].path.parent),
            asyncio.to_thread(echoscu, port, "LOCALAE"),
        )
    stores = [event for event in taker.events if event.type is DicomOpType.STORE]
    assert len(stores) == len(explicit) + len(samples)
    assert bytes_of(samples) <= taker.data_sets
    assert {event.calling_ae for event in taker.events} == {"STORESCU", "PYSTORESCU", "ECHOSCU"}


async def test_an_echo_without_a_handler_for_it() -> None:
    async with entity().listen(Taker(), chosen({DicomOpType.STORE})) as port:
        assert await asyncio.to_thread(echoscu, port, "LOCALAE")


async def test_what_a_handler_says_is_the_answer(samples: list[data.Sample]) -> None:
    taker = Taker()
    async with entity().listen(taker) as port, calling(port) as link:
        await link.associate(CT_PAIR)
        for status in (0x0000, 0xB000, 0xA700, 0xC123):
            taker.status = status
            assert await link.store(samples[0]) == status
        await link.release()


@pytest.mark.parametrize("answer", ["raise", None, -1, 1 << 16, "0"])
async def test_a_handler_that_fails_costs_one_request(samples: list[data.Sample], answer: object) -> None:
    async def handler(event: DicomEvent) -> int:
        if answer == "raise":
            raise ZeroDivisionError
        return answer  # type: ignore[return-value]

    async with entity().listen(handler) as port, calling(port) as link:
        await link.associate(CT_PAIR)
        assert await link.store(samples[0]) == 0x0110
        assert await link.store(samples[1]) == 0x0110
        await link.release()


def test_no_event_loop_is_kept() -> None:
    local = entity()
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def listen() -> None:
        async with local.listen(Taker(), EventFilter(frozenset({DicomOpType.ECHO}))):
            pass

    async def several() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await asyncio.gather(listen(), listen(), listen())

    for _ in range(3):
        asyncio.run(several())
    gc.collect()
    assert [loop() for loop in loops] == [None] * 3


# -- several handlers --------------------------------------------------------------------------------------------------


async def test_handlers_share_the_port_by_ae_title_and_type(samples: list[data.Sample]) -> None:
    local = entity()
    ours, theirs, echoes = Taker(), Taker(), Taker()
    store = {DicomOpType.STORE}
    async with (
        local.listen(ours, chosen(store, {"FRIEND"})) as port,
        local.listen(theirs, chosen(store, {"STRANGER"})) as same,
        local.listen(echoes, chosen({DicomOpType.ECHO})),
    ):
        assert port == same
        for name, sample in (("FRIEND", samples[0]), ("STRANGER", samples[1]), ("NOBODY", samples[2])):
            async with calling(port) as link:
                await link.associate(CT_PAIR, (VERIFICATION, IMPLICIT), calling=name)
                assert await link.store(sample) == (0x0122 if name == "NOBODY" else 0)
                link.send(3, Command(CommandField.C_ECHO_RQ, message_id=7, affected_class=VERIFICATION))
                assert (await link.message()).command.status == 0
                await link.release()
    assert ours.data_sets == bytes_of(samples[:1])
    assert theirs.data_sets == bytes_of(samples[1:2])
    assert [event.calling_ae for event in echoes.events] == ["FRIEND", "STRANGER", "NOBODY"]


async def test_a_colliding_handler_waits_for_its_turn() -> None:
    local = entity()
    order: list[str] = []
    second_waits = asyncio.Event()

    async def second() -> None:
        second_waits.set()
        async with local.listen(Taker(), chosen(ae_titles={"A", "B"})):
            order.append("second")

    async with local.listen(Taker(), chosen({DicomOpType.STORE}, {"B", "C"})):
        task = asyncio.ensure_future(second())
        cancelled = asyncio.ensure_future(second())
        await second_waits.wait()
        async with local.listen(Taker(), chosen({DicomOpType.ECHO}, {"C"})):
            order.append("no collision")
        cancelled.cancel()
        order.append("first")
    await asyncio.wait([task, cancelled])
    assert order == ["no collision", "first", "second"]
    assert cancelled.cancelled()


@pytest.mark.parametrize(
    ("left", "right", "collide"),
    [
        (EventFilter(), EventFilter(), True),
        (chosen({DicomOpType.ECHO}), chosen({DicomOpType.STORE}), False),
        (chosen(ae_titles={"A"}), chosen(ae_titles={"B"}), False),
        (chosen({DicomOpType.ECHO}, {"A"}), chosen(ae_titles={"A", "B"}), True),
        (chosen({DicomOpType.ECHO}, {"A"}), chosen({DicomOpType.ECHO}, {"B"}), False),
    ],
)
def test_collisions(left: EventFilter, right: EventFilter, collide: bool) -> None:
    assert left.collides(right) is right.collides(left) is collide


# -- what is refused ---------------------------------------------------------------------------------------------------


async def test_what_we_do_not_offer_is_refused() -> None:
    async with entity().listen(Taker()) as port, calling(port) as link:
        await link.associate((FIND, IMPLICIT), ("1.2.3.4", IMPLICIT), (VERIFICATION, "1.2.840.10008.1.2.4.50"), CT_PAIR)
        assert set(link.wire.contexts) == {7}
        await link.release()


async def test_requests_other_than_echo_and_store(samples: list[data.Sample]) -> None:
    """Each is answered with the status that PS3.7 annex C has for it, and the association goes on."""
    taker = Taker()
    async with entity().listen(taker) as port, calling(port) as link:
        await link.associate(CT_PAIR, (VERIFICATION, IMPLICIT))
        refused = {
            CommandField.C_FIND_RQ: 0x0211,
            CommandField.C_MOVE_RQ: 0x0211,
            CommandField.C_GET_RQ: 0x0211,
            CommandField.N_CREATE_RQ: 0x0211,
            CommandField.N_ACTION_RQ: 0x0211,
        }
        for message_id, (field, status) in enumerate(refused.items(), 1):
            command = Command(field, message_id=message_id, affected_class=CT, priority=0)
            link.send(1, command, b"\x08\x00\x52\x00CS\x04\x00STU ")
            answer = (await link.message()).command
            assert (answer.field, answer.responding_to, answer.status) == (field | 0x8000, message_id, status)
        # A C-STORE without an instance, without data, of another class than the context.
        for sop_class, uid, body, status in (
            (CT, None, b"12", 0xC000),
            (CT, "1.2", None, 0xC000),
            ("1.2.3", "1.2", b"12", 0x0122),
        ):
            store = Command(CommandField.C_STORE_RQ, 9, affected_class=sop_class, affected_instance=uid, priority=0)
            link.send(1, store, body)
            assert (await link.message()).command.status == status
        # Nothing to cancel: no answer to that.
        link.send(1, Command(CommandField.C_CANCEL_RQ, responding_to=3))
        assert await link.store(samples[0]) == 0
        await link.release()
    assert taker.data_sets == bytes_of(samples[:1])


async def test_what_is_refused_unseen_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Once on each association, for each reason; nobody wants a line for each of ten thousand instances."""
    async with entity().listen(Taker()) as port:
        for _ in range(2):
            async with calling(port) as link:
                await link.associate(CT_PAIR)
                for sop_class, uid in (("1.2.3", "1.2"), ("1.2.3", "1.3"), (CT, None), (CT, None)):
                    sent = Command(CommandField.C_STORE_RQ, 9, affected_class=sop_class, affected_instance=uid)
                    link.send(1, sent, b"12")
                    await link.message()
                await link.release()
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 4
    assert said[0].startswith(
        f"what SCRIPT@{HOST} sends is refused (0x0122): SOP class 1.2.3 comes in a presentation context for {CT}; "
    )
    assert said[1].startswith(f"what SCRIPT@{HOST} sends is refused (0xC000): ")


async def _answer_to(port: int, calling_ae: str = "SCRIPT", called: str = "LOCALAE") -> object:
    async with calling(port) as link:
        try:
            await link.associate((VERIFICATION, IMPLICIT), calling=calling_ae, called=called)
        except ConnectionEndedError:
            return link.seen
        await link.release()
        return "accepted"


async def test_only_some_callers() -> None:
    policy = AccessPolicy(calling_ae_titles=frozenset({"FRIEND"}), require_called_ae=True)
    async with entity(policy).listen(Taker()) as port:
        assert await _answer_to(port, calling_ae="FRIEND") == "accepted"
        assert await _answer_to(port, calling_ae="STRANGER") == ["rejected"]
        assert await _answer_to(port, calling_ae="FRIEND", called="OTHER") == ["rejected"]
        assert not await asyncio.to_thread(echoscu, port, "LOCALAE", check=False)


async def test_only_some_addresses() -> None:
    async with entity(AccessPolicy(addresses=frozenset({"192.0.2.1"}))).listen(Taker()) as port:
        assert await _answer_to(port) == ["rejected"]
        assert not await asyncio.to_thread(echoscu, port, "LOCALAE", check=False)
    async with entity(AccessPolicy(addresses=frozenset({HOST}))).listen(Taker()) as port:
        assert await _answer_to(port) == "accepted"


@pytest.mark.parametrize("policy", [AccessPolicy(max_associations=2), AccessPolicy(max_per_address=2)])
async def test_limits_of_associations(policy: AccessPolicy) -> None:
    async with entity(policy).listen(Taker()) as port:
        async with calling(port) as one, calling(port):
            await one.associate((VERIFICATION, IMPLICIT))
            assert await _answer_to(port) == ["rejected"]
            await one.release()
        async with calling(port) as again:
            await again.associate((VERIFICATION, IMPLICIT))
            await again.release()


# -- deadlines ---------------------------------------------------------------------------------------------------------


async def test_who_connects_and_says_nothing_is_dropped() -> None:
    async with entity(timeouts=Timeouts(association=0.2)).listen(Taker()) as port, calling(port) as link:
        assert (await link.rest())[-1] == "end"


async def test_a_pdu_that_never_ends_is_dropped(samples: list[data.Sample]) -> None:
    """A byte now and then does not help: a PDU must be whole in time."""
    async with entity(timeouts=Timeouts(dimse=0.3)).listen(Taker()) as port, calling(port) as link:
        await link.associate(CT_PAIR)

        async def dribble() -> None:
            link.raw(b"\x04\x00\x00\x00\x10\x00")
            while True:
                link.raw(b"\x00")
                await asyncio.sleep(0.02)

        dribbling = asyncio.ensure_future(dribble())
        assert (await link.rest())[-1] == "end"
        dribbling.cancel()


async def test_who_asks_for_nothing_is_dropped() -> None:
    async with entity(AccessPolicy(idle=0.2)).listen(Taker()) as port, calling(port) as link:
        await link.associate(CT_PAIR)
        assert (await link.rest())[-2:] == ["abort", "end"]


async def test_a_slow_handler_is_not_the_callers_fault(samples: list[data.Sample]) -> None:
    async def handler(event: DicomEvent) -> int:
        await asyncio.sleep(0.5)
        return 0

    local = entity(AccessPolicy(idle=0.2), Timeouts(dimse=0.2, association=0.2))
    async with local.listen(handler) as port, calling(port) as link:
        await link.associate(CT_PAIR)
        assert await link.store(samples[0]) == 0
        assert (await link.rest())[-2:] == ["abort", "end"]  # now it is idle


async def test_a_caller_that_does_not_wait_for_answers_is_held_up(samples: list[data.Sample]) -> None:
    """What waits for a handler is bounded: we stop reading."""
    go_on = asyncio.Event()
    taker = Taker()

    async def handler(event: DicomEvent) -> int:
        await go_on.wait()
        return await taker(event)

    n_instances = 200
    body = bytes(500_000)
    async with entity().listen(handler) as port, calling(port) as link:
        await link.associate(CT_PAIR)
        sent = 0

        async def flood() -> None:
            nonlocal sent
            for number in range(n_instances):
                await link.store(samples[0], body, uid=f"1.2.{number}", answered=False)
                await link.drained()
                sent += 1

        flooding = asyncio.ensure_future(flood())
        await asyncio.wait([flooding], timeout=0.5)
        # Eight are being handled; the rest of what has left is in the buffers of the kernel.
        assert sent < 60
        go_on.set()
        answers = [(await link.message()).command for _ in range(n_instances)]
        await flooding
        assert {answer.status for answer in answers} == {0}
        await link.release()
    assert len(taker.events) == n_instances


# -- the end -----------------------------------------------------------------------------------------------------------


async def test_leaving_waits_for_the_handlers(samples: list[data.Sample]) -> None:
    begun = asyncio.Event()
    done: list[str] = []

    async def handler(event: DicomEvent) -> int:
        begun.set()
        await asyncio.sleep(0.2)
        done.append(event.calling_ae)
        return 0

    async with entity().listen(handler) as port:
        async with calling(port) as link:
            await link.associate(CT_PAIR)
            storing = asyncio.ensure_future(link.store(samples[0]))
            await begun.wait()
    assert done == ["SCRIPT"]
    storing.cancel()


async def test_a_cancelled_listener_does_not_wait_for_ever(samples: list[data.Sample]) -> None:
    begun = asyncio.Event()

    async def handler(event: DicomEvent) -> int:
        begun.set()
        await asyncio.get_running_loop().create_future()
        return 0

    local = entity()
    ports: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def listen() -> None:
        async with local.listen(handler) as port:
            ports.set_result(port)
            await asyncio.get_running_loop().create_future()

    listening = asyncio.ensure_future(listen())
    async with calling(await ports) as link:
        await link.associate(CT_PAIR)
        storing = asyncio.ensure_future(link.store(samples[0]))
        await begun.wait()
        listening.cancel()
        done, _ = await asyncio.wait([listening], timeout=5)
        assert done
        with pytest.raises((ConnectionEndedError, asyncio.CancelledError)):
            await storing


async def test_draining_lets_those_who_send_finish(samples: list[data.Sample]) -> None:
    taker = Taker()
    async with entity().listening() as listener:
        await listener.register(taker, EventFilter())
        async with calling(listener.port) as busy, calling(listener.port) as silent:
            for link in (busy, silent):
                await link.associate(CT_PAIR)
            assert listener.n_associations == 2
            draining = asyncio.ensure_future(listener.drain(20))
            await asyncio.sleep(0)
            with pytest.raises(ConnectionRefusedError):
                async with calling(listener.port):
                    raise AssertionError("it lets somebody in")
            for sample in samples[:3]:
                assert await busy.store(sample) == 0
            await busy.release()
            assert (await silent.rest())[-2:] == ["abort", "end"]
            await draining
        assert listener.n_associations == 0
    assert taker.data_sets == bytes_of(samples[:3])


async def test_draining_ends_in_time(samples: list[data.Sample]) -> None:
    async def handler(event: DicomEvent) -> int:
        await asyncio.sleep(0.5)
        return 0

    async with entity().listening() as listener, calling(listener.port) as link:
        await listener.register(handler, EventFilter())
        await link.associate(CT_PAIR)
        storing = asyncio.ensure_future(link.store(samples[0]))
        await asyncio.sleep(0.1)
        await listener.drain(0.1)
        assert listener.n_associations == 1  # closing waits for what was begun
        await listener.close()
        assert await storing == 0


async def test_an_association_that_is_lost_within_an_instance(tmp_path: Path) -> None:
    """What came of it is dropped with its file, whether it lay in memory or streamed to disk."""
    large = data.write_multi_frame(tmp_path / "large.dcm", 30 << 20)
    taker = Taker()
    async with entity().listen(taker) as port:
        for size in (500_000, 25 << 20):
            async with calling(port) as link:
                await link.associate((large.sop_class_uid, EXPLICIT))
                command = Command(
                    CommandField.C_STORE_RQ,
                    message_id=1,
                    affected_class=large.sop_class_uid,
                    affected_instance=large.sop_instance_uid,
                    has_data=True,
                )
                link.raw(*link.wire.send_message(1, command))
                link.raw(*link.wire.send_data(1, bytes(size), last=False))
                await link.drained()
    assert taker.events == []


def test_a_port_that_is_taken(samples: list[data.Sample]) -> None:
    async def listen(host: str, port: int) -> None:
        async with LocalEntity(DcmNode(host, "LOCALAE", port)).listen(Taker()):
            raise AssertionError("it listens")

    with socket.create_server((HOST, 0)) as taken:
        with pytest.raises(ListenError, match="another program does"):
            asyncio.run(listen(HOST, taken.getsockname()[1]))
    with pytest.raises(ListenError, match="not an address of this machine"):
        asyncio.run(listen("192.0.2.1", 0))


_RECEIVE = """
import asyncio, resource, sys
from dcm.net import DcmNode, LocalEntity

async def main():
    done = asyncio.Event()

    async def handler(event):
        await asyncio.to_thread(lambda: sum(len(chunk) for chunk in event.instance.chunks()))
        print(event.instance.size, flush=True)
        event.instance.close()
        done.set()
        return 0

    async with LocalEntity(DcmNode("127.0.0.1", "LOCALAE", 0)).listen(handler) as port:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(port, flush=True)
        await done.wait()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, flush=True)

asyncio.run(main())
"""


def test_memory_stays_flat_with_a_large_instance(tmp_path: Path) -> None:
    large = data.write_multi_frame(tmp_path / "large.dcm", 200 << 20)
    with subprocess.Popen([sys.executable, "-c", _RECEIVE], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            storescu(port, "LOCALAE", [large.path], options=["-R"])
            size, grown = int(process.stdout.readline()), int(process.stdout.readline())
        except BaseException:
            process.kill()
            raise
    assert process.returncode == 0
    assert size > 200 << 20
    assert grown < 60_000  # KiB
    large.path.unlink()


async def test_a_large_instance_is_in_a_file_with_a_header_of_ours(tmp_path: Path) -> None:
    large = data.write_multi_frame(tmp_path / "large.dcm", 4 << 20)
    taker = Taker()
    async with entity().listen(taker) as port:
        await asyncio.to_thread(storescu, port, "LOCALAE", [large.path], options=["-R"])
    (event,) = taker.events
    instance = event.instance
    assert instance is not None
    assert instance.temp is not None
    assert not instance.in_memory
    assert taker.data_sets == {large.data_set_bytes}
    head = instance.temp.pread(1000, 0)
    meta = read_meta(head)
    assert meta is not None
    assert head[:128] == bytes(128)
    assert meta.sop_instance_uid == large.sop_instance_uid
    assert instance.header.text(0x00100020) == large.patient_id
    instance.close()
