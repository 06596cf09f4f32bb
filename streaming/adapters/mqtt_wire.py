"""The MQTT 3.1.1 and 5 packets that a subscriber sends and receives, to and from bytes: pure, raising only WireError.

We read what a broker sends ourselves, because the client library takes any message whole into memory (256 MB) before
it can be refused, reads each in five system calls, and sends each acknowledgement alone. Here a buffer with hundreds of
messages is cut in one pass, one that is too large is skipped while it comes, and acknowledgements are one write.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

__all__ = [
    "KEPT_OF_TOO_LARGE",
    "Connack",
    "Message",
    "PacketReader",
    "WireError",
    "connack_of",
    "connect_packet",
    "disconnect_reason",
    "puback_packets",
    "publish_packet",
    "refused_filters",
    "subscribe_packet",
    "unsubscribe_packet",
]

KEPT_OF_TOO_LARGE = 65_536
"""Bytes of the payload that are kept of a message above the limit."""
CONNACK, PUBLISH, SUBACK, UNSUBACK, PINGRESP, DISCONNECT = 0x20, 0x30, 0x90, 0xB0, 0xD0, 0xE0
PINGREQ_PACKET, DISCONNECT_PACKET = b"\xc0\x00", b"\xe0\x00"

_VERSION_5 = 5
_MORE = 0x80
_FAILURE = 0x80
_LONGEST_ANSWER = 1 << 20
_LONGEST_TOPIC = 65_535
_V4_REFUSALS = {
    1: "unacceptable protocol version",
    2: "client identifier rejected",
    3: "server unavailable",
    4: "bad user name or password",
    5: "not authorized",
}
_SESSION_EXPIRY, _SERVER_KEEP_ALIVE, _REASON_STRING, _RECEIVE_MAXIMUM = 0x11, 0x13, 0x1F, 0x21
# Sizes of the properties of fixed length; the others are text or bytes, pairs of them, or a variable integer.
_PROPERTY_BYTES = {
    **dict.fromkeys((0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A), 1),
    **dict.fromkeys((0x13, 0x21, 0x22, 0x23), 2),
    **dict.fromkeys((0x02, 0x11, 0x18, 0x27), 4),
}
_PROPERTY_TEXTS = frozenset({0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1A, 0x1C, 0x1F})
_PROPERTY_PAIR, _PROPERTY_NUMBER = 0x26, 0x0B


class WireError(ValueError):
    """Bytes that are no MQTT: the connection cannot go on."""


class Message(NamedTuple):
    """One PUBLISH as it came; `topic` is empty when it is not UTF-8."""

    topic: str
    payload: bytes
    size: int
    """Bytes of the payload as it was sent: more than there are of one that was too large to be kept."""
    mid: bytes
    """Its packet identifier; empty at QoS 0."""
    retained: bool
    repeated: bool


class Connack(NamedTuple):
    """The broker's answer to our CONNECT."""

    present: bool
    """It kept our session."""
    refusal: str
    """Why it does not take us; empty when it does."""
    keep_alive_s: int | None = None
    """What the broker asks for instead of our own."""
    session_expiry_s: int | None = None
    """How long it keeps our session, where that is not what we asked for."""


class PacketReader:
    """Cuts what comes into packets: messages, and the few answers to what we sent."""

    def __init__(self, version: int, most_bytes: int) -> None:
        """`most_bytes`: messages longer than this are cut to KEPT_OF_TOO_LARGE while they come."""
        self._five, self._most = version == _VERSION_5, most_bytes
        self._rest = b""
        self._skipped: Message | None = None
        self._skip = 0

    def feed(self, data: bytes) -> tuple[list[Message], list[tuple[int, bytes]]]:
        """Return the messages, and type and body of the other packets, that end in `data`; WireError for no MQTT."""
        messages: list[Message] = []
        answers: list[tuple[int, bytes]] = []
        if self._skip:
            data = self._pass_over(data, messages)
        buffer = self._rest + data if self._rest else data
        place, end = 0, len(buffer)
        while place + 2 <= end:
            first, length, start = buffer[place], buffer[place + 1], place + 2
            if length & _MORE:
                length, start = _number(buffer, place + 1, end)
                if not start:
                    break
            stop = start + length
            if stop > end:
                place = self._long(buffer, place, start, stop)
                break
            if first & 0xF0 == PUBLISH:
                messages.append(self._message(first, buffer, start, stop, stop))
            else:
                answers.append((first & 0xF0, buffer[start:stop]))
            place = stop
        self._rest = buffer[place:]
        return messages, answers

    def _message(self, first: int, buffer: bytes, start: int, stop: int, end: int) -> Message:
        """Decode the PUBLISH whose body is from `start` to `stop`, of which there is as much as up to `end`."""
        if stop - start < 2:  # noqa: PLR2004 - the length of the topic
            raise WireError("a message without a topic")
        body = start + 2 + (buffer[start] << 8 | buffer[start + 1])
        raw, qos, mid = buffer[start + 2 : body], first & 6, b""
        if qos:
            if qos != 2:  # noqa: PLR2004 - bits of QoS 1
                raise WireError("a message of a QoS that we did not ask for")
            mid, body = buffer[body : body + 2], body + 2
        if self._five and body < end:
            length, body = _number(buffer, body, end)
            # Topic aliases are not used on us, as we allow none; the other properties say nothing of a reading.
            body = body + length if body else end + 1
        elif self._five:
            body = end + 1
        if body > end:
            raise WireError("a message that ends within its head")
        try:
            topic = raw.decode()
        except UnicodeDecodeError:
            topic = ""
        return Message(topic, buffer[body:end], stop - body, mid, bool(first & 1), bool(first & 8))

    def _long(self, buffer: bytes, place: int, start: int, stop: int) -> int:
        """Return from where to keep a packet that has not come whole; one above the limit is passed over."""
        publish = buffer[place] & 0xF0 == PUBLISH
        if not publish and stop - start > _LONGEST_ANSWER:
            raise WireError(f"an answer of {stop - start} bytes")
        kept = 2 * _LONGEST_TOPIC + KEPT_OF_TOO_LARGE
        if not publish or stop - start <= max(self._most, kept) or len(buffer) < start + kept:
            return place
        message = self._message(buffer[place], buffer, start, stop, len(buffer))
        self._skipped = message._replace(payload=message.payload[:KEPT_OF_TOO_LARGE])
        self._skip = stop - len(buffer)
        return len(buffer)

    def _pass_over(self, data: bytes, messages: list[Message]) -> bytes:
        passed = min(self._skip, len(data))
        self._skip -= passed
        if not self._skip and self._skipped is not None:
            messages.append(self._skipped)
            self._skipped = None
        return data[passed:]


def _number(buffer: bytes, place: int, end: int) -> tuple[int, int]:
    """Return a variable byte integer and where it ends; (0, 0) when not all of it is there."""
    number = shift = 0
    while place < end:
        byte = buffer[place]
        number |= (byte & 0x7F) << shift
        place += 1
        if not byte & _MORE:
            return number, place
        shift += 7
        if shift > 21:  # noqa: PLR2004 - four bytes of seven bits
            raise WireError("a length that is none")
    return 0, 0


def _properties(body: bytes) -> dict[int, bytes]:
    """Return the properties at the beginning of `body`; WireError for what are none."""
    length, place = _number(body, 0, len(body))
    stop = place + length
    if not place or stop > len(body):
        raise WireError("properties that end too early")
    found: dict[int, bytes] = {}
    while place < stop:
        name, begin = body[place], place + 1
        if name in _PROPERTY_BYTES:
            place = begin + _PROPERTY_BYTES[name]
        elif name in _PROPERTY_TEXTS or name == _PROPERTY_PAIR:
            place = begin
            for _ in range(2 if name == _PROPERTY_PAIR else 1):
                begin = place + 2
                place = begin + int.from_bytes(body[place:begin])
        elif name == _PROPERTY_NUMBER:
            _, place = _number(body, begin, stop)
        else:
            raise WireError(f"an unknown property {name}")
        if not begin <= place <= stop:
            raise WireError("properties that end too early")
        found[name] = body[begin:place]
    return found


def connack_of(body: bytes, version: int) -> Connack:
    """Decode the body of a CONNACK."""
    if len(body) < 2:  # noqa: PLR2004 - flags and code
        raise WireError("an answer to CONNECT that is too short")
    present, code = bool(body[0] & 1), body[1]
    if version != _VERSION_5:
        return Connack(present, _V4_REFUSALS.get(code, f"code {code}") if code else "")
    properties = _properties(body[2:])
    refusal = _reason("CONNACK", code, properties) if code >= _FAILURE else ""
    numbers = [properties.get(name) for name in (_SERVER_KEEP_ALIVE, _SESSION_EXPIRY)]
    return Connack(present, refusal, *(None if raw is None else int.from_bytes(raw) for raw in numbers))


def refused_filters(body: bytes, version: int, qos: int) -> list[str]:
    """Return why filters of a SUBACK were refused, or not granted at our QoS, one text each."""
    start = 2
    if version == _VERSION_5:
        length, place = _number(body, 2, len(body))
        if not place:
            raise WireError("an answer to SUBSCRIBE that is too short")
        start = place + length
    return [
        _reason("SUBACK", code, {}) if code >= _FAILURE else f"it grants QoS {code} only (qos: {code} takes the losses)"
        for code in body[start:]
        if code >= _FAILURE or code < qos
    ]


def disconnect_reason(body: bytes) -> str:
    """Return why the broker ends the connection (version 5)."""
    if not body:
        return "the connection was closed"
    return _reason("DISCONNECT", body[0], _properties(body[1:]) if len(body) > 1 else {})


def _reason(packet: str, code: int, properties: dict[int, bytes]) -> str:
    try:
        name = str(ReasonCode(getattr(PacketTypes, packet), identifier=code))
    except (KeyError, ValueError, AssertionError):
        name = f"code {code}"
    text = properties.get(_REASON_STRING, b"")[:200].decode(errors="replace")
    return f"{name}: {text}" if text else name


def _length(number: int) -> bytes:
    encoded = bytearray()
    while True:
        number, byte = number >> 7, number & 0x7F
        encoded.append(byte | (_MORE if number else 0))
        if not number:
            return bytes(encoded)


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("!H", len(raw)) + raw


def _packet(first: int, body: bytes) -> bytes:
    return bytes([first]) + _length(len(body)) + body


def connect_packet(
    version: int,
    client_id: str,
    credentials: tuple[str | None, str | None],
    keep_alive_s: int,
    session_expiry_s: int,
    receive_maximum: int,
) -> bytes:
    """Encode a CONNECT that continues a session; expiry and maximum are said in version 5 only."""
    user, password = credentials
    flags = (0x80 if user is not None else 0) | (0x40 if password is not None else 0)
    properties = b""
    if version == _VERSION_5:
        properties = _with_length(
            struct.pack("!BIBH", _SESSION_EXPIRY, session_expiry_s, _RECEIVE_MAXIMUM, receive_maximum)
        )
    head = _text("MQTT") + struct.pack("!BBH", version, flags, keep_alive_s)
    texts = b"".join(_text(text) for text in (client_id, user, password) if text is not None)
    return _packet(0x10, head + properties + texts)


def _with_length(properties: bytes) -> bytes:
    return _length(len(properties)) + properties


def subscribe_packet(version: int, mid: int, filters: list[str], qos: int) -> bytes:
    """Encode a SUBSCRIBE; in version 5 retained messages come for subscriptions that are new to the session only."""
    five = version == _VERSION_5
    options = bytes([qos | (0x10 if five else 0)])
    body = b"".join(_text(name) + options for name in filters)
    return _packet(0x82, struct.pack("!H", mid) + (b"\0" if five else b"") + body)


def unsubscribe_packet(version: int, mid: int, filters: list[str]) -> bytes:
    """Encode an UNSUBSCRIBE."""
    body = b"".join(map(_text, filters))
    return _packet(0xA2, struct.pack("!H", mid) + (b"\0" if version == _VERSION_5 else b"") + body)


def publish_packet(version: int, topic: str, payload: bytes) -> bytes:
    """Encode a PUBLISH at QoS 0."""
    return _packet(0x30, _text(topic) + (b"\0" if version == _VERSION_5 else b"") + payload)


def puback_packets(messages: list[Message]) -> bytes:
    """Encode the acknowledgements of all messages that want one."""
    return b"".join([b"\x40\x02" + message.mid for message in messages if message.mid])
