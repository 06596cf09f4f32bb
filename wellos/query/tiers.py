"""Reads one stretch from one tier: PostgreSQL by binary COPY, the archive with its overlay."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from psycopg import sql
from psycopg_pool import ConnectionPool, PoolTimeout

from wellos.clock import to_micros
from wellos.errors import ConfigurationError, Problem
from wellos.query.frames import BUCKETS, buckets_frame
from wellos.readings import empty, pack
from wellos.storage import warm
from wellos.storage.cold import ColdError, DamagedCopyError
from wellos.storage.cold.opening import open_cold
from wellos.storage.copy import decode_columns, iter_readings
from wellos.storage.hot_records import keep_best
from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    import polars as pl

    from wellos.query.facts import Day
    from wellos.query.names import Scope
    from wellos.readings import Readings
    from wellos.settings import Settings
    from wellos.storage.cold import ColdStore, StoreName
    from wellos.storage.warm import PgConnection

__all__ = ["Cold", "ColdFound", "TooManyError", "Warm", "newest_readings"]

_CONNECTIONS = 8
_PATIENCE_S = 10.0
_IDLE_S = 2.0
_KINDS = {"time": "i8", "tag_id": "i4"}


class TooManyError(ConfigurationError):
    """An answer turned out longer than was to be expected, and than is allowed."""

    def __init__(self, most: int) -> None:
        """Name the limit and what to do."""
        remedy = "Ask for a coarser interval, fewer tags or less time, or for pages with limit="
        message = f"gives more than {most:,} rows, the most in one answer (WELLOS_QUERY_MAX_ROWS)"
        super().__init__([Problem(message, remedy, field="interval")])


class Warm:
    """A few connections to the database, opened when they are needed. Threads may share it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool: ConnectionPool[PgConnection] | None = None
        self._lock = threading.Lock()
        self._used: dict[int, float] = {}

    @contextmanager
    def connection(self) -> Iterator[PgConnection]:
        """Lend a connection in autocommit mode, in UTC; UnreachableError as of `wellos.storage.warm.connect`."""
        pool = self._opened()
        try:
            conn = pool.getconn(_PATIENCE_S)
        except PoolTimeout:
            warm.connect(self._settings).close()  # says what is wrong
            raise
        try:
            yield conn
        finally:
            self._used[id(conn)] = time.monotonic()
            pool.putconn(conn)

    def readings(self, tag_ids: Sequence[int], start: datetime, end: datetime, most: int) -> Readings:
        """Return what `readings` has of these tags, in no order; ConfigurationError beyond `most` rows."""
        found, rows = [empty()], 0
        with self.connection() as conn:
            for piece in iter_readings(conn, tag_ids, to_micros(start), to_micros(end)):
                rows += len(piece)
                if rows > most:
                    raise TooManyError(most)
                found.append(piece)
        return np.concatenate(found)

    def buckets(self, relation: str, tag_ids: Sequence[int], start: datetime, end: datetime) -> pl.DataFrame:
        """Return the buckets of these tags that an aggregate has, as a frame of `frames.BUCKETS`, in no order."""
        text = sql.SQL(query("query_buckets")).format(relation=sql.Identifier(relation))
        kinds = {name: _KINDS.get(name, "i8" if name.startswith("n") else "f8") for name in BUCKETS}
        span = {"tags": list(tag_ids), "start": start, "end": end}
        with self.connection() as conn, conn.cursor() as cursor, cursor.copy(text, span) as copy:
            stream = b"".join(copy)
        return buckets_frame(decode_columns(stream, kinds))

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _check(self, conn: PgConnection) -> None:
        """Try a connection that was idle: the server may have been started anew meanwhile."""
        if time.monotonic() - self._used.get(id(conn), 0.0) > _IDLE_S:
            ConnectionPool.check_connection(conn)

    def _opened(self) -> ConnectionPool[PgConnection]:
        with self._lock:
            if self._pool is None:
                warm.connect(self._settings).close()  # a wrong address is one clear error, not a timeout
                url = self._settings.database_url
                assert url is not None  # noqa: S101 - connect has refused that
                self._pool = ConnectionPool(
                    url.get_secret_value(),
                    min_size=1,
                    max_size=_CONNECTIONS,
                    open=True,
                    configure=_configure,
                    check=self._check,
                    kwargs={"autocommit": True, "client_encoding": "UTF8", "fallback_application_name": "wellos query"},
                    name="wellos query",
                )
            return self._pool


def newest_readings(conn: PgConnection, tag_ids: Sequence[int]) -> Readings:
    """Return the newest reading in `readings` of each of these tags that has one."""
    rows = conn.execute(query("query_latest"), {"tags": list(tag_ids)}, binary=True).fetchall()
    if not rows:
        return empty()
    times, tags, values, quality, status = zip(*rows, strict=True)
    codes = np.array(status, np.int64) & 0xFFFFFFFF
    return pack([to_micros(time) for time in times], values, tags, quality, codes)


def _configure(conn: PgConnection) -> None:
    conn.execute("SET TIME ZONE 'UTC'")


@dataclass(frozen=True, slots=True)
class ColdFound:
    """Readings of dropped days, and what they were made from."""

    readings: Readings
    store: str
    rows: int
    """Of the archive."""
    late: int
    """Of the overlay."""
    bytes_scanned: int


class Cold:
    """The archive and its overlay, opened when a dropped day is asked for. Threads may share it."""

    def __init__(self, settings: Settings, warm: Warm) -> None:
        self._settings, self._warm = settings, warm
        self._store: ColdStore | None = None
        self.store: StoreName = "bigquery" if settings.bigquery_project else "parquet"
        """Its name."""
        self._lock = threading.Lock()

    def readings(self, scope: Scope, days: Sequence[Day], start: datetime, end: datetime, most: int) -> ColdFound:
        """Return what the archive has of [start, end) in these dropped days, and what came for them since.

        Of one tag and time the better quality is kept, then what was received later. ColdError; DamagedCopyError, also
        where a copy was proven once and is so no longer: left out, it would be a hole.
        """
        held = [day.day for day in days if day.archived]
        for day in days:
            if day.archived and day.lost is not None:
                raise DamagedCopyError(
                    f"{day.day} of {scope.tenant} was archived in {day.store}, {day.archived:,} readings, and no "
                    f"copy of it is proven any more ({day.lost}). Put it back from a backup of the archive, then run "
                    "`wellos archive --verify`"
                )
        elsewhere = [day for day in days if day.archived and day.store != self.store]
        if elsewhere:
            first = elsewhere[0]
            raise ColdError(
                f"{first.day} of {scope.tenant} is archived in {first.store}, and the settings name {self.store}. "
                "Set WELLOS_BIGQUERY_PROJECT, or unset it, as when it was archived"
            )
        cold, scanned = empty(), 0
        if held:
            answer = self._opened().read(scope.tenant, scope.tag_ids, to_micros(start), to_micros(end), held)
            cold, scanned = answer.readings, answer.bytes_scanned
        late = self._warm.readings(scope.tag_ids, start, end, most)
        readings = keep_best(np.concatenate([cold, late])) if len(late) else cold
        return ColdFound(readings, self.store, len(cold), len(late), scanned)

    def close(self) -> None:
        """Let the store go."""
        with self._lock:
            store, self._store = self._store, None
        if store is not None:
            store.close()

    def _opened(self) -> ColdStore:
        with self._lock:
            if self._store is None:
                self._store = open_cold(self._settings)
            return self._store
