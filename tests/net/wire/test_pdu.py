"""PDUs that do not negotiate (PS3.8 section 9.3.5 to 9.3.8)."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ABORT_RQ, A_RELEASE_RP, A_RELEASE_RQ, P_DATA_TF

from dcm.net.wire import pdu


def test_release_and_abort_are_what_pynetdicom_reads() -> None:
    for encoded, kind in (
        (pdu.release_rq_pdu(), A_RELEASE_RQ),
        (pdu.release_rp_pdu(), A_RELEASE_RP),
        (pdu.abort_pdu(), A_ABORT_RQ),
        (pdu.abort_pdu(2, 6), A_ABORT_RQ),
    ):
        decoded = kind()
        decoded.decode(encoded)
        assert decoded.encode() == encoded
        assert len(encoded) == 10


def test_abort_says_who_and_why() -> None:
    decoded = A_ABORT_RQ()
    decoded.decode(pdu.abort_pdu(2, pdu.UNEXPECTED_PDU))
    assert (decoded.source, decoded.reason_diagnostic) == (2, 2)


@pytest.mark.parametrize(
    ("source", "reason", "words"),
    [
        (0, 0, "its user"),
        (0, 99, "its user"),  # a user's reason is "not significant" (PS3.8 table 9-26)
        (2, 0, "its upper layer: reason not specified"),
        (2, 1, "its upper layer: unrecognised PDU"),
        (2, 2, "its upper layer: unexpected PDU"),
        (2, 4, "its upper layer: unrecognised PDU parameter"),
        (2, 5, "its upper layer: unexpected PDU parameter"),
        (2, 6, "its upper layer: invalid PDU parameter value"),
        (2, 77, "its upper layer: unknown reason 77"),
        (9, 0, "unknown source 9"),
    ],
)
def test_reason_of_an_abort_in_words(source: int, reason: int, words: str) -> None:
    assert pdu.abort_reason(source, reason) == words


@pytest.mark.parametrize(
    ("peer_max", "size"),
    [
        (16384, 16378),
        (131072, 131066),
        (16385, 16378),  # odd maxima leave even fragments
        (8, 2),
        (7, 1),  # the least that can carry anything
        (6, 1),  # less makes no sense, and is not obeyed
        (1, 1),
    ],
)
def test_fragments_fit_the_peer_maximum(peer_max: int, size: int) -> None:
    """PS3.8 annex D.1: the maximum counts the six bytes of each PDV header."""
    assert pdu.fragment_size(peer_max) == size


@pytest.mark.parametrize("peer_max", [0, 1 << 30, 0xFFFFFFFF])
def test_unlimited_peers_get_pdus_of_bounded_length(peer_max: int) -> None:
    """PS3.8 annex D.1.1: 0 is no limit. Memory is one, all the same."""
    assert 1 << 16 <= pdu.fragment_size(peer_max) <= 1 << 18


@given(data=st.binary(max_size=300), command=st.booleans(), last=st.booleans(), peer_max=st.integers(7, 400))
@example(data=b"", command=False, last=True, peer_max=7)
@example(data=bytes(20), command=False, last=True, peer_max=16)  # the data end where a PDU ends
def test_frames_are_what_pynetdicom_reads(data: bytes, command: bool, last: bool, peer_max: int) -> None:
    size = pdu.fragment_size(peer_max)
    stream = b"".join(pdu.frame(5, data, command=command, last=last, size=size))
    found = b""
    flags = []
    while stream:
        kind, length = struct.unpack_from(">BxI", stream)
        assert kind == pdu.P_DATA
        assert length <= peer_max
        decoded = P_DATA_TF()
        decoded.decode(stream[: 6 + length])
        stream = stream[6 + length :]
        for value in decoded.presentation_data_value_items:
            assert value.context_id == 5
            assert value.data is not None
            flags.append(value.data[0])
            found += value.data[1:]
    assert found == data
    assert flags[:-1] == [int(command)] * (len(flags) - 1)
    assert flags[-1] == command | last << 1


@pytest.mark.parametrize("size", [1, 2, 511, 512, 1 << 18])
def test_frames_of_every_size_carry_the_same_bytes(size: int) -> None:
    data = bytes(range(256)) * 5
    pieces = pdu.frame(1, data, command=False, last=True, size=size)
    n_pdus = -(-len(data) // size)
    assert sum(map(len, pieces)) == len(data) + 12 * n_pdus


def test_data_are_sliced_and_not_copied() -> None:
    data = bytes(2000)
    pieces = pdu.frame(1, data, command=False, last=True, size=1000)
    assert [piece.obj is data for piece in pieces if isinstance(piece, memoryview)] == [True, True]


def test_tiny_fragments_are_joined_into_one_piece() -> None:
    """A peer that takes one byte at a time must not have us keep two objects for each byte."""
    assert len(pdu.frame(1, bytes(10000), command=False, last=True, size=1)) == 1


def test_data_of_wider_items_are_framed_by_their_bytes() -> None:
    wide = memoryview(b"abcdefgh").cast("H")
    stream = b"".join(pdu.frame(1, wide, command=False, last=True, size=1000))
    assert stream == bytes.fromhex("0400 0000000e 0000000a 01 02") + b"abcdefgh"
