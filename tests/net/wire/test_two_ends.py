"""Two wires joined by two pipes: whatever honest ends do, neither accuses the other, and nothing is lost or changed."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from dcm.net.wire import AssociateReject, Command, CommandField, State, Wire
from dcm.net.wire.events import DataReceived, Event, ReleaseConfirmed, Violated
from dcm.net.wire.state import MAY_SEND
from tests.net.wire.handmade import ACCEPT, REQUEST, names


class End:
    """One side: a wire, what is on its way to it, and what was said to it and by it."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.coming = bytearray()
        self.said: list[str] = []
        self.heard: list[Event] = []
        self.in_message = False

    def may_speak(self) -> bool:
        return self.wire.state in MAY_SEND and not self.in_message


class TwoEnds(RuleBasedStateMachine):
    """Rules are what either side may do next; bytes are delivered some at a time."""

    @initialize(unlimited=st.booleans())
    def connect(self, unlimited: bool) -> None:
        self.client, self.server = End(), End()
        self.aborted = False
        self.server.wire.listen()
        self.server.coming += self.client.wire.request(REQUEST)

    def _pick(self, by_client: bool) -> tuple[End, End]:
        return (self.client, self.server) if by_client else (self.server, self.client)

    @rule(to_client=st.booleans(), n=st.integers(1, 40) | st.just(10_000))
    def deliver(self, to_client: bool, n: int) -> None:
        end, other = self._pick(to_client)
        chunk = bytes(end.coming[:n])
        del end.coming[:n]
        for event in end.wire.receive(memoryview(chunk)):
            assert not isinstance(event, Violated), event.message
            if isinstance(event, DataReceived):
                event = DataReceived(memoryview(bytes(event.data)), event.last)
            end.heard.append(event)
        other.coming += end.wire.take_output()
        self._compare(end, other)

    def _compare(self, end: End, other: End) -> None:
        heard = [name for name in names(end.heard) if name[0].isdigit() or " " in name]
        whole = [name for name in heard if name.startswith(("C-", "data "))]
        assert whole == other.said[: len(whole)]

    @precondition(lambda self: self.server.wire.state is State.AWAITING_LOCAL_ANSWER)
    @rule(accept=st.integers(0, 9))
    def answer(self, accept: int) -> None:
        wire = self.server.wire
        self.client.coming += wire.accept(ACCEPT) if accept else wire.reject(AssociateReject(2, 3, 1))

    @rule(by_client=st.booleans(), context_id=st.sampled_from([1, 3]), data=st.none() | st.binary(max_size=50))
    def say(self, by_client: bool, context_id: int, data: bytes | None) -> None:
        end, other = self._pick(by_client)
        if not end.may_speak():
            return
        command = Command(CommandField.C_STORE_RQ, end.wire.next_message_id(), has_data=data is not None)
        other.coming += b"".join(end.wire.send_message(context_id, command, data))
        end.said.append(f"C-STORE-RQ in {context_id}")
        if data is not None:
            end.said.append(f"data {data.hex()}")

    @rule(by_client=st.booleans(), parts=st.lists(st.binary(max_size=20), min_size=1, max_size=4))
    def say_in_parts(self, by_client: bool, parts: list[bytes]) -> None:
        end, other = self._pick(by_client)
        if not end.may_speak():
            return
        command = Command(CommandField.C_FIND_RSP, responding_to=1, status=0xFF00, has_data=True)
        other.coming += b"".join(end.wire.send_message(1, command))
        for i, part in enumerate(parts):
            other.coming += b"".join(end.wire.send_data(1, part, last=i == len(parts) - 1))
        end.said += ["C-FIND-RSP in 1", f"data {b''.join(parts).hex()}"]

    @rule(by_client=st.booleans())
    def release(self, by_client: bool) -> None:
        end, other = self._pick(by_client)
        if end.wire.state is State.ESTABLISHED:
            other.coming += end.wire.release()

    @rule(by_client=st.booleans())
    def confirm_release(self, by_client: bool) -> None:
        end, other = self._pick(by_client)
        if end.wire.state is State.AWAITING_LOCAL_RELEASE:
            other.coming += end.wire.confirm_release()

    @rule(by_client=st.booleans(), really=st.integers(0, 7))
    def abort(self, by_client: bool, really: int) -> None:
        if not really:
            end, other = self._pick(by_client)
            other.coming += end.wire.abort()
            self.aborted = True

    def teardown(self) -> None:
        """Deliver what is under way, let both release, and see that all that was said was heard."""
        if not hasattr(self, "client"):
            return
        for _ in range(4):
            if self.server.wire.state is State.AWAITING_LOCAL_ANSWER:
                self.answer(1)
            for by_client in (True, False):
                self.deliver(by_client, 1 << 20)
                self.confirm_release(by_client)
            self.release(by_client=True)
        assert self.client.wire.state is self.server.wire.state is State.CLOSING
        if not self.aborted:
            for end, other in (self._pick(True), self._pick(False)):
                heard = [name for name in names(end.heard) if name.startswith(("C-", "data "))]
                assert heard == other.said
            released = [type(event) is ReleaseConfirmed for event in self.client.heard + self.server.heard]
            rejected = [type(event).__name__ == "Rejected" for event in self.client.heard]
            assert any(released) or any(rejected)


TestTwoEnds = TwoEnds.TestCase
TestTwoEnds.settings = settings(max_examples=100, stateful_step_count=40)
