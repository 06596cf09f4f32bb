"""Applying a fleet to a real database: counts, ids that stay, nothing half-done, and what ingest is told."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings

from tests.registry.fleets import fleets, unordered
from wellos.errors import ConfigurationError
from wellos.fleet import apply as apply_module
from wellos.fleet.apply import ACTIONS, Outcome, apply
from wellos.fleet.check import check
from wellos.fleet.export import export
from wellos.registry import load_connections

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wellos.fleet.model import Fleet
    from wellos.storage.warm import PgConnection

TEXT = """\
version: 1
tenants:
  - slug: permian
    name: Permian Operating
    wells:
      - {name: PB-001, lift_type: esp, timezone: America/Chicago, contract_hour: 7}
      - {name: PB-002, lift_type: rod_pump}
    connections:
      - name: plc-1
        protocol: opcua
        config: {url: "opc.tcp://plc:4840", user: ann, password: "${PLC}"}
        tags:
          - {name: oil, well: PB-001, address: "ns=2;s=1.oil", unit: bbl/d, quantity: rate, sentinels: [-9999]}
          - {name: p, well: PB-001, address: "ns=2;s=1.p", unit: psi, low: 0, high: 5000, resolution: 0.1}
      - name: rtu
        protocol: modbus
        config: {host: rtu}
        tags:
          - {name: oil, well: PB-002, address: "1:holding:0:int16"}
"""


def fleet_of(*edits: tuple[str, str]) -> Fleet:
    text = TEXT
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return check(text.encode(), "f").fleet


def counts(outcome: Outcome) -> dict[str, str]:
    """Return `added/changed/unchanged/retired/restored` by kind."""
    return {kind: "/".join(str(row[action]) for action in ACTIONS) for kind, row in outcome.counts.items()}


def tag_ids(db: PgConnection) -> dict[tuple[str, str], int]:
    return {(tag.well, tag.name): tag.tag_id for item in load_connections(db) for tag in item.tags}


def test_first_time_everything_is_added(db: PgConnection) -> None:
    outcome = apply(db, fleet_of())
    assert counts(outcome) == {
        "tenant": "1/0/0/0/0",
        "well": "2/0/0/0/0",
        "connection": "2/0/0/0/0",
        "tag": "3/0/0/0/0",
    }
    assert unordered(export(db)) == unordered(fleet_of())
    plc, rtu = load_connections(db)
    assert (plc.name, plc.tenant, plc.protocol, plc.config["password"]) == ("plc-1", "permian", "opcua", "${PLC}")
    assert [(tag.well, tag.name, tag.sentinels, tag.resolution) for tag in plc.tags] == [
        ("PB-001", "oil", (-9999.0,), None),
        ("PB-001", "p", (), 0.1),
    ]
    assert rtu.tags[0].address == "1:holding:0:int16"
    assert load_connections(db, names=["rtu"]) == (rtu,)


def test_a_second_time_changes_nothing(db: PgConnection) -> None:
    apply(db, fleet_of())
    before = db.execute("SELECT xmin, ctid, * FROM tags ORDER BY tag_id").fetchall()
    outcome = apply(db, fleet_of())
    assert counts(outcome) == {
        "tenant": "0/0/1/0/0",
        "well": "0/0/2/0/0",
        "connection": "0/0/2/0/0",
        "tag": "0/0/3/0/0",
    }
    assert (outcome.changes, outcome.connections) == ((), ())
    assert db.execute("SELECT xmin, ctid, * FROM tags ORDER BY tag_id").fetchall() == before


def test_what_is_gone_is_retired_and_returns_under_its_old_id(db: PgConnection) -> None:
    apply(db, fleet_of())
    ids = tag_ids(db)
    gone = (
        '          - {name: p, well: PB-001, address: "ns=2;s=1.p", unit: psi, low: 0, high: 5000, resolution: 0.1}\n'
    )
    outcome = apply(db, fleet_of((gone, "")))
    assert counts(outcome)["tag"] == "0/0/2/1/0"
    assert [(change.action, change.name) for change in outcome.changes] == [("retired", "PB-001.p")]
    assert tag_ids(db) == {key: value for key, value in ids.items() if key != ("PB-001", "p")}
    assert db.execute("SELECT count(*) FROM tags").fetchone() == (3,)
    outcome = apply(db, fleet_of(("high: 5000", "high: 6000")))
    assert counts(outcome)["tag"] == "0/0/2/0/1"
    assert outcome.changes[0].new == {"high": 6000}
    assert tag_ids(db) == ids


def test_a_connection_and_a_well_retire_with_their_tags(db: PgConnection) -> None:
    apply(db, fleet_of())
    ids = tag_ids(db)
    only_first = TEXT[: TEXT.index("      - name: rtu")].replace("      - {name: PB-002, lift_type: rod_pump}\n", "")
    outcome = apply(db, check(only_first.encode(), "f").fleet)
    assert counts(outcome) == {
        "tenant": "0/0/1/0/0",
        "well": "0/0/1/1/0",
        "connection": "0/0/1/1/0",
        "tag": "0/0/2/1/0",
    }
    assert [item.name for item in load_connections(db)] == ["plc-1"]
    outcome = apply(db, fleet_of())
    assert counts(outcome) == {
        "tenant": "0/0/1/0/0",
        "well": "0/0/1/0/1",
        "connection": "0/0/1/0/1",
        "tag": "0/0/2/0/1",
    }
    assert tag_ids(db) == ids


def test_a_tag_that_moves_to_another_connection_keeps_its_id(db: PgConnection) -> None:
    apply(db, fleet_of())
    ids = tag_ids(db)
    line = '          - {name: oil, well: PB-002, address: "1:holding:0:int16"}\n'
    moved = '          - {name: oil, well: PB-002, address: "ns=2;s=2.oil"}\n'
    outcome = apply(
        db, fleet_of((line, ""), ("      - name: rtu", f"{moved}      - name: rtu"), ("tags:\n", "tags:\n"))
    )
    (change,) = outcome.changes
    assert (change.action, change.old["connection"], change.new["connection"]) == ("changed", "rtu", "plc-1")
    assert tag_ids(db) == ids
    assert len(outcome.connections) == 2


def test_a_change_names_its_fields_and_hides_the_password(db: PgConnection) -> None:
    apply(db, fleet_of(("${PLC}", "hunter2")))
    outcome = apply(
        db, fleet_of(("${PLC}", "hunter3"), ("opc.tcp://plc:4840", "opc.tcp://plc:4841"), ("unit: psi", "unit: bar"))
    )
    connection, tag = outcome.changes
    assert connection.new == {"config.password": "***", "config.url": "opc.tcp://plc:4841"}
    assert (tag.name, tag.old, tag.new) == ("PB-001.p", {"unit": "psi"}, {"unit": "bar"})
    assert "hunter" not in repr(outcome)


def test_other_tenants_are_left_alone(db: PgConnection) -> None:
    apply(db, fleet_of())
    other = fleet_of(("slug: permian", "slug: bakken"))
    assert counts(apply(db, other))["tag"] == "3/0/0/0/0"
    assert counts(apply(db, fleet_of()))["tag"] == "0/0/3/0/0"
    assert [tenant.entry.slug for tenant in export(db).tenants] == ["bakken", "permian"]
    assert unordered(export(db, ["bakken"])) == unordered(other)
    with pytest.raises(ConfigurationError, match="Did you mean bakken"):
        export(db, ["baken"])


def test_a_dry_run_writes_nothing(db: PgConnection, listener: PgConnection) -> None:
    outcome = apply(db, fleet_of(), dry_run=True)
    assert counts(outcome)["tag"] == "3/0/0/0/0"
    assert db.execute("SELECT count(*) FROM tenants").fetchone() == (0,)
    assert told(listener) == []


def test_ingest_is_told_which_connections_changed(db: PgConnection, listener: PgConnection) -> None:
    apply(db, fleet_of())
    ids = {item.name: item.connection_id for item in load_connections(db)}
    assert told(listener) == [sorted(ids.values())]
    apply(db, fleet_of())
    assert told(listener) == []
    apply(db, fleet_of(("host: rtu", "host: rtu2")))
    assert told(listener) == [[ids["rtu"]]]
    apply(db, fleet_of(("host: rtu", "host: rtu2"), ("unit: psi", "unit: bar")))
    assert told(listener) == [[ids["plc-1"]]]


def test_a_long_list_is_told_in_parts(
    db: PgConnection, listener: PgConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apply_module, "_IDS_PER_MESSAGE", 1)
    outcome = apply(db, fleet_of())
    assert told(listener) == [[number] for number in outcome.connections]


def test_many_applies_at_once(db: PgConnection, database_url: str) -> None:
    variants = [fleet_of(("high: 5000", f"high: {5000 + n}")) for n in range(8)]

    def run(fleet: Fleet) -> None:
        with psycopg.connect(database_url) as connection:
            apply(connection, fleet)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, variants))
    assert db.execute("SELECT count(*), count(DISTINCT (well_id, name)), max(tag_id) FROM tags").fetchone() == (3, 3, 3)
    assert unordered(export(db)) in [unordered(fleet) for fleet in variants]


def test_nothing_half_written_when_the_database_refuses(db: PgConnection) -> None:
    db.execute("ALTER TABLE tags ADD CONSTRAINT refuse CHECK (name <> 'p')")
    with pytest.raises(psycopg.errors.CheckViolation):
        apply(db, fleet_of())
    assert db.execute("SELECT (SELECT count(*) FROM tenants), (SELECT count(*) FROM wells)").fetchone() == (0, 0)
    db.execute("ALTER TABLE tags DROP CONSTRAINT refuse")
    apply(db, fleet_of())


def test_twice_in_one_transaction_of_the_caller(db: PgConnection) -> None:
    with db.transaction():
        apply(db, fleet_of())
        assert counts(apply(db, fleet_of(("unit: psi", "unit: bar"))))["tag"] == "0/1/2/0/0"


def test_a_database_that_was_not_migrated(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url) as connection:
        for action in (lambda: apply(connection, fleet_of()), lambda: export(connection)):
            with pytest.raises(ConfigurationError, match="wellos migrate"):
                action()
            connection.rollback()


def test_a_connection_that_is_not_there(db: PgConnection) -> None:
    apply(db, fleet_of(("protocol: modbus", "protocol: modbus\n        enabled: false")))
    assert [item.name for item in load_connections(db)] == ["plc-1"]
    with pytest.raises(ConfigurationError) as caught:
        load_connections(db, names=["plc-1", "rtu", "x"])
    assert [problem.field for problem in caught.value.problems] == ["rtu", "x"]


def test_a_configuration_that_no_longer_holds(db: PgConnection) -> None:
    apply(db, fleet_of())
    db.execute("""UPDATE scada_connections SET config = '{"hots": "x", "password": "hunter2"}'""")
    with pytest.raises(ConfigurationError) as caught:
        load_connections(db)
    fields = [problem.field for problem in caught.value.problems]
    assert "permian.rtu.config.hots" in fields
    assert "permian.plc-1.config.url" in fields
    assert "hunter2" not in str(caught.value)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fleet=fleets())
def test_what_was_applied_is_what_is_exported(db: PgConnection, fleet: Fleet) -> None:
    apply(db, fleet)
    slugs = [tenant.entry.slug for tenant in fleet.tenants]
    exported = export(db, slugs)
    assert unordered(exported) == unordered(fleet)
    again = apply(db, exported)
    assert again.changes == ()


@pytest.fixture
def listener(database_url: str) -> Iterator[PgConnection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("LISTEN wellos_registry")
        yield connection


def told(listener: PgConnection) -> list[list[int]]:
    """Return the payloads so far: a marker sent now comes after them."""
    listener.execute("NOTIFY wellos_registry, 'null'")
    payloads = []
    for message in listener.notifies(timeout=90):
        if (ids := json.loads(message.payload)) is None:
            break
        payloads.append(ids)
    return payloads
