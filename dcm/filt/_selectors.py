"""Conditions on data sets."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dcm._raw import record_of
from dcm.attrs import Attributes, Value
from dcm.errors import InvalidDicomError, UndecidedError, UsageError
from dcm.filt._compare import check_pattern, keys_of, texts_of, wanted_key
from dcm.filt._filter import Filter, digest
from dcm.filt._paths import ElementPath, parse_path
from dcm.keywords import keyword_of
from dcm.lazyset import LazySet
from dcm.text import safe_text

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["ANSWERS_ONLY", "OPERATORS", "MultiSelector", "Selector", "SingleSelector", "make_reject_filter"]

OPERATORS: Final = ("==", "!=", "<", "<=", ">", ">=", "~=", "in")
# What archives compute for an answer, and no instance has: modalities and SOP classes in a study, alternate
# representations, counts, and where it is kept (PS3.4 tables C.6-1 to C.6-4).
ANSWERS_ONLY: Final = frozenset(
    {
        *(0x00080052, 0x00080054, 0x00080056, 0x00080061, 0x00080062, 0x00083001, 0x00083002, 0x00880130, 0x00880140),
        *(0x00201200, 0x00201202, 0x00201204, 0x00201206, 0x00201208, 0x00201209),
    }
)
# What comes with a data set and is not in it (PS3.7 annex E, PS3.10 section 7.1).
_OUTSIDE: Final = {0x0000: "the command", 0x0002: "the file meta information"}
_ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_POSITION = re.compile(r"(?P<path>.+)\[\s*(?P<position>-?[0-9]{1,4})\s*\]", re.DOTALL)
_NO_VALUE_VRS = frozenset({"SQ", "OB", "OD", "OF", "OL", "OV", "OW"})


class SingleSelector:
    """A condition on one element, compared by its VR.

    Dates are compared as dates, numbers (IS and DS too) as numbers, ages as days, all else as text. Of several values
    one is enough, in a person name one of its representations is.

    Parameters
    ----------
    attr : str, int
        A keyword, a tag or a path (``RequestAttributesSequence[0].StudyInstanceUID``, without a number: one of the
        items is enough). A number behind the last keyword is a value, ``ImageType[2]``, or a component of a name,
        ``PatientName[0]`` for the family name.
    op : str
        ``==``, ``!=`` (not one is equal), ``<``, ``<=``, ``>``, ``>=``, ``~=`` (a regular expression is found in it;
        one that can be searched for in a moment),
        ``in`` (equal to one of a list).
    rvalue : str, number or list of them
        What it is compared with.
    invert : bool, optional
        Whether to select what does not fulfil it.
    reject_missing : bool, optional
        Whether an element that is missing or empty is never selected, whatever the operator and `invert`. Else it is
        equal to '', and neither less nor greater than anything.

    Raises
    ------
    UsageError
        There is no such element or operator, its VR has no such value, or it is not in data sets (TransferSyntaxUID).
    """

    __slots__ = ("_position", "_test", "attr", "invert", "op", "path", "reject_missing", "rvalue")

    def __init__(
        self, attr: str | int, op: str, rvalue: Any = "", invert: bool = False, reject_missing: bool = False
    ) -> None:
        self.attr = attr
        self.op = op
        self.rvalue = rvalue
        self.invert = bool(invert)
        self.reject_missing = bool(reject_missing)
        self.path, self._position = _path_and_position(attr)
        if op not in OPERATORS:
            raise UsageError(f"there is no operator '{safe_text(op, 20)}'", hint=f"there are {' '.join(OPERATORS)}")
        if where := _OUTSIDE.get(self.path.top >> 16):
            raise UsageError(f"{self.path} is of {where}, and in no data set: nothing could be selected by it")
        if self.path.vr[:2] in _NO_VALUE_VRS:  # "OB or OW", too
            raise UsageError(f"{self.path} cannot be compared: its VR is {self.path.vr}")
        self._test = _test_of(str(attr), self.path.vr, op, rvalue)

    @property
    def elems(self) -> LazySet[int]:
        """The elements of the top level that it reads."""
        return LazySet((self.path.top,))

    def __call__(self, ds: Dataset | Attributes) -> bool:
        """Whether it selects a data set, which stays as it is."""
        record = ds if isinstance(ds, Attributes) else record_of(ds, self.elems)
        found = _values_at(record, self.path)
        texts = [text for vr, value in found for text in texts_of(vr, value, self._position)]
        if not any(texts):
            if self.reject_missing:
                return False
            texts = []
        vr = next((vr for vr, _ in found), "") if self.path.vr in ("", "UN") else self.path.vr
        return self._test(vr, texts) is not self.invert

    def decide(self, record: Attributes) -> bool | None:
        """Whether it selects all data sets that a query record stands for; None where the record does not tell."""
        if not _tells(record, self.path):
            return None
        try:
            return self(record)
        except InvalidDicomError:  # it fails for the data too, which says for which of it
            return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SingleSelector) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        values = self.rvalue if self.op == "in" else None
        right = f"[{', '.join(_quoted(one) for one in values)}]" if values is not None else _quoted(self.rvalue)
        text = f"{self.attr} {self.op} {right}"
        return f"{'not ' if self.invert else ''}{text}{' (present)' if self.reject_missing else ''}"

    def __repr__(self) -> str:
        return f"<SingleSelector {safe_text(self)}>"


class MultiSelector:
    """Conditions together.

    Parameters
    ----------
    all_of : sequence of selectors, optional
        All of them have to select it.
    any_of : sequence of selectors, optional
        One of them has to, where there are any.
    none_of : sequence of selectors, optional
        None of them may.

    Raises
    ------
    UsageError
        There is none at all.
    """

    __slots__ = ("all_of", "any_of", "none_of")

    def __init__(
        self,
        all_of: Sequence[Selector] = (),
        any_of: Sequence[Selector] = (),
        none_of: Sequence[Selector] = (),
    ) -> None:
        self.all_of = tuple(all_of)
        self.any_of = tuple(any_of)
        self.none_of = tuple(none_of)
        if not (self.all_of or self.any_of or self.none_of):
            raise UsageError("a selector without a condition")

    @property
    def elems(self) -> LazySet[int]:
        """The elements of the top level that it reads."""
        members = (*self.all_of, *self.any_of, *self.none_of)
        return LazySet(tag for member in members for tag in member.elems)

    def __call__(self, ds: Dataset | Attributes) -> bool:
        """Whether it selects a data set, which stays as it is."""
        record = ds if isinstance(ds, Attributes) else record_of(ds, self.elems)
        return (
            all(member(record) for member in self.all_of)
            and (not self.any_of or any(member(record) for member in self.any_of))
            and not any(member(record) for member in self.none_of)
        )

    def decide(self, record: Attributes) -> bool | None:
        """Whether it selects all data sets that a query record stands for; None where the record does not tell."""
        parts = [member.decide(record) for member in self.all_of]
        parts += [_not(member.decide(record)) for member in self.none_of]
        if self.any_of:
            # One of them: not so that all of them are false.
            parts.append(_not(_all(_not(member.decide(record)) for member in self.any_of)))
        return _all(parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MultiSelector) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self._parts())

    def _parts(self) -> tuple[tuple[Selector, ...], ...]:
        return self.all_of, self.any_of, self.none_of

    def __str__(self) -> str:
        named = zip(("all of", "any of", "none of"), self._parts(), strict=True)
        return " and ".join(f"{name} ({'; '.join(map(str, members))})" for name, members in named if members)

    def __repr__(self) -> str:
        return f"<MultiSelector {safe_text(self)}>"


Selector: TypeAlias = SingleSelector | MultiSelector


def make_reject_filter(selector: Selector, *, name: str = "") -> Filter:
    """Make a filter that rejects what a selector selects, and leaves all else as it is.

    Parameters
    ----------
    selector : SingleSelector or MultiSelector
    name : str, optional
        For messages.

    Returns
    -------
    Filter

    Raises
    ------
    UsageError
        An element that no instance has, because archives make it up for an answer (ModalitiesInStudy).
    """
    made_up = sorted(ANSWERS_ONLY.intersection(selector.elems))
    if made_up:
        raise UsageError(f"{keyword_of(made_up[0])} is in the answers of archives only: no instance would be rejected")
    name = name or f"reject where {selector}"

    def reject(ds: Dataset) -> Dataset | None:
        return None if selector(ds) else ds

    def on_record(record: Attributes) -> Attributes | None:
        selected = selector.decide(record)
        if selected is None:
            missing = sorted(tag for tag in selector.elems if record.get(tag) is None)
            listed = ", ".join(map(keyword_of, missing)) or "more"
            raise UndecidedError(f"{name} depends on {listed}, which the query result does not have")
        return None if selected else record

    fingerprint = digest("reject", str(selector))
    return Filter(reject, selector.elems, (), on_record=on_record, name=name, fingerprint=fingerprint)


def _path_and_position(attr: str | int) -> tuple[ElementPath, int | None]:
    match = _POSITION.fullmatch(attr) if isinstance(attr, str) else None
    if match is None:
        return parse_path(attr), None
    return parse_path(match["path"]), int(match["position"])


def _values_at(record: Attributes, path: ElementPath) -> list[tuple[str, Value]]:
    """The values that are found at a path, with their VRs."""
    records = [record]
    for tag, index in path.steps:
        items = [item for one in records for item in _items(one.get(tag), index)]
        records = items
    return [(one.vr(path.tag), one[path.tag]) for one in records if path.tag in one]


def _tells(record: Attributes, path: ElementPath) -> bool:
    """Whether a query record has a value wherever a path leads: archives leave empty, or out, what they do not know."""
    records = [record]
    for tag, index in path.steps:
        below = [_items(one.get(tag), index) for one in records]
        if not all(below):
            return False
        records = [item for items in below for item in items]
    return all(path.tag in one and any(texts_of(one.vr(path.tag), one[path.tag], None)) for one in records)


def _items(value: Value, index: int | None) -> list[Attributes]:
    items = [item for item in value if isinstance(item, Attributes)] if isinstance(value, tuple) else []
    if index is None:
        return items
    return [items[index]] if -len(items) <= index < len(items) else []


def _test_of(name: str, vr: str, op: str, rvalue: Any) -> Callable[[str, list[str]], bool]:
    """The test of the values of an element, none where it is missing."""
    known = "" if vr in ("UN", "") else vr[:2]
    _check_rvalue(name, known, op, rvalue)
    if op == "~=":
        search = check_pattern(str(rvalue))
        return lambda _vr, texts: any(map(search, texts)) if texts else search("")
    if op == "in":
        tests = [_test_of(name, vr, "==", one) for one in rvalue]
        return lambda vr, texts: any(test(vr, texts) for test in tests)
    if op == "!=":
        equal = _test_of(name, vr, "==", rvalue)
        return lambda vr, texts: not equal(vr, texts)
    if rvalue is None or rvalue == "":
        if op != "==":
            raise UsageError(f"{safe_text(name, 200)} {op} nothing", hint="only == and != compare with an empty value")
        return lambda _vr, texts: not any(texts)
    if known:
        wanted_key(name, known, rvalue)  # to say now what is wrong with it
    compare = _ORDER[op]

    def test(vr: str, texts: list[str]) -> bool:
        kind = vr[:2]
        wanted = wanted_key(name, kind, rvalue)
        return any(compare(key, wanted) for key in keys_of(kind, texts))

    return test


def _check_rvalue(name: str, vr: str, op: str, rvalue: Any) -> None:
    """Refuse what no value could ever be equal to: the condition would be false for all data, and nobody would know."""
    said = f"{safe_text(name, 200)} {op} {safe_text(rvalue, 100)}"
    listed = hasattr(rvalue, "__iter__") and not isinstance(rvalue, (str, bytes))
    if op == "in":
        if not listed or isinstance(rvalue, Mapping):
            raise UsageError(f"{said}: it is no list", hint="write [A, B]")
    elif listed:
        raise UsageError(f"{said}: it is not one value", hint="one of several is: in [A, B]")
    elif isinstance(rvalue, bool):
        raise UsageError(f"{said}: it is neither text nor a number")
    elif op != "~=" and vr == "CS" and "\\" in str(rvalue):
        raise UsageError(f"{said}: values are compared one by one", hint="ImageType[1] is the second of them")


def _quoted(value: Any) -> str:
    text = str(value)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' if isinstance(value, str) else text


def _not(answer: bool | None) -> bool | None:
    return None if answer is None else not answer


def _all(answers: Iterable[bool | None]) -> bool | None:
    """True, False as soon as one is, None where that is not known (Kleene's logic)."""
    listed = list(answers)
    if False in listed:
        return False
    return None if None in listed else True
