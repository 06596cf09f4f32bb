"""The one read: names in, one frame out, whatever tiers hold the range, and where it came from."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from wellos.clock import from_micros
from wellos.errors import ConfigurationError, Problem
from wellos.quality import Quality
from wellos.query import frames
from wellos.query.answer import Answerer, Tiers
from wellos.query.assembly import Question
from wellos.query.cache import Cache
from wellos.query.entries import read_entries
from wellos.query.hot import Hot
from wellos.query.intervals import INTERVALS, ceil, choose, floor
from wellos.query.names import Names
from wellos.query.pages import Page, read_page
from wellos.query.provenance import Part, Provenance, Result
from wellos.query.redis_link import RedisLink
from wellos.query.tiers import Cold, Warm, newest_readings
from wellos.query.wells import read_telemetry
from wellos.validation import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from types import TracebackType
    from typing import Self

    from wellos.query.intervals import Interval
    from wellos.query.provenance import Tier
    from wellos.readings import Readings
    from wellos.settings import Settings

__all__ = ["Reader"]

_THREADS = 8
_USABLE = frozenset({Quality.GOOD, Quality.UNCERTAIN})


class Reader:
    """Answers queries; keeps a few connections open. Threads may share one; close it, or use it in a `with` block."""

    def __init__(self, settings: Settings) -> None:
        """No I/O: the first query connects."""
        self._settings, self._clock = settings, settings.make_clock()
        self._warm = Warm(settings)
        self._cold = Cold(settings, self._warm)
        self._names = Names(self._clock)
        self._threads = ThreadPoolExecutor(_THREADS, "wellos query")
        self._redis = RedisLink(settings, self._clock)
        self._cache = Cache(self._redis, self._clock, settings.cache_s)
        self._entries = Cache(self._redis, self._clock, settings.cache_manual_s)
        self._hot = Hot(settings, self._clock, self._redis)
        tiers = Tiers(self._hot, self._warm, self._cold, self._cache)
        self._answerer = Answerer(settings, self._clock, tiers, self._threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let connections and threads go."""
        self._threads.shutdown()
        self._cache.flush()
        self._entries.flush()
        self._redis.close()
        self._cold.close()
        self._warm.close()

    def now(self) -> datetime:
        """Platform time, by which days are closed."""
        return self._clock.now()

    def latest(self, tenant: str, well: str, tags: str | Sequence[str] | None = None) -> Result:
        """See `wellos.query.latest`."""
        begun, asked_at = self._clock.monotonic(), self._clock.now()
        found, parts = [], []
        with self._warm.connection() as conn:
            scope = self._names.resolve(conn, tenant, well, tags)
            hot = self._hot.latest(conn, tenant, scope.tag_ids)
            if hot is not None:
                found.append(frames.raw_frame(hot))
                parts.append(_latest_part("hot", "scada:latest", hot))
            rest = sorted(set(scope.tag_ids) - set([] if hot is None else hot["tag_id"].tolist()))
            if rest:
                warm = newest_readings(conn, rest)
                found.append(frames.raw_frame(warm))
                parts.append(_latest_part("warm", "readings", warm))
        frame = frames.finish(found, INTERVALS["raw"], scope.tags, frozenset(Quality))
        spent = 1000 * (self._clock.monotonic() - begun)
        return Result(frame, Provenance(tuple(parts), len(frame), asked_at, spent))

    def telemetry(
        self,
        tenant: str,
        wells: str | Sequence[str] | None,
        start: datetime,
        end: datetime,
        interval: str = "1hour",
    ) -> Result:
        """See `wellos.query.telemetry`."""
        begun = self._clock.monotonic()
        _check_range(start, end)
        some = [wells] if isinstance(wells, str) else wells
        span = (start.astimezone(UTC), end.astimezone(UTC))
        with self._warm.connection() as conn:
            found = read_telemetry(conn, self._settings, tenant, some, *span, interval, self._clock.now())
        spent = 1000 * (self._clock.monotonic() - begun)
        part = replace(found.part, milliseconds=spent)
        return Result(found.frame, Provenance((part,), len(found.frame), found.watermark, spent))

    def field_entries(self, tenant: str, wells: str | Sequence[str] | None, start: datetime, end: datetime) -> Result:
        """See `wellos.query.field_entries`."""
        begun, asked_at = self._clock.monotonic(), self._clock.now()
        _check_range(start, end)
        some = [wells] if isinstance(wells, str) else wells
        span, most = (start.astimezone(UTC), end.astimezone(UTC)), self._settings.query_max_rows
        with self._warm.connection() as conn:
            frame, part = read_entries(conn, self._entries, tenant, some, *span, most)
        spent = 1000 * (self._clock.monotonic() - begun)
        part = replace(part, milliseconds=spent)
        return Result(frame, Provenance((part,), len(frame), min(asked_at, span[1]), spent))

    def readings(  # noqa: PLR0913 - what can be asked
        self,
        tenant: str,
        well: str,
        tags: str | Sequence[str] | None,
        start: datetime,
        end: datetime,
        interval: str | None = None,
        quality: str | Collection[str] | None = None,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Result:
        """See `wellos.query.readings`."""
        begun = self._clock.monotonic()
        _check_range(start, end)
        _check_page(limit, cursor, self._settings.query_max_rows)
        with self._warm.connection() as conn:
            scope = self._names.resolve(conn, tenant, well, tags)
        expected, most = [tag.interval_s for tag in scope.tags], self._settings.query_max_rows
        chosen = choose(interval, expected, start, end, most, paged=limit is not None)
        qualities = _qualities(quality, chosen)
        start, end = floor(chosen, start.astimezone(UTC)), ceil(chosen, end.astimezone(UTC))
        question = Question(scope, chosen, start, end, most, self._clock.now())
        if limit is None:
            answer = self._answerer.answer(question)
            page = Page(
                frames.finish(answer.found, chosen, scope.tags, qualities), answer.parts, answer.watermark, None
            )
        else:
            page = read_page(self._answerer, question, qualities, limit, cursor)
        spent = 1000 * (self._clock.monotonic() - begun)
        provenance = Provenance(tuple(page.parts), len(page.frame), page.watermark, spent)
        return Result(page.frame, provenance, page.next)


def _latest_part(tier: Tier, relation: str, found: Readings) -> Part:
    """Of latest readings, the stretch is from the oldest of them to the newest."""
    first, last = (found["time"].min(), found["time"].max()) if len(found) else (0, 0)
    return Part(tier, relation, from_micros(int(first)), from_micros(int(last) + 1), len(found))


def _check_range(start: datetime, end: datetime) -> None:
    """Refuse a range without zones or length."""
    problems = [
        Problem("has no time zone", "Give an aware time, as datetime(2026, 11, 1, tzinfo=UTC) is", field=name, value=at)
        for name, at in (("start", start), ("end", end))
        if at.tzinfo is None
    ]
    if not problems and start >= end:
        problems.append(
            Problem("is not before end", "The range is [start, end)", field="start", value=start.isoformat())
        )
    if problems:
        raise ConfigurationError(problems)


def _check_page(limit: int | None, cursor: str | None, most: int) -> None:
    """Refuse pages of nothing, too long ones, and a cursor without its limit."""
    if limit is not None and not 1 <= limit <= most:
        remedy = "Ask for more pages, or leave it out for the whole range"
        raise ConfigurationError(
            [Problem(f"must be 1 to {most} (WELLOS_QUERY_MAX_ROWS)", remedy, field="limit", value=limit)]
        )
    if cursor is not None and limit is None:
        raise ConfigurationError(
            [Problem("needs limit=", "Give the page's limit with it", field="cursor", value=cursor)]
        )


def _qualities(asked: str | Collection[str] | None, interval: Interval) -> frozenset[Quality]:
    """Return the qualities of readings to keep."""
    if asked is None:
        return _USABLE
    words = [asked] if isinstance(asked, str) else list(asked)
    known = {item.name: item for item in Quality}
    problems = [
        Problem("no such quality", did_you_mean(word, known), field="quality", value=word)
        for word in words
        if word not in known
    ]
    if not problems and interval.width is not None and set(words) != {"GOOD"}:
        remedy = "Leave quality out, or ask for interval='raw'"
        message = f"values of {interval.name} buckets are of GOOD readings; n_uncertain and n_bad count the others"
        problems.append(Problem(message, remedy, field="quality", value=", ".join(words)))
    if problems:
        raise ConfigurationError(problems)
    return frozenset(known[word] for word in words)
