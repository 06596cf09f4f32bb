"""When history is filled, what the simulator is told, and what becomes of a field that is served no more."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import yaml

from wellos.embedded.processes import Environment
from wellos.embedded.simulation import FieldOptions, Simulation
from wellos.fleet.apply import apply
from wellos.fleet.check import check
from wellos.registry import load_connections

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.storage.warm import PgConnection

FLEET = """
version: 1
tenants:
- slug: {slug}
  name: {slug} Operating
  wells: [{{name: W-1, lift_type: esp, timezone: America/Chicago}}]
  connections:
  - name: plc
    protocol: modbus
    config: {{host: 127.0.0.1, port: 502}}
    tags: [{{name: pressure, well: W-1, address: "1:holding:0:float32"}}]
"""


def command(simulation: Simulation, folder: Path) -> str:
    return " ".join(simulation.prepare(Environment(folder, "127.0.0.1", {})).spec.command)


def test_an_empty_database_gets_thirty_days_and_only_once(tmp_path: Path, db: PgConnection) -> None:
    first = Simulation(tmp_path, FieldOptions())
    first.decide_history(db)
    assert "--history 43200m" in command(first, tmp_path)
    assert first.history_left() == "history: waiting for the simulator"
    ready = {"history": {"state": "running", "what": "readings", "share": 0.42}}
    (tmp_path / "simulator.json").write_text(json.dumps(ready))
    assert first.history_left() == "history: readings 42%"

    cut_short = Simulation(tmp_path, FieldOptions())
    cut_short.decide_history(db)
    assert "--history" in command(cut_short, tmp_path)
    ready["history"]["state"] = "done"
    (tmp_path / "simulator.json").write_text(json.dumps(ready))
    assert cut_short.history_left() == ""
    assert "--history" not in command(cut_short, tmp_path)

    third = Simulation(tmp_path, FieldOptions())
    third.decide_history(db)
    assert "--history" not in command(third, tmp_path)


def test_a_database_with_readings_is_left_alone_unless_asked(tmp_path: Path, db: PgConnection) -> None:
    apply(db, check(FLEET.format(slug="acme").encode(), "fleet").fleet)
    [connection] = load_connections(db)
    db.execute("SELECT ensure_readings_partitions(ARRAY['2026-11-20'::date])")
    db.execute(
        "INSERT INTO readings (time, tag_id, value, quality, status) VALUES ('2026-11-20T12:00Z', %s, 1, 2, 0)",
        (connection.tags[0].tag_id,),
    )
    simulation = Simulation(tmp_path, FieldOptions())
    simulation.decide_history(db)
    assert "--history" not in command(simulation, tmp_path)
    asked = Simulation(tmp_path, FieldOptions(history=timedelta(hours=6)))
    asked.decide_history(db)
    assert "--history 360m" in command(asked, tmp_path)


def test_a_replay_has_its_own_pace_and_no_history(tmp_path: Path, db: PgConnection) -> None:
    simulation = Simulation(tmp_path, FieldOptions(replay=tmp_path, replay_speed=10, zone="America/Bahia"))
    simulation.decide_history(db)
    words = command(simulation, tmp_path)
    assert f"--replay {tmp_path} --zone America/Bahia --speed 10" in words
    assert not {"--history", "--wells", "--seed", "--truth"} & set(words.split())


def test_a_field_that_is_served_no_more_is_retired_and_comes_back(tmp_path: Path, db: PgConnection) -> None:
    simulation = Simulation(tmp_path, FieldOptions())
    assert simulation.tenants() == {}
    old, new = (check(FLEET.format(slug=slug).encode(), "fleet").fleet for slug in ("permian", "petrobras"))
    simulation.fleet_file.write_text(FLEET.format(slug="permian"))
    before = simulation.tenants()
    assert before == {"permian": "permian Operating"}
    apply(db, old)
    numbers = {connection.connection_id for connection in load_connections(db)}
    apply(db, new)
    gone = simulation.left_behind(before, new)
    assert gone is not None
    apply(db, gone)
    assert [connection.tenant for connection in load_connections(db)] == ["petrobras"]
    assert simulation.left_behind(before, old) is None
    apply(db, old)
    assert numbers < {connection.connection_id for connection in load_connections(db)}


@pytest.mark.parametrize("url", ["mqtt://user:p%40ss@host:1883", "mqtt://host:1883"])
def test_a_brokers_login_reaches_those_who_read_the_fleet_file(tmp_path: Path, url: str) -> None:
    variables = Environment(tmp_path, "127.0.0.1", {"mqtt_url": url}).variables()
    found = (variables.get("MQTT_USER"), variables.get("MQTT_PASSWORD"))
    assert found == (("user", "p@ss") if "@" in url else (None, None))


def test_the_fleet_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    simulation = Simulation(tmp_path, FieldOptions())
    simulation.fleet_file.write_text(yaml.safe_dump({"version": 1, "tenants": [{"slug": "a", "name": "A & B"}]}))
    assert simulation.tenants() == {"a": "A & B"}
