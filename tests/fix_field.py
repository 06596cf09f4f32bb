"""Independent readers of the simulator's servers: asyncua's and paho's own clients, and small recordings to replay."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import paho.mqtt.client as paho
import polars as pl
import pytest
from asyncua import ua
from asyncua.client.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from wellos.clock import WallClock, to_micros
from wellos.protocols.sparkplug_pb import Payload
from wellos.settings import Settings
from wellos.simulator.endpoints import Options, broker_of
from wellos.simulator.playing import replay
from wellos.simulator.ready import ReadyFile
from wellos.simulator.senders import OpcUaSender

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

PATIENCE_S = 90.0
COLUMNS = ("P-PDG", "P-TPT", "T-TPT", "P-MON-CKP", "T-JUS-CKP", "P-JUS-CKGL", "T-JUS-CKGL", "QGL")
Tag = tuple[str, str]
Seen = dict[Tag, list[tuple[int, float | None]]]


class FieldReader:
    """What reached independent clients, by well and tag, in the order in which it came: (time, value)."""

    def __init__(self) -> None:
        self.seen: Seen = defaultdict(list)
        self.status: dict[Tag, list[int]] = defaultdict(list)
        self.messages: list[tuple[str, bytes]] = []

    async def opcua(self, url: str) -> Client:
        """Subscribe to every variable of every well, each new time stamp wanted."""
        client = Client(url, timeout=90)
        await client.connect()
        index = await client.get_namespace_index("urn:wellos:field")
        nodes = [
            variable
            for well in await client.nodes.objects.get_children()
            if well.nodeid.NamespaceIndex == index
            for variable in await well.get_children()
        ]
        subscription = await client.create_subscription(50, self)
        wanted = ua.DataChangeFilter(Trigger=ua.DataChangeTrigger.StatusValueTimestamp)
        if nodes:
            await subscription._subscribe(nodes, mfilter=wanted, queuesize=10_000)
        return client

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:  # noqa: ANN401 - the library's types
        well, tag = str(node.nodeid.Identifier).split(".", 1)
        found = data.monitored_item.Value
        self.status[well, tag].append(found.StatusCode.value)
        self.seen[well, tag].append((to_micros(found.SourceTimestamp), value))

    def mqtt(self, url: str, *topics: str, name: str = "") -> paho.Client:
        """Subscribe at QoS 1 on a thread of the library's own."""
        client = paho.Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5)
        client.on_message = self._on_message
        parts = urlsplit(url)
        client.connect(parts.hostname or "", parts.port or 1883)
        client.subscribe([(topic, 1) for topic in topics])
        client.loop_start()
        return client

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:  # noqa: ANN401 - same
        self.messages.append((message.topic, bytes(message.payload)))

    def plain(self) -> Seen:
        """Return what the plain messages said."""
        seen: Seen = defaultdict(list)
        for topic, payload in self.messages:
            if topic.startswith("wellos/"):
                document = json.loads(payload)
                moment = to_micros(datetime.fromisoformat(document["time"]))
                for tag, value in document["values"].items():
                    seen[topic.rpartition("/")[2], tag].append((moment, value))
        return seen

    def sparkplug(self, *kinds: str) -> Seen:
        """Return what the Sparkplug messages of some kinds said."""
        seen: Seen = defaultdict(list)
        for topic, payload in self.messages:
            parts = topic.split("/")
            if parts[0] == "spBv1.0" and parts[2] in kinds:
                for metric in Payload.FromString(payload).metrics:
                    value = None if metric.is_null else metric.double_value
                    seen[parts[-1], metric.name].append((metric.timestamp * 1000, value))
        return seen


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.02)


@asynccontextmanager
async def replaying(options: Options, mqtt_url: str, tmp_path: Path) -> AsyncIterator[ReadyFile]:
    """Run a replay in this loop; its ready file is yielded once every server answers."""
    settings = Settings(mqtt_url=mqtt_url, data_dir=tmp_path)
    ready = ReadyFile(tmp_path / "ready.json")
    task = asyncio.create_task(replay(options, settings, broker_of(settings), WallClock(), ready))
    try:
        await until(lambda: task.done() or "state" in ready.content)
        if task.done():
            task.result()
        yield ready
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def grouped_file(folder: Path, name: str, *recordings: tuple[str, pl.DataFrame]) -> None:
    """Write a file of one well with an `instance` column."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = [frame.select(pl.lit(instance).alias("instance"), pl.all()) for instance, frame in recordings]
    pl.concat(frames, how="diagonal").write_parquet(folder / name)


def original_file(folder: Path, name: str, frame: pl.DataFrame) -> None:
    """Write an untouched file of version 2: nanoseconds, the time last, states and labels beside the measurements."""
    folder.mkdir(parents=True, exist_ok=True)
    others = [pl.lit(1.0).alias("ESTADO-M1"), pl.lit(3, dtype=pl.Int16).alias("class")]
    time = pl.col("timestamp").cast(pl.Datetime("ns"))
    frame.select(*others, pl.exclude("timestamp"), time).write_parquet(folder / name)


def rows(start: str, count: int, columns: tuple[str, ...] = COLUMNS, seed: int = 0) -> pl.DataFrame:
    """Return rows a second apart; T-JUS-CKGL is all null, P-PDG is frozen, and one value is a dead sensor's."""
    rng = np.random.default_rng(seed)
    data: dict[str, Any] = {name: rng.normal(1e6, 1e3, count).round(3) for name in columns}
    data |= {"T-JUS-CKGL": [None] * count} if "T-JUS-CKGL" in columns else {}
    data |= {"P-PDG": np.zeros(count)}
    data["P-TPT"][count // 2] = -1.18e42
    stamps = [datetime.fromisoformat(start) + timedelta(seconds=at) for at in range(count)]
    return pl.DataFrame({"timestamp": stamps, **data}).with_columns(pl.col("timestamp").cast(pl.Datetime("us")))


@pytest.fixture
def field_reader(monkeypatch: pytest.MonkeyPatch) -> FieldReader:
    # A reader of these tests stays to the end.
    monkeypatch.setattr(OpcUaSender, "quiet_s", 0.5)
    return FieldReader()
