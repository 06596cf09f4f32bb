"""Reads the journal in order: each sequence once, as the frame that was written or as the statement that it is lost."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wellos.readings import READING
from wellos.spool_format import SEGMENT, Damage, Lost, parse, read_created_us

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wellos.spool_format import Frame, Item

__all__ = ["Reader", "Segment"]

_CHUNK = 1 << 20  # a batch is half of it: what is left over is read again
_MOST_LOST = 10_000
"""Sequences in one statement of loss: each becomes a row of the ledger, and transactions stay small."""


@dataclass(slots=True)
class Segment:
    """A segment while the journal is open; `end` is how far it is known to be on disk."""

    number: int
    first_seq: int
    path: Path
    end: int
    closed: bool
    damaged: bool = False
    aside: bool = False
    """It has a second name in `aside/`."""


@dataclass(slots=True)
class Reader:
    """A position in the list of segments, which the journal extends and trims."""

    segments: list[Segment]
    expected: int
    """The next sequence to hand out."""
    current: Segment = field(init=False)
    _offset: int = field(init=False, default=SEGMENT.size)
    _damage: list[tuple[Segment, Damage]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.current = self.segments[0]

    def read(self, max_rows: int) -> list[Item]:
        """Return what is on disk beyond the last call, until it holds `max_rows` readings or there is no more.

        What a frame carries beside readings counts by its size, so that memory stays bounded whatever the frames hold.
        """
        items: list[Item] = []
        rows = 0
        while rows < max_rows:
            closed, end = self.current.closed, self.current.end  # in this order: closing never moves `end`
            found: Iterator[Item]
            if self.expected < self.current.first_seq:
                found = self._lose_until(self.current.first_seq, read_created_us(self.current.path))
            elif self._offset < end:
                found = self._read_chunk(end)
            elif closed:
                self._next_segment()
                continue
            else:
                break
            for item in found:
                items.append(item)
                rows += _weight(item)
                if rows >= max_rows:
                    break
        return items

    def _read_chunk(self, end: int) -> Iterator[Item]:
        """Parse from the current offset; at least one item or damage is consumed."""
        size, start = _CHUNK, self._offset
        while self._offset == start:
            size = min(size, end - start)
            data = _pread(self.current.path, start, size)
            for item, after in parse(data, final=start + size >= end):
                yield from self._take(item)
                self._offset = start + after
            size *= 2

    def _take(self, item: Frame | Damage) -> Iterator[Item]:
        if isinstance(item, Damage):
            if item.torn:
                return
            self.current.damaged = True
            self._damage.append((self.current, item))
            return
        if item.header.seq < self.expected:
            return  # stored already, or rewritten after its first segment was sealed
        yield from self._lose_until(item.header.seq, item.header.received_us)
        self.expected = item.header.seq + 1
        yield item

    def _next_segment(self) -> None:
        # The journal keeps one open segment, so a closed one always has a successor.
        self.current = self.segments[self.segments.index(self.current) + 1]
        self._offset = SEGMENT.size

    def _lose_until(self, seq: int, until_us: int) -> Iterator[Lost]:
        """Account for every sequence in front of `seq`, received at `until_us`, that no frame was found for."""
        while self.expected < seq:
            segment, damage = self._damage_of(self.expected)
            header = damage.header if damage else None
            first = self.expected
            last = first if header else min(self._last_lost_before(seq), first + _MOST_LOST - 1)
            where = f"{segment.path.name}: {damage.reason}" if segment and damage else "segment missing"
            sample = damage.sample if damage else b""
            # Before it is handed out: the caller may go no further than this item.
            self.expected = last + 1
            if header is None:
                yield Lost(first, last, where, sample=sample, until_us=until_us)
            else:
                told = (header.connection_id, header.rows, sample, header.oldest_us, header.received_us)
                yield Lost(first, last, where, *told)
        self._damage.clear()

    def _damage_of(self, seq: int) -> tuple[Segment | None, Damage | None]:
        for segment, damage in self._damage:
            if damage.header is not None and damage.header.seq == seq:
                return segment, damage
        return next(((s, d) for s, d in self._damage if d.header is None), (None, None))

    def _last_lost_before(self, seq: int) -> int:
        known = [d.header.seq for _, d in self._damage if d.header is not None and d.header.seq > self.expected]
        return min([*known, seq]) - 1


def _weight(item: Item) -> int:
    if isinstance(item, Lost):
        return item.last_seq - item.first_seq + 1
    return max(1, item.header.payload_length // READING.itemsize)


def _pread(path: Path, start: int, size: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        data = os.pread(descriptor, size, start)
    finally:
        os.close(descriptor)
    return data
