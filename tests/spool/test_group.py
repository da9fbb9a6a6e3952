"""Group commit: what is submitted at the same moment is committed together, and each one learns what became of it."""

from __future__ import annotations

import threading

import pytest

from dcm.errors import SpoolFullError
from dcm.spool._group import GroupCommit


def in_threads(n: int, group: GroupCommit[int]) -> dict[int, BaseException | None]:
    """Submit numbers, each in a thread of its own."""
    results: dict[int, BaseException | None] = {}

    def submit(i: int) -> None:
        try:
            group.submit(i)
            results[i] = None
        except (SpoolFullError, ZeroDivisionError) as error:
            results[i] = error

    threads = [threading.Thread(target=submit, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    return results


def test_those_that_come_meanwhile_are_committed_together() -> None:
    batches: list[list[int]] = []
    first = threading.Event()

    def commit(batch: list[int]) -> None:
        batches.append(batch)
        if len(batches) == 1:
            assert first.wait(20)

    group: GroupCommit[int] = GroupCommit(commit)
    leader = threading.Thread(target=group.submit, args=(99,))
    leader.start()
    others: list[threading.Thread] = []
    for i in range(5):
        others.append(threading.Thread(target=group.submit, args=(i,)))
        others[-1].start()
    while len(group._waiting) < 5:
        pass
    first.set()
    for thread in [leader, *others]:
        thread.join(20)
        assert not thread.is_alive()
    assert batches[0] == [99]
    assert sorted(batches[1]) == [0, 1, 2, 3, 4]
    assert len(batches) == 2
    group.submit(7)
    assert batches[-1] == [7]


def test_an_error_is_that_of_all_who_shared_it_and_of_nobody_else() -> None:
    def commit(batch: list[int]) -> None:
        if 3 in batch:
            raise SpoolFullError("the spool is full", hint="make room")

    for _ in range(20):
        results = in_threads(8, GroupCommit(commit))
        errors = [error for error in results.values() if error is not None]
        assert isinstance(results[3], SpoolFullError)
        assert results[3].hint == "make room"
        assert len({id(error) for error in errors}) == len(errors)


def test_everything_is_committed_once() -> None:
    done: list[int] = []
    group: GroupCommit[int] = GroupCommit(done.extend)
    for _ in range(20):
        in_threads(16, group)
    assert sorted(done) == sorted(list(range(16)) * 20)


def test_a_leader_that_fails_leaves_the_way_free() -> None:
    def commit(batch: list[int]) -> None:
        raise ZeroDivisionError

    group: GroupCommit[int] = GroupCommit(commit)
    for i in range(3):
        with pytest.raises(ZeroDivisionError):
            group.submit(i)
