r"""The spool on disk: its byte layout, and a scanner that only reads. The writer is `streaming.spool.journal`.

A spool folder holds

| name | content |
|---|---|
| `id` | the spool's UUID as text; every ledger row carries it |
| `lock` | held by the process that writes here (flock); its content is that process's pid |
| `cursor` | two slots of 4096 bytes; the valid one of the higher generation names the last sequence that is stored |
| `NUMBER-FIRSTSEQ.seg` | segments; NUMBER counts up for ever, FIRSTSEQ is the sequence of its first frame |
| `aside/` | segments in which something could not be read |

Segments in front of the one that holds the sequence behind the cursor are stored, and kept for a while.
All numbers are little-endian. A segment is a header and then frames without padding:

    segment  magic "WELLSEG1", schema u8, 7 spare, number u64, first_seq u64, created_us i64, spool id, CRC32 u32
    frame    magic "\xf7WJ\x1a", schema u8, kind u8, term u16, seq u64, connection i32, received_us i64, oldest_us i64,
             received u32, quarantined u32, duplicates u32, shed u32, rows u32, payload length u32, payload CRC32 u32,
             header CRC32 u32, then the payload: rows x 26 bytes of `wellos.readings.READING`, then JSON extras
    cursor   magic "WCUR", generation u64, seq u64, CRC32 u32

`oldest_us` is the least source time in the frame. `received = quarantined + duplicates + shed + rows` in every frame.
The schema byte speaks of the payload; the header's layout never changes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID
from zlib import crc32

import numpy as np

from wellos.errors import ConfigurationError, Problem
from wellos.readings import READING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wellos.readings import Readings

__all__ = [
    "CURSOR_SLOT",
    "FRAME",
    "FRAME_MAGIC",
    "SCHEMA",
    "SEGMENT",
    "Damage",
    "Frame",
    "Header",
    "Item",
    "Lost",
    "SegmentFile",
    "encode_cursor",
    "encode_header",
    "encode_segment_header",
    "list_segments",
    "parse",
    "read_created_us",
    "read_cursor",
    "read_spool_id",
    "scan",
    "walk",
]

SCHEMA = 1
SEGMENT = struct.Struct("<8sB7xQQq16sI")
SEGMENT_MAGIC = b"WELLSEG1"
FRAME = struct.Struct("<4sBBHQiqqIIIIIIII")
FRAME_MAGIC = b"\xf7WJ\x1a"
CURSOR = struct.Struct("<4sQQI")
CURSOR_MAGIC = b"WCUR"
CURSOR_SLOT = 4096
_CRC = 4


@dataclass(frozen=True, slots=True)
class Header:
    """A frame's header: all that the accounting needs, readable without the payload."""

    schema: int
    kind: int
    term: int
    """Lease term under which the connection was read, modulo 65536; 0: read without a lease."""
    seq: int
    connection_id: int
    received_us: int
    oldest_us: int
    received: int
    quarantined: int
    duplicates: int
    shed: int
    rows: int
    payload_length: int


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole frame: what one connection delivered in one commit of the journal."""

    header: Header
    readings: Readings
    extras: bytes
    """Empty, or JSON (`streaming.extras`): rejected originals, gaps, closed gaps and quality episodes."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are no frame: a torn tail, or altered on disk."""

    length: int
    torn: bool
    """Looks like a write that was cut short, never acknowledged: it ends early or is all zeros."""
    reason: str
    header: Header | None = None
    sample: bytes = b""


@dataclass(frozen=True, slots=True)
class Lost:
    """Sequences that were given out and cannot be read back: counted in the ledger, their bytes set aside."""

    first_seq: int
    last_seq: int
    detail: str
    connection_id: int = 0
    rows: int = 0
    sample: bytes = b""
    since_us: int = 0
    until_us: int = 0
    """When it had been received, at the latest; `since_us` is 0 where only the frame before can tell from when on."""


Item: TypeAlias = Frame | Lost
"""What comes out of the spool: every sequence once, in order."""


@dataclass(frozen=True, slots=True, order=True)
class SegmentFile:
    """A segment by its name."""

    number: int
    first_seq: int
    path: Path


def encode_header(header: Header, payload_crc: int) -> bytes:
    """Return the 68 bytes in front of a payload."""
    raw = FRAME.pack(
        FRAME_MAGIC,
        header.schema,
        header.kind,
        header.term,
        header.seq,
        header.connection_id,
        header.received_us,
        header.oldest_us,
        header.received,
        header.quarantined,
        header.duplicates,
        header.shed,
        header.rows,
        header.payload_length,
        payload_crc,
        0,
    )
    return raw[:-_CRC] + struct.pack("<I", crc32(raw[:-_CRC]))


def encode_segment_header(number: int, first_seq: int, created_us: int, spool_id: UUID) -> bytes:
    """Return the bytes that open a segment."""
    raw = SEGMENT.pack(SEGMENT_MAGIC, SCHEMA, number, first_seq, created_us, spool_id.bytes, 0)
    return raw[:-_CRC] + struct.pack("<I", crc32(raw[:-_CRC]))


def encode_cursor(generation: int, seq: int) -> bytes:
    """Return one cursor slot's content."""
    raw = CURSOR.pack(CURSOR_MAGIC, generation, seq, 0)
    return raw[:-_CRC] + struct.pack("<I", crc32(raw[:-_CRC]))


def read_cursor(folder: Path) -> tuple[int, int]:
    """Return (generation, seq) of the newest valid slot; (0, 0) when there is none."""
    path = folder / "cursor"
    data = path.read_bytes() if path.exists() else b""
    best = (0, 0)
    for slot in (0, CURSOR_SLOT):
        raw = data[slot : slot + CURSOR.size]
        if len(raw) == CURSOR.size:
            magic, generation, seq, crc = CURSOR.unpack(raw)
            if magic == CURSOR_MAGIC and crc == crc32(raw[:-_CRC]):
                best = max(best, (generation, seq))
    return best


def read_created_us(path: Path) -> int:
    """Return when a segment was begun, platform time; 0 where its header cannot be read."""
    with path.open("rb") as file:
        raw = file.read(SEGMENT.size)
    return int(SEGMENT.unpack(raw)[4]) if len(raw) == SEGMENT.size and _checked(raw) else 0


def _checked(raw: bytes) -> bool:
    return int.from_bytes(raw[-_CRC:], "little") == crc32(raw[:-_CRC])


def read_spool_id(folder: Path) -> UUID | None:
    """Return the spool's id, None where no spool was made yet; ConfigurationError where the file holds no id."""
    path = folder / "id"
    if not path.exists():
        return None
    text = path.read_bytes()[:100].decode("ascii", "replace").strip()
    try:
        return UUID(text)
    except ValueError:
        remedy = "Put back the id that the ledger has for this spool; without the file it would be another spool."
        raise ConfigurationError([Problem("is no spool's id", remedy, file=str(path), value=text)]) from None


def list_segments(folder: Path) -> list[SegmentFile]:
    """Return the segments in the order they were written."""
    found = []
    for path in folder.glob("*.seg"):
        number, _, first_seq = path.stem.partition("-")
        if number.isdecimal() and first_seq.isdecimal():  # any other name is none of ours
            found.append(SegmentFile(int(number), int(first_seq), path))
    return sorted(found)


def _header_at(data: bytes, at: int) -> tuple[Header, int] | None:
    if len(data) - at < FRAME.size:
        return None
    fields = FRAME.unpack_from(data, at)
    if fields[0] != FRAME_MAGIC or fields[-1] != crc32(memoryview(data)[at : at + FRAME.size - _CRC]):
        return None
    return Header(*fields[1:-2]), fields[-2]


def _next_header(data: bytes, start: int) -> int | None:
    at = data.find(FRAME_MAGIC, start)
    while at >= 0:
        if _header_at(data, at) is not None:
            return at
        at = data.find(FRAME_MAGIC, at + 1)
    return None


def parse(data: bytes, *, final: bool) -> Iterator[tuple[Frame | Damage, int]]:
    """Yield what `data` holds and the position after each.

    `data` starts at a frame's place. Unless `final`, what may continue beyond the end of `data` is not yielded: the
    caller comes again with more. Never yields a frame whose checksums do not hold; finds the next one after damage.
    """
    at, size = 0, len(data)
    while at < size:
        found = _header_at(data, at)
        if found is None:
            following = _next_header(data, at + 1)
            if following is None:
                if final:
                    tail = data[at:]
                    torn = len(tail) < FRAME.size or tail.count(0) == len(tail)
                    yield Damage(len(tail), torn, "torn tail" if torn else "damaged header", sample=tail[:65536]), size
                return
            yield (
                Damage(following - at, torn=False, reason="damaged header", sample=data[at:following][:65536]),
                following,
            )
            at = following
            continue
        header, payload_crc = found
        start, end = at + FRAME.size, at + FRAME.size + header.payload_length
        if end > size:
            if final:
                yield Damage(size - at, torn=True, reason="torn tail", header=header), size
            return
        yield _frame(data, at, start, end, header, payload_crc), end
        at = end


def _frame(data: bytes, at: int, start: int, end: int, header: Header, payload_crc: int) -> Frame | Damage:
    packed = header.rows * READING.itemsize
    if crc32(memoryview(data)[start:end]) != payload_crc:
        # A cut-off write may leave pages of zeros in place of a payload; that frame was never acknowledged either, but
        # nothing tells it apart from an acknowledged one whose bytes were altered, so it counts as damage.
        return Damage(end - at, torn=False, reason="damaged payload", header=header, sample=data[at:end][:65536])
    if header.schema != SCHEMA or packed > header.payload_length:
        reason = f"payload schema {header.schema} is not known"
        return Damage(end - at, torn=False, reason=reason, header=header, sample=data[at:end][:65536])
    readings = np.frombuffer(data, dtype=READING, count=header.rows, offset=start)
    return Frame(header, readings, data[start + packed : end])


def scan(folder: Path) -> Iterator[Frame | Damage]:
    """Yield everything in the spool after its cursor, in order and each sequence once: what is pending."""
    _, last = read_cursor(folder)
    for _, item in walk(folder, last):
        if isinstance(item, Frame):
            if item.header.seq <= last:
                continue
            last = item.header.seq
        if item is not None:
            yield item


def walk(folder: Path, last: int) -> Iterator[tuple[SegmentFile, Frame | Damage | None]]:
    """Yield each segment that holds anything behind sequence `last`: None at its head, then all that it holds."""
    segments = list_segments(folder)
    for n, segment in enumerate(segments):
        if n + 1 < len(segments) and segments[n + 1].first_seq <= last + 1:
            continue  # all of it is stored: kept for a while
        try:
            data = segment.path.read_bytes()
        except FileNotFoundError:
            continue  # stored and removed by the running ingest since the folder was listed
        yield segment, None
        for item, _ in parse(data[SEGMENT.size :], final=True):
            yield segment, item
            if isinstance(item, Frame):
                last = max(last, item.header.seq)
