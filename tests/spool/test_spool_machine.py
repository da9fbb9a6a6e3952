"""Whatever is done to a spool, in whatever order: it is what a few dictionaries would be."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dcm.errors import RouteError
from dcm.instance import Instance
from dcm.spool import NO_WAY, Arrival, Delivery, DeliveryState, OnConflict, Settled, Spool
from tests.spool.support import DELIVERED, DROPPED, FILTERED, HELD, HERE, QUARANTINED, QUEUED, held, recount
from tests.store.instances import make

UIDS = ["1.1", "1.2", "1.3"]
CONTENTS = [b"a" * 10, b"b" * 10]
WAYS = ["pacs", "archive", "dir:/x"]
LIVE = (QUEUED, QUARANTINED, HELD)
STATES = [DELIVERED, FILTERED, QUARANTINED, QUEUED]


class Entry:
    """What the model has of one entry: content and the state of each way."""

    def __init__(self, uid: str, content: bytes) -> None:
        self.uid = uid
        self.content = content
        self.conflict = False
        self.ways: dict[str, DeliveryState] = {}
        self.not_before: dict[str, float] = {}

    @property
    def live(self) -> bool:
        return any(state in LIVE for state in self.ways.values())


class SpoolMachine(RuleBasedStateMachine):
    """A spool, and next to it a model: entries in order of arrival."""

    segment_size = 0

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp(prefix="dcm-spool-"))
        self.entries: dict[int, Entry] = {}
        self.received = 0
        self.made = 0
        self.out: dict[str, list[Delivery]] = {way: [] for way in WAYS}
        self.known = set(WAYS)

    @initialize(on_conflict=st.sampled_from(OnConflict))
    def begin(self, on_conflict: OnConflict) -> None:
        self.on_conflict = on_conflict
        self.open()

    def open(self) -> None:
        self.spool = Spool(self.path, min_free=0, on_conflict=self.on_conflict, segment_size=self.segment_size).open()
        found = self.spool.recover(self.no_route)
        assert (found.readmitted, found.removed, found.n_lost, found.rebuilt) == (0, 0, 0, "")

    def no_route(self, instance: Instance) -> list[str]:
        raise AssertionError("nothing has to be routed anew")

    def teardown(self) -> None:
        if hasattr(self, "spool"):
            self.spool.close()
        shutil.rmtree(self.path)

    # -- what arrives ----------------------------------------------------------------------------------------------

    @rule(uid=st.sampled_from(UIDS), content=st.sampled_from(CONTENTS), ways=st.sets(st.sampled_from(WAYS)))
    def admit(self, uid: str, content: bytes, ways: set[str]) -> None:
        keys = sorted(ways)
        admitted = self.spool.admit(make(uid, pixels=content), HERE, lambda instance: keys)
        self.received += 1
        self.known |= ways
        if not keys:
            assert (admitted.entry_id, admitted.n_deliveries) == (0, 0)
            return
        same = [number for number, each in self.entries.items() if each.uid == uid and each.content == content]
        remembered = [n for n in same if self.entries[n].live or self.went(n)]
        others = [
            n
            for n, each in self.entries.items()
            if each.uid == uid and each.content != content and (each.live or self.went(n))
        ]
        had = {
            way
            for n in remembered
            for way, state in self.entries[n].ways.items()
            if state is not DROPPED and way != NO_WAY
        }
        missing = [way for way in keys if way not in had]
        kind = Arrival.REPEATED if remembered else Arrival.CONFLICT if others else Arrival.NEW
        assert admitted.kind is kind
        assert admitted.n_deliveries == len(missing)
        live = [n for n in remembered if self.entries[n].live]
        if missing and not live:
            assert admitted.entry_id not in self.entries
            self.entries[admitted.entry_id] = Entry(uid, content)
            self.entries[admitted.entry_id].conflict = kind is Arrival.CONFLICT
        elif live:
            assert admitted.entry_id in live
        else:
            assert admitted.entry_id == 0
        quarantine = kind is Arrival.CONFLICT and self.on_conflict is OnConflict.QUARANTINE
        for way in missing:
            entry = self.entries[admitted.entry_id]
            self.made += way not in entry.ways
            entry.ways[way] = QUARANTINED if quarantine else QUEUED
            entry.not_before.pop(way, None)
        for number in live:
            self.made -= self.entries[number].ways.pop(NO_WAY, None) is not None

    def went(self, number: int) -> bool:
        """Whether the bytes of an entry are remembered when it is gone."""
        return self.went_of(self.entries[number])

    def went_of(self, entry: Entry) -> bool:
        return any(state in (DELIVERED, FILTERED) for state in entry.ways.values())

    @rule(uid=st.sampled_from(UIDS), content=st.sampled_from(CONTENTS))
    def admit_without_route(self, uid: str, content: bytes) -> None:
        def route(instance: Instance) -> list[str]:
            raise RouteError("no rule of x matches")

        admitted = self.spool.admit(make(uid, pixels=content), HERE, route)
        self.received += 1
        same = [n for n, each in self.entries.items() if (each.uid, each.content) == (uid, content)]
        had = [
            n for n in same if any(s is not DROPPED for s in self.entries[n].ways.values()) and
            (self.entries[n].live or self.went(n))
        ]  # fmt: skip
        assert admitted.n_deliveries == (not had)
        if not had:
            known = [e for e in self.entries.values() if e.uid == uid and (e.live or self.went_of(e))]
            entry = self.entries.setdefault(admitted.entry_id, Entry(uid, content))
            entry.conflict = entry.conflict or (not any(e.content == content for e in known) and bool(known))
            self.made += NO_WAY not in entry.ways
            entry.ways[NO_WAY] = QUARANTINED

    # -- what is delivered -----------------------------------------------------------------------------------------

    @rule(way=st.sampled_from(WAYS), limit=st.integers(1, 3), now=st.sampled_from([50.0, 150.0]))
    def take(self, way: str, limit: int, now: float) -> None:
        due = self.spool.next_due(way)
        taken = self.spool.take(way, limit, now)
        out = {delivery.entry_id for delivery in self.out[way]}
        under_way = {delivery.sop_instance_uid for delivery in self.out[way]}
        busy = set(under_way)
        expected: list[int] = []
        waits = []
        queued: set[str] = set()
        for number, entry in sorted(self.entries.items()):
            if way not in self.known or entry.ways.get(way) is not QUEUED:
                continue
            behind = entry.conflict and entry.uid in queued
            queued.add(entry.uid)
            if number in out or behind or entry.uid in under_way:
                continue
            waits.append(entry.not_before.get(way, 0.0))
            if entry.uid in busy or entry.not_before.get(way, 0) > now or len(expected) == limit:
                continue
            expected.append(number)
            busy.add(entry.uid)
        assert due == min(waits, default=None)
        got = [delivery.entry_id for delivery in taken]
        assert got == sorted(got)
        assert len(got) == len(set(got))
        if all(not wait for wait in waits):
            assert got == expected
        else:  # of those that have waited not all may be looked at
            assert len(got) <= len(expected)
            assert bool(got) or not expected or len(expected) < limit + 1
        for delivery in taken:
            entry = self.entries[delivery.entry_id]
            assert entry.ways[way] is QUEUED
            assert delivery.way == way
            with self.spool.instance(delivery) as instance:
                assert bytes(instance.read(0, instance.size)) == bytes(
                    make(entry.uid, pixels=entry.content).read(0, 999)
                )
                assert instance.sop_instance_uid == entry.uid
        self.out[way] += taken

    @precondition(lambda self: any(self.out.values()))
    @rule(data=st.data(), state=st.sampled_from(STATES), not_before=st.sampled_from([0.0, 100.0]))
    def settle(self, data: st.DataObject, state: DeliveryState, not_before: float) -> None:
        way = data.draw(st.sampled_from(sorted(way for way, out in self.out.items() if out)))
        n = data.draw(st.integers(1, len(self.out[way])))
        done, self.out[way] = self.out[way][:n], self.out[way][n:]
        self.spool.settle([Settled(delivery.id, state, "because", None, not_before) for delivery in done])
        for delivery in done:
            entry = self.entries[delivery.entry_id]
            before = entry.ways[way]
            if before is QUEUED:
                entry.ways[way] = state
                entry.not_before[way] = not_before if state is QUEUED else 0.0
            elif before is DROPPED and state is DELIVERED and entry.live:
                entry.ways[way] = DELIVERED

    @precondition(lambda self: any(self.out.values()))
    @rule()
    def give_back(self) -> None:
        for way in WAYS:
            self.spool.give_back(self.out[way])
            self.out[way] = []

    @rule(known=st.sets(st.sampled_from(WAYS), min_size=1))
    def hold(self, known: set[str]) -> None:
        self.spool.hold(known)
        self.known = known

    # -- mending ---------------------------------------------------------------------------------------------------

    def chosen(self, uids: list[str], way: str | None, states: set[DeliveryState]) -> list[tuple[Entry, str]]:
        found = []
        for _, entry in sorted(self.entries.items()):
            for key, state in entry.ways.items():
                shown = HELD if state is QUEUED and key not in self.known and key != NO_WAY else state
                if (not uids or entry.uid in uids) and way in (None, key) and shown in states:
                    found.append((entry, key))
        return found

    @rule(
        uids=st.lists(st.sampled_from(UIDS), max_size=2, unique=True),
        way=st.sampled_from([None, *WAYS, NO_WAY]),
        states=st.sets(st.sampled_from(LIVE), min_size=1),
        drop=st.booleans(),
    )
    def mend(self, uids: list[str], way: str | None, states: set[DeliveryState], drop: bool) -> None:
        expected = self.chosen(uids, way, states)
        ways = None if way is None else [way]
        listed = list(self.spool.ls(uids=uids, ways=ways, states=list(states)))
        assert sorted((each.sop_instance_uid, each.way) for each in listed) == sorted((e.uid, w) for e, w in expected)
        with Spool(self.path, exclusive=False) as visitor:
            change = visitor.drop if drop else visitor.retry
            assert change(uids=uids, ways=ways, states=list(states)) == len(expected)
        for entry, key in expected:
            entry.ways[key] = DROPPED if drop else QUEUED
            entry.not_before[key] = 0.0

    @rule(ways=st.sets(st.sampled_from(WAYS)))
    def reroute(self, ways: set[str]) -> None:
        waiting = [entry for entry in self.entries.values() if entry.ways.get(NO_WAY) is QUEUED]
        assert self.spool.reroute(lambda instance: sorted(ways)) == len(waiting)
        for entry in waiting:
            del entry.ways[NO_WAY]
            self.made -= 1
            for way in ways:
                if entry.ways.get(way, DROPPED) is DROPPED:
                    self.made += way not in entry.ways
                    entry.ways[way] = QUEUED
                    entry.not_before[way] = 0.0
        if waiting:
            self.known |= ways

    @rule()
    def reopen(self) -> None:
        self.spool.close()
        self.out = {way: [] for way in WAYS}
        self.open()

    # -- what holds always -----------------------------------------------------------------------------------------

    @invariant()
    def counts_are_right(self) -> None:
        if not hasattr(self, "spool"):
            return
        counts = self.spool.counts()
        assert counts.adds_up
        assert counts.received == self.received
        assert sum(way.received for way in counts.ways.values()) == self.made
        for state in DeliveryState:
            n = len(self.chosen([], None, {state}))
            assert counts.total(state) == n, state
        assert counts.entries == sum(entry.live for entry in self.entries.values()) == len(held(self.path))
        recount(self.path)


class LogMachine(SpoolMachine):
    """The same, where instances share files: small ones, so that they are used again and again."""

    segment_size = 16 << 10


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestLogMachine = LogMachine.TestCase
TestLogMachine.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
