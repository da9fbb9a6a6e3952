"""The planner, without any store: random trees, and what carrying the plan out makes of the destinations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcm.attrs import Attributes
from dcm.errors import UndecidedError
from dcm.levels import QueryLevel
from dcm.query import QueryResult
from dcm.sync._plan import Ask, Dest, Plan, Verdict, planning

_N_STUDY_INSTANCES, _N_SERIES_INSTANCES = 0x00201208, 0x00201209
PATIENT, STUDY, SERIES, IMAGE = QueryLevel


class Image(NamedTuple):
    """An instance, as the UIDs on the way to it."""

    patient: str
    study: str
    series: str
    uid: str


def image(patient: int, study: int, series: int, number: int) -> Image:
    """Study 2 of patient 1 is 1.2 in UIDs, and so on."""
    names = [str(patient)]
    for part in (study, series, number):
        names.append(f"{names[-1]}.{part}")
    return Image(*names)


def listing(level: QueryLevel, images: Iterable[Image], *, counts: bool = True) -> QueryResult:
    """What a store that holds some images answers at a level."""
    held = sorted(set(images))
    records = []
    for node in sorted({held_image[: level + 1] for held_image in held}):
        items = [(at.uid_tag, "LO" if at is PATIENT else "UI", uid) for at, uid in zip(QueryLevel, node, strict=False)]
        n_images = sum(held_image[: level + 1] == node for held_image in held)
        if counts and level in (STUDY, SERIES):
            items.append((_N_STUDY_INSTANCES if level is STUDY else _N_SERIES_INSTANCES, "IS", str(n_images)))
        records.append(Attributes.from_items(items))
    return QueryResult(level, records)


class Run(NamedTuple):
    """A plan that was made, with what it asked for."""

    plan: Plan
    asks: list[Ask]


def make_plan(
    source: QueryResult,
    held_by_source: Iterable[Image],
    dests: Sequence[tuple[Dest, Iterable[Image]]],
    *,
    trust_level: QueryLevel = IMAGE,
    force_all: bool = False,
    counts: bool = True,
    answers_of: Callable[[Ask], bool] = lambda ask: True,
) -> Run:
    """Make a plan; its questions are answered from what everybody holds."""
    steps = planning(source, [dest for dest, _ in dests], trust_level=trust_level, force_all=force_all)
    asked: list[Ask] = []
    answers: list[QueryResult | None] | None = None
    while True:
        try:
            asks = steps.send(answers) if answers is not None else next(steps)
        except StopIteration as end:
            return Run(end.value, asked)
        assert asks, "a round without a question"
        asked += asks
        answers = []
        for ask in asks:
            held = held_by_source if ask.who is None else dests[ask.who][1]
            nodes = {path.uids[-1] for path in ask.within.level_paths(ask.within.level)}
            found = [one for one in held if one[ask.within.level] in nodes]
            answers.append(listing(ask.level, found, counts=counts) if answers_of(ask) else None)


def delivered(plan: Plan, held: Iterable[Image], asked_for: QueryResult) -> list[list[Image]]:
    """What each destination gets when the plan is carried out."""
    got: list[list[Image]] = [[] for _ in plan.verdicts]
    for query_res, dests, partial in plan.transfers:
        nodes = {path.uids[-1] for path in query_res.level_paths(query_res.level)}
        for one in held:
            if one[query_res.level] not in nodes:
                continue
            for dest in dests:
                if dest not in partial or plan.verdicts[dest].wanted.has(one):
                    got[dest].append(one)
    return got


images = st.builds(image, *[st.integers(1, 2)] * 3, st.integers(1, 3))
held_sets = st.frozensets(images, max_size=20)


@settings(max_examples=300)
@given(
    held=held_sets,
    dests=st.lists(st.tuples(st.builds(Dest, st.booleans(), st.none(), st.booleans()), held_sets), max_size=3),
    level=st.sampled_from(QueryLevel),
    counts=st.booleans(),
    force=st.booleans(),
    refusals=st.frozensets(st.tuples(st.sampled_from([None, 0, 1, 2]), st.sampled_from(QueryLevel)), max_size=2),
)
def test_carried_out_it_makes_every_destination_complete(
    held: frozenset[Image],
    dests: list[tuple[Dest, frozenset[Image]]],
    level: QueryLevel,
    counts: bool,
    force: bool,
    refusals: frozenset[tuple[int | None, QueryLevel]],
) -> None:
    """Whatever the trees are, and whatever query fails: and nothing goes twice, or where it is known to be."""
    source = listing(level, held, counts=counts)
    plan, asks = make_plan(
        source,
        held,
        dests,
        counts=counts,
        force_all=force,
        answers_of=lambda ask: (ask.who, ask.level) not in refusals,
    )
    for (dest, has), got, verdict in zip(dests, delivered(plan, held, source), plan.verdicts, strict=True):
        assert len(got) == len(set(got)), "an instance goes twice"
        assert has | set(got) >= held
        assert set(got) <= held
        present = {one for one in held if (one.uid, one.series) in verdict.present}
        assert present == held - set(got), "each instance goes or is there"
        assert present <= has
        if dest.comparable and not force and not refusals:
            assert not has & set(got), "what is there does not go"
    shared = [t for t in plan.transfers if not any(dests[d][0].alone for d in t.dests)]
    fetched = [one for t in shared for one in held if one[t.query_res.level] in set(t.query_res.uids())]
    assert len(fetched) == len(set(fetched)), "an instance is fetched once for all"
    if force:
        assert not asks


@given(held=held_sets, has=held_sets, trust=st.sampled_from(QueryLevel), level=st.sampled_from([STUDY, SERIES]))
def test_trust_takes_equal_counts_for_equal_data(
    held: frozenset[Image], has: frozenset[Image], trust: QueryLevel, level: QueryLevel
) -> None:
    source = listing(level, held)
    plan, _ = make_plan(source, held, [(Dest(), has)], trust_level=trust)
    (got,) = delivered(plan, held, source)
    (verdict,) = plan.verdicts
    assert len(held) == len(got) + len(verdict.present) + verdict.n_trusted
    assert not has & set(got)
    for one in held - has - set(got):
        # It is missing and does not go: then some node around it that is trusted has equal counts at both ends.
        around = [at for at in (STUDY, SERIES) if trust <= at >= level]
        assert any(_count(held, one, at) == _count(has, one, at) for at in around)
    if trust is IMAGE:
        assert has | set(got) >= held


def _count(held: Iterable[Image], one: Image, level: QueryLevel) -> int:
    return sum(other[level] == one[level] for other in held)


@settings(max_examples=100)
@given(held=held_sets, left=held_sets, right=held_sets, trust=st.sampled_from(QueryLevel))
def test_trust_and_several_destinations_add_up(
    held: frozenset[Image], left: frozenset[Image], right: frozenset[Image], trust: QueryLevel
) -> None:
    """What is trusted to be at one destination while another misses it comes by anyway, and is counted once."""
    source = listing(STUDY, held)
    plan, _ = make_plan(source, held, [(Dest(), left), (Dest(), right)], trust_level=trust)
    for i, verdict in enumerate(plan.verdicts):
        passing = [
            one
            for t in plan.transfers
            if i in t.dests
            for one in held
            if one[t.query_res.level] in set(t.query_res.uids())
        ]
        known = {uid for uid, _ in verdict.present} | {one.uid for one in passing}
        assert len(known) + verdict.n_trusted == len(held)


def test_a_study_that_is_missing_goes_as_a_whole() -> None:
    """And nobody is asked what is in it."""
    held = {image(1, 1, 1, 1), image(1, 1, 2, 1), image(1, 2, 1, 1), image(1, 2, 1, 2), image(1, 2, 2, 1)}
    has = {image(1, 2, 1, 1), image(1, 2, 2, 1)}
    plan, asks = make_plan(listing(STUDY, held), held, [(Dest(), has)])
    assert [(t.query_res.level, set(t.query_res.uids())) for t in plan.transfers] == [
        (STUDY, {"1.1"}),
        (IMAGE, {"1.2.1.2"}),
    ]
    assert [(ask.who, ask.level, set(ask.within.uids())) for ask in asks] == [
        (0, STUDY, {"1.1", "1.2"}),
        (0, SERIES, {"1.2"}),
        (None, SERIES, {"1.2"}),
        (0, IMAGE, {"1.2.1", "1.2.2"}),
        (None, IMAGE, {"1.2.1", "1.2.2"}),
    ]
    assert plan.verdicts[0].present == [("1.2.1.1", "1.2.1"), ("1.2.2.1", "1.2.2")]


def test_one_retrieval_for_data_that_several_miss() -> None:
    held = {image(1, 1, 1, n) for n in range(5)}
    dests = [(Dest(), set()), (Dest(), {image(1, 1, 1, 0)}), (Dest(), held)]
    plan, _ = make_plan(listing(STUDY, held), held, dests)
    (transfer,) = plan.transfers
    assert transfer.dests == (0, 1)
    assert transfer.partial == {1}
    assert [len(got) for got in delivered(plan, held, transfer.query_res)] == [5, 4, 0]


def test_a_part_of_a_study_is_not_trusted_by_the_counts_of_the_study() -> None:
    """A result at series level names some series; that the destination has as many other instances means nothing."""
    held = {image(1, 1, 1, 1), image(1, 1, 1, 2)}
    has = {image(1, 1, 2, 1), image(1, 1, 2, 2)}
    source = listing(SERIES, held)
    plan, _ = make_plan(source, held, [(Dest(), has)], trust_level=STUDY)
    assert delivered(plan, held, source) == [sorted(held)] or set(delivered(plan, held, source)[0]) == held


def _renamed(one: Image) -> Image:
    return Image("ANON", *(f"9.{uid}" for uid in one[1:]))


def _rename(record: Attributes) -> Attributes:
    items: list[tuple[int, str, str]] = [(PATIENT.uid_tag, "LO", "ANON")]
    items += [
        (at.uid_tag, "UI", f"9.{record.text(at.uid_tag)}") for at in (STUDY, SERIES, IMAGE) if at.uid_tag in record
    ]
    return record.replace(items)


@settings(max_examples=100)
@given(held=held_sets, has=held_sets, level=st.sampled_from([STUDY, SERIES, IMAGE]))
def test_new_uids_are_compared_as_what_they_become(
    held: frozenset[Image], has: frozenset[Image], level: QueryLevel
) -> None:
    source = listing(level, held)
    there = {_renamed(one) for one in has}
    plan, asks = make_plan(source, held, [(Dest(image=_rename), there)])
    (got,) = delivered(plan, held, source)
    assert set(got) == held - has
    assert all(uid.startswith("9.") for ask in asks if ask.who == 0 for uid in ask.within.uids())


def test_what_a_filter_keeps_back() -> None:
    held = {image(1, 1, 1, 1), image(1, 1, 1, 2), image(1, 2, 1, 1)}

    def only_study_two(record: Attributes) -> Attributes | None:
        return record if record.text(STUDY.uid_tag) == "1.2" else None

    by_number, _ = make_plan(listing(STUDY, held), held, [(Dest(image=only_study_two), set())])
    assert by_number.verdicts[0].n_rejected == 2
    by_name, _ = make_plan(listing(IMAGE, held), held, [(Dest(image=only_study_two), {image(1, 1, 1, 1)})])
    for plan in (by_number, by_name):
        assert delivered(plan, held, listing(STUDY, held)) == [[image(1, 2, 1, 1)]]


def test_a_filter_that_must_see_the_data_gets_all_of_it() -> None:
    held = {image(1, 1, 1, 1), image(1, 2, 1, 1)}

    def undecided(record: Attributes) -> Attributes | None:
        raise UndecidedError("it depends")

    source = listing(STUDY, held)
    plan, asks = make_plan(source, held, [(Dest(image=undecided), held)])
    assert not asks
    assert set(delivered(plan, held, source)[0]) == held


@pytest.mark.parametrize("level", QueryLevel)
def test_nothing(level: QueryLevel) -> None:
    plan, asks = make_plan(listing(level, ()), (), [(Dest(), {image(1, 1, 1, 1)})])
    assert plan == Plan([], [Verdict(wanted=plan.verdicts[0].wanted)])
    assert not asks
