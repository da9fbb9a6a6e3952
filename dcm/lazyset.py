"""Sets of elements that may be "all but these".

A filter says which elements it reads, writes and can invert. Some name a handful of them, others touch everything,
or everything except a few, and no program wants to enumerate the whole DICOM dictionary, private elements included,
to say so. `LazySet` keeps either the members or the exceptions, and closes under the usual set operators::

    >>> from dcm.lazyset import AllSet, LazySet
    >>> reads = LazySet({"PatientID", "StudyDate"})
    >>> writes = AllSet - {"PixelData"}
    >>> reads & writes == {"PatientID", "StudyDate"}
    True
    >>> "PixelData" in ~writes
    True
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any, Final, Generic, TypeVar

__all__ = ["AllSet", "LazySet"]

T = TypeVar("T")


class LazySet(Generic[T]):
    """An immutable, hashable set that holds either its members or what is missing from it.

    Parameters
    ----------
    elems : iterable, optional
        The members. `LazySet.all_but` makes the other kind.

    Notes
    -----
    The operators ``| & - ^``, ``<= < >= >`` and ``==`` take another `LazySet` or any ordinary set on either side.
    Only a finite set can be iterated and has a length; `is_finite` tells. Truth means "not empty" for both kinds.
    """

    __slots__ = ("_elems", "_finite")

    _elems: frozenset[T]
    _finite: bool

    def __init__(self, elems: Iterable[T] = ()) -> None:
        self._elems = frozenset(elems)
        self._finite = True

    @classmethod
    def all_but(cls, elems: Iterable[T] = ()) -> LazySet[T]:
        """Everything except `elems`."""
        return cls._make(frozenset(elems), False)

    @classmethod
    def _make(cls, elems: frozenset[T], finite: bool) -> LazySet[T]:
        res = cls.__new__(cls)
        res._elems = elems
        res._finite = finite
        return res

    @property
    def is_finite(self) -> bool:
        """True where the members are known one by one."""
        return self._finite

    @property
    def excluded(self) -> frozenset[T]:
        """What an "all but these" set leaves out.

        Raises
        ------
        TypeError
            For a finite set, which leaves out more than can be listed.
        """
        if self._finite:
            raise TypeError("a finite LazySet leaves out more than can be listed; see is_finite")
        return self._elems

    def complement(self) -> LazySet[T]:
        """Everything that is not in this set; ``~`` does the same."""
        return self._make(self._elems, not self._finite)

    __invert__ = complement

    def isdisjoint(self, other: LazySet[T] | AbstractSet[T]) -> bool:
        """True where the two have nothing in common; two "all but" sets always have."""
        return not self & other

    def __contains__(self, elem: object) -> bool:
        return (elem in self._elems) is self._finite

    def __iter__(self) -> Iterator[T]:
        return iter(self._members())

    def __len__(self) -> int:
        return len(self._members())

    def __bool__(self) -> bool:
        return not self._finite or bool(self._elems)

    def _members(self) -> frozenset[T]:
        if not self._finite:
            raise TypeError("an 'all but' LazySet cannot be enumerated; see is_finite and excluded")
        return self._elems

    def __and__(self, other: LazySet[T] | AbstractSet[T]) -> LazySet[T]:
        right = _lazy(other)
        if right is None:
            return NotImplemented
        if self._finite:
            return self._make(self._elems & right._elems if right._finite else self._elems - right._elems, True)
        if right._finite:
            return self._make(right._elems - self._elems, True)
        return self._make(self._elems | right._elems, False)

    __rand__ = __and__

    def __or__(self, other: LazySet[T] | AbstractSet[T]) -> LazySet[T]:
        right = _lazy(other)
        if right is None:
            return NotImplemented
        return ~(~self & ~right)

    __ror__ = __or__

    def __sub__(self, other: LazySet[T] | AbstractSet[T]) -> LazySet[T]:
        right = _lazy(other)
        if right is None:
            return NotImplemented
        return self & ~right

    def __rsub__(self, other: AbstractSet[T]) -> LazySet[T]:
        left = _lazy(other)
        if left is None:
            return NotImplemented
        return left & ~self

    def __xor__(self, other: LazySet[T] | AbstractSet[T]) -> LazySet[T]:
        right = _lazy(other)
        if right is None:
            return NotImplemented
        # What differs between two sets of members, or of exceptions, is finite; between one of each it is not.
        return self._make(self._elems ^ right._elems, self._finite is right._finite)

    __rxor__ = __xor__

    def __le__(self, other: LazySet[T] | AbstractSet[T]) -> bool:
        right = _lazy(other)
        if right is None:
            return NotImplemented
        return not self - right

    def __ge__(self, other: LazySet[T] | AbstractSet[T]) -> bool:
        right = _lazy(other)
        if right is None:
            return NotImplemented
        return not right - self

    def __lt__(self, other: LazySet[T] | AbstractSet[T]) -> bool:
        return self != other and self <= other

    def __gt__(self, other: LazySet[T] | AbstractSet[T]) -> bool:
        return self != other and self >= other

    def __eq__(self, other: object) -> bool:
        right = _lazy(other)
        if right is None:
            return NotImplemented
        return self._finite is right._finite and self._elems == right._elems

    def __hash__(self) -> int:
        # A finite one equals the frozenset of its members and so has to hash like it.
        return hash(self._elems) if self._finite else hash((False, self._elems))

    def __repr__(self) -> str:
        elems = "{" + ", ".join(sorted(map(repr, self._elems))) + "}" if self._elems else ""
        if self._finite:
            return f"LazySet({elems})"
        return f"LazySet.all_but({elems})" if elems else "AllSet"


def _lazy(value: object) -> LazySet[Any] | None:
    if isinstance(value, LazySet):
        return value
    return LazySet(value) if isinstance(value, AbstractSet) else None


AllSet: Final[LazySet[Any]] = LazySet.all_but()
"""The set of everything."""
