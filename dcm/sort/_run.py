"""One run of sorting: who looks at what, in which order files get their names, and what is told of it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from dcm._bridge import Bridge
from dcm.sort._look import NOT_REACHED, SORT_TAGS, Looked, Placed, Sorter, ThreadSorter, claim_key
from dcm.sort._report import SortReport, SortState
from dcm.sort._sources import Portion, Sources
from dcm.store import TransferMethod
from dcm.store.local_dir import Conflict, LocalDir

if TYPE_CHECKING:
    from dcm.sort._preview import Preview
    from dcm.sort._worker import SafeSorter

__all__ = ["MAX_JOBS", "Run"]

MAX_JOBS = 4
"""What is asked of a disk at a time, unless the user says otherwise."""

_STATES = {state.value: state for state in SortState}
_FEW = 4  # portions that are not worth the start of other processes
_SOON = 0.03  # seconds
_AT_ONCE = 32 << 20  # bytes that are placed at a time: no more than a moment of copying when it is interrupted


class _Portions:
    """What there is to sort, for whichever thread asks for more of it."""

    def __init__(self, portions: Iterable[Portion]) -> None:
        self._portions = iter(portions)
        self._lock = threading.Lock()
        self._n_taken = 0

    def take(self) -> tuple[int, Portion | None]:
        """The next portion, and which one it is; None where none is left."""
        with self._lock:
            portion = next(self._portions, None)
            self._n_taken += 1
            return self._n_taken - 1, portion


class _Hand:
    """A sorter with the portion that it has looked at last. Where it need not ask anybody, it goes on in its thread."""

    def __init__(self, sorter: Sorter, portions: _Portions) -> None:
        self.sorter = sorter
        self.number = -1
        self.portion: Portion | None = None
        self.looked: list[Looked] = []
        self._portions = portions

    def take(self) -> None:
        """Take a portion, and look at it."""
        self.number, self.portion = self._portions.take()
        if self.portion is not None:
            self.looked = self.sorter.look(self.portion.paths)


class Run:
    """One run.

    Files are looked at in portions, by several sorters at a time; then, portion by portion in the order of the sources,
    they claim their paths. The first that claims a path is placed at once. What claims the path of another waits until
    all those are placed, and comes after it then: the outcome is the same in every run.

    Where a conflict ends the run, files are placed one by one in their order, so that none comes after it.
    """

    def __init__(
        self, dest: LocalDir, method: TransferMethod, report: SortReport, bridge: Bridge, dry_run: bool
    ) -> None:
        self.report = report
        self.stopped = False
        self._dest = dest
        self._method = method
        self._bridge = bridge
        self._one_by_one = dest.conflict is Conflict.FAIL
        self._preview: Preview | None = None
        if dry_run:
            from dcm.sort._preview import Preview

            self._preview = Preview(dest, method, dest.out_fmt.tags | SORT_TAGS)
        self._claimed: set[int] = set()
        self._later: list[tuple[str, bytes]] = []
        # Whose turn it is to claim paths, who has had his before it was, and who waits for it: by numbers of portions,
        # of which each group has its own.
        self._turn = 0
        self._over: set[int] = set()
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._own_names = b""
        self._own: frozenset[bytes] = frozenset()

    async def run(self, sources: Sources, jobs: int | None) -> None:
        """Do all of it: one group of sources after the other, so that the first ones get the names."""
        groups = sources.groups()
        for n, group in enumerate(groups, 1):
            if self.stopped:
                break
            if isinstance(group, str):
                await self._unpack(group)
            else:
                await self._sort(await self._listed(group) if sources.in_place else group, jobs, n == len(groups))

    async def _listed(self, portions: Iterator[Portion]) -> Iterator[Portion]:
        """List all at once: what is moved to its place must not be met there again."""
        self._own_names = os.fsencode(os.path.realpath(self._dest.path)) + b"/"
        listed: list[Portion] = await self._bridge.run(list, portions)
        self.report.expect_in_all(sum(map(len, listed)))
        if self._dest.conflict is Conflict.REPLACE:
            self._own = frozenset(path for portion in listed for path in portion.paths)
        return iter(listed)

    async def _sort(self, portions: Iterator[Portion], jobs: int | None, is_last: bool) -> None:
        """Sort what is no archive; whether nothing comes after it."""
        self._turn = 0
        self._over.clear()
        listing = asyncio.ensure_future(self._bridge.run(_take, portions, _FEW + 1))
        if jobs is None:
            # What takes so long to list is worth other processes, which start in the meantime.
            await asyncio.wait({listing}, timeout=_SOON)
            many = not listing.done() or len(listing.result()) > _FEW
            jobs = min(os.cpu_count() or 1, MAX_JOBS) if many else 1
        self.report.progress.phase("sorting")
        # This process is one of them: it has begun before the others are ready.
        sorters: list[Sorter] = [ThreadSorter(self._dest, self._method)]
        helpers = [asyncio.ensure_future(self._bridge.run(self._new_helper)) for _ in range(jobs - 1)]
        try:
            first = await listing
            if is_last and len(first) <= _FEW:  # these are all; how many there are else, the end of the listing tells
                self.report.expect_in_all(sum(map(len, first)))
            rest = _Portions(chain(first, portions))
            await self._all([self._serve(sorters[0], rest), *[self._help(each, sorters, rest) for each in helpers]])
            await self._place_later(sorters)
        finally:
            await asyncio.wait([listing, *helpers])
            for sorter in [*sorters, *[each.result() for each in helpers if not each.exception()]]:
                await self._bridge.run(sorter.close)

    def _new_helper(self) -> SafeSorter:
        from dcm.sort._worker import SafeSorter

        return SafeSorter(self._dest, self._method)

    async def _help(self, starting: asyncio.Future[SafeSorter], sorters: list[Sorter], portions: _Portions) -> None:
        """Keep a sorter busy that is starting; what it had while it is would keep the others waiting."""
        sorter = await starting
        if await self._bridge.run(sorter.ready):
            sorters.append(sorter)
            await self._serve(sorter, portions)

    async def _all(self, work: Sequence[Coroutine[Any, Any, None]]) -> None:
        """Do it side by side, to the end of each, whatever becomes of the others."""
        for result in await asyncio.gather(*[self._guarded(each) for each in work], return_exceptions=True):
            if result is not None:
                raise result

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except BaseException:
            self.stopped = True
            raise

    # -- files that are the first to claim their path

    async def _serve(self, sorter: Sorter, portions: _Portions) -> None:
        """Keep one sorter busy."""
        hand = _Hand(sorter, portions)
        try:
            if not self.stopped:
                await self._bridge.run(hand.take)
            while hand.portion is not None:
                portion, looked = hand.portion, hand.looked
                hand.portion = None
                chosen = await self._take_turn(hand.number, portion, looked)
                if not self._one_by_one:
                    self._end_turn(hand.number)
                    await self._place(sorter, portion.paths, looked, chosen, hand.take)
                    continue
                await self._place(sorter, portion.paths, looked, chosen)
                self._end_turn(hand.number)
                if not self.stopped:
                    await self._bridge.run(hand.take)
        finally:
            self._end_turn(hand.number)

    async def _take_turn(self, number: int, portion: Portion, looked: Sequence[Looked]) -> list[int]:
        """Let a portion claim its paths, after all before it; the numbers of those files that are to be placed now.

        Its turn ends when it is said so.
        """
        self.report.expect(len(portion))
        if self._turn != number:
            self._waiting[number] = asyncio.get_running_loop().create_future()
            await self._waiting[number]
        n_later = len(self._later)
        chosen = await self._claim(portion.paths, looked)
        for path, state, reason in portion.left_out:
            self._record(path, state, "", reason)
        n_done = len(portion)
        if self._preview is None:
            n_done -= len(chosen) + len(self._later) - n_later
        self.report.progress.advanced(n_done, 0)
        return chosen

    def _end_turn(self, number: int) -> None:
        """Let the next one have its turn, when this one has had it or will not take it; may be said again."""
        if number >= self._turn:
            self._over.add(number)
        while self._turn in self._over:
            self._over.remove(self._turn)
            self._turn += 1
        waiting = self._waiting.pop(self._turn, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    async def _place(
        self,
        sorter: Sorter,
        paths: Sequence[bytes],
        looked: Sequence[Looked],
        chosen: Sequence[int],
        then: Callable[[], None] | None = None,
        *,
        keeps: bool = False,
    ) -> None:
        """Place those that a sorter has just looked at and that were chosen, some at a time; do something then."""
        runs = [*_runs(chosen, [each.size for each in looked])] or [[]]
        for some in runs:
            if self.stopped:
                results = [NOT_REACHED] * len(some)
            else:
                results = await self._bridge.run(_placed_then, sorter, some, keeps, then if some is runs[-1] else None)
            self._note_each([paths[index] for index in some], results, [looked[index].size for index in some])
            self.report.progress.advanced(len(some), sum(looked[index].size for index in some))

    async def _claim(self, paths: Sequence[bytes], looked: Sequence[Looked]) -> list[int]:
        """Sort out which of some files are to be placed now, by their numbers."""
        chosen = []
        conflict = self._dest.conflict
        for index, (path, found) in enumerate(zip(paths, looked, strict=True)):
            if found.state:
                self._record(path, found.state, "", found.text)
            elif self._preview is not None or self._one_by_one:
                chosen.append(index)
            elif (key := claim_key(found.text, conflict)) in self._claimed or (
                self._own and self._has_own(found.text, path)
            ):
                # Once in a lifetime, it is the hash of another path.
                self._later.append((found.text, path))
            else:
                self._claimed.add(key)
                chosen.append(index)
        if self._preview is not None:
            wanted = [(looked[index].text, paths[index]) for index in chosen]
            results: list[Placed | None] = [NOT_REACHED] * len(wanted)
            if not self.stopped:
                claim = self._preview.place_each if self._one_by_one else self._preview.claim
                done = await self._bridge.run(claim, wanted)
                results[: len(done)] = done
            for (target, path), index, result in zip(wanted, chosen, results, strict=True):
                if result is not None:
                    self._note(path, result, looked[index].size)
                else:
                    self._later.append((target, path))
            return []
        return chosen

    def _has_own(self, target: str, path: bytes) -> bool:
        """Whether another file that is to be sorted has the path now: it is no less worth than this one."""
        there = self._own_names + os.fsencode(target)
        return there != path and there in self._own

    # -- those that are not

    async def _place_later(self, sorters: Sequence[Sorter]) -> None:
        """Place those whose path another one has, each after all that come before it."""
        later, self._later = self._later, []
        if self._preview is not None:
            for target, path in later:
                if self.stopped:
                    self._note(path, NOT_REACHED)
                else:
                    keeps = self._has_own(target, path)
                    self._note(path, await self._bridge.run(self._preview.place_file, path, keeps))
            return
        # Those with one path go to one sorter, in their order.
        lists: list[list[bytes]] = [[] for _ in sorters]
        for target, path in later:
            lists[hash(target) % len(sorters)].append(path)
        await self._all([self._place_list(*each) for each in zip(sorters, lists, strict=True)])

    async def _place_list(self, sorter: Sorter, paths: Sequence[bytes]) -> None:
        size = 32
        for start in range(0, len(paths), size):
            some = paths[start : start + size]
            if self.stopped:
                for path in some:
                    self._note(path, NOT_REACHED)
                continue
            looked = await self._bridge.run(sorter.look, some)
            chosen = []
            for index, (path, found) in enumerate(zip(some, looked, strict=True)):
                if found.state:  # it has changed in the meantime
                    self._record(path, found.state, "", found.text)
                else:
                    chosen.append(index)
            await self._place(sorter, some, looked, chosen, keeps=True)

    # -- archives

    async def _unpack(self, archive: str) -> None:
        """Place what is in an archive."""
        self.report.progress.phase(f"unpacking {os.path.basename(archive)}")  # noqa: PTH119
        from dcm.sort._members import MemberSorter  # tarfile and zipfile take a while

        members = MemberSorter(archive, self._dest, self._preview, self._claimed)
        try:
            while not self.stopped:
                step = await self._bridge.run(members.step)
                if not step:
                    return
                self.report.expect(len(step))
                for name, result, n_bytes in step:
                    self._note(os.fsencode(f"{archive}!/{name}" if name else archive), result, n_bytes)
                    self.report.progress.advanced(1, n_bytes)
        finally:
            await self._bridge.run(members.close)

    # -- what is told

    def _note_each(self, paths: Sequence[bytes], results: Sequence[Placed], sizes: Sequence[int]) -> None:
        n_sorted = n_bytes = 0
        for path, result, size in zip(paths, results, sizes, strict=True):
            if result.state == "sorted" and not result.reason and not self.report.keeps_each:
                n_sorted += 1
                n_bytes += size
            else:
                self._note(path, result, size)
        self.report.count_sorted(n_sorted, n_bytes)

    def _note(self, path: bytes, result: Placed, n_bytes: int = 0) -> None:
        state = result.state
        if result.dest:  # may be another name than the one that was claimed
            self._claimed.add(claim_key(result.dest, self._dest.conflict))
        if result.fatal:
            self.stopped = self.report.ended_early = True
        if state == "duplicate" and self._own_names and path == self._own_names + os.fsencode(result.dest):
            state = "sorted"  # it has been at its place before
        self._record(path, state, result.dest, result.reason, n_bytes)

    def _record(self, path: bytes, state: str, dest: str, reason: str, n_bytes: int = 0) -> None:
        self.report.record(path, _STATES[state], dest, reason, n_bytes)


def _take(portions: Iterator[Portion], n: int) -> list[Portion]:
    found = []
    for portion in portions:
        found.append(portion)
        if len(found) == n:
            break
    return found


def _placed_then(sorter: Sorter, chosen: Sequence[int], keeps: bool, then: Callable[[], None] | None) -> list[Placed]:
    results = sorter.place(chosen, keeps) if chosen else []
    if then is not None:
        then()
    return results


def _runs(chosen: Sequence[int], sizes: Sequence[int]) -> Iterator[list[int]]:
    """Some numbers in runs of files that have no more than so many bytes together, or are one."""
    some: list[int] = []
    n_bytes = 0
    for index in chosen:
        if some and n_bytes + sizes[index] > _AT_ONCE:
            yield some
            some, n_bytes = [], 0
        some.append(index)
        n_bytes += sizes[index]
    if some:
        yield some
