"""The whole ingest process over a real broker, database and Redis: killed, stopped, reconfigured, cut off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import paho.mqtt.client as mqtt
import pytest
import redis
from paho.mqtt.enums import CallbackAPIVersion

from tests.waiting import eventually
from wellos.audit import audit
from wellos.fleet.apply import apply
from wellos.fleet.check import check
from wellos.settings import load_settings
from wellos.storage import hot
from wellos.storage.migrations import migrate
from wellos.storage.warm import PgConnection, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wellos.embedded.server import RunningServer

pytestmark = pytest.mark.fault
ROOT = Path(__file__).parents[2]
_FLEET = """
version: 1
tenants:
  - slug: acme
    name: Acme
    wells:
      - {{name: A-1, lift_type: flowing}}
    connections:
      - name: {name}
        protocol: mqtt
        config: {{url: "{url}"}}
        tags:
"""
_TAG = '          - {{name: t{n}, well: A-1, address: "{name}/t{n}", interval_s: 60, high: 1000000}}\n'


@dataclass
class Ingest:
    """The process under test, its broker's side, and its folder."""

    folder: Path
    url: str
    redis_url: str
    mqtt_url: str
    name: str = field(default_factory=lambda: f"p{uuid.uuid4().hex[:8]}")
    sent: dict[tuple[int, int], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.log = self.folder / "ingest.log"
        host, _, port = self.mqtt_url.removeprefix("mqtt://").partition(":")
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"pub-{self.name}")
        self.client.connect(host, int(port))
        self.client.loop_start()

    def set_tags(self, tags: int) -> None:
        text = _FLEET.format(name=self.name, url=self.mqtt_url)
        text += "".join(_TAG.format(n=n, name=self.name) for n in range(1, tags + 1))
        checked = check(text.encode(), "fleet.yaml")
        assert checked.fleet is not None
        with connect(load_settings(database_url=self.url), autocommit=True) as connection:
            apply(connection, checked.fleet)

    def start(self) -> None:
        env = {key: value for key, value in os.environ.items() if not key.startswith("WELLOS_")}
        env |= {
            "WELLOS_DATA_DIR": str(self.folder),
            "WELLOS_DATABASE_URL": self.url,
            "WELLOS_REDIS_URL": self.redis_url,
            "WELLOS_LOG_FORMAT": "json",
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "streaming"], cwd=ROOT, env=env, stderr=log)
        eventually((self.folder / "ingest.json").exists)
        eventually(lambda: self.logged("connections"))
        eventually(lambda: self.get("/livez") == 200)

    def logged(self, event: str) -> bool:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        mine = [n for n, line in enumerate(lines) if line["event"] == "ingest is running"]
        return bool(mine) and any(line["event"] == event for line in lines[mine[-1] :])

    def get(self, path: str) -> int:
        try:
            return httpx.get(self.address + path, timeout=60).status_code
        except httpx.TransportError:
            return 0

    @property
    def address(self) -> str:
        return str(json.loads((self.folder / "ingest.json").read_text())["url"])

    def metric(self, name: str) -> float:
        lines = httpx.get(self.address + "/metrics", timeout=60).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def publish(self, count: int, tags: int = 4) -> None:
        start, last = time.time_ns() // 1000 - 3_600_000_000 + len(self.sent) * 1000, None
        for n in range(count):
            tag, moment, value = 1 + n % tags, start + n * 1000, float(n)
            body = json.dumps({"time": moment, "value": value})
            last = self.client.publish(f"{self.name}/t{tag}", body, qos=1)
            self.sent[tag, moment] = value
        assert last is not None
        last.wait_for_publish(90)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        (self.folder / "ingest.json").unlink(missing_ok=True)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(90)

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.client.disconnect()
        self.client.loop_stop()

    def stored(self, db: PgConnection) -> dict[tuple[int, int], float]:
        rows = db.execute(
            "SELECT substr(t.name, 2)::int, (extract(epoch FROM r.time) * 1000000)::bigint, r.value "
            "FROM readings r JOIN tags t USING (tag_id)"
        )
        return {(tag, moment): value for tag, moment, value in rows}

    def wait_until_stored(self, db: PgConnection) -> None:
        try:
            eventually(lambda: self.all_stored(db))
        except AssertionError:
            metrics = httpx.get(self.address + "/metrics", timeout=60).text
            missing = sorted(value for key, value in self.sent.items() if key not in self.stored(db))
            pytest.fail(f"{len(missing)} missing: {missing[:20]}\n{metrics}\n{self.log.read_text()}")

    def all_stored(self, db: PgConnection) -> bool:
        row = db.execute("SELECT count(*) FROM readings").fetchone()
        return row is not None and int(row[0]) >= len(self.sent)


def _prepared(folder: Path, url: str, redis_url: str, mqtt_url: str) -> Ingest:
    made = Ingest(folder, url, redis_url, mqtt_url)
    made.set_tags(4)
    return made


@pytest.fixture
def ingest(tmp_path: Path, database_url: str, own_redis: RunningServer, mqtt_url: str) -> Iterator[Ingest]:
    made = _prepared(tmp_path, database_url, own_redis.url, mqtt_url)
    yield made
    made.close()


def test_killed_twice_while_messages_come(ingest: Ingest, db: PgConnection) -> None:
    ingest.start()
    eventually(lambda: ingest.metric("scada_active_connections") == 1)
    for _ in range(2):
        ingest.publish(500)
        ingest.kill()
        ingest.publish(300)
        ingest.start()
    ingest.publish(200)
    ingest.wait_until_stored(db)
    assert ingest.stored(db) == ingest.sent
    assert len(ingest.sent) == 1800
    assert ingest.get("/readyz") == 200
    assert ingest.stop() == 0
    books = audit(db, ingest.folder / "spool")
    assert books.problems == []
    assert sum(row.stored for row in books.rows) == 1800
    assert db.execute("SELECT stopped_at IS NOT NULL FROM ingest_instances").fetchone() == (True,)


def test_stopped_under_load_leaves_in_time_and_loses_nothing(ingest: Ingest, db: PgConnection) -> None:
    ingest.start()
    eventually(lambda: ingest.metric("scada_active_connections") == 1)
    ingest.publish(3000)
    assert ingest.stop() == 0
    assert not (ingest.folder / "ingest.json").exists()
    ingest.start()
    ingest.wait_until_stored(db)
    assert ingest.stored(db) == ingest.sent
    assert ingest.stop() == 0
    assert audit(db, ingest.folder / "spool").problems == []


def test_redis_gone_and_back(ingest: Ingest, db: PgConnection, own_redis: RunningServer) -> None:
    ingest.start()
    eventually(lambda: ingest.metric("scada_active_connections") == 1)
    ingest.publish(40)
    eventually(lambda: ingest.metric('scada_hot_tier_total{term="written"}') == 40)
    own_redis.kill()
    ingest.publish(40)
    ingest.wait_until_stored(db)
    own_redis.start()
    tags: list[int] = [int(row[0]) for row in db.execute("SELECT tag_id FROM tags ORDER BY name")]
    with redis.Redis.from_url(own_redis.url) as client:

        def filled() -> bool:
            ingest.publish(4)
            found = hot.last_hours(client, tags, 0 + min(t for _, t in ingest.sent), max(t for _, t in ingest.sent) + 1)
            return len(found) >= 80

        eventually(filled)
        ingest.wait_until_stored(db)
        newest: dict[int, Any] = dict(db.execute("SELECT tag_id, max(time) FROM readings GROUP BY 1").fetchall())
        eventually(lambda: len(hot.latest(client, "acme", tags)) == 4)
        latest = hot.latest(client, "acme", tags)
        assert {int(r["tag_id"]) for r in latest} == set(newest)
    assert ingest.stored(db) == ingest.sent
    assert ingest.stop() == 0


def test_a_batch_is_published(ingest: Ingest, own_redis: RunningServer) -> None:
    ingest.start()
    eventually(lambda: ingest.metric("scada_active_connections") == 1)
    with redis.Redis.from_url(own_redis.url) as client, client.pubsub() as subscriber:
        subscriber.subscribe(hot.channel("acme"))
        ingest.publish(8)
        values: list[float] = []

        def heard() -> bool:
            message: dict[str, Any] | None = subscriber.get_message(timeout=0.2)
            if message and message["type"] == "message":
                values.extend(hot.decode_message(message["data"]).readings["value"].tolist())
            return len(values) == 8

        eventually(heard)
        assert values == list(range(8))
    assert ingest.stop() == 0


def test_a_new_tag_is_read_without_a_restart(ingest: Ingest, db: PgConnection) -> None:
    ingest.start()
    eventually(lambda: ingest.metric("scada_active_connections") == 1)
    ingest.publish(40)
    ingest.set_tags(5)
    eventually(lambda: db.execute("SELECT count(*) FROM tags").fetchone() == (5,))
    eventually(lambda: '"tags": 5' in ingest.log.read_text())
    eventually(lambda: ingest.metric("scada_active_connections") == 1)
    ingest.publish(50, tags=5)
    ingest.wait_until_stored(db)
    assert ingest.stored(db) == ingest.sent
    assert ingest.stop() == 0


def test_starts_and_takes_readings_without_the_database(
    tmp_path: Path, own_postgres: RunningServer, own_redis: RunningServer, mqtt_url: str
) -> None:
    migrate(load_settings(database_url=own_postgres.url))
    ingest = _prepared(tmp_path, own_postgres.url, own_redis.url, mqtt_url)
    try:
        ingest.start()
        eventually(lambda: ingest.metric("scada_active_connections") == 1)
        ingest.publish(20)
        eventually(lambda: ingest.metric('scada_stored_total{term="stored"}') == 20)
        assert ingest.stop() == 0
        own_postgres.stop()
        ingest.start()
        eventually(lambda: ingest.metric("scada_active_connections") == 1)
        ingest.publish(20)
        eventually(lambda: ingest.metric("scada_spool_pending_rows") == 20)
        assert ingest.get("/livez") == 200
        assert ingest.get("/readyz") == 503
        own_postgres.start()
        with connect(load_settings(database_url=own_postgres.url), autocommit=True) as db:
            ingest.wait_until_stored(db)
            eventually(lambda: ingest.get("/readyz") == 200)
            assert ingest.stored(db) == ingest.sent
            assert ingest.stop() == 0
            assert audit(db, tmp_path / "spool").problems == []
    finally:
        ingest.close()
