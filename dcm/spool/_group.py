"""Group commit: threads that want to commit at the same moment share one commit."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["GroupCommit"]

_T = TypeVar("_T")


class _Member(Generic[_T]):
    __slots__ = ("bell", "done", "error", "item")

    def __init__(self, item: _T) -> None:
        self.item = item
        self.done = False
        self.error: BaseException | None = None
        self.bell = threading.Lock()
        self.bell.acquire()


class GroupCommit(Generic[_T]):
    """One thread leads: it commits for all that wait, and then wakes one of those that came meanwhile to lead next.

    Parameters
    ----------
    commit : callable
        Takes what is to be committed; all of it is, or, where it raises, nothing.
    """

    def __init__(self, commit: Callable[[list[_T]], None]) -> None:
        self._commit = commit
        self._lock = threading.Lock()
        self._waiting: list[_Member[_T]] = []
        self._led = False

    def submit(self, item: _T) -> None:
        """Return when it is committed.

        Raises
        ------
        Exception
            What `commit` raised; each of those that shared it gets an exception of its own.
        """
        member = _Member(item)
        with self._lock:
            self._waiting.append(member)
            leads = not self._led
            self._led = True
        if not leads:
            member.bell.acquire()  # until it is done, or our turn to lead
        if not member.done:
            self._lead(member)
        elif member.error is not None:
            raise copy.copy(member.error) from member.error

    def _lead(self, leader: _Member[_T]) -> None:
        with self._lock:
            batch, self._waiting = self._waiting, []
        error: BaseException | None = None
        try:
            self._commit([member.item for member in batch])
        except BaseException as exc:
            error = exc
            raise
        finally:
            with self._lock:
                successor = self._waiting[0] if self._waiting else None
                self._led = successor is not None
            for member in batch:
                member.error = error
                member.done = True
                if member is not leader:
                    member.bell.release()
            if successor is not None:
                successor.bell.release()
