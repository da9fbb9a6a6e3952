"""`dcm.lazyset`: checked against ordinary sets of a small universe."""

from __future__ import annotations

import copy
import operator
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcm.lazyset import AllSet, LazySet

UNIVERSE = frozenset(range(8))
OUTSIDE = 99  # stands for all that is never named

sets = st.builds(
    lambda elems, finite: LazySet(elems) if finite else LazySet.all_but(elems),
    st.frozensets(st.sampled_from(sorted(UNIVERSE))),
    st.booleans(),
)


def members(lazy: LazySet[int]) -> set[int]:
    """The members of `lazy` among the universe and one element outside of it."""
    return {elem for elem in UNIVERSE | {OUTSIDE} if elem in lazy}


@given(sets, sets, st.sampled_from([operator.or_, operator.and_, operator.sub, operator.xor]))
def test_operators_agree_with_sets(left: LazySet[int], right: LazySet[int], op: Callable[[Any, Any], Any]) -> None:
    assert members(op(left, right)) == op(members(left), members(right))


@given(sets, sets, st.sampled_from([operator.le, operator.lt, operator.ge, operator.gt, operator.eq]))
def test_comparisons_agree_with_sets(left: LazySet[int], right: LazySet[int], op: Callable[[Any, Any], bool]) -> None:
    assert op(left, right) == op(members(left), members(right))


@given(sets, sets)
def test_disjoint_and_truth(left: LazySet[int], right: LazySet[int]) -> None:
    assert left.isdisjoint(right) == members(left).isdisjoint(members(right))
    assert bool(left) == bool(members(left))


@given(sets)
def test_complement(lazy: LazySet[int]) -> None:
    assert members(~lazy) == (UNIVERSE | {OUTSIDE}) - members(lazy)
    assert ~~lazy == lazy
    assert lazy.complement() == ~lazy != lazy
    assert lazy | ~lazy == AllSet
    assert not lazy & ~lazy


@given(sets, st.frozensets(st.sampled_from(sorted(UNIVERSE))))
def test_ordinary_sets_on_either_side(lazy: LazySet[int], plain: frozenset[int]) -> None:
    for op in (operator.or_, operator.and_, operator.sub, operator.xor):
        assert op(lazy, plain) == op(lazy, LazySet(plain))
        assert op(plain, lazy) == op(LazySet(plain), lazy)
    assert LazySet(plain) == plain
    assert hash(LazySet(plain)) == hash(plain)


@given(sets)
def test_hash_copy_and_pickle(lazy: LazySet[int]) -> None:
    for other in (copy.deepcopy(lazy), pickle.loads(pickle.dumps(lazy))):
        assert other == lazy
        assert hash(other) == hash(lazy)


def test_only_a_finite_set_can_be_enumerated() -> None:
    assert sorted(LazySet([3, 1, 3])) == [1, 3]
    assert len(LazySet("abc")) == 3
    assert LazySet("a").is_finite
    assert not AllSet.is_finite
    assert (AllSet - {1}).excluded == {1}
    with pytest.raises(TypeError, match="cannot be enumerated"):
        iter(AllSet)
    with pytest.raises(TypeError, match="cannot be enumerated"):
        len(AllSet)
    with pytest.raises(TypeError, match="more than can be listed"):
        LazySet().excluded  # noqa: B018


def test_foreign_operands_are_refused() -> None:
    for op in (operator.or_, operator.and_, operator.sub, operator.xor, operator.le, operator.ge):
        with pytest.raises(TypeError):
            op(LazySet(), 1)
    with pytest.raises(TypeError):
        1 - LazySet()  # type: ignore[operator]
    assert LazySet() != 1


def test_repr_reads_as_it_is_written() -> None:
    assert repr(LazySet({2, 1})) == "LazySet({1, 2})"
    assert repr(LazySet()) == "LazySet()"
    assert repr(AllSet) == "AllSet"
    assert repr(AllSet - {"PixelData"}) == "LazySet.all_but({'PixelData'})"
