"""Functions over data sets that say what they read and what they write."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, TypeAlias

from dcm._raw import own_copy
from dcm.attrs import Attributes
from dcm.errors import DcmError, InvalidDicomError, UndecidedError
from dcm.keywords import keyword_of, resolve_keyword
from dcm.lazyset import AllSet, LazySet
from dcm.levels import QueryLevel

if TYPE_CHECKING:
    from pydicom import Dataset

    from dcm.instance import Instance

__all__ = ["Filter", "MultiFilter"]

IDENTITY: Final = frozenset(level.uid_tag for level in QueryLevel)
"""Patient ID, Study, Series and SOP Instance UID: what tells one instance from another."""

Elements: TypeAlias = "LazySet[int] | LazySet[str] | LazySet[int | str] | Iterable[int | str]"


class Filter:
    """A function that makes a data set of a data set, or rejects it, and what is known about it.

    Parameters
    ----------
    func : callable
        Takes a Dataset and returns one, or None to reject it. It is given a copy, which it may change and return.
    read_elems : LazySet or iterable of keywords or tags
        Which elements of the top level the outcome depends on; everything, unless said otherwise. An element that is
        changed only in part, or not always, is read too.
    write_elems : LazySet or iterable of keywords or tags
        Which elements of the top level it may change, add or delete; everything, unless said otherwise.
    invertible_elems : LazySet or iterable of keywords or tags
        Those among the written ones where different values stay different: what came out tells what went in.
    on_record : callable, optional
        The same for a query record: ``on_record(record)`` gives what becomes of the attributes in it, None where the
        filter would reject every data set that it stands for, and raises `UndecidedError` where that depends on more
        than the record holds. Without it, `func` is asked where the record holds all that it reads.
    name : str, optional
        For messages.
    fingerprint : str, optional
        What tells it from other filters, in every process; see `fingerprint`.

    Examples
    --------
    >>> def shorten(ds):
    ...     ds.StudyDescription = ds.StudyDescription[:16]
    ...     return ds
    >>> filt = Filter(shorten, ["StudyDescription"], ["StudyDescription"])
    >>> filt.changes_identity
    False
    """

    __slots__ = ("_fingerprint", "_func", "_on_record", "invertible_elems", "name", "read_elems", "write_elems")

    def __init__(
        self,
        func: Callable[[Dataset], Dataset | None],
        read_elems: Elements = AllSet,
        write_elems: Elements = AllSet,
        invertible_elems: Elements = (),
        *,
        on_record: Callable[[Attributes], Attributes | None] | None = None,
        name: str = "",
        fingerprint: str = "",
    ) -> None:
        self._func = func
        self._on_record = on_record
        self.read_elems: LazySet[int] = tags_of(read_elems)
        self.write_elems: LazySet[int] = tags_of(write_elems)
        self.invertible_elems: LazySet[int] = tags_of(invertible_elems)
        self.name = name or str(getattr(func, "__name__", "filter"))
        self._fingerprint = fingerprint

    @property
    def fingerprint(self) -> str:
        """What it is known by in every process: the same for filters that do the same.

        The edits and settings of an edit filter, the selector of one that rejects, the parts of several, behind one
        another; of any other function the module and the name, so that two closures of one function look the same
        unless they are told apart by the argument `fingerprint`.
        """
        return self._fingerprint or _name_of(self._func)

    @property
    def acts(self) -> tuple[object, ...]:
        """What it is made of: functions that differ may have the same fingerprint, and are told apart by this."""
        return (self._fingerprint or self._func,)

    @property
    def changes_identity(self) -> bool:
        """Whether it may change the Patient ID, or the Study, Series or SOP Instance UID."""
        return bool(self.write_elems & IDENTITY)

    def __call__(self, ds: Dataset) -> Dataset | None:
        """What becomes of a data set, which itself stays as it is.

        Parameters
        ----------
        ds : Dataset

        Returns
        -------
        Dataset or None
            None: it is rejected. `ds` itself, where nothing changes.
        """
        after = self._func(own_copy(ds))
        return ds if after is not None and not self.write_elems else after

    def apply(self, instance: Instance) -> Instance | None:
        """What becomes of an instance.

        Parameters
        ----------
        instance : Instance
            It stays open, and as it is.

        Returns
        -------
        Instance or None
            A new one in memory, in the same transfer syntax; `instance` itself where nothing changes; None where it
            is rejected.

        Raises
        ------
        InvalidDicomError
            Where it is cut short, cannot be decoded, or cannot be encoded again.
        """
        from dcm.instance import Instance

        if instance.header.complete is False:
            raise InvalidDicomError(f"{instance.sop_instance_uid} is not complete: {instance.header.problem}")
        before = instance.dataset
        try:
            after = self(before)
        except DcmError:
            raise
        except Exception as exc:  # of pydicom, as a rule, which decodes an element when it is looked at
            raise InvalidDicomError(f"{self.name} failed for {instance.sop_instance_uid}: {exc}") from exc
        if after is None or after is before:
            return None if after is None else instance
        result = Instance.from_dataset(after)
        result.source_ae = instance.source_ae
        result.path = instance.path
        return result

    def on_record(self, record: Attributes) -> Attributes | None:
        """What becomes of the attributes in a query record, of any level.

        Parameters
        ----------
        record : Attributes
            Of a patient, study, series or instance. Counts (Number of Study Related Instances, ...) stay as they are.

        Returns
        -------
        Attributes or None
            None: everything that the record stands for is rejected.

        Raises
        ------
        UndecidedError
            Where that depends on attributes which the record does not hold.
        """
        if self._on_record is not None:
            return self._on_record(record)
        if not self.read_elems.is_finite:
            raise UndecidedError(f"{self.name} has to see the data itself")
        require(record, self.read_elems, self.name)
        after = self._func(record.to_dataset())
        return None if after is None else Attributes.from_dataset(after)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class MultiFilter(Filter):
    """Several filters, one after the other; the first that rejects ends it.

    Parameters
    ----------
    filters : iterable of Filter
        In their order.

    Attributes
    ----------
    filters : tuple of Filter
    """

    __slots__ = ("filters",)

    def __init__(self, filters: Iterable[Filter]) -> None:
        self.filters = tuple(filters)
        reads: LazySet[int] = LazySet()
        writes: LazySet[int] = LazySet()
        inverts: LazySet[int] = AllSet
        for filt in self.filters:
            # What an earlier one has written is not read from the original.
            reads |= filt.read_elems - writes
            writes |= filt.write_elems
            inverts &= filt.invertible_elems | ~filt.write_elems
        name = " then ".join(filt.name for filt in self.filters) or "no filter"
        super().__init__(self._through, reads, writes, inverts & writes, name=name)

    def __call__(self, ds: Dataset) -> Dataset | None:
        return self._through(ds)  # each of them leaves its argument alone

    def _through(self, ds: Dataset) -> Dataset | None:
        result: Dataset | None = ds
        for filt in self.filters:
            if result is None:
                break
            result = filt(result)
        return result

    @property
    def fingerprint(self) -> str:
        """The fingerprints of its parts, in their order."""
        return " then ".join([filt.fingerprint for filt in self.filters]) or "no filter"

    @property
    def acts(self) -> tuple[object, ...]:
        """What its parts are made of, in their order."""
        return tuple([act for filt in self.filters for act in filt.acts])

    def on_record(self, record: Attributes) -> Attributes | None:
        result: Attributes | None = record
        for filt in self.filters:
            if result is None:
                break
            result = filt.on_record(result)
        return result


def tags_of(elems: Elements) -> LazySet[int]:
    """A set of tags, made of keywords or tags."""
    if isinstance(elems, LazySet):
        members: Iterable[int | str] = elems if elems.is_finite else elems.excluded
        tags = LazySet([_tag(elem) for elem in members])
        return tags if elems.is_finite else ~tags
    return LazySet([_tag(elem) for elem in elems])


def _name_of(func: Callable[..., object]) -> str:
    """Module and qualified name of a function, or of the class of what can be called like one."""
    while isinstance(func, functools.partial):
        func = func.func
    named = func if hasattr(func, "__qualname__") else type(func)
    return f"{named.__module__}.{named.__qualname__}"


def digest(kind: str, parts: object) -> str:
    """A short fingerprint of what can be written as JSON, with a word for people before it."""
    text = json.dumps(parts, sort_keys=True).encode("utf-8", "surrogatepass")
    return f"{kind}-{hashlib.blake2b(text, digest_size=8).hexdigest()}"


def _tag(elem: int | str) -> int:
    return resolve_keyword(elem)[0] if isinstance(elem, str) else int(elem)


def require(record: Attributes, tags: Iterable[int], name: str) -> None:
    """Raise `UndecidedError` unless a record has a value for each of these.

    An archive answers with an empty value what it does not know as well as what is empty: that decides nothing.
    """
    missing = sorted(tag for tag in tags if record.get(tag) is None)
    if missing:
        listed = ", ".join(map(keyword_of, missing[:5]))
        raise UndecidedError(f"{name} depends on {listed}, which the query result does not have")
