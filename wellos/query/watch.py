"""Has the days that are over watched, so that what is read of them may be cached."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
import structlog
from psycopg.rows import scalar_row

from wellos.storage import warm
from wellos.storage.sql import query

if TYPE_CHECKING:
    from datetime import date

    from wellos.settings import Settings

__all__ = ["watch_closed_days"]

_EARLIER_DAYS = 7
"""Beyond the age at which a day may leave the warm tier: older ones are watched by whoever archived them."""
_PATIENCE = timedelta(seconds=20)

log = structlog.get_logger(__name__)


def watch_closed_days(settings: Settings) -> list[date]:
    """Watch every day of the warm tier's age that is over by the platform's clock; return those that were not yet.

    A transaction that has been writing readings all the while puts it off: then none is returned, and a later call
    watches them.
    """
    today = settings.make_clock().now().date()
    span = {"first": today - timedelta(days=settings.raw_days + _EARLIER_DAYS), "last": today - timedelta(days=1)}
    with warm.connect(settings, autocommit=True) as conn:
        with conn.cursor(row_factory=scalar_row) as cursor:
            days: list[date] = cursor.execute(query("query_days_to_watch"), span).fetchall()
        if days:
            try:
                conn.execute("CALL watch_days(%s, %s)", [days, _PATIENCE])
            except psycopg.errors.LockNotAvailable as error:
                log.warning("days are not watched yet", days=len(days), reason=error.diag.message_primary)
                return []
    return days
