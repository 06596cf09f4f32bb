"""Modbus read requests as bytes, and the answers out of what a peer sent: Modbus TCP, and RTU frames over TCP. Pure.

    TCP   transaction u16, 0 u16, length u16, unit u8, function u8, body          (all big-endian)
    RTU   unit u8, function u8, body, CRC-16 (low byte first)
    body  of a request: start u16, count u16; of an answer: bytes u8, data; of a refusal (function + 128): code u8

The functions are 1 to 4, which read. There is no code here for any other.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from wellos.protocols.modbus import Table

__all__ = ["FUNCTIONS", "Answer", "FrameError", "Receiver", "Request", "RtuReceiver", "TcpReceiver", "crc16"]

FUNCTIONS: Final[dict[Table, int]] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
_REFUSED = 0x80
_BITS = frozenset({1, 2})
_MOST_DATA = 250
_HEADER = 6
_SHORTEST, _LONGEST = 3, 254
"""Length field of Modbus TCP: a unit, a function and at least one byte; a PDU is 253 bytes at most."""
_RTU_HEAD, _RTU_REFUSAL = 3, 5
"""Bytes before the data of an answer, and of a whole refusal."""
_KNOWN = frozenset(FUNCTIONS.values())


class FrameError(ValueError):
    """What a peer sent is not Modbus, and where its next frame begins cannot be told."""


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC = _crc_table()


def crc16(data: bytes | memoryview) -> int:
    """Return the CRC of a frame: polynomial 0xA001 (reflected), beginning with 0xFFFF."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc


@dataclass(frozen=True, slots=True)
class Request:
    """One read, and what an answer to it must look like."""

    unit: int
    function: int
    start: int
    count: int

    @property
    def size(self) -> int:
        """Bytes of data in a complete answer."""
        return (self.count + 7) // 8 if self.function in _BITS else 2 * self.count

    def tcp(self, transaction: int) -> bytes:
        """Return the request as Modbus TCP."""
        return struct.pack(">HHHBBHH", transaction, 0, 6, self.unit, self.function, self.start, self.count)

    def rtu(self) -> bytes:
        """Return the request as an RTU frame."""
        body = struct.pack(">BBHH", self.unit, self.function, self.start, self.count)
        return body + struct.pack("<H", crc16(body))


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as it came: `refusal` is the exception code, 0 for none; `data` is None when its body is no answer."""

    transaction: int
    unit: int
    function: int
    refusal: int
    data: bytes | None

    def fits(self, request: Request) -> bool:
        """Whether it answers the request by unit and function."""
        return (self.unit, self.function) == (request.unit, request.function)


class Receiver(Protocol):
    """Takes bytes as they come and returns the answers complete in them."""

    def feed(self, data: bytes) -> list[Answer]:
        """Return the answers; FrameError when the stream cannot be followed any further."""
        ...


class TcpReceiver:
    """Modbus TCP. A header that is none is the end: in a stream without check sums nothing tells where it goes on."""

    def __init__(self) -> None:
        """Begin with nothing received."""
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Answer]:
        """Return the answers; FrameError for a header that is not Modbus TCP."""
        held = self._held
        held += data
        answers = []
        place = 0
        while len(held) - place >= _HEADER:
            transaction, protocol, length = struct.unpack_from(">HHH", held, place)
            if protocol != 0 or not _SHORTEST <= length <= _LONGEST:
                raise FrameError(f"sent {bytes(held[place : place + _HEADER]).hex(' ')}, which begins no frame")
            end = place + _HEADER + length
            if end > len(held):
                break
            answers.append(_answer(transaction, bytes(held[place + _HEADER : end])))
            place = end
        del held[:place]
        return answers


class RtuReceiver:
    """RTU frames: their CRC tells a frame from noise, so that noise is passed over."""

    def __init__(self) -> None:
        """Begin with nothing received."""
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Answer]:
        """Return the answers with a good CRC."""
        held = self._held
        held += data
        answers = []
        place, keep = 0, None
        while place < len(held):
            size = _rtu_size(held, place)
            end = place + size
            if end > len(held):
                # Either the rest is still to come, or this is noise with a frame behind it.
                keep = place if keep is None else keep
            # Behind what is not complete a frame must be the last there is: else it may be data that looks like one.
            elif size and (keep is None or end == len(held)) and crc16(memoryview(held)[place:end]) == 0:
                answers.append(_answer(0, bytes(held[place : end - 2])))
                place, keep = end, None
                continue
            place += 1
        del held[: place if keep is None else keep]
        return answers


def _rtu_size(held: bytearray, place: int) -> int:
    """Return the bytes of the frame that would begin here, or more than there are if they do not tell; 0: none."""
    left = len(held) - place
    if left < _RTU_HEAD:
        return _RTU_HEAD
    function = held[place + 1]
    if function & ~_REFUSED not in _KNOWN:
        return 0
    if function & _REFUSED:
        return _RTU_REFUSAL
    return _RTU_HEAD + held[place + 2] + 2 if held[place + 2] <= _MOST_DATA else 0


def _answer(transaction: int, frame: bytes) -> Answer:
    unit, function = frame[0], frame[1]
    if function & _REFUSED:
        # Code 0 would read as success.
        data = None if len(frame) != _RTU_HEAD or not frame[2] else b""
        return Answer(transaction, unit, function & ~_REFUSED, frame[2] if data is not None else 0, data)
    whole = frame[2] == len(frame) - _RTU_HEAD
    return Answer(transaction, unit, function, 0, frame[_RTU_HEAD:] if whole else None)
