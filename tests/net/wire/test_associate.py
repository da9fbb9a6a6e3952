"""A-ASSOCIATE PDUs, held against pynetdicom, DCMTK's own bytes and the standard (PS3.8 section 9.3.2 to 9.3.4)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID
from pynetdicom import build_context, build_role
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import PresentationContext, negotiate_as_acceptor, negotiate_as_requestor

from dcm.net.wire import (
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    Context,
    Limits,
    ProposedContext,
    accept_contexts,
)
from dcm.net.wire.associate import (
    FIXED_SIZE,
    NegotiationError,
    UnacceptableError,
    decode_accept,
    decode_reject,
    decode_request,
    encode_accept,
    encode_reject,
    encode_request,
)
from dcm.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from tests.net.wire import captures
from tests.net.wire.handmade import (
    ACCEPT,
    ASSOCIATE_AC,
    ASSOCIATE_RQ,
    CT_IMAGE,
    EXPLICIT,
    IMPLICIT,
    REQUEST,
    VERIFICATION,
    associate,
    associate_ac,
    associate_rq,
    context_ac,
    context_rq,
    item,
    role,
    user_information,
)

LIMITS = Limits()
FULL = AssociateRequest(
    "CALLING",
    "A TITLE OF 16 CH",
    (ProposedContext(1, VERIFICATION, (IMPLICIT,)), ProposedContext(255, CT_IMAGE, (EXPLICIT, IMPLICIT))),
    roles={CT_IMAGE: (False, True), VERIFICATION: (True, True)},
    max_pdu=262144,
    extended={CT_IMAGE: b"\1\2\3"},
)


# -- with pynetdicom ---------------------------------------------------------------------------------------------------


def test_request_is_read_by_pynetdicom() -> None:
    decoded = A_ASSOCIATE_RQ()
    decoded.decode(encode_request(FULL))
    primitive = decoded.to_primitive()
    assert (primitive.calling_ae_title, primitive.called_ae_title) == ("CALLING", "A TITLE OF 16 CH")
    assert primitive.application_context_name == "1.2.840.10008.3.1.1.1"
    contexts = primitive.presentation_context_definition_list
    assert [(c.context_id, c.abstract_syntax, tuple(c.transfer_syntax)) for c in contexts] == [
        (c.id, c.abstract_syntax, c.transfer_syntaxes) for c in FULL.contexts
    ]
    assert decoded.user_information is not None
    assert decoded.user_information.maximum_length == 262144
    assert decoded.user_information.implementation_class_uid == IMPLEMENTATION_CLASS_UID
    assert decoded.user_information.implementation_version_name == IMPLEMENTATION_VERSION_NAME
    roles = decoded.user_information.role_selection
    assert {uid: (bool(r.scu_role), bool(r.scp_role)) for uid, r in roles.items()} == FULL.roles
    extended = decoded.user_information.ext_neg
    assert [(e.sop_class_uid, e.app_info) for e in extended] == [(CT_IMAGE, b"\1\2\3")]
    # The same PDU in all its fields, when pynetdicom writes it again.
    assert decoded.encode() == encode_request(FULL)


def test_accept_is_read_by_pynetdicom() -> None:
    accept = AssociateAccept(
        (Context(1, VERIFICATION, IMPLICIT), Context(255, CT_IMAGE, "", 4)), {CT_IMAGE: (False, True)}, 16384
    )
    decoded = A_ASSOCIATE_AC()
    decoded.decode(encode_accept(accept, encode_request(FULL)))
    primitive = decoded.to_primitive()
    contexts = primitive.presentation_context_definition_results_list
    assert [(c.context_id, c.result) for c in contexts] == [(1, 0), (255, 4)]
    assert contexts[0].transfer_syntax == [IMPLICIT]
    # Some syntax must be there, which nobody reads (PS3.8 table 9-18).
    assert contexts[1].transfer_syntax == [IMPLICIT]
    assert decoded.user_information is not None
    assert decoded.user_information.maximum_length == 16384
    assert decoded.user_information.role_selection[UID(CT_IMAGE)].scp_role


@pytest.mark.parametrize("reject", [AssociateReject(1, 1, 7), AssociateReject(2, 3, 2), AssociateReject(1, 2, 2)])
def test_reject_is_read_by_pynetdicom(reject: AssociateReject) -> None:
    decoded = A_ASSOCIATE_RJ()
    decoded.decode(encode_reject(reject))
    assert (decoded.result, decoded.source, decoded.reason_diagnostic) == (reject.result, reject.source, reject.reason)
    assert decode_reject(encode_reject(reject)) == reject
    # pynetdicom knows the words for source 3, which it numbers as the standard does.
    assert decoded.result_str
    assert reject.text


def _primitive(items: Iterable[Any] = ()) -> A_ASSOCIATE:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title = "PYNETDICOM"
    primitive.called_ae_title = "ANY-SCP"
    maximum = MaximumLengthNotification()
    maximum.maximum_length_received = 16382
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = "1.2.826.0.1.3680043.9.3811"
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = "PYNETDICOM_304"
    primitive.user_information = [maximum, implementation, version, *items]
    return primitive


def _answered(context_id: int, result: int) -> PresentationContext:
    context = PresentationContext()
    context.context_id = context_id
    context.transfer_syntax = [IMPLICIT]
    context.result = result
    return context


def test_request_of_pynetdicom_is_read() -> None:
    """With everything that it can negotiate: what we do not use is skipped (PS3.7 annex D.3.3)."""
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid = CT_IMAGE
    extended.service_class_application_information = b"\2\0\3"
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = 5
    common = SOPClassCommonExtendedNegotiation()
    common.sop_class_uid = CT_IMAGE
    common.service_class_uid = "1.2.840.10008.4.2"
    identity = UserIdentityNegotiation()
    identity.user_identity_type = 2
    identity.primary_field = b"user"
    identity.secondary_field = b"password"
    primitive = _primitive([extended, window, common, identity, build_role(CT_IMAGE, scu_role=True, scp_role=True)])
    contexts = [build_context(VERIFICATION, IMPLICIT), build_context(CT_IMAGE, [EXPLICIT, IMPLICIT])]
    contexts[0].context_id, contexts[1].context_id = 3, 11
    primitive.presentation_context_definition_list = contexts
    assert decode_request(A_ASSOCIATE_RQ(primitive).encode(), LIMITS) == AssociateRequest(
        "PYNETDICOM",
        "ANY-SCP",
        (ProposedContext(3, VERIFICATION, (IMPLICIT,)), ProposedContext(11, CT_IMAGE, (EXPLICIT, IMPLICIT))),
        {CT_IMAGE: (True, True)},
        16382,
        {CT_IMAGE: b"\2\0\3"},
        "1.2.826.0.1.3680043.9.3811",
        "PYNETDICOM_304",
    )


def test_accept_of_pynetdicom_is_read() -> None:
    primitive = _primitive()
    primitive.result = 0
    primitive.result_source = 1
    primitive.presentation_context_definition_results_list = [_answered(1, 0), _answered(3, 3)]
    accept = decode_accept(A_ASSOCIATE_AC(primitive).encode(), LIMITS, REQUEST)
    assert accept.contexts == (Context(1, CT_IMAGE, IMPLICIT), Context(3, CT_IMAGE, "", 3))
    assert accept.max_pdu == 16382


def test_what_pynetdicom_negotiates_is_what_we_read() -> None:
    """Its acceptor answers our request: refused, and accepted with the one syntax that it supports."""
    decoded = A_ASSOCIATE_RQ()
    decoded.decode(encode_request(FULL))
    proposed = decoded.to_primitive().presentation_context_definition_list
    primitive = _primitive()
    primitive.result = 0
    primitive.result_source = 1
    answers, _ = negotiate_as_acceptor(proposed, [build_context(CT_IMAGE, EXPLICIT)])
    primitive.presentation_context_definition_results_list = answers
    accept = decode_accept(A_ASSOCIATE_AC(primitive).encode(), LIMITS, FULL)
    results = {context.id: (context.result, context.transfer_syntax) for context in accept.contexts}
    assert results == {1: (3, ""), 255: (0, EXPLICIT)}


def test_what_we_answer_is_what_pynetdicom_negotiates() -> None:
    """Its requestor reads our answer to its request."""
    wanted = [build_context(CT_IMAGE, [EXPLICIT, IMPLICIT]), build_context(VERIFICATION, IMPLICIT)]
    wanted[0].context_id, wanted[1].context_id = 1, 3
    primitive = _primitive()
    primitive.presentation_context_definition_list = wanted
    request_pdu = A_ASSOCIATE_RQ(primitive).encode()
    request = decode_request(request_pdu, LIMITS)
    accept = AssociateAccept(accept_contexts(request.contexts, {CT_IMAGE: frozenset({IMPLICIT})}), max_pdu=16384)
    decoded = A_ASSOCIATE_AC()
    decoded.decode(encode_accept(accept, request_pdu))
    answers = decoded.to_primitive().presentation_context_definition_results_list
    negotiated = {context.context_id: context for context in negotiate_as_requestor(wanted, answers)}
    assert negotiated[1].result == 0
    assert negotiated[1].transfer_syntax == [IMPLICIT]
    assert negotiated[3].result == 3


# -- with DCMTK and Orthanc --------------------------------------------------------------------------------------------

OFFIS = ("1.2.276.0.7230010.3.0.3.6.7", "OFFIS_DCMTK_367")
SC_IMAGE = "1.2.840.10008.5.1.4.1.1.7"
BIG_ENDIAN = "1.2.840.10008.1.2.2"


def test_request_of_echoscu() -> None:
    assert decode_request(captures.ECHO[0][1], LIMITS) == AssociateRequest(
        "ME", "STORESCP", (ProposedContext(1, VERIFICATION, (IMPLICIT,)),), {}, 16384, {}, *OFFIS
    )


def test_request_of_storescu() -> None:
    assert decode_request(captures.STORE_ORTHANC[0][1], LIMITS) == AssociateRequest(
        "STORESCU",
        "ORTHANC",
        (ProposedContext(1, SC_IMAGE, (EXPLICIT,)), ProposedContext(3, SC_IMAGE, (BIG_ENDIAN, IMPLICIT))),
        {},
        4096,
        {},
        *OFFIS,
    )


def test_request_of_getscu() -> None:
    request = decode_request(captures.GET[0][1], LIMITS)
    assert len(request.contexts) == 121
    assert len(request.roles) == 120
    assert set(request.roles.values()) == {(False, True)}


def test_answer_of_storescp_and_orthanc() -> None:
    for conversation, second in ((captures.STORE, BIG_ENDIAN), (captures.STORE_ORTHANC, IMPLICIT)):
        request = decode_request(conversation[0][1], LIMITS)
        assert decode_accept(conversation[1][1], LIMITS, request) == AssociateAccept(
            (Context(1, SC_IMAGE, EXPLICIT), Context(3, SC_IMAGE, second)), {}, 16384, {}, *OFFIS
        )


def test_answer_of_dcmqrscp_comes_in_an_order_of_its_own() -> None:
    request = decode_request(captures.GET[0][1], LIMITS)
    accept = decode_accept(captures.GET[1][1], LIMITS, request)
    assert accept.contexts[0].id == 3
    assert {context.id: context.abstract_syntax for context in accept.contexts} == {
        context.id: context.abstract_syntax for context in request.contexts
    }
    assert {context.result for context in accept.contexts} == {0}
    assert accept.roles == request.roles


def test_our_bytes_are_those_of_dcmtk_where_the_standard_leaves_no_choice() -> None:
    """PS3.8 table 9-13 has no value for a reserved byte in which DCMTK puts FF, and "shall not be tested"."""
    for said in (captures.ECHO, captures.STORE, captures.FIND, captures.MOVE_REFUSED):
        theirs = said[0][1]
        ours = encode_request(decode_request(theirs, LIMITS))
        assert len(ours) == len(theirs)
        differences = [(theirs[i], ours[i]) for i in range(len(ours)) if ours[i] != theirs[i]]
        assert set(differences) == {(0xFF, 0)}
        request = decode_request(theirs, LIMITS)
        assert encode_accept(decode_accept(said[1][1], LIMITS, request), theirs) == said[1][1]


def test_reject_of_dcmqrscp() -> None:
    reject = decode_reject(captures.REJECTED[1][1])
    assert reject == AssociateReject(1, 1, 7)
    assert reject.text == "called AE title not recognised"


# -- ours to ours ------------------------------------------------------------------------------------------------------

uids = st.sampled_from([CT_IMAGE, VERIFICATION, IMPLICIT, EXPLICIT, "1.2.3", "9", "2.25." + "1" * 59])
titles = st.sampled_from(["A", "SIXTEEN LETTERS_", "a.b-c", "0"])
contexts = st.dictionaries(
    st.sampled_from(range(1, 256, 2)), st.tuples(uids, st.lists(uids, max_size=4)), max_size=8
).map(lambda proposed: tuple(ProposedContext(i, uid, tuple(s)) for i, (uid, s) in proposed.items()))
said = {
    "roles": st.dictionaries(uids, st.tuples(st.booleans(), st.booleans()), max_size=5),
    "max_pdu": st.integers(0, 0xFFFFFFFF),
    "extended": st.dictionaries(uids, st.binary(max_size=50), max_size=3),
    "implementation_class_uid": uids,
    "implementation_version": st.just("") | titles,
}
requests = st.builds(AssociateRequest, titles, titles, contexts, **said)


@given(requests)
def test_requests_come_out_as_they_went_in(request: AssociateRequest) -> None:
    encoded = encode_request(request)
    assert struct.unpack_from(">BxI", encoded) == (ASSOCIATE_RQ, len(encoded) - 6)
    assert decode_request(encoded, LIMITS) == request


@given(requests, st.data())
def test_accepts_come_out_as_they_went_in(request: AssociateRequest, data: st.DataObject) -> None:
    answers = []
    for proposed in data.draw(st.permutations(request.contexts)):
        result = data.draw(st.integers(0, 4)) if proposed.transfer_syntaxes else 4
        syntax = data.draw(st.sampled_from(proposed.transfer_syntaxes)) if result == 0 else ""
        answers.append(Context(proposed.id, proposed.abstract_syntax, syntax, result))
    accept = AssociateAccept(tuple(answers), request.roles, 65536, request.extended)
    assert decode_accept(encode_accept(accept, encode_request(request)), LIMITS, request) == accept


def test_titles_and_reserved_bytes_come_back_to_the_requestor_as_it_sent_them() -> None:
    """PS3.8 table 9-17: "shall be sent with a value identical to the value received"."""
    pdu = associate(ASSOCIATE_RQ, called=b" \0odd\xff".ljust(16, b"\0"), calling=bytes(16), reserved=b"R" * 32)
    assert encode_accept(ACCEPT, pdu)[10:FIXED_SIZE] == pdu[10:FIXED_SIZE]


def test_sub_items_are_in_the_order_of_their_types() -> None:
    """PS3.8 section 9.3.1: "items shall appear in an increasing order of their item types"."""
    decoded = A_ASSOCIATE_RQ()
    decoded.decode(encode_request(FULL))
    assert decoded.user_information is not None
    kinds = [sub.item_type for sub in decoded.user_information.user_data]
    assert kinds == sorted(kinds)
    assert len(set(kinds)) == 5


def test_version_name_is_cut_to_what_it_may_hold() -> None:
    """PS3.7 table D.3-3: 1 to 16 characters; without any, there is no such item."""
    for name, said in (("A" * 20, "A" * 16), ("", "")):
        request = AssociateRequest("A", "B", (), implementation_version=name)
        assert decode_request(encode_request(request), LIMITS).implementation_version == said


def test_titles_that_do_not_fit_are_our_mistake() -> None:
    with pytest.raises(ValueError, match="longer than 16"):
        encode_request(AssociateRequest("SEVENTEEN_LETTERS", "SCP", ()))


def test_uids_that_are_none_are_proposed_as_they_are() -> None:
    """An instance may be of a class whose UID is ill-formed: that is not for the wire to judge, nor to warn of."""
    request = AssociateRequest("A", "B", (ProposedContext(1, "1.02.A" + "9" * 70, ("no syntax",)),))
    assert decode_request(encode_request(request), LIMITS).contexts == request.contexts


# -- what real peers send: lenient where the standard says "ignored" or "not tested" -----------------------------------


@pytest.mark.parametrize(
    ("raw", "title"),
    [
        (b"SCU             ", "SCU"),
        (b"SCU".ljust(16, b"\0"), "SCU"),
        (b"  SCU ".ljust(16, b"\0"), "SCU"),
        (b"SCU\0garbage of C", "SCU"),
        (b"MY SCU".ljust(16), "MY SCU"),
        (b"SIXTEEN_LETTERS_", "SIXTEEN_LETTERS_"),
        (b"\xc4\x1b[31m".ljust(16), "\xc4\x1b[31m"),
        (bytes(16), ""),
        (b" " * 16, ""),
    ],
)
def test_ae_titles_lose_their_padding(raw: bytes, title: str) -> None:
    """PS3.8 table 9-11: spaces around it are not significant. Whether a title is allowed is for others to say."""
    assert decode_request(associate(ASSOCIATE_RQ, calling=raw), LIMITS).calling_ae == title
    assert decode_request(associate(ASSOCIATE_RQ, called=raw), LIMITS).called_ae == title


def test_items_of_unknown_types_are_skipped() -> None:
    """PS3.8 section 9.3.1: they "shall be ignored and skipped"; so does PS3.7 annex D.3.3 with sub-items."""
    pdu = associate(
        ASSOCIATE_RQ,
        item(0x99, b"?"),
        item(0x20, bytes((1, 0, 0, 0)), item(0x77), item(0x30, CT_IMAGE), item(0x40, IMPLICIT)),
        user_information(item(0x5F, b"vendor"), item(0x58, b"an identity that lies about its length")),
    )
    request = decode_request(pdu, LIMITS)
    assert request.contexts == (ProposedContext(1, CT_IMAGE, (IMPLICIT,)),)
    assert request.max_pdu == 16384


@pytest.mark.parametrize("padding", ["\0", " ", "\0\0"])
def test_uids_may_be_padded(padding: str) -> None:
    """PS3.8 annex F says that they are not here; padded to even length as in a data set, they still mean the same."""
    pdu = associate_rq(context_rq(1, CT_IMAGE + padding, (IMPLICIT + padding,)))
    assert decode_request(pdu, LIMITS).contexts == (ProposedContext(1, CT_IMAGE, (IMPLICIT,)),)
    accept = decode_accept(associate_ac(context_ac(1, 0, IMPLICIT + padding)), LIMITS, REQUEST)
    assert accept.contexts == (Context(1, CT_IMAGE, IMPLICIT),)


def test_who_does_not_say_how_long_a_pdu_may_be_gets_short_ones() -> None:
    """PS3.8 annex D.1 has no default; 16 KiB is what every implementation takes."""
    for items in ((context_rq(1), user_information(max_length=None)), (context_rq(1),)):
        assert decode_request(associate(ASSOCIATE_RQ, *items), LIMITS).max_pdu == 16384
    accept = decode_accept(associate(ASSOCIATE_AC, context_ac(1)), LIMITS, REQUEST)
    assert accept.max_pdu == 16384
    assert (accept.implementation_class_uid, accept.implementation_version) == ("", "")


@pytest.mark.parametrize("max_pdu", [0, 1, 7, 0xFFFFFFFF])
def test_the_maximum_length_is_taken_as_it_is(max_pdu: int) -> None:
    pdu = associate(ASSOCIATE_RQ, context_rq(1), user_information(max_length=max_pdu))
    assert decode_request(pdu, LIMITS).max_pdu == max_pdu


@pytest.mark.parametrize("result", [1, 2, 3, 4, 5, 255])
@pytest.mark.parametrize(
    "rest", [b"", item(0x40), item(0x40, b"\xff\0\x1bgarbage"), item(0x40, IMPLICIT, length=999), b"\x40\0", item(0x99)]
)
def test_transfer_syntax_of_a_refused_context_is_not_tested(result: int, rest: bytes) -> None:
    """PS3.8 section 9.3.3.2.1: where the result is not acceptance, it "shall not be tested when received"."""
    refused = item(0x21, bytes((3, 0, result, 0)), rest)
    accept = decode_accept(associate_ac(context_ac(1), refused), LIMITS, REQUEST)
    assert accept.contexts == (Context(1, CT_IMAGE, IMPLICIT), Context(3, CT_IMAGE, "", result))


def test_titles_and_reserved_bytes_of_an_answer_are_not_tested() -> None:
    """PS3.8 table 9-17."""
    pdu = associate(
        ASSOCIATE_AC, context_ac(1), called=b"\xff" * 16, calling=bytes(16), reserved=b"?" * 32, version=0xFFFF
    )
    assert decode_accept(pdu, LIMITS, REQUEST).contexts == (Context(1, CT_IMAGE, IMPLICIT),)


def test_answers_may_be_missing_or_in_another_order() -> None:
    assert decode_accept(associate_ac(context_ac(3)), LIMITS, REQUEST).contexts == (Context(3, CT_IMAGE, IMPLICIT),)
    both = decode_accept(associate_ac(context_ac(3), context_ac(1)), LIMITS, REQUEST)
    assert [context.id for context in both.contexts] == [3, 1]
    assert decode_accept(associate(ASSOCIATE_AC), LIMITS, REQUEST).contexts == ()


def test_refusal_of_what_was_not_proposed_is_of_no_concern() -> None:
    accept = decode_accept(associate_ac(context_ac(1), context_ac(99, 3, b"")), LIMITS, REQUEST)
    assert [context.id for context in accept.contexts] == [1]


def test_roles_are_never_more_than_was_proposed() -> None:
    """PS3.7 annex D.3.3.4: an acceptor can only take away."""
    request = AssociateRequest("A", "B", REQUEST.contexts, roles={CT_IMAGE: (False, True), VERIFICATION: (True, True)})
    information = user_information(role(CT_IMAGE, 1, 1), role(VERIFICATION, 1, 0), role("1.2.3", 1, 1))
    accept = decode_accept(associate(ASSOCIATE_AC, context_ac(1), information), LIMITS, request)
    assert accept.roles == {CT_IMAGE: (False, True), VERIFICATION: (True, False)}


def test_context_without_syntaxes_is_a_context() -> None:
    pdu = associate_rq(item(0x20, bytes((1, 0, 0, 0))), context_rq(3, "", ()))
    assert decode_request(pdu, LIMITS).contexts == (ProposedContext(1, "", ()), ProposedContext(3, "", ()))


@pytest.mark.parametrize("version", [0x0001, 0x0003, 0xFFFF])
def test_only_the_first_bit_of_the_protocol_version_is_tested(version: int) -> None:
    """PS3.8 table 9-11."""
    assert decode_request(associate(ASSOCIATE_RQ, context_rq(1), version=version), LIMITS).contexts


# -- strict where safety needs it --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0x0000, 0x0002, 0x0100])
def test_another_protocol_version_is_rejected(version: int) -> None:
    """PS3.8 section 7.1.1.7, table 9-21: rejected-permanent, by the ACSE provider, protocol-version-not-supported."""
    with pytest.raises(UnacceptableError) as caught:
        decode_request(associate(ASSOCIATE_RQ, b"items of another version", version=version), LIMITS)
    assert caught.value.reject == AssociateReject(1, 2, 2)
    assert caught.value.reject.text == "protocol version not supported"


@pytest.mark.parametrize("name", [None, "", "1.2.840.10008.3.1.1.2", "\x1b[31m" * 100])
def test_another_application_context_is_rejected(name: str | None) -> None:
    """PS3.7 annex A.2.1, PS3.8 table 9-21: application-context-name-not-supported."""
    with pytest.raises(UnacceptableError) as caught:
        decode_request(associate(ASSOCIATE_RQ, context_rq(1), application_context=name), LIMITS)
    assert caught.value.reject == AssociateReject(1, 1, 2)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def _many(n: int) -> bytes:
    return b"".join(item(0x99) for _ in range(n))


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([context_rq(0)], "context id 0 is even"),
        ([context_rq(2)], "context id 2 is even"),
        ([context_rq(1), context_rq(1)], "context id 1 is even or repeated"),
        ([item(0x20, b"\1\0\0")], "presentation context item is too short"),
        ([item(0x20)], "presentation context item is too short"),
        # A length that is too short: what is left begins with ".2", read as an item of type 0x2E.
        ([item(0x20, bytes((1, 0, 0, 0)), item(0x30, CT_IMAGE, length=23))], "item header is cut short"),
        ([item(0x20, bytes((1, 0, 0, 0)), item(0x30, "1.2", length=4))], "item 0x30 claims 4 bytes, 3 are left"),
        ([item(0x20, bytes((1, 0, 0, 0)), b"\x30\0\0")], "item header is cut short"),
        ([item(0x20, bytes((1, 0, 0, 0)), *[item(0x40)] * 257)], "too many items"),
        ([item(0x20, b"\1\0\0\0", length=5)], "item 0x20 claims 5 bytes, 4 are left"),
        ([item(0x50, length=0xFFFF)], "item 0x50 claims 65535 bytes, 0 are left"),
        ([b"\x20"], "item header is cut short"),
        ([b"\x20\0\0"], "item header is cut short"),
        ([_many(200)], "too many items"),
        ([item(0x50, _many(300))], "too many items"),
        ([item(0x50, item(0x51, b"\0\0\1"))], "maximum length item of 3 bytes"),
        ([item(0x50, item(0x51, bytes(8)))], "maximum length item of 8 bytes"),
        ([item(0x50, item(0x54))], "a UID claims 0 bytes, 0 are left"),
        ([item(0x50, item(0x54, b"\0\7", "1.2.3", b"\1"))], "UID claims 7 bytes, 6 are left"),
        ([item(0x50, item(0x54, b"\0\5", "1.2.3", b"\1"))], "role selection item is too short"),
        ([item(0x50, item(0x56, b"\xff\xff", "1.2.3"))], "UID claims 65535 bytes, 5 are left"),
    ],
)
def test_requests_that_lie_are_refused(items: list[bytes], message: str) -> None:
    with pytest.raises(NegotiationError, match=message):
        decode_request(associate(ASSOCIATE_RQ, *items), LIMITS)


@pytest.mark.parametrize(
    ("contexts", "message"),
    [
        ([context_ac(5)], "context 5 is accepted and was never proposed"),
        ([context_ac(2)], "context id 2 is even"),
        ([context_ac(1), context_ac(1, 3)], "context id 1 is even or repeated"),
        ([context_ac(1, 0, EXPLICIT)], "context 1 is accepted with transfer syntax '1.2.840.10008.1.2.1'"),
        ([context_ac(1, 0, "")], "context 1 is accepted with transfer syntax ''"),
        ([context_ac(1, 0, None)], "context 1 is accepted with transfer syntax ''"),
        ([context_ac(1, 0, "\x1b[2J" * 1000)], r"context 1 is accepted with transfer syntax '\\x1b"),
        ([item(0x21, bytes((1, 0, 0, 0)), item(0x40, IMPLICIT, length=99))], "item 0x40 claims 99 bytes, 17 are left"),
        ([item(0x21, b"\1\0\0")], "presentation context item is too short"),
    ],
)
def test_accepts_of_what_was_not_proposed_are_refused(contexts: list[bytes], message: str) -> None:
    """PS3.8 section 9.3.3.2: the transfer syntax is "one of those proposed". Bytes must never be taken for another."""
    with pytest.raises(NegotiationError, match=message) as caught:
        decode_accept(associate(ASSOCIATE_AC, *contexts), LIMITS, REQUEST)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_more_contexts_than_the_limit_are_refused() -> None:
    all_of_them = [context_rq(context_id) for context_id in range(1, 256, 2)]
    assert len(decode_request(associate_rq(*all_of_them), LIMITS).contexts) == 128
    with pytest.raises(NegotiationError, match="more than 127 presentation contexts"):
        decode_request(associate_rq(*all_of_them), Limits(max_contexts=127))
    with pytest.raises(NegotiationError, match="even or repeated"):
        decode_request(associate_rq(*all_of_them, context_rq(255)), LIMITS)


@pytest.mark.parametrize("size", [0, 6, 10, 73])
def test_too_short_pdus_are_refused(size: int) -> None:
    with pytest.raises(NegotiationError, match="74 is the least"):
        decode_request(associate_rq()[:size], LIMITS)
    with pytest.raises(NegotiationError, match="74 is the least"):
        decode_accept(associate_ac()[:size], LIMITS, REQUEST)


@given(st.binary(max_size=600), st.booleans())
def test_any_bytes_are_read_or_refused(items: bytes, accept: bool) -> None:
    try:
        if accept:
            decode_accept(associate(ASSOCIATE_AC, items), LIMITS, REQUEST)
        else:
            decode_request(associate(ASSOCIATE_RQ, items), LIMITS)
    except NegotiationError:
        pass


@given(st.data())
def test_damaged_conversations_of_dcmtk_are_read_or_refused(data: st.DataObject) -> None:
    conversation = data.draw(st.sampled_from([captures.ECHO, captures.STORE, captures.GET]))
    request = decode_request(conversation[0][1], LIMITS)
    position = data.draw(st.sampled_from([0, 1]))
    damaged = bytearray(conversation[position][1])
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(6, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        if position:
            decode_accept(bytes(damaged), LIMITS, request)
        else:
            decode_request(bytes(damaged), LIMITS)
    except NegotiationError:
        pass
