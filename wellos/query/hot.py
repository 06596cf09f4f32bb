"""The last hours from Redis, where there is no doubt that it has them all; anything else is for the warm tier.

Redis is whole when every ingest that lived within the window lives now and has its mark (taken away by itself when
anything was missed), when whoever else stored readings did so before that ingest last read the database whole, and when
no tag has a newer reading in the database than in Redis.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from psycopg.rows import scalar_row

from wellos.clock import pace, to_micros
from wellos.storage import hot
from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

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
_EVER, _NEVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the database had just before Redis was asked, by which the answer is judged."""

    others: int | None
    """When somebody who is no ingest last stored readings of the last hours, in microseconds of its clock."""
    newest: Mapping[int, datetime]
    """Time of the newest reading of each tag."""

    @classmethod
    def read(cls, conn: PgConnection, tag_ids: Sequence[int], start: datetime, end: datetime, oldest: datetime) -> Self:
        """Look at tags between start and end; others matter from the day of `oldest` on, Redis has nothing before."""
        with conn.cursor(row_factory=scalar_row) as cursor:
            others: int | None = cursor.execute(query("query_hot"), {"since": oldest.date()}).fetchone()
        span = {"tags": list(tag_ids), "start": start, "end": end}
        return cls(others, dict(conn.execute(query("query_newest"), span, binary=True).fetchall()))

    def doubted(self, marks: Sequence[int | None]) -> bool:
        """Whether Redis may lack readings by the marks of the ingests."""
        return any(mark is None or (self.others is not None and mark < self.others) for mark in marks)

    def behind(self, found: Readings) -> list[int]:
        """Return the tags of which the database has a newer reading than was found in Redis."""
        times = {tag: found["time"][found["tag_id"] == tag].max(initial=0) for tag in self.newest}
        return [tag for tag, at in self.newest.items() if to_micros(at) > times[tag]]


class Hot:
    """Threads may share it."""

    def __init__(self, settings: Settings, clock: Clock, link: RedisLink) -> None:
        self._settings, self._clock, self._link = settings, clock, link

    def since(self, tag_ids: Sequence[int]) -> datetime | None:
        """Return from when on Redis may serve these tags; None: there is no Redis, or there are too many of them."""
        if self._settings.redis_url is None or len(tag_ids) > _MOST_TAGS:
            return None
        return self._oldest() + _MARGIN

    def _oldest(self) -> datetime:
        return self._clock.now() - timedelta(hours=self._settings.hot_hours)

    def readings(self, conn: PgConnection, tag_ids: Sequence[int], start: datetime, end: datetime) -> Readings | None:
        """Return the readings of [start, end), by tag and time; None where Redis may lack any."""
        instances = self._living(conn)
        if not instances:
            return None
        stored = _Stored.read(conn, tag_ids, start, end, self._oldest())
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
        return None if stored.doubted(marks) or stored.behind(found) else found

    def latest(self, conn: PgConnection, tenant: str, tag_ids: Sequence[int]) -> Readings | None:
        """Return the latest reading of each tag of which Redis has it; None where there is doubt of all of them."""
        instances = self._living(conn)
        if not instances or self._settings.redis_url is None:
            return None
        stored = _Stored.read(conn, tag_ids, _EVER, _NEVER, self._oldest())
        answer = self._link.ask(lambda client: hot.marked_latest(client, instances, tenant, tag_ids))
        if answer is None:
            return None
        marks, found = answer
        return None if stored.doubted(marks) else found[~np.isin(found["tag_id"], stored.behind(found))]

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
