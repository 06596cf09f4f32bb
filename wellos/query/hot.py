"""The last hours from Redis, where there is no doubt that it has them all; anything else is for the warm tier.

Redis is whole when every ingest that lived within the window lives now and has its mark (taken away by itself when
anything was missed), when whoever else stored readings did so before that ingest last read the database whole, and when
no tag has a newer reading in the database than in Redis.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from psycopg.rows import scalar_row

from wellos.clock import pace, to_micros
from wellos.storage import hot
from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from wellos.clock import Clock
    from wellos.query.redis_link import RedisLink
    from wellos.readings import Readings
    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

__all__ = ["Hot"]

_MOST_TAGS = 64
_MARGIN = timedelta(minutes=10)
"""The oldest hour is on its way out."""
_HEARTBEAT_S = 60.0


class Hot:
    """Threads may share it."""

    def __init__(self, settings: Settings, clock: Clock, link: RedisLink) -> None:
        self._settings, self._clock, self._link = settings, clock, link

    def since(self, tag_ids: Sequence[int]) -> datetime | None:
        """Return from when on Redis may serve these tags; None: there is no Redis, or there are too many of them."""
        if self._settings.redis_url is None or len(tag_ids) > _MOST_TAGS:
            return None
        return self._clock.now() - timedelta(hours=self._settings.hot_hours) + _MARGIN

    def readings(self, conn: PgConnection, tag_ids: Sequence[int], start: datetime, end: datetime) -> Readings | None:
        """Return the readings of [start, end), by tag and time; None where Redis may lack any."""
        instances = self._living(conn)
        if not instances:
            return None
        with conn.cursor(row_factory=scalar_row) as cursor:
            others: int | None = cursor.execute(query("query_hot")).fetchone()
        span = {"tags": list(tag_ids), "start": start, "end": end}
        newest: dict[int, datetime] = dict(conn.execute(query("query_newest"), span, binary=True).fetchall())
        answer = self._link.ask(
            partial(
                hot.marked_hours,
                instances=instances,
                tag_ids=tag_ids,
                since_us=to_micros(start),
                until_us=to_micros(end),
            )
        )
        if answer is None:
            return None
        marks, found = answer
        if any(mark is None or (others is not None and mark < others) for mark in marks):
            return None
        behind = any(to_micros(at) > found["time"][found["tag_id"] == tag].max(initial=0) for tag, at in newest.items())
        return None if behind else found

    def latest(self, conn: PgConnection, tenant: str, tag_ids: Sequence[int]) -> Readings | None:
        """Return the latest reading of each tag that Redis has one of; None where they may not be the latest."""
        instances = self._living(conn)
        if not instances or self._settings.redis_url is None:
            return None
        found = self._link.ask(lambda client: hot.latest(client, tenant, tag_ids))
        marks = self._link.ask(lambda client: client.mget([hot.filled_key(one) for one in instances]))
        return None if found is None or marks is None or None in marks else found

    def _living(self, conn: PgConnection) -> list[str]:
        """Return the ingests that lived within the window; none when one of them does not live now."""
        now, most_s = self._clock.now(), _HEARTBEAT_S * pace(self._clock)
        since = now - timedelta(hours=self._settings.hot_hours)
        found = []
        for spool_id, heartbeat_at, stopped_at, *_ in conn.execute(query("hot_instances")).fetchall():
            if heartbeat_at < since:
                continue
            if stopped_at is not None or (now - heartbeat_at).total_seconds() > most_s:
                return []
            found.append(spool_id)
        return found
