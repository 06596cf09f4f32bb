"""The journal: an append-only log of frames, acknowledged after fsync, read back in order, bounded by a quota.

The byte layout is in `wellos.spool_format`. What always holds:

1. `sync` returns a sequence only after every frame up to it, and the directory entry of its segment, is on disk.
2. `read` hands out nothing beyond the last synced sequence, each sequence once, in order, and never altered bytes: a
   sequence that cannot be read back is handed out as `Lost`, so that none is missing from the ledger.
3. A sequence is never given out twice, also after a crash: what was torn was neither acknowledged nor handed out; what
   looks like damage rather than a torn write keeps its sequence.
4. The cursor is written in place into preallocated slots (it needs no space), and is on disk before a segment is
   removed. A segment that held damage is found in `aside/` after that.
5. A file is never fsynced again after its fsync failed (the kernel marks the pages clean): the segment is sealed and
   the frames go to a new one; if that fails too the journal is dead (FatalError).
6. No space (disk or quota) refuses intake (SpoolFullError) and keeps draining; nothing acknowledged is dropped.
7. One process at a time: the second is refused with the pid of the first.
8. Stored segments are kept for a time and a size, and go first when there is no room. `rewind` hands out again what a
   database that lost commits no longer has; what is not kept any more comes out as `Lost`.

Three callers may run at once, each from one thread: `append`, `sync`, and `read` with `advance` and `rewind`.
"""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from threading import Lock
from typing import TYPE_CHECKING

from streaming.spool import files
from streaming.spool.kept import Kept
from streaming.spool.reader import Reader, Segment
from wellos.errors import FatalError, RetryableError
from wellos.spool_format import FRAME, SEGMENT, Damage, Lost, encode_segment_header, list_segments, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from streaming.spool.entry import Entry
    from wellos.spool_format import Item

__all__ = ["Journal", "SpoolFullError"]

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_BLOCK = 64


class SpoolFullError(RetryableError):
    """The spool has no room: intake waits until the sink has drained some of it."""


class _SealedError(Exception):
    """Writing or syncing the open segment failed; its unsynced frames belong in a new one."""


class Journal:
    """An open spool folder."""

    def __init__(
        self,
        folder: Path,
        *,
        quota_bytes: int,
        segment_bytes: int,
        now_us: Callable[[], int],
        keep_bytes: int = 0,
        keep_s: float = 0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Lock the folder, find where it ended, and start a new segment.

        `keep_bytes` and `keep_s` bound what is kept of what is stored, from the moment that it is (or this start).
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.quota_bytes, self._now_us, self._monotonic = folder, quota_bytes, now_us, monotonic
        self.segment_bytes = min(segment_bytes, quota_bytes // 4)
        self._lock_fd = files.lock(folder)
        self.spool_id = files.make_spool_id(folder)
        self._cursor = files.Cursor(folder)
        self._mutex = Lock()
        self._queue: deque[tuple[int, Entry, bytes]] = deque()
        self._queued_bytes = 0
        self._segments: list[Segment] = []
        self._kept = Kept(keep_bytes, keep_s)
        self._descriptor = -1
        self._dead = self._sealed = False
        self.pending_rows = 0
        self.appended_bytes = 0
        self._oldest: dict[int, int] = {}
        self._next_seq = self._recover()
        self.synced_seq = self._next_seq - 1
        self._open_segment(self._next_seq)
        self._reader = Reader(self._segments, self._cursor.seq + 1)
        self._trim()

    @property
    def max_frame_bytes(self) -> int:
        """Largest payload that surely fits."""
        return self.segment_bytes // 2

    @property
    def stored_seq(self) -> int:
        """Every sequence up to this one is stored."""
        return self._cursor.seq

    def progress(self) -> tuple[int, int]:
        """Return the last durable sequence, and up to which one all is stored."""
        return self.synced_seq, self.stored_seq

    @property
    def used_bytes(self) -> int:
        """Bytes of the segments with anything that is not stored, and of what waits to be written."""
        return sum(segment.end for segment in self._segments) + self._queued_bytes

    @property
    def kept_bytes(self) -> int:
        """Bytes of segments that are stored and kept: given up when there is no room."""
        return self._kept.bytes

    @property
    def kept_seq(self) -> int:
        """The first sequence that `rewind` could still hand out."""
        with self._mutex:
            kept = self._kept.first_seq
            return self._segments[0].first_seq if kept is None else kept

    @property
    def free_bytes(self) -> int:
        """Bytes until the quota is used up, or the disk, whichever is nearer."""
        disk = os.statvfs(self.folder)
        return max(0, min(self.quota_bytes - self.used_bytes, disk.f_bavail * disk.f_frsize + self.kept_bytes))

    @property
    def oldest_us(self) -> int | None:
        """Oldest source time that is not stored yet (at most 63 frames too old); None when nothing is pending."""
        with self._mutex:
            return min(self._oldest.values(), default=None) if self.stored_seq < self._next_seq - 1 else None

    def append(self, entry: Entry, *, beyond_quota: bool = False) -> int:
        """Queue one entry and return its sequence; it is durable once `sync` has returned that or a later one.

        SpoolFullError: the quota is used up. `beyond_quota` is for the few bytes that say what was therefore refused.
        """
        if self._dead:
            raise FatalError(f"{self.folder}: the spool cannot be written to any more")
        payload = entry.encode_payload()
        size = FRAME.size + len(payload)
        with self._mutex:
            if self.used_bytes + size > self.quota_bytes and not beyond_quota:
                raise SpoolFullError(f"the spool's quota of {self.quota_bytes} bytes is used up")
            over = self.used_bytes + self._kept.bytes + size - self.quota_bytes
            gone = self._kept.release(over)
            seq = self._next_seq
            self._next_seq += 1
            self._queue.append((seq, entry, payload))
            self._queued_bytes += size
            self._count(seq, len(entry.readings), _oldest_of(entry))
        self._remove(gone)
        return seq

    def sync(self) -> int:
        """Write all that is queued, wait until it is on disk, and return the last durable sequence.

        SpoolFullError: the disk is full; what was queued stays so, and the next call tries again.
        """
        with self._mutex:
            batch = list(self._queue)
        if not batch:
            self._give_up_stored()
            return self.synced_seq
        data = b"".join(entry.encode(seq, payload) for seq, entry, payload in batch)
        try:
            self._write_with_room(batch[0][0], data)
        except FatalError:
            self._dead = True
            raise
        with self._mutex:
            for _ in batch:
                self._queue.popleft()
            self._queued_bytes -= len(data)
            self._segments[-1].end += len(data)
            self.appended_bytes += len(data)
            self.synced_seq = batch[-1][0]
        return self.synced_seq

    def read(self, max_rows: int) -> list[Item]:
        """Return the next durable items, about `max_rows` readings of them; empty when there is none."""
        items = self._reader.read(max_rows)
        if not items:
            self._trim()  # the reader may have left a segment all of which is stored
        for segment in list(self._segments):
            if segment.damaged and not segment.aside:
                segment.aside = files.link_aside(segment.path)
        return items

    def advance(self, items: Sequence[Item]) -> None:
        """Note that these items, the ones last read, are stored, and remove the segments that are no longer needed."""
        if not items:
            return
        last = items[-1]
        self._cursor.write(last.last_seq if isinstance(last, Lost) else last.header.seq)
        with self._mutex:
            self.pending_rows -= sum(i.rows if isinstance(i, Lost) else i.header.rows for i in items)
            if self.stored_seq == self._next_seq - 1:
                self.pending_rows = 0
            while self._oldest and ((block := next(iter(self._oldest))) + 1) * _BLOCK <= self.stored_seq + 1:
                del self._oldest[block]
        self._trim()

    def rewind(self, seq: int) -> None:
        """Hand out everything behind `seq` again: the database has lost what it had committed of it.

        What was read and not yet advanced is handed out again as well.
        """
        before = self.stored_seq
        if seq >= before:
            return
        with self._mutex:
            self._segments[:0] = self._kept.take_back(seq + 1, self._segments[0].first_seq)
        rows, oldest = self._pending_again(seq, before)
        with self._mutex:
            self._reader = Reader(self._segments, seq + 1)
            self._cursor.write(seq)
            self.pending_rows += rows
            for block, moment in self._oldest.items():
                oldest[block] = min(moment, oldest.get(block, moment))
            self._oldest = oldest

    def close(self) -> None:
        """Close every file and let go of the lock; what is queued and not synced is dropped, unacknowledged."""
        self._cursor.close()
        os.close(self._descriptor)
        os.close(self._lock_fd)

    def _pending_again(self, after: int, until: int) -> tuple[int, dict[int, int]]:
        """Return the readings and the oldest source times of the frames behind `after` up to `until`."""
        rows, oldest, last = 0, dict[int, int](), after
        for segment in self._segments:
            if segment.first_seq > until:
                break
            for item, _ in parse(segment.path.read_bytes()[SEGMENT.size :], final=True):
                header = item.header
                if header is None or not last < header.seq <= until:
                    continue
                last, block = header.seq, header.seq // _BLOCK
                rows += header.rows
                oldest[block] = min(header.oldest_us, oldest.get(block, header.oldest_us))
        return rows, oldest

    def _count(self, seq: int, rows: int, oldest_us: int) -> None:
        self.pending_rows += rows
        block = seq // _BLOCK
        self._oldest[block] = min(oldest_us, self._oldest.get(block, oldest_us))

    def _recover(self) -> int:
        """List the segments, count what is pending, and return the next sequence to give out."""
        found = list_segments(self.folder)
        if found and self._cursor.lost:
            self._cursor.write(found[0].first_seq - 1)  # only what is stored was ever removed
        next_seq = self._cursor.seq + 1
        trailing = False
        for n, item in enumerate(found):
            if n + 1 < len(found) and found[n + 1].first_seq <= self._cursor.seq + 1:
                size = item.path.stat().st_size
                segment = Segment(item.number, item.first_seq, item.path, size, closed=True)
                self._kept.add(segment, self._monotonic())
                continue
            data = item.path.read_bytes()
            next_seq = max(next_seq, item.first_seq)
            trailing = False
            for piece, _ in parse(data[SEGMENT.size :], final=True):
                trailing = isinstance(piece, Damage) and not piece.torn and piece.header is None
                header = piece.header
                if header is None or (isinstance(piece, Damage) and piece.torn) or header.seq < next_seq:
                    continue
                next_seq = header.seq + 1
                self._count(header.seq, header.rows, header.oldest_us)
            self._segments.append(Segment(item.number, item.first_seq, item.path, len(data), closed=True))
        # Damage behind the last frame may have been acknowledged: its sequence is not given out again.
        return next_seq + trailing

    def _open_segment(self, first_seq: int) -> None:
        number = self._segments[-1].number + 1 if self._segments else 1
        path = self.folder / f"{number:010d}-{first_seq:020d}.seg"
        header = encode_segment_header(number, first_seq, self._now_us(), self.spool_id)
        descriptor = files.create(path, header)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._sealed = descriptor, False
        self._segments.append(Segment(number, first_seq, path, len(header), closed=False))
        if len(self._segments) > 1:
            self._segments[-2].closed = True

    def _give_up_stored(self) -> None:
        """Begin a new segment where the open one, all of it stored, uses up the quota: nothing else would end it."""
        with self._mutex:
            idle = self.stored_seq == self._next_seq - 1 and self.used_bytes * 2 > self.quota_bytes
        if idle and self._segments[-1].end > SEGMENT.size:
            try:
                self._open_segment(self._next_seq)
            except OSError as error:
                if error.errno not in _NO_SPACE:
                    raise FatalError(f"{self.folder}: cannot start a segment: {error}") from error

    def _write_with_room(self, first_seq: int, data: bytes) -> None:
        """Write; while the disk is full, give up what is kept and try again."""
        while True:
            try:
                return self._write(first_seq, data)
            except SpoolFullError:
                with self._mutex:
                    gone = self._kept.release(room=1)
                if not gone:
                    raise
                self._remove(gone)

    def _write(self, first_seq: int, data: bytes) -> None:
        """Put `data` on disk in the open segment, or in a new one where that fails or is full."""
        try:
            active = self._segments[-1]
            full = active.end > SEGMENT.size and active.end + len(data) > self.segment_bytes
            if full or self._sealed:
                self._open_segment(first_seq)
            try:
                self._write_once(data)
            except _SealedError:
                self._open_segment(first_seq)
                self._write_once(data)
        except _SealedError as error:
            raise FatalError(f"{self.folder}: writing failed twice: {error.__cause__}") from error
        except OSError as error:
            if error.errno in _NO_SPACE:
                raise SpoolFullError(f"{self.folder}: no space left on the disk") from error
            raise FatalError(f"{self.folder}: cannot start a segment: {error}") from error

    def _write_once(self, data: bytes) -> None:
        end = self._segments[-1].end
        try:
            files.write_at(self._descriptor, data, end)
        except OSError as error:
            if error.errno in _NO_SPACE:
                os.ftruncate(self._descriptor, end)
                raise
            self._sealed = True
            raise _SealedError from error
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            self._sealed = True
            raise _SealedError from error

    def _trim(self) -> None:
        """Keep the segments in front of the one that holds the next sequence to store; remove what is kept no more."""
        now = self._monotonic()
        with self._mutex:
            while self._segments[0] is not self._reader.current and self._segments[1].first_seq <= self.stored_seq + 1:
                self._kept.add(self._segments.pop(0), now)
            over = self.used_bytes + self._kept.bytes - self.quota_bytes
            gone = self._kept.release(over, now)
        self._remove(gone)

    def _remove(self, gone: Sequence[Segment]) -> None:
        if gone:
            self._cursor.sync()
        for segment in gone:
            if segment.damaged and not segment.aside:
                files.set_aside(segment.path)
            else:
                segment.path.unlink()


def _oldest_of(entry: Entry) -> int:
    return int(entry.readings["time"].min()) if len(entry.readings) else entry.received_us
