"""What goes into one frame of the journal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zlib import crc32

from streaming.extras import Extras, encode_extras
from wellos.readings import empty
from wellos.spool_format import SCHEMA, Header, encode_header

if TYPE_CHECKING:
    from streaming.delivery import Episode, Filled, Gap, Rejected
    from wellos.readings import Readings

__all__ = ["Entry"]


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
    filled: tuple[Filled, ...] = ()
    episodes: tuple[Episode, ...] = ()
    term: int = 0

    def encode_payload(self) -> bytes:
        """Return the frame's payload: packed readings, then the extras as JSON."""
        return self.readings.tobytes() + encode_extras(Extras(self.rejected, self.gaps, self.filled, self.episodes))

    def encode(self, seq: int, payload: bytes) -> bytes:
        """Return the whole frame under its sequence."""
        rows = len(self.readings)
        oldest = int(self.readings["time"].min()) if rows else self.received_us
        received = rows + len(self.rejected) + self.duplicates + self.shed
        header = Header(
            schema=SCHEMA,
            kind=0,
            term=self.term,
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
