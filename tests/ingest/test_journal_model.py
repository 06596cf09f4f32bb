"""The journal against a model, through any order of appends, syncs, drains, crashes and damage."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streaming.spool import Entry, Journal, SpoolFullError
from wellos.quality import Quality
from wellos.readings import pack
from wellos.spool_format import SEGMENT, Frame, Lost, list_segments

if TYPE_CHECKING:
    from wellos.spool_format import Item


class JournalModel(RuleBasedStateMachine):
    """`acknowledged` is what callers were told is durable; it must come back whole, once, in order, or as Lost."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="journal-"))
        self.content: dict[int, bytes] = {}
        self.acknowledged: set[int] = set()
        self.stored: dict[int, bytes | None] = {}
        self.damage = 0
        self.unread: list[Item] = []
        self.unsynced: list[int] = []
        self.open()

    def open(self) -> None:
        self.journal = Journal(self.folder, quota_bytes=1 << 20, segment_bytes=1 << 16, now_us=lambda: 0)
        self.unread, self.unsynced = [], []

    @rule(rows=st.integers(0, 300), seed=st.integers(0, 1 << 16))
    def append(self, rows: int, seed: int) -> None:
        values = np.random.default_rng(seed).normal(size=rows)
        batch = pack(np.arange(rows) + seed, values, 1, Quality.GOOD)
        try:
            seq = self.journal.append(Entry(1, seed, batch))
        except SpoolFullError:
            assert self.journal.used_bytes > (1 << 20) - 9000
            return
        assert seq not in self.acknowledged
        assert seq not in self.stored
        self.content[seq] = batch.tobytes()
        self.unsynced.append(seq)

    @rule()
    def sync(self) -> None:
        self.journal.sync()
        self.acknowledged.update(self.unsynced)
        self.unsynced = []

    @rule(max_rows=st.integers(1, 2000))
    def read(self, max_rows: int) -> None:
        self.unread += self.journal.read(max_rows)

    @precondition(lambda self: self.unread)
    @rule(share=st.floats(0, 1))
    def store(self, share: float) -> None:
        done = self.unread[: 1 + int(share * (len(self.unread) - 1))]
        for item in done:
            lost = isinstance(item, Lost)
            span = range(item.first_seq, item.last_seq + 1) if isinstance(item, Lost) else [item.header.seq]
            for seq in span:
                # The ledger: a replayed sequence must be the same frame; it is skipped.
                content = None if lost else item.readings.tobytes() if isinstance(item, Frame) else b""
                if seq in self.stored:
                    assert content in {None, self.stored[seq]} or self.stored[seq] is None
                    continue
                if content is not None:
                    assert content == self.content[seq]
                self.stored[seq] = content
        self.journal.advance(done)
        del self.unread[: len(done)]

    @rule(torn=st.integers(0, 3000), keep_cursor=st.booleans())
    def crash(self, torn: int, keep_cursor: bool) -> None:
        """Lose what was not synced, perhaps leaving half of it behind; perhaps lose one cursor slot as well."""
        segment = self.journal._segments[-1]
        path, end = segment.path, segment.end
        tail = b"".join(entry.encode(seq, payload) for seq, entry, payload in self.journal._queue)
        self.journal.close()
        with path.open("r+b") as file:
            file.seek(end)
            file.write(tail[: min(torn, max(0, len(tail) - 1))])
        if not keep_cursor:
            with (self.folder / "cursor").open("r+b") as file:
                file.seek(4096 * (torn % 2) + 5)
                file.write(b"\xff")
        self.open()

    @precondition(lambda self: self.acknowledged)
    @rule(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def flip(self, where: float, bit: int) -> None:
        self.journal.close()
        segments = [s.path for s in list_segments(self.folder) if s.path.stat().st_size > SEGMENT.size]
        if segments:
            path = segments[int(where * len(segments))]
            raw = bytearray(path.read_bytes())
            at = SEGMENT.size + int(where * (len(raw) - SEGMENT.size))
            raw[at] ^= 1 << bit
            path.write_bytes(raw)
            self.damage += 1
        self.open()

    @invariant()
    def nothing_acknowledged_is_stored_altered(self) -> None:
        if hasattr(self, "stored"):
            lost = sum(1 for seq, content in self.stored.items() if content is None and seq in self.acknowledged)
            assert lost <= self.damage

    def teardown(self) -> None:
        if not hasattr(self, "journal"):
            return
        self.sync()
        while items := self.journal.read(10_000):
            self.unread += items
        if self.unread:
            self.store(1.0)
        assert self.acknowledged <= set(self.stored)
        assert sorted(self.stored) == list(range(1, len(self.stored) + 1))
        assert self.journal.pending_rows == 0
        self.journal.close()
        shutil.rmtree(self.folder)


TestJournalModel = JournalModel.TestCase
TestJournalModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
