"""The journal against a model, through any order of appends, syncs, drains, crashes, power cuts, errors and damage."""

from __future__ import annotations

import errno
import os
import random
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streaming.spool import Entry
from tests.ingest.mutants import MUTANTS, ORIGINAL, Build, Mutant, build
from tests.worst_disk import WorstDisk
from wellos.errors import ConfigurationError, FatalError
from wellos.quality import Quality
from wellos.readings import pack
from wellos.spool_format import SEGMENT, Frame, Lost, list_segments, read_cursor

if TYPE_CHECKING:
    from collections.abc import Callable

QUOTA = 1 << 17
_ERRORS = st.lists(st.sampled_from([errno.EIO, errno.EIO, errno.ENOSPC, 0]), max_size=2)
_FOLDER = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - the disk is a model, this one need only be quick


class JournalModel(RuleBasedStateMachine):
    """`acknowledged` is what callers were told is durable; it must come back whole, once, in order, or as Lost."""

    build: Build = ORIGINAL

    @initialize(keep_bytes=st.sampled_from([0, 1 << 15]))
    def start(self, keep_bytes: int) -> None:
        self.keep_bytes = keep_bytes
        self.folder = Path(tempfile.mkdtemp(prefix="journal-", dir=_FOLDER))
        self.disk = WorstDisk(self.folder)
        self.disk.install()
        self.content: dict[int, bytes] = {}
        self.acknowledged: set[int] = set()
        self.stored: dict[int, bytes | None] = {}
        self.may_be_lost: set[int] = set()
        self.damage = 0
        self.cursors = [0, 0]
        self.slots_whole = False
        self.spool_id: object = None
        self.appended = self.opened = 0
        self.open()

    def open(self) -> None:
        self.opened += 1
        self.journal = self.build.Journal(
            self.folder,
            quota_bytes=QUOTA,
            segment_bytes=1 << 14,
            now_us=lambda: 0,
            keep_bytes=self.keep_bytes,
            keep_s=1e9,
            monotonic=lambda: 0.0,
        )
        self.unread: list[Any] = []
        self.unsynced: list[int] = []
        assert self.spool_id in {None, self.journal.spool_id}
        self.spool_id = self.journal.spool_id
        self.go_back()

    def go_back(self) -> None:
        """What the drain does at every connect: where the ledger ends before the cursor, store what is kept again."""
        reach = next(seq for seq in range(len(self.stored) + 1) if seq + 1 not in self.stored)
        if reach < self.journal.stored_seq:
            self.may_be_lost.update(range(reach + 1, self.journal.kept_seq))
            self.journal.rewind(reach)
            self.note_cursor()
            self.unread = []

    def note_cursor(self) -> None:
        self.cursors = [self.cursors[1], self.journal.stored_seq]
        self.slots_whole = True

    def close(self) -> None:
        self.journal.close()
        del self.journal

    def abandon(self) -> None:
        """What is left of the process at a power cut: nothing, and no sync on the way."""
        if hasattr(self, "journal"):
            for descriptor in (self.journal._descriptor, self.journal._cursor._descriptor, self.journal._lock_fd):
                os.close(descriptor)
            del self.journal

    @rule(rows=st.integers(0, 300), seed=st.integers(0, 1 << 16), times=st.sampled_from([1, 1, 3, 12]))
    def append(self, rows: int, seed: int, times: int) -> None:
        for n in range(times):
            values = np.random.default_rng(seed + n).normal(size=rows)
            batch = pack(np.arange(rows) + seed, values, 1, Quality.GOOD)
            try:
                seq = self.journal.append(Entry(1, seed, batch))
            except self.build.SpoolFullError:
                assert self.journal.used_bytes > QUOTA - 9000
                return
            assert self.journal.used_bytes + self.journal.kept_bytes <= QUOTA
            assert seq not in self.acknowledged
            assert seq not in self.stored
            self.appended += 1
            assert seq <= self.appended + self.opened, "a sequence is left out at an opening at most"
            self.content[seq] = batch.tobytes()
            self.unsynced.append(seq)

    @rule()
    def sync(self) -> None:
        if self.unsynced:
            assert self.journal.sync() == self.unsynced[-1]
        self.acknowledged.update(self.unsynced)
        self.unsynced = []

    @precondition(lambda self: self.unsynced)
    @rule(pwrite=_ERRORS, fdatasync=_ERRORS, fsync=_ERRORS, create=_ERRORS)
    def sync_with_errors(self, pwrite: list[int], fdatasync: list[int], fsync: list[int], create: list[int]) -> None:
        self.disk.plan = {"pwrite": pwrite, "fdatasync": fdatasync, "fsync": fsync, "open": create}
        try:
            self.journal.sync()
        except self.build.SpoolFullError:
            self.disk.plan = {}
            return  # what is queued stays so
        except FatalError:
            self.disk.plan = {}
            stays_so = False
            try:
                self.journal.append(Entry(1, 0))
            except FatalError:
                stays_so = True
            assert stays_so
            self.close()
            self.open()
            return
        self.disk.plan = {}
        self.acknowledged.update(self.unsynced)
        self.unsynced = []

    @rule(max_rows=st.sampled_from([1, 300, 2000, 20_000]))
    def read(self, max_rows: int) -> None:
        found = self.journal.read(max_rows)
        for item in found:
            for seq in span(item):
                assert seq not in self.unsynced
                if isinstance(item, self.build.Lost) and not self.damage:
                    assert seq in self.may_be_lost or seq not in self.acknowledged
            if isinstance(item, self.build.Lost) and ".seg:" in item.detail:
                assert (self.folder / "aside" / item.detail.partition(":")[0]).exists()
        self.unread += found
        order = [seq for item in self.unread for seq in span(item)]
        assert order == list(range(order[0], order[0] + len(order))) if order else True
        assert not order or order[0] == self.journal.stored_seq + 1
        assert not order or order[-1] <= max(self.content, default=0) + self.damage, "never given out"

    @precondition(lambda self: self.unread)
    @rule(share=st.floats(0, 1))
    def store(self, share: float) -> None:
        done = self.unread[: 1 + int(share * (len(self.unread) - 1))]
        for item in done:
            content = None if isinstance(item, self.build.Lost) else item.readings.tobytes()
            for seq in span(item):
                # The ledger: a replayed sequence must be the same frame; it is skipped.
                if seq in self.stored:
                    assert content in {None, self.stored[seq]} or self.stored[seq] is None
                    continue
                if content is not None:
                    assert content == self.content[seq]
                self.stored[seq] = content
        self.journal.advance(done)
        self.note_cursor()
        del self.unread[: len(done)]

    @precondition(lambda self: self.stored)
    @rule(share=st.floats(0, 1))
    def database_falls_back(self, share: float) -> None:
        """What the journal keeps no more is lost, and only that."""
        reach = int(share * self.journal.stored_seq)
        self.stored = {seq: content for seq, content in self.stored.items() if seq <= reach}
        self.go_back()

    @rule(torn=st.integers(0, 3000), keep_cursor=st.booleans())
    def crash(self, torn: int, keep_cursor: bool) -> None:
        """Lose what was not synced, perhaps leaving half of it behind; perhaps lose one cursor slot as well."""
        segment = self.journal._segments[-1]
        path, end = segment.path, segment.end
        tail = b"".join(entry.encode(seq, payload) for seq, entry, payload in self.journal._queue)
        self.close()
        with path.open("r+b") as file:
            file.seek(end)
            file.write(tail[: min(torn, max(0, len(tail) - 1))])
        if not keep_cursor and self.slots_whole:
            self.slots_whole = False
            with (self.folder / "cursor").open("r+b") as file:
                file.seek(4096 * (torn % 2) + 5)
                file.write(b"\xff")
            assert read_cursor(self.folder)[1] in self.cursors
            # What lies between the two slots may be removed already; the ledger has it.
            self.may_be_lost.update(range(1, self.cursors[1] + 1))
            self.cursors = [read_cursor(self.folder)[1]] * 2
        self.open()

    @rule(written_back=st.booleans(), removals=st.booleans())
    def power_cut(self, written_back: bool, removals: bool) -> None:
        self.abandon()
        self.disk.power_cut(written_back=written_back, removals=removals)
        self.cursors, self.slots_whole = [read_cursor(self.folder)[1]] * 2, False
        self.open()

    @rule()
    def pump(self) -> None:
        """Several segments in and out."""
        self.append(rows=250, seed=1, times=12)
        self.sync()
        self.read(20_000)
        if self.unread:
            self.store(1.0)

    @rule()
    def second_process(self) -> None:
        refused = False
        try:
            self.open()
        except ConfigurationError:
            refused = True
        assert refused

    @precondition(lambda self: self.acknowledged)
    @rule(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def flip(self, where: float, bit: int) -> None:
        self.close()
        segments = [s.path for s in list_segments(self.folder) if s.path.stat().st_size > SEGMENT.size]
        if segments:
            path = segments[int(where * len(segments))]
            raw = bytearray(path.read_bytes())
            at = SEGMENT.size + int(where * len(segments) % 1 * (len(raw) - SEGMENT.size))
            raw[at] ^= 1 << bit
            path.write_bytes(raw)
            self.damage += 1
        self.open()

    @invariant()
    def nothing_acknowledged_is_stored_altered(self) -> None:
        if hasattr(self, "journal"):
            lost = {seq for seq, content in self.stored.items() if content is None and seq in self.acknowledged}
            assert len(lost - self.may_be_lost) <= self.damage

    def teardown(self) -> None:
        if not hasattr(self, "disk"):
            return
        try:
            self.sync()
            while self.more():
                pass
            if self.unread:
                self.store(1.0)
            assert self.acknowledged <= set(self.stored)
            assert sorted(self.stored) == list(range(1, len(self.stored) + 1))
            assert self.journal.pending_rows == 0
        finally:
            self.disk.remove()
            self.abandon()
            shutil.rmtree(self.folder)

    def more(self) -> bool:
        before = len(self.unread)
        self.read(10_000)
        return len(self.unread) > before


def span(item: Frame | Lost) -> range:
    """Sequences of an item, also of a mutant, whose classes are others of the same names."""
    if type(item).__name__ == "Lost":
        item = cast("Lost", item)
        return range(item.first_seq, item.last_seq + 1)
    item = cast("Frame", item)
    return range(item.header.seq, item.header.seq + 1)


TestJournalModel = JournalModel.TestCase
TestJournalModel.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def wander(model: JournalModel, dice: random.Random, steps: int = 40) -> None:
    """One walk through the model without hypothesis, whose search is slower and whose shrinking nobody needs here."""

    def errors() -> list[int]:
        return [dice.choice([errno.EIO, errno.EIO, errno.ENOSPC, 0]) for _ in range(dice.randrange(3))]

    eio = [errno.EIO, 0]
    walks: list[Callable[[], object]] = [
        lambda: model.append(rows=dice.randrange(300), seed=dice.randrange(1 << 16), times=dice.choice([1, 1, 3, 12])),
        model.sync,
        lambda: model.read(max_rows=dice.choice([1, 300, 2000, 20_000])),
        lambda: model.unread and model.store(share=dice.choice([1.0, dice.random()])),
        lambda: model.stored and model.database_falls_back(share=dice.random()),
        lambda: model.crash(torn=dice.randrange(3000), keep_cursor=dice.random() < 0.5),
        lambda: model.power_cut(written_back=dice.random() < 0.5, removals=dice.random() < 0.5),
        model.second_process,
        model.pump,
        lambda: model.acknowledged and model.flip(where=dice.random(), bit=dice.randrange(8)),
        lambda: (
            model.unsynced
            and model.sync_with_errors(pwrite=errors(), fdatasync=errors(), fsync=errors(), create=errors())
        ),
        lambda: (
            model.unsynced
            and model.sync_with_errors(
                pwrite=[dice.choice(eio)], fdatasync=[errno.EIO], fsync=[], create=[errno.ENOSPC]
            )
        ),
    ]
    # Some walks without this or that, as a fault can hide another.
    walks = dice.sample(walks, dice.randrange(6, len(walks) + 1))
    model.start(keep_bytes=dice.choice([0, 1 << 15]))
    try:
        for _ in range(steps):
            dice.choice(walks)()
            model.nothing_acknowledged_is_stored_altered()
    finally:
        model.teardown()


def wander_all(model: type[JournalModel], walks: int) -> None:
    for seed in range(walks):
        wander(model(), random.Random(seed))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.what.replace(" ", "_"))
def test_the_model_kills(mutant: Mutant) -> None:
    """A journal with one small mistake in it does not pass."""

    class Mutated(JournalModel):
        build = build(mutant)

    with pytest.raises(Exception):  # noqa: B017, PT011 - in whatever way the mistake shows
        wander_all(Mutated, 3000)


def test_the_walks_that_kill_mistakes_pass_without_one() -> None:
    wander_all(JournalModel, 100)
