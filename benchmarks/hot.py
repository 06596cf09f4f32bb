"""Memory of the hot tier a tag-day at 15 s, and readings/s into Redis beside plain SETs of as many bytes."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from benchmarks.report import Machine, Report, parser
from streaming.sinks.hot import HotSink
from wellos.clock import WallClock
from wellos.embedded.redis import running_redis
from wellos.quality import Quality
from wellos.readings import pack
from wellos.settings import load_settings
from wellos.storage import hot
from wellos.storage.hot_records import GROUP

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from wellos.readings import Readings
    from wellos.settings import Settings

TENANT = "benchmark"
_INTERVAL_US = 15_000_000
_CONNECTION = 50
_Result = TypeVar("_Result")


def hour_of(tags: int, start_us: int) -> list[Readings]:
    """Return an hour of polls, each connection's a batch of its own: values with two decimals that wander."""
    rng, ids = np.random.default_rng(1), np.arange(1, tags + 1, dtype=np.int32)
    polls = int(hot.HOUR_US // _INTERVAL_US)
    values = (1000 + np.cumsum(rng.normal(0, 0.5, (polls, tags)), axis=0)).round(2)
    found = []
    for poll in range(polls):
        for first in range(0, tags, _CONNECTION):
            part = slice(first, first + _CONNECTION)
            moment = start_us + poll * _INTERVAL_US + int(rng.integers(0, 500)) * 1000
            found.append(pack(moment, values[poll, part], ids[part], Quality.GOOD))
    return found


def _timed(work: Callable[[], _Result]) -> tuple[float, _Result]:
    begun = time.perf_counter()
    result = work()
    return time.perf_counter() - begun, result


def _kilobytes(client: redis.Redis, pattern: str) -> float:
    keys = client.keys(pattern)
    return sum(int(client.memory_usage(key, samples=0) or 0) for key in keys) / 1000


def memory(settings: Settings, tags: int) -> dict[str, float]:
    """Kilobytes a tag-day, and milliseconds to read and to pack an hour."""
    hour = WallClock().micros() // hot.HOUR_US - 2
    sink = HotSink(settings, WallClock(), "benchmark")
    sink.configure({TENANT: range(1, tags + 1)})
    span = (hour * hot.HOUR_US, (hour + 1) * hot.HOUR_US)
    with hot.connect(settings) as client:
        before = int(client.info("memory")["used_memory"])
        for batch in hour_of(tags, span[0]):
            sink.append(batch)
        open_kb, all_kb = (
            _kilobytes(client, "scada:open:*"),
            (int(client.info("memory")["used_memory"]) - before) / 1000,
        )
        reading_open, found = _timed(lambda: hot.last_hours(client, [1], *span))
        packing, _ = _timed(lambda: [sink.pack(*name) for name in sink.closed()])
        packed_kb = _kilobytes(client, "scada:hour:*")
        reading_packed, again = _timed(lambda: hot.last_hours(client, [1], *span))
        assert found.tobytes() == again.tobytes()
        assert len(found) == hot.HOUR_US // _INTERVAL_US
    sink.close()
    return {
        "KB a tag-day, were all hours open": 24 * open_kb / tags,
        "KB a tag-day, were all hours open, by INFO": 24 * all_kb / tags,
        "KB a tag-day, all hours packed": 24 * packed_kb / tags,
        "KB a tag for 24 hours, the last of them open": (23 * packed_kb + open_kb) / tags,
        "ms to read an open tag-hour": 1000 * reading_open,
        "ms to read a packed tag-hour": 1000 * reading_packed,
        "ms to pack a tag-hour": 1000 * packing / tags,
    }


def rate(settings: Settings, tags: int, batches: int) -> tuple[float, float]:
    """Readings/s through the sink, and of SETs in one pipeline a batch with as many bytes in as many keys."""
    sink, now = HotSink(settings, WallClock(), "benchmark"), WallClock().micros()
    sink.configure({TENANT: range(1, tags + 1)})
    values = np.random.default_rng(1).normal(1000, 50, tags).round(2)
    rows = [pack(now + 1000 * n, values, np.arange(1, tags + 1), Quality.GOOD) for n in range(batches)]
    sink.write(TENANT, rows[0])
    with hot.connect(settings) as client:
        before = int(client.info("stats")["total_net_input_bytes"])
        spent, _ = _timed(lambda: [sink.write(TENANT, batch) for batch in rows])
        sent = int(client.info("stats")["total_net_input_bytes"]) - before
        keys = 2 * (tags // GROUP + 1)
        value = bytes(sent // batches // keys)

        def plain() -> None:
            for _ in range(batches):
                pipe = client.pipeline(transaction=False)
                for key in range(keys):
                    pipe.set(f"benchmark:plain:{key}", value)
                pipe.execute()

        limit, _ = _timed(plain)
    sink.close()
    return tags * batches / spent, tags * batches / limit


def messages(rows: int) -> dict[str, float]:
    """Nanoseconds a reading to encode and to decode a message."""
    batch = pack(WallClock().micros(), 1.0, np.arange(rows), Quality.GOOD)
    times = 200
    encoding, raw = _timed(lambda: [hot.encode_message(1, n, batch) for n in range(times)])
    decoding, _ = _timed(lambda: [hot.decode_message(one) for one in raw])
    return {
        f"ns a reading to encode a message of {rows}": 1e9 * encoding / times / rows,
        f"ns a reading to decode a message of {rows}": 1e9 * decoding / times / rows,
        f"bytes of a message of {rows}": float(len(raw[0])),
    }


def main(argv: list[str]) -> int:
    """Report both."""
    options = parser("hot", __doc__)
    options.add_argument("--tags", type=int, default=25_000, help="of which 1,000 are kept for an hour")
    options.add_argument("--batches", type=int, default=40, help="a reading of each tag in each")
    chosen, machine = options.parse_args(argv), Machine.read()
    with tempfile.TemporaryDirectory() as folder, running_redis(Path(folder) / "redis") as server:
        settings = load_settings(redis_url=server.url)
        figures = memory(settings, min(1000, chosen.tags))
        written, limit = rate(settings, chosen.tags, chosen.batches)
        with hot.connect(settings) as client:
            version = f"Redis {client.info('server')['redis_version']}"
    figures = {**figures, "readings/s written and published": written, **messages(50), **messages(5000)}
    report = Report("hot", figures, {"readings/s as plain SETs": limit}, written / limit, (version,))
    report.show(machine, as_json=chosen.json)
    return 0
