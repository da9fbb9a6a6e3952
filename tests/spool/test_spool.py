"""The spool: what arrives, what is delivered, what is remembered."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dcm import _atomic
from dcm.errors import RouteError, SpoolBusyError, SpoolError, UsageError
from dcm.instance import Instance
from dcm.peek import peek_file
from dcm.spool import (
    NO_WAY,
    Arrival,
    Delivery,
    DeliveryState,
    OnConflict,
    Origin,
    Settled,
    Settlement,
    Spool,
    _mending,
)
from tests.spool.support import (
    DELIVERED,
    DROPPED,
    FILTERED,
    HELD,
    HERE,
    QUARANTINED,
    QUEUED,
    Route,
    admit,
    files,
    held,
    recount,
    settle,
    take,
    uids,
)
from tests.store.instances import make, make_in_temp


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def no_route(instance: Instance) -> Sequence[str]:
    raise RouteError("no rule of scanner_rules matches", hint="add one")


# -- arriving ----------------------------------------------------------------------------------------------------------


@pytest.mark.own_files
def test_an_instance_comes_and_goes(path: Path) -> None:
    with Spool(path) as spool:
        instance = make("1.1", pixels=b"x" * 1000)
        admitted = spool.admit(instance, HERE, Route("pacs", "dir:/a", "pacs"))
        assert (admitted.kind, admitted.n_deliveries) == (Arrival.NEW, 2)
        (file,) = files(path)
        assert file.read_bytes() == instance.meta_bytes() + bytes(instance.read(0, instance.size))
        (delivery,) = take(spool, "pacs")
        assert delivery.origin == HERE
        assert (delivery.sop_class_uid, delivery.size) == (instance.sop_class_uid, instance.size)
        with spool.instance(delivery) as again:
            assert bytes(again.read(0, again.size)) == bytes(instance.read(0, instance.size))
            assert again.header.sop_instance_uid == "1.1"
            assert again.source_ae == "SCANNER"
            assert (again.sop_class_uid, again.transfer_syntax_uid) == (
                instance.sop_class_uid,
                instance.transfer_syntax_uid,
            )
        settle(spool, [delivery])
        assert files(path) == [file]
        settle(spool, take(spool, "dir:/a"), FILTERED)
        assert held(path) == []
        counts = spool.counts()
        assert counts.ways["pacs"][DELIVERED] == counts.ways["dir:/a"][FILTERED] == counts.received == 1
        assert (counts.entries, counts.entry_bytes) == (0, 0)
        recount(path)


def test_nobody_else_can_read_it(path: Path) -> None:
    before = os.umask(0)
    try:
        with Spool(path) as spool:
            admit(spool, "1.1", "pacs")
            with make_in_temp(spool.new_temp(), "1.2") as instance:
                spool.admit(instance, HERE, Route("pacs"))
            for entry in [path, *path.rglob("*")]:
                mode = stat.S_IMODE(entry.stat().st_mode)
                assert mode == (0o700 if entry.is_dir() else 0o600), entry
    finally:
        os.umask(before)


@pytest.mark.parametrize("unnamed", [True, False])
def test_what_was_written_while_it_arrived_is_not_written_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, unnamed: bool
) -> None:
    if not unnamed:
        monkeypatch.setattr(_atomic, "_O_TMPFILE", 0)
    with Spool(path) as spool:
        with make_in_temp(spool.new_temp(), "1.1", pixels=b"x" * 100_000) as instance:
            assert instance.temp is not None
            inode = os.fstat(instance.temp.fd).st_ino
            spool.admit(instance, HERE, Route("pacs"))
        (file,) = files(path)
        assert file.stat().st_ino == inode
        assert [each.name for each in (path / "data").iterdir()] == [file.parent.name]
        (delivery,) = take(spool, "pacs")
        with spool.instance(delivery) as again:
            assert again.header.complete
            assert again.size == instance.size


@pytest.mark.own_files
def test_the_order_of_the_steps(path: Path) -> None:
    steps: list[str] = []
    with Spool(path, step=steps.append) as spool:
        admit(spool, "1.1", "pacs")
        assert steps == ["write", "fsync", "link", "dirsync", "journal", "answer"]
        steps.clear()
        settle(spool, take(spool, "pacs"))
        assert steps == ["settle", "unlink"]


@pytest.mark.own_files
def test_the_file_is_synced_before_it_has_a_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def spy(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            is_dir = name == "fsync" and stat.S_ISDIR(os.fstat(args[0]).st_mode)  # type: ignore[arg-type]
            calls.append("fsync of the directory" if is_dir else name)
            return real(*args, **kwargs)

        return call

    with Spool(path) as spool:
        admit(spool, "1.0", "pacs")
        for name in ("fsync", "link", "unlink"):
            monkeypatch.setattr(os, name, spy(name, getattr(os, name)))
        admit(spool, "1.1", "pacs")
        assert calls == ["fsync", "link", "fsync of the directory"]


def test_what_goes_nowhere_is_counted_and_not_kept(path: Path) -> None:
    with Spool(path) as spool:
        admitted = spool.admit(make("1.1"), HERE, Route())
        assert (admitted.entry_id, admitted.n_deliveries) == (0, 0)
        assert held(path) == []
        assert (spool.counts().received, spool.counts().nowhere) == (1, 1)


def test_what_cannot_be_routed_is_kept_and_can_be_routed_later(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Spool(path) as spool:
        admitted = spool.admit(make("1.1"), HERE, no_route)
        assert admitted.n_deliveries == 1
        assert spool.admit(make("1.1"), HERE, no_route).n_deliveries == 0
        assert caplog.messages == ["1.1 goes into quarantine, without a route: no rule of scanner_rules matches"]
        (delivery,) = spool.ls()
        assert (delivery.way, delivery.state) == (NO_WAY, QUARANTINED)
        assert delivery.reason == "no rule of scanner_rules matches"
        assert spool.reroute(Route("pacs")) == 0  # nobody asked for it
        assert spool.retry(ways=[NO_WAY]) == 1
        assert spool.reroute(no_route) == 0
        assert len(caplog.messages) == 2
        assert [each.state for each in spool.ls()] == [QUARANTINED]
        assert spool.retry(ways=[NO_WAY]) == 1
        assert spool.reroute(Route("pacs", "archive")) == 1
        assert [(each.way, each.state) for each in spool.ls()] == [("pacs", QUEUED), ("archive", QUEUED)]
        assert spool.counts().adds_up
        recount(path)


def test_an_error_of_the_route_that_is_none_of_ours_admits_nothing(path: Path) -> None:
    def broken(instance: Instance) -> Sequence[str]:
        raise ZeroDivisionError

    with Spool(path) as spool:
        with pytest.raises(ZeroDivisionError):
            spool.admit(make("1.1"), HERE, broken)
        assert spool.counts().received == 0


# -- the same again ----------------------------------------------------------------------------------------------------


def test_the_same_again_goes_only_where_it_was_not(path: Path) -> None:
    with Spool(path) as spool:
        first = spool.admit(make("1.1"), HERE, Route("pacs"))
        again = spool.admit(make("1.1"), HERE, Route("pacs"))
        assert (again.kind, again.n_deliveries, again.entry_id) == (Arrival.REPEATED, 0, first.entry_id)
        more = spool.admit(make("1.1"), HERE, Route("pacs", "archive"))
        assert (more.kind, more.n_deliveries, more.entry_id) == (Arrival.REPEATED, 1, first.entry_id)
        assert len(held(path)) == 1
        for way in ("pacs", "archive"):
            settle(spool, take(spool, way))
        assert held(path) == []
        late = spool.admit(make("1.1"), HERE, Route("pacs"))
        assert (late.kind, late.n_deliveries, late.entry_id) == (Arrival.REPEATED, 0, 0)
        assert held(path) == []
        elsewhere = spool.admit(make("1.1"), HERE, Route("pacs", "dir:/new"))
        assert (elsewhere.kind, elsewhere.n_deliveries) == (Arrival.REPEATED, 1)
        assert [each.way for each in spool.ls()] == ["dir:/new"]
        counts = spool.counts()
        assert (counts.received, counts.repeated, counts.conflicts) == (5, 4, 0)
        recount(path)


def test_what_is_delivered_is_known_in_another_process(path: Path) -> None:
    with Spool(path) as spool:
        admit(spool, "1.1", "pacs")
        settle(spool, take(spool, "pacs"))
    with Spool(path) as spool:
        spool.recover(no_route)
        assert spool.admit(make("1.1"), HERE, Route("pacs")).kind is Arrival.REPEATED
        assert spool.admit(make("1.1", pixels=b"others"), HERE, Route("pacs")).kind is Arrival.CONFLICT


@pytest.mark.own_files
def test_what_is_remembered_is_forgotten_in_time(path: Path) -> None:
    with Spool(path, remember=0) as spool:
        for i in range(5):
            admit(spool, f"1.{i}", "pacs")
        settle(spool, take(spool, "pacs"))
        assert spool.admit(make("1.1"), HERE, Route("pacs")).kind is Arrival.NEW
        settle(spool, take(spool, "pacs"))
        assert len(list(spool.ls(states=[DELIVERED]))) < 3
        assert spool.counts().ways["pacs"][DELIVERED] == 6


@pytest.mark.own_files
def test_what_came_first_and_was_through_last_keeps_nothing_in_mind(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, monotonic = time.time(), time.monotonic()
    monkeypatch.setattr(time, "time", lambda: now)
    monkeypatch.setattr(time, "monotonic", lambda: monotonic)
    with Spool(path, remember=1000) as spool:
        for i in range(100):
            admit(spool, f"1.{i}", "pacs")
        late = take(spool, "pacs", 80)
        settle(spool, take(spool, "pacs"))
        now += 2000
        settle(spool, late[:60])
        monotonic += 2000
        for one in late[60:]:
            settle(spool, [one])
        assert sorted(uids(list(spool.ls(states=[DELIVERED])))) == sorted(uids(late))


@pytest.mark.parametrize("while_it_is_here", [True, False])
def test_other_bytes_under_one_uid_are_a_conflict(path: Path, while_it_is_here: bool) -> None:
    with Spool(path) as spool:
        admit(spool, "1.1", "pacs")
        if not while_it_is_here:
            settle(spool, take(spool, "pacs"))
        other = spool.admit(make("1.1", pixels=b"others"), HERE, Route("pacs"))
        assert (other.kind, other.n_deliveries) == (Arrival.CONFLICT, 1)
        first = take(spool, "pacs")
        assert len(first) == 1  # never two of one UID at once
        assert spool.next_due("pacs") is None
        settle(spool, first)
        settle(spool, take(spool, "pacs"))
        assert spool.counts().ways["pacs"][DELIVERED] == 2
        assert spool.admit(make("1.1"), HERE, Route("pacs")).kind is Arrival.REPEATED
        assert spool.counts().conflicts == 1
        recount(path)


def test_other_bytes_of_the_same_size_and_of_another_transfer_syntax(path: Path) -> None:
    one = make("1.1", pixels=b"123456")
    data = bytes(one.read(0, one.size))
    other = Instance.from_buffer(one.sop_class_uid, "1.1", "1.2.840.10008.1.2", data)
    with Spool(path) as spool:
        spool.admit(one, HERE, Route("pacs"))
        assert spool.admit(make("1.1", pixels=b"123457"), HERE, Route("pacs")).kind is Arrival.CONFLICT
        assert spool.admit(other, HERE, Route("pacs")).kind is Arrival.CONFLICT
        assert len(held(path)) == 3


def test_a_conflict_can_wait_for_a_human(path: Path) -> None:
    with Spool(path, on_conflict=OnConflict.QUARANTINE) as spool:
        admit(spool, "1.1", "pacs")
        entry = admit(spool, "1.1", "pacs", pixels=b"others")
        (delivery,) = spool.deliveries_of(entry)
        assert (delivery.state, delivery.conflict) == (QUARANTINED, True)
        assert "other bytes" in delivery.reason
        assert spool.retry(uids=["1.1"]) == 1
        settle(spool, take(spool, "pacs"))
        assert uids(take(spool, "pacs")) == ["1.1"]


def test_one_instance_from_eight_threads_at_once(path: Path) -> None:
    together = threading.Barrier(8)
    kinds: list[Arrival] = []

    def bring() -> None:
        together.wait()
        kinds.append(spool.admit(make("1.1"), HERE, Route("pacs")).kind)

    with Spool(path) as spool:
        threads = [threading.Thread(target=bring) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(kind.value for kind in kinds) == ["new", *["repeated"] * 7]
        assert len(held(path)) == 1
        recount(path)


def test_many_threads_share_commits(path: Path) -> None:
    steps: list[str] = []

    def bring(thread: int) -> None:
        for i in range(20):
            admit(spool, f"1.{thread}.{i}", "pacs")

    with Spool(path, step=steps.append) as spool:
        threads = [threading.Thread(target=bring, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert steps.count("answer") == 160
        assert steps.count("journal") < 160
        assert spool.counts().entries == 160
        recount(path)


def test_a_way_that_comes_while_the_last_delivery_is_settled_is_not_lost(path: Path) -> None:
    """The file of an entry goes between the comparison and the commit: the new way gets a file of its own."""
    taken: list[Delivery] = []

    def step(name: str) -> None:
        if name == "journal" and taken:
            settle(spool, [taken.pop()])

    with Spool(path, step=step) as spool:
        admit(spool, "1.1", "pacs")
        taken += take(spool, "pacs")
        again = spool.admit(make("1.1"), HERE, Route("pacs", "archive"))
        assert (again.kind, again.n_deliveries) == (Arrival.REPEATED, 1)
        (delivery,) = take(spool, "archive")
        with spool.instance(delivery) as instance:
            assert instance.header.complete
        recount(path)


# -- delivering --------------------------------------------------------------------------------------------------------


def test_in_order_of_arrival_and_never_twice(path: Path) -> None:
    with Spool(path) as spool:
        for i in range(5):
            admit(spool, f"1.{i}", "pacs")
        first = take(spool, "pacs", 2)
        rest = take(spool, "pacs", 9)
        assert uids(first + rest) == [f"1.{i}" for i in range(5)]
        assert take(spool, "pacs") == []
        assert spool.next_due("pacs") is None
        spool.give_back(first)
        assert spool.next_due("pacs") == 0
        assert uids(take(spool, "pacs")) == ["1.0", "1.1"]
        assert take(spool, "nowhere") == []
        assert spool.next_due("nowhere") is None


def test_what_failed_comes_again_in_its_time(path: Path) -> None:
    with Spool(path) as spool:
        for i in range(3):
            admit(spool, f"1.{i}", "pacs")
        out = take(spool, "pacs", 2)
        spool.settle(
            [Settled(out[0].id, QUEUED, "refused", 0xA700, 1000.0), Settled(out[1].id, QUEUED, "", None, 900.0)]
        )
        assert uids(take(spool, "pacs", now=899.0)) == ["1.2"]
        assert spool.next_due("pacs") == 900.0
        assert uids(take(spool, "pacs", now=950.0)) == ["1.1"]
        assert spool.next_due("pacs") == 1000.0
        (last,) = take(spool, "pacs", now=1000.0)
        assert (last.sop_instance_uid, last.attempts, last.reason, last.status) == ("1.0", 1, "refused", 0xA700)


def test_what_a_clock_has_put_off_that_was_put_back_since(path: Path) -> None:
    with Spool(path) as spool:
        for i in range(3):
            admit(spool, f"1.{i}", "pacs")
        later, sooner, _ = out = take(spool, "pacs")
        year = 365 * 86400.0
        spool.settle([Settled(one.id, QUEUED, "", None, 1000.0 + year) for one in (later, sooner)])
        spool.settle([Settled(out[2].id, QUEUED, "", None, 1100.0)])
        assert uids(take(spool, "pacs", now=1000.0)) == ["1.0", "1.1"]


def test_quarantine_retry_and_drop(path: Path) -> None:
    with Spool(path) as spool:
        for i in range(3):
            admit(spool, f"1.{i}", "pacs:A:104 | abc", "archive")
        settle(spool, take(spool, "pacs:A:104 | abc"), QUARANTINED, "0xA900: data set does not match SOP class")
        settle(spool, take(spool, "archive"))
        assert len(held(path)) == 3
        assert next(spool.ls(states=[QUARANTINED])).reason.startswith("0xA900")
    with Spool(path, exclusive=False) as visitor:
        assert visitor.retry(uids=["1.0"], ways=["pacs:A:104"]) == 1
        assert visitor.retry(uids=["1.0"]) == 0
        assert visitor.drop(uids=["1.1", "1.9"]) == 1
        assert visitor.drop(ways=["pacs"]) == 0  # not the beginning of a name
    with Spool(path) as spool:
        assert spool.recover(no_route).removed == 0
        assert len(held(path)) == 2
        (delivery,) = take(spool, "pacs:A:104 | abc")
        assert (delivery.sop_instance_uid, delivery.attempts, delivery.reason) == ("1.0", 0, "")
        counts = spool.counts()
        assert (counts.total(DROPPED), counts.total(QUARANTINED)) == (1, 1)
        recount(path)
        # What was dropped was not delivered: it goes there if it is sent again, but nowhere else.
        assert [each.way for each in spool.deliveries_of(admit(spool, "1.1", "pacs:A:104 | abc", "archive"))] == [
            "pacs:A:104 | abc"
        ]


def test_what_is_dropped_while_it_is_sent(path: Path) -> None:
    with Spool(path) as spool:
        for i in range(3):
            admit(spool, f"1.{i}", "pacs", "archive")
        out = take(spool, "pacs")
        with Spool(path, exclusive=False) as visitor:
            assert visitor.drop(ways=["pacs"], states=[QUEUED]) == 3
        spool.settle(
            [
                Settled(out[0].id, DELIVERED),
                Settled(out[1].id, QUARANTINED, "refused"),
                Settled(out[2].id, QUEUED, "later", None, 5.0),
            ]
        )
        counts = spool.counts().ways["pacs"]
        assert (counts[DELIVERED], counts[DROPPED]) == (1, 2)
        assert take(spool, "pacs") == []
        recount(path)


def test_what_no_route_has_is_held(path: Path) -> None:
    with Spool(path) as spool:
        admit(spool, "1.1", "pacs", "old")
        spool.hold(["pacs"])
        assert take(spool, "old") == []
        assert spool.next_due("old") is None
        assert spool.counts().ways["old"][HELD] == 1
        assert [(each.way, each.state) for each in spool.ls(states=[HELD])] == [("old", HELD)]
        assert spool.counts().adds_up
        spool.hold(["pacs", "old"])
        assert spool.counts().ways["old"][QUEUED] == 1
        assert uids(take(spool, "old")) == ["1.1"]
        assert spool.ways() == ("old", "pacs")


def test_who_waits_is_told_after_it_is_recorded(path: Path) -> None:
    told: list[Settlement] = []

    def settled(settlements: Sequence[Settlement]) -> None:
        for each in settlements:
            states = {delivery.way: delivery.state for delivery in spool.deliveries_of(each.entry_id)}
            assert states[each.way] is each.state
        told.extend(settlements)

    with Spool(path, on_settled=settled) as spool:
        entry = admit(spool, "1.1", "pacs")
        (delivery,) = take(spool, "pacs")
        spool.settle([Settled(delivery.id, DELIVERED, "with a warning", 0xB000)])
        assert told == [Settlement(delivery.id, entry, "pacs", DELIVERED, "with a warning", 0xB000)]
        assert spool.deliveries_of(entry) == ()


def test_results_that_are_none(path: Path) -> None:
    with Spool(path) as spool:
        entry = admit(spool, "1.1", "pacs")
        (delivery,) = spool.deliveries_of(entry)
        for state in (HELD, DROPPED):
            with pytest.raises(ValueError, match="ends as"):
                spool.settle([Settled(delivery.id, state)])
        spool.settle([Settled(12345, DELIVERED)])
        spool.settle([])
        recount(path)


def test_long_lists(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_mending, "_PAGE", 4)
    with Spool(path) as spool:
        for i in range(11):
            admit(spool, f"1.{i}", "pacs", "archive")
        assert len(list(spool.ls())) == 22
        assert uids(list(spool.ls(ways=["pacs"]))) == [f"1.{i}" for i in range(11)]
        assert uids(list(spool.ls(uids=["1.3", "1.7"], ways=["archive"]))) == ["1.3", "1.7"]
        settle(spool, take(spool, "pacs"), QUARANTINED)
        settle(spool, take(spool, "archive", 6))
        assert spool.retry(ways=["pacs"]) == 11
        assert spool.drop(states=[QUEUED], ways=["pacs"]) == 11
        delivered = list(spool.ls(states=[DELIVERED]))
        assert sorted(uids(delivered)) == [f"1.{i}" for i in range(6)]
        assert {each.way for each in delivered} == {"archive"}
        assert list(spool.ls(states=[DELIVERED], ways=["pacs"])) == []
        assert uids(list(spool.ls(states=[DROPPED], uids=["1.2", "1.9"]))) == ["1.9", "1.2"]  # what is past comes last
        recount(path)


def test_text_that_is_not_unicode(path: Path) -> None:
    key = os.fsdecode(b"dir:/\xff\xfe")
    with Spool(path) as spool:
        spool.admit(make("1.1"), Origin("\udcff", "é", "::1"), Route(key))
        spool.hold([key])
        (delivery,) = take(spool, key)
        spool.settle([Settled(delivery.id, QUARANTINED, f"cannot write {key}")])
        assert len(list(spool.ls(ways=[key]))) == 1


# -- who has it --------------------------------------------------------------------------------------------------------


def test_two_owners_are_refused(path: Path) -> None:
    with Spool(path) as spool:
        with pytest.raises(SpoolBusyError, match=str(os.getpid())) as caught:
            Spool(path).open()
        assert caught.value.pid == os.getpid()
        code = "import sys; from dcm.spool import Spool; Spool(sys.argv[1]).open()"
        child = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=20)
        assert "SpoolBusyError" in child.stderr
        admit(spool, "1.1", "pacs")
    with Spool(path) as spool:
        assert uids(list(spool.ls())) == ["1.1"]


def test_a_visitor_only_looks_and_mends(path: Path) -> None:
    with pytest.raises(SpoolError, match="no spool"):
        Spool(path, exclusive=False).open()
    assert not path.exists()
    with Spool(path) as spool, Spool(path, exclusive=False) as visitor:
        with pytest.raises(ValueError, match="looked into"):
            visitor.admit(make("1.1"), HERE, Route("pacs"))
        with pytest.raises(ValueError, match="looked into"):
            take(visitor, "pacs")
        admit(spool, "1.1", "pacs")
        assert visitor.counts() == spool.counts()
        assert visitor.drop(states=[DeliveryState.QUEUED]) == 1
        assert held(path) == []
        admit(spool, "1.2", "pacs")  # into a directory that a visitor does not take away
        recount(path)


def test_a_spool_that_is_closed(path: Path) -> None:
    spool = Spool(path)
    with pytest.raises(SpoolError, match="closed"):
        spool.counts()
    spool.open()
    with pytest.raises(ValueError, match="open"):
        spool.open()
    spool.close()
    spool.close()
    with pytest.raises(SpoolError, match="closed"):
        admit(spool, "1.1", "pacs")


def test_a_spool_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match=r"file/spool: a file has the name"):
        Spool(tmp_path / "file" / "spool").open()


# -- after a crash -----------------------------------------------------------------------------------------------------


@pytest.mark.own_files
def test_a_file_without_an_entry_is_routed_and_delivered(path: Path) -> None:
    class PowerCutError(BaseException):
        pass

    def step(name: str) -> None:
        if name == "journal":
            raise PowerCutError

    with Spool(path, step=step) as spool:
        # As a crash leaves it: nobody takes the file back.
        spool._intake._take_back = lambda candidate: None  # type: ignore[method-assign]
        with pytest.raises(PowerCutError):
            spool.admit(Instance.from_buffer(*_ids("1.1"), bytes(make("1.1").read(0, 999)), "CT1"), HERE, Route("pacs"))
    (path / "data" / ".dcm-0123456789abcdef.part").write_bytes(b"half")
    (path / "data" / "somebody's").mkdir()
    assert len(held(path)) == 1
    with Spool(path) as spool:
        admit(spool, "1.2", "pacs")  # may come before
        found = spool.recover(Route("archive"))
        assert (found.readmitted, found.removed, found.n_lost, found.unreadable) == (1, 1, 0, 0)
        (delivery,) = take(spool, "archive")
        assert delivery.origin == Origin(calling_ae="CT1")
        with spool.instance(delivery) as instance:
            assert instance.header.complete
        assert spool.admit(make("1.1"), HERE, Route("archive")).kind is Arrival.REPEATED
        assert (path / "data" / "somebody's").exists()
        recount(path)


def _ids(uid: str) -> tuple[str, str, str]:
    instance = make(uid)
    return instance.sop_class_uid, uid, instance.transfer_syntax_uid


@pytest.mark.own_files
def test_files_of_what_is_through_are_removed(path: Path) -> None:
    with Spool(path) as spool:
        for i in range(3):
            admit(spool, f"1.{i}", "pacs")
        kept = {file: file.read_bytes() for file in files(path)}
        settle(spool, take(spool, "pacs"))
    for file, data in kept.items():  # a power cut came before the directory was written
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data)
    with Spool(path) as spool:
        assert spool.recover(no_route).removed == 3
        assert held(path) == []
        assert admit(spool, "2.1", "pacs") > 3


def test_numbers_never_come_again(path: Path) -> None:
    seen: list[int] = []
    for i in range(3):
        with Spool(path, remember=0) as spool:
            spool.recover(no_route)
            seen.append(admit(spool, f"1.{i}", "pacs"))
            settle(spool, take(spool, "pacs"))
    assert seen == sorted(set(seen))


@pytest.mark.own_files
def test_every_file_is_a_dicom_file_by_itself(path: Path) -> None:
    with Spool(path) as spool:
        for i in range(3):
            admit(spool, f"1.{i}", "pacs")
        for i, file in enumerate(files(path)):
            header = peek_file(file)
            assert header.complete
            assert header.sop_instance_uid == f"1.{i}"


@pytest.mark.parametrize("names", [["notes.txt"], ["data", "notes.txt"], [".git", "src"]])
def test_a_directory_of_somebody_is_no_place_for_it(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).mkdir()
    with pytest.raises(UsageError, match="is no spool, and not empty: nothing was made in it"):
        Spool(tmp_path).open()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


@pytest.mark.parametrize("names", [[], ["lost+found", ".snapshot"], ["log", "data"], ["journal.damaged-1.sqlite", "x"]])
def test_a_directory_that_is_empty_or_was_a_spool_is(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).mkdir()
    with Spool(tmp_path) as spool:
        assert spool.counts().entries == 0
