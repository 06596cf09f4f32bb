"""What goes into one frame of the journal, and how its extras are written and read back."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zlib import crc32

from streaming.delivery import Gap, Rejected
from wellos.readings import empty
from wellos.spool_format import SCHEMA, Header, encode_header

if TYPE_CHECKING:
    from wellos.readings import Readings

__all__ = ["Entry", "decode_extras"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One connection's share of one commit: what is kept, and the count of what is not."""

    connection_id: int
    received_us: int
    readings: Readings = field(default_factory=empty)
    rejected: tuple[Rejected, ...] = ()
    gaps: tuple[Gap, ...] = ()
    duplicates: int = 0
    shed: int = 0

    def encode_payload(self) -> bytes:
        """Return the frame's payload: packed readings, then the extras as JSON."""
        extras = b""
        if self.rejected or self.gaps:
            rejected = [
                (item.reason, item.detail, item.source, base64.b64encode(item.original).decode())
                for item in self.rejected
            ]
            gaps = [(gap.start_us, gap.end_us, gap.reason, gap.tag_id) for gap in self.gaps]
            extras = json.dumps({"rejected": rejected, "gaps": gaps}, separators=(",", ":")).encode()
        return self.readings.tobytes() + extras

    def encode(self, seq: int, payload: bytes) -> bytes:
        """Return the whole frame under its sequence."""
        rows = len(self.readings)
        oldest = int(self.readings["time"].min()) if rows else self.received_us
        received = rows + len(self.rejected) + self.duplicates + self.shed
        header = Header(
            schema=SCHEMA,
            kind=0,
            seq=seq,
            connection_id=self.connection_id,
            received_us=self.received_us,
            oldest_us=oldest,
            received=received,
            quarantined=len(self.rejected),
            duplicates=self.duplicates,
            shed=self.shed,
            rows=rows,
            payload_length=len(payload),
        )
        return encode_header(header, crc32(payload)) + payload


def decode_extras(extras: bytes) -> tuple[tuple[Rejected, ...], tuple[Gap, ...]]:
    """Return the rejected originals and the gaps of a frame."""
    if not extras:
        return (), ()
    content = json.loads(extras)
    rejected = tuple(
        Rejected(reason, detail, source, base64.b64decode(original))
        for reason, detail, source, original in content["rejected"]
    )
    gaps = tuple(Gap(start, end, reason, tag_id) for start, end, reason, tag_id in content["gaps"])
    return rejected, gaps
