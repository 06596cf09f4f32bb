"""Segments that are stored already and kept for a while, for a database that falls back to an older state."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streaming.spool.reader import Segment

__all__ = ["Kept"]


class Kept:
    """Oldest first, bounded by bytes and by the time since they were stored. No I/O, no lock: the journal has both."""

    def __init__(self, most_bytes: int, seconds: float) -> None:
        """Keep at most `most_bytes`, and each for `seconds` of monotonic time; 0 of either keeps nothing."""
        self._most_bytes, self._seconds = most_bytes, seconds
        self._held: deque[tuple[Segment, float]] = deque()
        self.bytes = 0

    @property
    def first_seq(self) -> int | None:
        """The first sequence that is kept; None where nothing is."""
        return self._held[0][0].first_seq if self._held else None

    def add(self, segment: Segment, now: float) -> None:
        """Take a segment all of which is stored, newer than every other."""
        self._held.append((segment, now))
        self.bytes += segment.end

    def release(self, room: int = 0, now: float | None = None) -> list[Segment]:
        """Let go of the oldest until `room` bytes are gained and, with `now`, of what is too old or too much.

        Age counts only while the database is there: what it lost shows when it is back.
        """
        gone: list[Segment] = []
        gained = 0
        while self._held:
            segment, since = self._held[0]
            over = now is not None and (self.bytes > self._most_bytes or now - since >= self._seconds)
            if gained >= room and not over:
                break
            self._held.popleft()
            self.bytes -= segment.end
            gained += segment.end
            gone.append(segment)
        return gone

    def take_back(self, seq: int, end_seq: int) -> Sequence[Segment]:
        """Let go of the segment that holds `seq` and of all behind it, to be stored again.

        `end_seq` is the first sequence behind the last kept segment.
        """
        back: deque[Segment] = deque()
        while self._held and end_seq > seq:
            segment, _ = self._held.pop()
            self.bytes -= segment.end
            end_seq = segment.first_seq
            back.appendleft(segment)
        return list(back)
