"""The database locked, away for days, or slow: the spool absorbs, memory stays flat, everything is stored in order."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Self

import numpy as np
import psutil
import psycopg
import pytest
from psycopg import sql

from streaming.delivery import Delivery
from tests import feeder
from wellos.audit import audit
from wellos.quality import Quality
from wellos.readings import Readings, pack
from wellos.settings import Settings, load_settings
from wellos.spool_format import list_segments
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wellos.storage.warm import PgConnection

pytestmark = pytest.mark.fault

IN_ORDER = """
SELECT count(*) FILTER (WHERE back), count(*), min(seq), max(seq)
FROM (SELECT seq, committed_at < lag(committed_at) OVER (ORDER BY seq) AS back FROM ingest_ledger) ledger
"""


class Source:
    """Delivers as an MQTT client does: the next before the last is acknowledged, up to a bound."""

    def __init__(self, parts: feeder.Parts, *, in_flight: int = 20) -> None:
        self._parts, self._free = parts, asyncio.Semaphore(in_flight)
        self.sent = self.acknowledged = 0

    async def send(self, readings: Readings) -> None:
        await self._free.acquire()
        self.sent += 1
        await self._parts.intake.emit(Delivery(1, feeder.BASE_US, readings, settle=self._settle))

    def _settle(self) -> None:
        self.acknowledged += 1
        self._free.release()


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(90):
        while not check():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


async def test_a_locked_table(database_settings: Settings, db: PgConnection) -> None:
    parts = feeder.assemble(database_settings)
    source = Source(parts)
    async with parts.running():
        await source.send(feeder.readings_of(0))
        await parts.stored()
        assert parts.sink._connection is not None
        parts.sink._connection.execute("SET lock_timeout = '200ms'")  # the first attempt gives up, the next one waits
        with connect(database_settings, autocommit=True) as other:
            other.execute("BEGIN; LOCK TABLE readings IN ACCESS EXCLUSIVE MODE")
            before = parts.counters.stored["stored"]
            for number in range(1, 200):
                await source.send(feeder.readings_of(number))
            await until(lambda: parts.counters.sink_errors["unavailable"] > 0 and source.acknowledged > 150)
            assert parts.counters.stored["stored"] == before
            other.execute("COMMIT")
        await source.send(feeder.readings_of(200))  # the probe
        await parts.stored()
    assert source.acknowledged == 201
    assert db.execute("SELECT count(*) FROM readings").fetchone() == (201 * feeder.ROWS,)
    back, frames, first, last = db.execute(IN_ORDER).fetchall()[0]
    assert (back, first, last) == (0, 1, frames)
    assert audit(db, parts.journal.folder).problems == []


class Closed:
    """A database that lets nobody in."""

    def __init__(self, server: str, settings: Settings) -> None:
        assert settings.database_url is not None
        self._server, self._name = server, settings.database_url.get_secret_value().rsplit("/", 1)[1]

    def allow(self, *, connections: bool) -> None:
        with psycopg.connect(self._server, autocommit=True) as admin:
            name, word = sql.Identifier(self._name), sql.SQL("true" if connections else "false")
            admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(name, word))
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (self._name,))


DAYS_ROWS, DELIVERY = 1_000_000, 4_000
_15_S = 15_000_000


def days_of(number: int) -> Readings:
    """Every tag each 15 s: three weeks of eight tags in all."""
    ids = np.arange(number * DELIVERY, (number + 1) * DELIVERY)
    return pack(feeder.BASE_US + ids // feeder.TAGS * _15_S, ids % 1009 * 0.5, 1 + ids % feeder.TAGS, Quality.GOOD)


class Memory:
    """Most memory that this process held beyond what it held at the start, looked at every 20 ms."""

    def __init__(self) -> None:
        self._process, self._end = psutil.Process(), threading.Event()
        self._start = self._most = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def grown(self) -> float:
        """Megabytes."""
        return (self._most - self._start) / 1e6

    def _look(self) -> None:
        while not self._end.wait(0.02):
            self._most = max(self._most, self._process.memory_info().rss)


async def test_an_outage_of_days(
    database_server: str, database_settings: Settings, database_url: str, tmp_path: Path
) -> None:
    database = Closed(database_server, database_settings)
    settings = load_settings(database_url=database_url, data_dir=tmp_path, spool_keep_s=0)
    database.allow(connections=False)
    parts = feeder.assemble(settings, batch_rows=20_000)
    source = Source(parts, in_flight=2)  # so that no commit is as large as several segments
    async with parts.running():
        for number in range(5):
            await source.send(days_of(number))
        await until(lambda: parts.counters.sink_errors["unavailable"] > 0)
        with Memory() as memory:
            for number in range(5, DAYS_ROWS // DELIVERY):
                await source.send(days_of(number))
            await parts.intake.settled()
            segments = len(list_segments(parts.journal.folder))
            assert parts.journal.pending_rows == DAYS_ROWS
            assert not parts.counters.stored["stored"]
            database.allow(connections=True)
            await parts.stored()
    assert source.acknowledged == DAYS_ROWS // DELIVERY
    assert segments > 50
    assert memory.grown < 60
    with connect(settings, autocommit=True) as db:
        assert db.execute("SELECT count(*) FROM readings").fetchone() == (DAYS_ROWS,)
        back, frames, first, last = db.execute(IN_ORDER).fetchall()[0]
        assert (back, first, last) == (0, 1, frames)
        assert audit(db, parts.journal.folder).problems == []


async def test_a_slow_database(database_url: str, tmp_path: Path, db: PgConnection) -> None:
    db.execute("CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
               "$$ BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END $$")  # fmt: skip
    db.execute("CREATE TRIGGER dawdle AFTER INSERT ON ingest_ledger FOR EACH STATEMENT EXECUTE FUNCTION dawdle()")
    settings = load_settings(database_url=database_url, data_dir=tmp_path, spool_quota_bytes=1 << 20, spool_keep_s=0)
    parts = feeder.assemble(settings)
    source, polled = Source(parts), 0
    async with parts.running():
        with Memory() as memory:
            sending = asyncio.create_task(_send_all(source, 80))
            await until(lambda: parts.intake.full)
            assert source.sent - source.acknowledged <= 20, "no more than it may send ahead"
            for number in range(50):  # a poller cannot wait: what it reads now is lost, and said so
                polled += DELIVERY * parts.intake.full
                await parts.intake.emit(Delivery(1, feeder.BASE_US, days_of(1000 + number)))
                assert parts.journal.used_bytes < 2 << 20
            db.execute("DROP TRIGGER dawdle ON ingest_ledger")
            await sending
            await parts.stored()
        await parts.intake.emit(Delivery(1, feeder.BASE_US, days_of(2000)))  # the probe
        await parts.stored()
    shed = parts.counters.terms["shed"]
    assert shed >= polled > 0
    assert memory.grown < 60
    assert source.acknowledged == 80
    taken = 80 * DELIVERY + 51 * DELIVERY - shed
    assert db.execute("SELECT count(*) FROM readings").fetchone() == (taken,)
    assert db.execute("SELECT count(*) > 0 FROM ingest_gaps WHERE reason = 'spool_full'").fetchone() == (True,)
    assert audit(db, parts.journal.folder).problems == []


async def _send_all(source: Source, deliveries: int) -> None:
    for number in range(deliveries):
        await source.send(days_of(number))
