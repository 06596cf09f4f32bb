"""What assets and checks are given: hot, warm and cold tier and the platform's clock, all as the settings say."""

from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

import dagster as dg
from psycopg import IsolationLevel

from wellos.clock import pace
from wellos.settings import load_settings
from wellos.storage import hot, warm

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg
    import redis

    from wellos.storage.cold import ColdStore

__all__ = ["Cold", "Hot", "PlatformClock", "Warm"]


class Warm(dg.ConfigurableResource[None]):
    """The database of `WELLOS_DATABASE_URL`: a connection for as long as it is asked for."""

    @contextmanager
    def connect(self, *, autocommit: bool = False, repeatable_read: bool = False) -> "Iterator[psycopg.Connection]":
        """Connect; commit or roll back, and close, at the end of the block.

        With `repeatable_read`, everything read in the block is of one moment.
        """
        with warm.connect(load_settings(), autocommit=autocommit) as conn:
            if repeatable_read:
                conn.isolation_level = IsolationLevel.REPEATABLE_READ
            yield conn


class Hot(dg.ConfigurableResource[None]):
    """The Redis of `WELLOS_REDIS_URL`: a client for as long as it is asked for."""

    @contextmanager
    def connect(self) -> "Iterator[redis.Redis]":
        """Connect and check; ConfigurationError where none is set, UnreachableError where it does not answer."""
        with hot.connect(load_settings()) as client:
            yield client


class Cold(dg.ConfigurableResource[None]):
    """The archive that the settings choose: Parquet files or BigQuery, for as long as it is asked for."""

    @contextmanager
    def open(self) -> "Iterator[ColdStore]":
        """Open it; ConfigurationError where it cannot be used."""
        from wellos.storage.cold.opening import open_cold  # noqa: PLC0415 - the stores' libraries, only when it runs

        store = open_cold(load_settings())
        try:
            yield store
        finally:
            store.close()


class PlatformClock(dg.ConfigurableResource[None]):
    """The clock of `WELLOS_CLOCK`: every rule about freshness, lag and closed days asks it."""

    def now(self) -> datetime:
        """Platform time, aware, UTC."""
        return load_settings().make_clock().now()

    def pace(self) -> float:
        """Platform seconds in one of the machine's, at least 1: what schedules, which run by the machine, allow for."""
        return pace(load_settings().make_clock())

    def monotonic(self) -> float:
        """Seconds that never step back, for durations."""
        return load_settings().make_clock().monotonic()
