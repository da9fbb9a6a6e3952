"""A process that works with a spool, tells what it was told, and dies at a step: see test_spool_kill.py.

``python -m tests.spool.kill_child SPOOL LOG STEP COUNT HOW``: works until STEP has been reached COUNT times, and kills
itself. HOW is how the spool keeps instances: in ``files`` of their own, or in a ``log``.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from dcm.instance import Instance
from dcm.spool import Admitted, DeliveryState, Settled, Spool
from tests.spool.support import HERE
from tests.store.instances import make

WAYS = ("pacs", "archive")
N = 40
THREADS = 3
SEGMENT = 64 << 10  # four of them are full in the end, had nothing been delivered


def pixels_of(uid: str) -> bytes:
    """The content of an instance, which no other has."""
    return uid.encode() * 200


def route(instance: Instance) -> Sequence[str]:
    return WAYS


class Work:
    """Brings instances in and delivers them, by several threads, until it is killed."""

    def __init__(self, path: Path, log: Path, step: str, count: int, how: str) -> None:
        self.log = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self.step = step
        self.left = count
        self.lock = threading.Lock()
        self.spool = Spool(path, min_free=0, step=self.at, segment_size=0 if how == "files" else SEGMENT)

    def at(self, step: str) -> None:
        if step == self.step:
            with self.lock:
                self.left -= 1
                if not self.left:
                    os.kill(os.getpid(), signal.SIGKILL)

    def say(self, *words: object) -> None:
        """One write each: a killed process leaves whole lines."""
        os.write(self.log, (" ".join(map(str, words)) + "\n").encode())

    def admit(self, thread: int) -> None:
        for i in range(N):
            uid = f"1.{os.getpid()}.{thread}.{i // 2}"  # each one twice
            self.say("sent", uid)
            with make(uid, pixels=pixels_of(uid)) as instance:
                admitted: Admitted = self.spool.admit(instance, HERE, route)
            self.say("acknowledged", uid, admitted.kind.value)

    def deliver(self, way: str, done: threading.Event) -> None:
        while True:
            ending = done.is_set()
            taken = self.spool.take(way, 5, time.time())
            for delivery in taken:
                with self.spool.instance(delivery) as instance:
                    assert pixels_of(delivery.sop_instance_uid) in bytes(instance.read(0, instance.size))
                self.say("delivered", way, delivery.sop_instance_uid)
            self.spool.settle(Settled(delivery.id, DeliveryState.DELIVERED) for delivery in taken)
            if taken:
                self.say("settled", way, *(delivery.sop_instance_uid for delivery in taken))
            elif ending:
                return
            else:
                done.wait(0.002)

    def run(self) -> None:
        with self.spool:
            self.spool.recover(route)
            done = threading.Event()
            senders = [threading.Thread(target=self.admit, args=(i,)) for i in range(THREADS)]
            couriers = [threading.Thread(target=self.deliver, args=(way, done)) for way in WAYS]
            for thread in senders + couriers:
                thread.start()
            for thread in senders:
                thread.join()
            done.set()
            for thread in couriers:
                thread.join()


if __name__ == "__main__":
    Work(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5]).run()
