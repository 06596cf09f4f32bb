"""What the storm does to the platform: each fault is one function that breaks something and puts it right again."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import redis

from wellos.spool_format import FRAME, SEGMENT, Frame, list_segments, parse, read_cursor

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.storm.platform import Platform

__all__ = ["FAULTS", "Spoiled", "soak_plan"]

Spoiled = list[tuple[int, int, int]]
"""(connection, microseconds, tag) of readings in frames that were damaged on disk: they may be missing, counted."""


class Chaos:
    """The dice, the platform, and what was spoiled on purpose."""

    def __init__(self, platform: Platform, dice: random.Random) -> None:
        """`dice` is seeded: the same seed does the same to the same platform."""
        self.platform, self.dice = platform, dice
        self.spoiled: Spoiled = []

    def pause(self, low: float, high: float) -> None:
        """Let time pass."""
        time.sleep(self.dice.uniform(low, high))


def kill_ingest(chaos: Chaos) -> None:
    """Kill -9 of an ingest process, and another one after a while."""
    ingest = chaos.dice.choice(chaos.platform.ingests)
    ingest.kill()
    chaos.pause(0, 2)
    ingest.start()


def stop_ingest(chaos: Chaos) -> None:
    """SIGTERM under load: it leaves with 0."""
    ingest = chaos.dice.choice(chaos.platform.ingests)
    status = ingest.stop(30)
    if status:
        raise RuntimeError(f"ingest left with status {status}")
    chaos.pause(0, 2)
    ingest.start()


def freeze_ingest(chaos: Chaos) -> None:
    """Stop the process without ending it, for longer than links live."""
    ingest = chaos.dice.choice(chaos.platform.ingests)
    ingest.signal(signal.SIGSTOP)
    chaos.pause(2, 15)
    ingest.signal(signal.SIGCONT)


def crash_database(chaos: Chaos) -> None:
    """Kill -9 of the whole database server; it recovers from its log."""
    chaos.platform.postgres.kill()
    chaos.pause(0, 3)
    chaos.platform.postgres.start(120)


def restart_database(chaos: Chaos) -> None:
    """Stop the database in order for a while."""
    chaos.platform.postgres.stop()
    chaos.pause(1, 8)
    chaos.platform.postgres.start(120)


def cut_database_link(chaos: Chaos) -> None:
    """Cut every link to the database, several times."""
    for _ in range(chaos.dice.randint(1, 5)):
        chaos.platform.link.cut()
        chaos.pause(0, 1)


def lose_commit(chaos: Chaos) -> None:
    """Lose the answer to a COMMIT with the link."""
    link = chaos.platform.link
    before, link.swallow = link.swallowed, b"COMMIT"
    deadline = time.monotonic() + 10
    while link.swallowed == before and time.monotonic() < deadline:
        time.sleep(0.01)
    link.swallow = b""


def silence_database(chaos: Chaos) -> None:
    """Let the link swallow everything that is sent, and cut it in the end."""
    chaos.platform.link.silent = True
    chaos.pause(2, 12)
    chaos.platform.link.silent = False
    chaos.platform.link.cut()


def lock_table(chaos: Chaos) -> None:
    """Hold the table of readings against everybody."""
    with chaos.platform.connect() as connection, connection.transaction():
        connection.execute("SET LOCAL lock_timeout = '20s'")
        connection.execute("LOCK TABLE readings IN ACCESS EXCLUSIVE MODE")
        chaos.pause(2, 8)


def restart_broker(chaos: Chaos) -> None:
    """Stop the broker in order, which writes its sessions, and start it again."""
    chaos.platform.broker.stop()
    chaos.pause(0, 3)
    chaos.platform.broker.start()


def freeze_broker(chaos: Chaos) -> None:
    """A broker that accepts and never answers."""
    chaos.platform.broker.freeze()
    chaos.pause(2, 12)
    chaos.platform.broker.thaw()


def restart_opcua(chaos: Chaos) -> None:
    """Kill the OPC UA server and start it again."""
    chaos.platform.restart_opcua()


def kill_redis(chaos: Chaos) -> None:
    """Redis goes and comes back empty."""
    chaos.platform.redis.kill()
    chaos.pause(0, 4)
    chaos.platform.redis.start()


def flush_redis(chaos: Chaos) -> None:
    """Redis loses everything."""
    with redis.Redis.from_url(chaos.platform.redis.url) as client:
        client.flushall()


def flip_bit(chaos: Chaos) -> None:
    """Kill ingest while the database is away, flip one bit of one pending frame, and start both again."""
    platform = chaos.platform
    ingest = chaos.dice.choice(platform.ingests)
    platform.postgres.stop()
    chaos.pause(1, 3)
    ingest.kill()
    folder = ingest.folder / "spool"
    _, stored = read_cursor(folder)
    places = []
    for segment in list_segments(folder):
        data = segment.path.read_bytes()[SEGMENT.size :]
        at = 0
        for item, end in parse(data, final=True):
            if isinstance(item, Frame) and item.header.rows and item.header.seq > stored:
                places.append((segment.path, SEGMENT.size + at, item))
            at = end
    if places:
        path, start, frame = chaos.dice.choice(places)
        at = start + FRAME.size + chaos.dice.randrange(frame.header.payload_length)
        with path.open("r+b") as file:
            file.seek(at)
            byte = file.read(1)[0] ^ (1 << chaos.dice.randrange(8))
            file.seek(at)
            file.write(bytes([byte]))
            os.fsync(file.fileno())
        readings = frame.readings
        times, tags = readings["time"].tolist(), readings["tag_id"].tolist()
        chaos.spoiled += [(frame.header.connection_id, t, g) for t, g in zip(times, tags, strict=True)]
    platform.postgres.start(120)
    ingest.start()


FAULTS: dict[str, Callable[[Chaos], None]] = {
    "kill -9 of ingest": kill_ingest,
    "SIGTERM of ingest": stop_ingest,
    "ingest frozen": freeze_ingest,
    "database killed": crash_database,
    "database restarted": restart_database,
    "database link cut": cut_database_link,
    "answer to COMMIT lost": lose_commit,
    "database link silent": silence_database,
    "readings locked": lock_table,
    "broker restarted": restart_broker,
    "broker frozen": freeze_broker,
    "OPC UA server restarted": restart_opcua,
    "Redis killed": kill_redis,
    "Redis flushed": flush_redis,
    "bit flipped in the spool": flip_bit,
}


def soak_plan(seconds: float) -> list[tuple[float, str]]:
    """Return the moments (seconds from the start) and the faults of the long run."""
    shares = (
        (0.15, "database restarted"),
        (0.28, "kill -9 of ingest"),
        (0.42, "broker restarted"),
        (0.52, "kill -9 of ingest"),
        (0.66, "database killed"),
        (0.82, "kill -9 of ingest"),
    )
    return [(seconds * share, name) for share, name in shares]
