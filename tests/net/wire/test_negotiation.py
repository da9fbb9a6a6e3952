"""What an acceptor answers (PS3.8 section 9.3.3.2), and rejections in words (section 9.3.4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom import build_context
from pynetdicom.presentation import negotiate_as_acceptor

from dcm.net.wire import AssociateReject, Context, ProposedContext, accept_contexts
from tests.net.wire.handmade import CT_IMAGE, EXPLICIT, IMPLICIT, VERIFICATION

SUPPORTED = {CT_IMAGE: frozenset({EXPLICIT, IMPLICIT}), VERIFICATION: frozenset({IMPLICIT})}


def test_the_requestor_chooses_among_what_is_supported() -> None:
    for syntaxes in ((IMPLICIT, EXPLICIT), (EXPLICIT, IMPLICIT), ("1.2.3", EXPLICIT)):
        (answer,) = accept_contexts([ProposedContext(1, CT_IMAGE, syntaxes)], SUPPORTED)
        first = next(syntax for syntax in syntaxes if syntax != "1.2.3")
        assert answer == Context(1, CT_IMAGE, first, 0)


def test_refusals_say_why() -> None:
    """PS3.8 table 9-18: 3 is abstract-syntax-not-supported, 4 is transfer-syntaxes-not-supported."""
    proposed = [
        ProposedContext(1, "1.2.3", (IMPLICIT,)),
        ProposedContext(3, VERIFICATION, (EXPLICIT,)),
        ProposedContext(5, CT_IMAGE, ()),
        ProposedContext(7, "", ()),
    ]
    assert [(answer.id, answer.result) for answer in accept_contexts(proposed, SUPPORTED)] == [
        (1, 3),
        (3, 4),
        (5, 4),
        (7, 3),
    ]


syntaxes = st.lists(st.sampled_from([IMPLICIT, EXPLICIT, "1.2.3"]), min_size=1, max_size=3, unique=True)
classes = st.sampled_from([CT_IMAGE, VERIFICATION, "1.2.3.4"])


@given(st.lists(st.tuples(classes, syntaxes), max_size=10), st.dictionaries(classes, syntaxes, max_size=3))
def test_answers_are_those_of_pynetdicom(wanted: list[tuple[str, list[str]]], supported: dict[str, list[str]]) -> None:
    """What is accepted, and why the rest is not. Of several syntaxes, pynetdicom prefers its own order."""
    proposed = [ProposedContext(2 * i + 1, uid, tuple(s)) for i, (uid, s) in enumerate(wanted)]
    ours = accept_contexts(proposed, {uid: frozenset(s) for uid, s in supported.items()})
    theirs = [build_context(context.abstract_syntax, list(context.transfer_syntaxes)) for context in proposed]
    for context, made in zip(proposed, theirs, strict=True):
        made.context_id = context.id
    answers, _ = negotiate_as_acceptor(theirs, [build_context(uid, s) for uid, s in supported.items()])
    assert {answer.context_id: answer.result for answer in answers} == {answer.id: answer.result for answer in ours}


@pytest.mark.parametrize(
    ("source", "reason", "words"),
    [
        (1, 1, "no reason given"),
        (1, 2, "application context not supported"),
        (1, 3, "calling AE title not recognised"),
        (1, 7, "called AE title not recognised"),
        (2, 1, "no reason given"),
        (2, 2, "protocol version not supported"),
        (3, 1, "temporary congestion"),
        (3, 2, "local limit exceeded"),
        (1, 9, "source 1, reason 9"),
        (0, 0, "source 0, reason 0"),
    ],
)
def test_reason_of_a_rejection_in_words(source: int, reason: int, words: str) -> None:
    """PS3.8 table 9-21."""
    assert AssociateReject(1, source, reason).text == words
