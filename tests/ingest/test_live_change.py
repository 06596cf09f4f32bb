"""A fleet file applied to a running ingest: over every protocol a tag comes, one goes, one changes, the rest go on."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.ingesting import ingests, register, simulated_field
from tests.waiting import eventually
from wellos.clock import WallClock, parse_clock
from wellos.simulator.field import Field

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wellos.clock import Clock
    from wellos.storage.warm import PgConnection

pytestmark = pytest.mark.fault
Key = tuple[str, str]
SPEED = 60
# A poll may be late on a busy machine, where a second is a minute here.
_LOST = "SELECT connection_id, tag_id, reason FROM ingest_gaps WHERE reason NOT LIKE 'poll_%' ORDER BY gap_id"


def connections(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for tenant in document["tenants"]:
        yield from tenant["connections"]


def names(document: dict[str, Any], place: int) -> set[Key]:
    return {(item["tags"][place]["well"], item["tags"][place]["name"]) for item in connections(document)}


def without(document: dict[str, Any], place: int) -> bytes:
    """Return the fleet file without the tag at this place of each connection; the second has another interval."""
    tenants = [
        tenant
        | {
            "connections": [
                item | {"tags": [tag for n, tag in enumerate(item["tags"]) if n != place % len(item["tags"])]}
                for item in tenant["connections"]
            ]
        }
        for tenant in document["tenants"]
    ]
    return yaml.safe_dump(document | {"tenants": tenants}).encode()


def stored(db: PgConnection, since_us: int = 0) -> dict[Key, set[int]]:
    rows = db.execute(
        "SELECT w.name, t.name, array_agg((extract(epoch FROM r.time) * 1000000)::bigint) FROM readings r "
        "JOIN tags t USING (tag_id) JOIN wells w USING (well_id) WHERE r.time > to_timestamp(%s / 1e6) GROUP BY 1, 2",
        (since_us,),
    )
    return {(well, tag): set(times) for well, tag, times in rows}


def sent(field: Field, after_us: int, until_us: int) -> dict[Key, set[int]]:
    """What the sources that send times of their own sent meanwhile."""
    found: dict[Key, set[int]] = {}
    for number, well in enumerate(field.wells):
        if well.protocol != "modbus":
            for moment, tag in field.samples(number, after_us, until_us)[["time", "tag_id"]].tolist():
                found.setdefault((well.name, well.tags[tag].name), set()).add(moment)
    return found


def missing(expected: dict[Key, set[int]], found: dict[Key, set[int]]) -> set[Key]:
    """Tags of which not all that was sent is stored."""
    return {key for key, times in expected.items() if times - found[key]}


def beyond(clock: Clock, seconds: float) -> int:
    """Wait for so many seconds of platform time, and return what it is then."""
    time.sleep(seconds / SPEED)
    return clock.micros()


def test_unchanged_tags_never_stop(tmp_path: Path, database_url: str, db: PgConnection, mqtt_url: str) -> None:
    start = WallClock().now() - timedelta(hours=6)
    setting = f"{start.isoformat()}@{WallClock().now().isoformat()}*{SPEED}"
    clock = parse_clock(setting)
    with (
        simulated_field(tmp_path / "field", mqtt_url, setting) as fleet,
        ingests(tmp_path, database_url=database_url, clock=setting) as make,
    ):
        document = yaml.safe_load(fleet)
        register(db, without(document, -1))
        process = make("ingest")
        process.start()
        eventually(lambda: process.metric("scada_active_connections") == 4)
        total = sum(len(item["tags"]) for item in connections(document))
        eventually(lambda: len(stored(db)) == total - 4)
        began = beyond(clock, 30)
        gaps = db.execute(_LOST).fetchall()
        for item in connections(document):
            item["tags"][1]["interval_s"] = 2 * item["tags"][1].get("interval_s", 15)
        register(db, without(document, 0))
        eventually(lambda: len(process.logged("connections")) == 2)
        changed = clock.micros()
        eventually(lambda: names(document, -1) <= stored(db, changed).keys())
        ended = beyond(clock, 60)
        touched = names(document, -1) | names(document, 0) | names(document, 1)
        expected = {
            key: times for key, times in sent(Field(seed=1, wells=12), began, ended).items() if key not in touched
        }
        assert sum(map(len, expected.values())) > 200
        # What a source sends late on a busy machine comes; what was lost never does.
        eventually(lambda: not missing(expected, stored(db)))
        assert process.metric("scada_connection_restarts_total") == 0
        assert not process.logged("connection lost")
        assert not [item for item in process.events() if "a new start" in item["event"]]
        assert db.execute(_LOST).fetchall() == gaps
        assert process.stop() == 0
    assert not names(document, 0) & stored(db, ended).keys()
