from __future__ import annotations

import struct
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt import _packet
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from streaming.adapters import mqtt_wire as wire
from streaming.adapters.mqtt_wire import Message, PacketReader, WireError

VERSIONS = pytest.mark.parametrize("version", [4, 5])


def publish(version: int, topic: bytes, payload: bytes, *, mid: int = 0, flags: int = 0) -> bytes:
    """A PUBLISH as the client library writes it, whose encoder we did not write."""
    client = paho.Client(CallbackAPIVersion.VERSION2, "c", protocol=MQTTProtocolVersion(version))
    sent = bytearray()
    client._packet_queue = lambda _c, packet, *_rest: sent.extend(packet)  # type: ignore[assignment]
    client._sock = object()  # type: ignore[assignment]
    properties: Any = None
    if version == 5:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.UserProperty = ("a", "b")
        properties.ContentType = "x"
    client._send_publish(mid, topic, payload, 1 if mid else 0, bool(flags & 1), bool(flags & 8), properties=properties)
    client._sock = None
    return bytes(sent)


STREAMS = st.lists(
    st.tuples(st.text(min_size=1, max_size=20).map(str.encode), st.binary(max_size=300), st.integers(0, 3)), max_size=8
)


@VERSIONS
@given(messages=STREAMS, cuts=st.lists(st.integers(1, 40), max_size=40))
def test_messages_come_out_as_they_went_in_however_they_are_cut(
    version: int, messages: list[tuple[bytes, bytes, int]], cuts: list[int]
) -> None:
    stream = b"".join(publish(version, topic, body, mid=mid) for topic, body, mid in messages) + b"\xd0\x00"
    reader, found, answers = PacketReader(version, 1 << 20), [], []
    place = 0
    for cut in [*cuts, len(stream)]:
        some, others = reader.feed(stream[place : place + cut])
        found += some
        answers += others
        place += cut
    expected = [
        Message(topic.decode(), body, len(body), struct.pack("!H", mid) if mid else b"", retained=False, repeated=False)
        for topic, body, mid in messages
    ]
    assert found == expected
    assert answers == [(wire.PINGRESP, b"")]


@VERSIONS
def test_flags_and_topics_that_are_no_text(version: int) -> None:
    raw = publish(version, b"a\xff", b"1", mid=7, flags=9)
    (message,), _ = PacketReader(version, 100).feed(raw)
    assert message == Message("", b"1", 1, b"\0\7", retained=True, repeated=True)


@VERSIONS
def test_a_message_above_the_limit_is_cut_while_it_comes(version: int) -> None:
    most = 200_000
    body = b"x" * 3_000_000
    stream = publish(version, b"big", body, mid=5) + publish(version, b"small", b"1")
    reader, found = PacketReader(version, most), []
    for place in range(0, len(stream), 65_536):
        found += reader.feed(stream[place : place + 65_536])[0]
        assert len(reader._rest) <= most + 65_536
    big, small = found
    assert (big.topic, big.size, big.mid) == ("big", len(body), b"\0\5")
    assert big.payload == body[: wire.KEPT_OF_TOO_LARGE]
    assert small.payload == b"1"


@VERSIONS
@given(data=st.lists(st.binary(max_size=60), max_size=5))
def test_any_bytes_raise_only_the_documented_error(version: int, data: list[bytes]) -> None:
    reader = PacketReader(version, 1000)
    try:
        for piece in data:
            for kind, body in reader.feed(piece)[1]:
                if kind == wire.CONNACK:
                    wire.connack_of(body, version)
                elif kind == wire.SUBACK:
                    wire.refused_filters(body, version, 1)
                elif kind == wire.DISCONNECT:
                    wire.disconnect_reason(body)
    except WireError:
        return


@VERSIONS
@given(body=st.binary(max_size=60))
def test_any_answer_raises_only_the_documented_error(version: int, body: bytes) -> None:
    for decode in (lambda: wire.connack_of(body, version), lambda: wire.refused_filters(body, version, 1)):
        try:
            decode()
        except WireError:
            continue
    try:
        wire.disconnect_reason(body)
    except WireError:
        return


@pytest.mark.parametrize(
    "raw",
    [
        b"\x30\x01\x00",
        b"\x36\x05\0\1axx",
        b"\x32\x03\0\1a",
        b"\x30\x03\0\x09a",
        b"\x30\xff\xff\xff\xff\x01",
        b"\x90\xff\xff\xff\x7f",
    ],
)
def test_what_is_no_mqtt(raw: bytes) -> None:
    with pytest.raises(WireError):
        PacketReader(4, 1000).feed(raw)


def test_the_broker_says_why() -> None:
    assert wire.connack_of(b"\1\0", 4) == wire.Connack(present=True, refusal="", keep_alive_s=None)
    assert "password" in wire.connack_of(b"\0\4", 4).refusal
    assert wire.connack_of(b"\0\0\3\x13\0\5", 5) == wire.Connack(present=False, refusal="", keep_alive_s=5)
    assert wire.connack_of(b"\0\0\5\x11\0\0\0\x3c", 5).session_expiry_s == 60
    assert wire.connack_of(b"\0\x87\5\x1f\0\2no", 5).refusal == "Not authorized: no"
    assert wire.connack_of(b"\0\xfe\0", 5).refusal == "code 254"
    assert wire.refused_filters(b"\0\1\1\1\x80", 4, 1) == ["Unspecified error"]
    assert wire.refused_filters(b"\0\1\0\1\x9e", 5, 1) == ["Shared subscription not supported"]
    assert wire.refused_filters(b"\0\1\0", 4, 0) == []
    (granted,) = wire.refused_filters(b"\0\1\1\0", 4, 1)
    assert "QoS 0 only" in granted
    assert wire.disconnect_reason(b"\x8e\0") == "Session taken over"


@VERSIONS
def test_the_library_reads_what_we_write(version: int) -> None:
    raw = wire.publish_packet(version, "spBv1.0/G/NCMD/N", b"x" * 300)
    head = 1 + 2
    found = _packet.decode_publish(raw[0], raw[head:], MQTTProtocolVersion(version))
    assert (found.topic, found.payload, found.qos) == (b"spBv1.0/G/NCMD/N", b"x" * 300, 0)
