"""Faults 20, 23, 24, 25 for MQTT, from mosquitto to the database: repeats, half-open peers, a slow sink, restarts."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import streaming.supervise
from streaming.adapters import mqtt_link
from streaming.counters import Counters
from streaming.drain import Drain
from streaming.intake import Intake
from streaming.sinks.warm import WarmSink
from streaming.spool import Journal
from streaming.supervise import Supervisor
from streaming.validate import Thresholds, Validator
from tests.adapters.test_mqtt_adapter import FIRST_S, VERSIONS, connection_to, publisher
from wellos.audit import audit
from wellos.clock import WallClock
from wellos.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from wellos.embedded.server import RunningServer
    from wellos.registry import Connection
    from wellos.storage.warm import PgConnection

pytestmark = pytest.mark.fault
PATIENCE_S = 90


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - there is no event for what the whole pipeline does
            await asyncio.sleep(0.02)


class Switch:
    """A TCP forwarder that may fall silent without closing, in both directions or only towards the broker."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.silent = self.deaf = self.refusing = False
        self.accepted = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    def cut(self) -> int:
        count = len(self._tasks)
        for writer in self._writers:
            writer.transport.abort()
        return count

    async def close(self) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.refusing:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        with suppress(OSError):
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(up_writer)
            down = asyncio.create_task(self._pump(up_reader, writer, towards_broker=False))
            await self._pump(reader, up_writer, towards_broker=True)
            await down
            self._writers.discard(up_writer)
        self._writers.discard(writer)
        self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, towards_broker: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                while self.silent:  # noqa: ASYNC110 - one of many that wait
                    await asyncio.sleep(0.02)
                if not (towards_broker and self.deaf):
                    writer.write(data)
                    await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def switch_to(port: int) -> AsyncIterator[Switch]:
    one = Switch(port)
    await one.start()
    try:
        yield one
    finally:
        await one.close()


class Pipeline:
    """One connection through the real intake, journal and sink."""

    def __init__(self, folder: Path, url: str, quota_bytes: int = 1 << 30) -> None:
        settings, clock = load_settings(data_dir=folder, database_url=url), WallClock()
        self.spool = folder / "spool"
        self.journal = Journal(self.spool, quota_bytes=quota_bytes, segment_bytes=1 << 14, now_us=clock.micros)
        self.counters = Counters()
        self.sink = WarmSink(settings, self.journal.spool_id, clock)
        self.drain = Drain(self.journal, self.sink, clock, self.counters, batch_rows=2000)
        validator = Validator(Thresholds(future_tolerance_s=60, duplicate_window_s=60, late_after_s=600))
        self.intake = Intake(self.journal, validator, clock, self.counters, lambda _batches: self.drain.wake())
        self.supervisor = Supervisor(self.intake.emit, clock, self.counters, {})
        self.ended = False

    async def run(self, connection: Connection, *, draining: bool = True) -> None:
        self.intake.configure([connection])
        self.tasks = [asyncio.create_task(self.intake.run())]
        if draining:
            self.drain_now()
        await self.supervisor.apply([connection])
        self.status = self.supervisor.status[connection.connection_id]
        await until(lambda: self.status.state == "connected")

    def drain_now(self) -> None:
        self.tasks.append(asyncio.create_task(self.drain.run()))

    @property
    def spooled(self) -> int:
        return self.counters.terms["spooled"]

    @property
    def received(self) -> int:
        return self.counters.terms["received"]

    @property
    def repeats(self) -> int:
        """Dropped on the way in, or found to be stored."""
        return self.counters.terms["duplicates"] + self.counters.stored["repeated"]

    async def end(self) -> None:
        """Store what is left."""
        await self.supervisor.stop()
        self.ended = True
        await self.intake.settled()
        await self.drain.caught_up()

    async def close(self) -> None:
        if not self.ended:
            await self.supervisor.stop()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.sink.close()


@asynccontextmanager
async def pipeline(folder: Path, url: str, connection: Connection, **options: Any) -> AsyncIterator[Pipeline]:  # noqa: ANN401
    one = Pipeline(folder, url, options.pop("quota_bytes", 1 << 30))
    await one.run(connection, **options)
    try:
        yield one
    finally:
        await one.close()


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming.supervise, "_SHORTEST_PAUSE_S", 0.05)
    monkeypatch.setattr(streaming.supervise, "_LONGEST_PAUSE_S", 0.2)


def stored(db: PgConnection) -> list[float]:
    rows = db.execute("SELECT value, count(*) FROM readings GROUP BY time, value ORDER BY time").fetchall()
    assert all(count == 1 for _, count in rows)
    return [float(value) for value, _ in rows]


def gaps(db: PgConnection) -> list[tuple[str, bool]]:
    """Reason of each gap, and whether it names one tag."""
    return [(row[0], row[1]) for row in db.execute("SELECT reason, tag_id IS NOT NULL FROM ingest_gaps ORDER BY 1")]


def proved(one: Pipeline, db: PgConnection, count: int) -> None:
    assert stored(db) == [float(n) for n in range(count)], "each once, unaltered"
    assert audit(db, one.spool).problems == []


@VERSIONS
async def test_what_was_never_acknowledged_comes_again_and_is_stored_once(
    own_mqtt_broker: RunningServer, db: PgConnection, database_url: str, tmp_path: Path, version: int
) -> None:
    """Fault 20: DUP after lost acknowledgements, and the same messages published again."""
    async with switch_to(own_mqtt_broker.port) as link:
        connection = connection_to(link.port, "dup", version=version)
        async with pipeline(tmp_path, database_url, connection) as one:
            with publisher(own_mqtt_broker.port) as source:
                for life in range(1, 3):
                    link.deaf = True
                    await source.numbers("dup", range(200 * life - 200, 200 * life))
                    await until(lambda life=life: one.received >= 400 * life - 200)  # type: ignore[misc]
                    assert link.cut() == 1, "durable here, and the broker does not know"
                    link.deaf = False
                    await until(lambda life=life: one.received >= 400 * life)  # type: ignore[misc]
                await until(lambda: one.repeats >= 400)
                await source.numbers("dup", range(350, 400))
                await until(lambda: one.repeats >= 450)
                await source.numbers("dup", range(400, 401))
                await until(lambda: one.counters.stored["stored"] >= 401)
            await one.end()
            assert one.counters.restarts["permian", "test"] >= 2
            proved(one, db, 401)
            assert gaps(db) == [], "the broker kept what we missed"


@pytest.mark.parametrize("qos", [1, 0])
async def test_a_peer_that_accepts_and_never_answers_is_left_and_found_again(
    own_mqtt_broker: RunningServer,
    db: PgConnection,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    qos: int,
) -> None:
    """Fault 23: half open in the middle, then at every new attempt."""
    monkeypatch.setattr(mqtt_link, "_KEEP_ALIVE_S", 2)
    monkeypatch.setattr(mqtt_link, "_CONNECT_TIMEOUT_S", 0.6)
    async with switch_to(own_mqtt_broker.port) as link:  # noqa: SIM117 - the second needs the first
        async with pipeline(tmp_path, database_url, connection_to(link.port, "half", qos=qos)) as one:
            with publisher(own_mqtt_broker.port) as source:
                await source.numbers("half", range(100))
                await until(lambda: one.spooled == 100)
                await until(lambda: one.counters.stored["stored"] == 100)  # the sink has its connection
                tasks, files = len(asyncio.all_tasks()), open_files()
                link.silent = True
                await source.numbers("half", range(100, 200))
                await until(lambda: one.counters.restarts["permian", "test"] >= 4)
                assert "no answer within" in one.status.error
                assert len(asyncio.all_tasks()) <= tasks + 3 * link.accepted, "those of the switch"
                link.silent = False
                link.cut()
                await until(lambda: one.status.state == "connected")
                await until(lambda: len(asyncio.all_tasks()) <= tasks and open_files() <= files)
                if qos:
                    await until(lambda: one.spooled == 200)
                await source.numbers("half", range(200, 201))
                await until(lambda: one.spooled == (201 if qos else 101))
            await one.end()
            assert link.accepted >= 5
            if qos:
                proved(one, db, 201)
                assert gaps(db) == []
            else:
                assert stored(db) == [*map(float, range(100)), 200.0]
                assert ("disconnected", False) in gaps(db), "what the broker did not keep is said to be missing"


@VERSIONS
async def test_while_the_spool_is_full_nothing_is_acknowledged_and_little_is_held(
    own_mqtt_broker: RunningServer,
    db: PgConnection,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: int,
) -> None:
    """Fault 24: the sink stands still, the broker holds the rest."""
    monkeypatch.setattr(mqtt_link, "RECEIVE_MAXIMUM", 200)
    monkeypatch.setattr(mqtt_link, "_INBOX_FULL", 400)
    connection = connection_to(own_mqtt_broker.port, "slow", version=version)
    options = {"draining": False, "quota_bytes": 100_000}
    async with pipeline(tmp_path, database_url, connection, **options) as one:
        adapter: Any = one.supervisor._adapters[connection.connection_id]
        with publisher(own_mqtt_broker.port) as source:
            count = 6000
            # Large enough that what one read of the socket brings is few messages.
            bodies = [json.dumps({"value": n, "time": FIRST_S + n, "pad": "x" * 2000}) for n in range(count)]
            last = [source.client.publish("slow", body, 1) for body in bodies][-1]
            await asyncio.to_thread(last.wait_for_publish, 90)
            await until(lambda: one.intake.full)
            blocked = one.spooled
            held = 0
            for _ in range(20):
                await asyncio.sleep(0.02)
                held = max(held, len(adapter._link._inbox) + one.intake._queued_rows)
            taken = one.counters.terms["received"]
            assert taken < count, "the broker still has the rest"
            assert held <= 1000
            assert one.counters.terms["shed"] == 0, "an acknowledged source waits instead"
            assert one.status.state == "connected"
            one.drain_now()
            one.drain.wake()
            await until(lambda: one.spooled >= count)
            await source.numbers("slow", range(count, count + 1))
            await until(lambda: one.spooled >= count + 1)
        await one.end()
        assert 0 < blocked < count
        proved(one, db, count + 1)
        assert gaps(db) == []


@VERSIONS
@pytest.mark.parametrize("keeping", [True, False])
async def test_the_broker_restarts_with_and_without_its_sessions(
    own_mqtt_broker: RunningServer, db: PgConnection, database_url: str, tmp_path: Path, version: int, *, keeping: bool
) -> None:
    """Fault 25: with its sessions nothing is lost; without them there is a gap from the last word to the first."""
    async with switch_to(own_mqtt_broker.port) as link:
        connection = connection_to(link.port, "again", version=version)
        async with pipeline(tmp_path, database_url, connection) as one:
            with publisher(own_mqtt_broker.port) as source:
                await source.numbers("again", range(100))
                await until(lambda: one.spooled == 100)
                link.deaf = True
                await source.numbers("again", range(100, 150))
                await until(lambda: one.spooled == 150)
            link.refusing = True
            link.cut()
            await until(lambda: one.status.state == "failed")
            heard = one.status.heard_us
            await asyncio.to_thread(own_mqtt_broker.stop)
            if not keeping:
                forget_sessions(own_mqtt_broker)
            await asyncio.to_thread(own_mqtt_broker.start)
            with publisher(own_mqtt_broker.port) as source:
                await source.numbers("again", range(150, 200))
                link.refusing = link.deaf = False
                await until(lambda: one.status.state == "connected")
                await source.numbers("again", range(200, 250))
                await until(lambda: one.counters.stored["stored"] >= (250 if keeping else 200))
            await one.end()
            if keeping:
                assert one.repeats >= 50, "what was not acknowledged came again"
                proved(one, db, 250)
                assert gaps(db) == []
            else:
                assert stored(db) == [*map(float, range(150)), *map(float, range(200, 250))]
                (row,) = db.execute(
                    "SELECT reason, extract(epoch FROM started_at) * 1000000, ended_at < now() FROM ingest_gaps"
                ).fetchall()
                assert (row[0], int(row[1]), row[2]) == ("session_lost", heard, True)
                assert audit(db, one.spool).problems == []


def forget_sessions(broker: RunningServer) -> None:
    found = list(Path(broker.server.spec.cwd or "").glob("*.db"))
    assert found
    for file in found:
        file.unlink()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
