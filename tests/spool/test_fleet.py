"""When couriers learn that there is something to deliver: not for each instance, and not too late."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dcm.route import Way
from dcm.spool import Spool
from dcm.spool._fleet import Fleet
from dcm.store.memory import MemoryStore


class Clock:
    """An event loop as far as its clock goes."""

    def __init__(self) -> None:
        self.now = 100.0
        self._timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, func: Callable[[], None]) -> None:
        self._timers.append((self.now + seconds, func))

    def pass_to(self, when: float) -> None:
        while self._timers and min(self._timers)[0] <= when:
            self.now, func = self._timers.pop(self._timers.index(min(self._timers)))
            func()
        self.now = when


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("dcm.spool._fleet.asyncio.get_running_loop", lambda: clock)
    return clock


def fleet_for(way: Way, woken: list[float], clock: Clock, tmp_path: Path, gather: float) -> Fleet:
    fleet = Fleet(Spool(tmp_path), idle=1.0, gather=gather, changed=lambda: None)
    courier = SimpleNamespace(wake=lambda: woken.append(clock.now))
    fleet.lanes[way.key] = cast("Any", SimpleNamespace(courier=courier))
    return fleet


def test_one_instance_waits_for_the_next_and_many_for_the_last(clock: Clock, tmp_path: Path) -> None:
    way = Way(MemoryStore(), None, ())
    woken: list[float] = []
    fleet = fleet_for(way, woken, clock, tmp_path, gather=1.0)
    fleet.wake([way])
    clock.pass_to(150.0)
    assert woken == [101.0]
    for i in range(7):
        clock.pass_to(200.0 + i / 2)
        fleet.wake([way])
    clock.pass_to(250.0)
    assert woken[1:] == [204.0]


def test_what_never_ends_is_delivered_all_the_same(clock: Clock, tmp_path: Path) -> None:
    way = Way(MemoryStore(), None, ())
    woken: list[float] = []
    fleet = fleet_for(way, woken, clock, tmp_path, gather=1.0)
    for i in range(50):
        clock.pass_to(100.0 + i / 2)
        fleet.wake([way])
    assert woken == [110.0, 120.0]
    fleet.wake([])
    clock.pass_to(200.0)
    assert woken[2:] == [125.5]


def test_without_gathering_each_is_told(clock: Clock, tmp_path: Path) -> None:
    way = Way(MemoryStore(), None, ())
    woken: list[float] = []
    fleet = fleet_for(way, woken, clock, tmp_path, gather=0.0)
    for when in (100.0, 101.0):
        clock.pass_to(when)
        fleet.wake([way])
        clock.pass_to(when)
    assert woken == [100.0, 101.0]
