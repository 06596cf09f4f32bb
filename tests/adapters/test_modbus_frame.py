"""Modbus frames: known bytes, streams cut anywhere, noise, and anything at all that a peer may send."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.adapters.modbus_frame import FUNCTIONS, Answer, FrameError, Request, RtuReceiver, TcpReceiver, crc16

cuts = st.lists(st.integers(1, 40), min_size=1, max_size=60)
answers = st.one_of(
    st.builds(
        Answer,
        transaction=st.integers(0, 0xFFFF),
        unit=st.integers(0, 255),
        function=st.sampled_from([1, 2, 3, 4]),
        refusal=st.just(0),
        data=st.binary(min_size=1, max_size=250),
    ),
    st.builds(
        Answer,
        transaction=st.integers(0, 0xFFFF),
        unit=st.integers(0, 255),
        function=st.sampled_from([1, 2, 3, 4]),
        refusal=st.integers(1, 255),
        data=st.just(b""),
    ),
)


def body_of(answer: Answer) -> bytes:
    if answer.refusal:
        return bytes([answer.unit, answer.function | 0x80, answer.refusal])
    assert answer.data is not None
    return bytes([answer.unit, answer.function, len(answer.data)]) + answer.data


def as_tcp(answer: Answer) -> bytes:
    body = body_of(answer)
    return struct.pack(">HHH", answer.transaction, 0, len(body)) + body


def as_rtu(answer: Answer) -> bytes:
    body = body_of(answer)
    return body + struct.pack("<H", crc16(body))


def in_pieces(receiver: TcpReceiver | RtuReceiver, stream: bytes, sizes: list[int]) -> list[Answer]:
    found, at, turn = [], 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        found += receiver.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    return found


def test_known_bytes() -> None:
    assert Request(1, 3, 0, 10).rtu() == bytes.fromhex("01030000000ac5cd")
    assert Request(17, 3, 107, 3).rtu() == bytes.fromhex("1103006b00037687")
    assert Request(17, 3, 107, 3).tcp(1) == bytes.fromhex("0001000000061103006b0003")
    assert crc16(b"\x02\x07") == 0x1241, "the example of the specification: low byte first, 41 12"


def test_only_reads_can_be_asked() -> None:
    assert sorted(FUNCTIONS.values()) == [1, 2, 3, 4]


@given(st.lists(answers, max_size=6), cuts)
def test_tcp_answers_come_back_however_the_stream_is_cut(sent: list[Answer], sizes: list[int]) -> None:
    assert in_pieces(TcpReceiver(), b"".join(map(as_tcp, sent)), sizes) == sent


@given(st.lists(answers, max_size=6))
def test_rtu_answers_come_back_one_after_the_other(sent: list[Answer]) -> None:
    receiver = RtuReceiver()
    found = [one for answer in sent for one in receiver.feed(as_rtu(answer))]
    assert [body_of(answer) for answer in found] == [body_of(answer) for answer in sent]


@given(answers, cuts)
def test_one_rtu_answer_in_pieces(sent: Answer, sizes: list[int]) -> None:
    # Half an answer may, once in 65,536 times, hold what looks like a short frame at its end: it is found beside it.
    assert body_of(sent) in [body_of(answer) for answer in in_pieces(RtuReceiver(), as_rtu(sent), sizes)]


@given(st.binary(max_size=300), answers)
def test_rtu_behind_noise_is_found(noise: bytes, sent: Answer) -> None:
    receiver = RtuReceiver()
    found = [body_of(one) for one in [*receiver.feed(noise), *receiver.feed(as_rtu(sent))]]
    again = [body_of(one) for one in receiver.feed(bytes(300))]
    assert body_of(sent) in found + again


def test_rtu_behind_the_beginning_of_another_frame() -> None:
    receiver = RtuReceiver()
    sent = Answer(0, 1, 3, 0, b"\x12\x34")
    assert receiver.feed(b"\x01\x03\xfa" + as_rtu(sent)) == [sent]


def test_a_wrong_crc_is_no_frame() -> None:
    frame = as_rtu(Answer(0, 1, 3, 0, b"\x12\x34"))
    for place in range(len(frame)):
        for bit in range(8):
            broken = bytearray(frame)
            broken[place] ^= 1 << bit
            assert RtuReceiver().feed(bytes(broken)) == []


@given(st.lists(st.binary(max_size=400), max_size=10))
def test_any_bytes_over_rtu_are_answers_or_nothing_and_are_not_kept(chunks: list[bytes]) -> None:
    receiver = RtuReceiver()
    for chunk in chunks:
        for answer in receiver.feed(chunk):
            assert answer.function in (1, 2, 3, 4)
        assert len(receiver._held) <= 256


@given(st.lists(st.binary(max_size=400), max_size=10))
def test_any_bytes_over_tcp_are_answers_or_the_one_error(chunks: list[bytes]) -> None:
    receiver = TcpReceiver()
    with suppress(FrameError):
        for chunk in chunks:
            for answer in receiver.feed(chunk):
                assert answer.refusal == 0 or answer.data == b""
            assert len(receiver._held) <= 260


def test_a_header_that_is_none_is_the_end() -> None:
    with pytest.raises(FrameError, match="47 45 54 20 2f 20, which begins no frame"):
        TcpReceiver().feed(b"GET / HTTP/1.1")


@pytest.mark.parametrize(
    "body",
    ["01 03 04 00 01", "01 03 00 00 01", "01 83 00", "01 83 02 02", "01 83 00 01", "01 03 02", "01 2b 0e"],
)
def test_an_answer_whose_body_is_none_is_neither_a_value_nor_a_code(body: str) -> None:
    raw = bytes.fromhex(body)
    (answer,) = TcpReceiver().feed(struct.pack(">HHH", 5, 0, len(raw)) + raw)
    assert (answer.data, answer.refusal) == (None, 0)
