"""SIGTERM while messages pour in and the database says nothing: all of it on disk, and gone within five seconds."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from psycopg.conninfo import conninfo_to_dict

from tests.ingesting import ingests, register
from tests.proxy import proxy_to
from tests.waiting import eventually
from wellos.audit import audit

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.storage.warm import PgConnection

pytestmark = pytest.mark.fault
PASSWORD = "not-to-be-seen"
FLEET = """
version: 1
tenants:
  - slug: acme
    name: Acme
    wells: [{{name: A-1, lift_type: flowing}}]
    connections:
      - name: stopped
        protocol: mqtt
        config: {{url: "{url}", user: pump, password: {password}}}
        tags: [{{name: t, well: A-1, address: "stopped/t", interval_s: 60, high: 1000000000}}]
"""


class Publisher:
    """Publishes ever further numbers in a thread, at QoS 1."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("mqtt://").partition(":")
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="pub-stopped")
        self._client.connect(host, int(port))
        self._client.loop_start()
        self.sent: list[int] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.005):
            for _ in range(5):
                moment = max(time.time_ns() // 1000, self.sent[-1] + 1 if self.sent else 0)
                body = json.dumps({"time": moment, "value": len(self.sent)})
                last = self._client.publish("stopped/t", body, qos=1)
                self.sent.append(moment)
        last.wait_for_publish(90)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()


def stored(db: PgConnection) -> list[int]:
    rows = db.execute("SELECT (extract(epoch FROM time) * 1000000)::bigint FROM readings ORDER BY time")
    return [row[0] for row in rows]


def test_stopped_under_load_with_a_silent_database(
    tmp_path: Path, database_url: str, db: PgConnection, mqtt_url: str
) -> None:
    parts = conninfo_to_dict(database_url)
    with (
        proxy_to(str(parts["host"]), int(str(parts["port"]))) as link,
        ingests(tmp_path, log_level="info") as make,
    ):
        register(db, FLEET.format(url=mqtt_url, password=PASSWORD).encode())
        through = f"postgresql://{parts['user']}:{parts.get('password', '')}@127.0.0.1:{link.port}/{parts['dbname']}"
        process = make("ingest", database_url=through)
        process.start()
        eventually(lambda: process.metric("scada_active_connections") == 1)
        publisher = Publisher(mqtt_url)
        try:
            eventually(lambda: len(stored(db)) > 100)
            link.silent = True
            eventually(lambda: process.metric("scada_spool_pending_rows") > 300)
            assert process.stop(within_s=60) == 0
            behind = len(publisher.sent) - len(stored(db))
        finally:
            publisher.end()
        link.silent = False
        process.start()
        eventually(lambda: len(stored(db)) >= len(publisher.sent))
        assert process.stop() == 0
        assert behind > 300
        assert stored(db) == publisher.sent
        assert audit(db, process.folder / "spool").problems == []
        for line in process.events():  # each is an object: nothing but structured lines was written
            assert {"event", "level", "logger", "timestamp"} <= line.keys()
        log = process.log.read_text()
        assert PASSWORD not in log
        assert str(parts.get("password") or PASSWORD) not in log
