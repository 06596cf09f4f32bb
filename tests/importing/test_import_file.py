"""A historian's past comes in by file: once however often it is run, checked as live readings are, gaps closed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl
import pytest

from streaming.importing.mapping import read_mapping
from streaming.importing.run import Importer
from tests.seed import add_readings, add_tags, at
from wellos.audit import audit as audit_of
from wellos.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from streaming.importing.run import Imported
    from wellos.audit import Audit
    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

COMMAND = [sys.executable, "-m", "wellos", "readings", "import"]


def command(settings: Settings, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    assert settings.database_url is not None
    environment = os.environ | {
        "WELLOS_DATABASE_URL": settings.database_url.get_secret_value(),
        "WELLOS_DATA_DIR": str(settings.data_dir),
    }
    return subprocess.run(
        [*COMMAND, *arguments], env=environment, input=stdin, capture_output=True, check=False, timeout=120
    )


def imported(
    settings: Settings, path: Path, *, mapping: Path | None = None, well: str | None = None, zone: str | None = None
) -> Imported:
    """The same in this process."""
    importer = Importer(settings, path, "acme", read_mapping(mapping), well=well, zone=zone, name=path.name)
    importer.examine()
    importer.refuse_unknown()
    return importer.store()


def long_csv(rows: int, *, start: str = "2021-03-01 00:00") -> str:
    first, minute = at(start), timedelta(minutes=1)
    lines = [
        f"{first + row * minute:%Y-%m-%dT%H:%M:%SZ},PB-001,tag_{row % 2 + 1},{100 + row % 7}.25,GOOD"
        for row in range(rows)
    ]
    return "\n".join(["time,well,tag,value,quality", *lines]) + "\n"


@pytest.fixture
def tags(db: PgConnection) -> list[int]:
    return add_tags(db, 2)


def audit(db: PgConnection) -> Audit:
    return audit_of(db, None)


def stored(db: PgConnection) -> int:
    (count,) = db.execute("SELECT count(*) FROM readings").fetchone() or (0,)
    return int(count)


@pytest.mark.usefixtures("tags")
def test_the_command_stores_a_file_once_and_says_what_it_did(
    db: PgConnection, database_settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "past.csv"
    file.write_text(long_csv(3000))
    first = command(database_settings, str(file), "--tenant", "acme", "--json")
    assert first.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    assert told["examined"]["rows"] == told["imported"]["stored"] == stored(db) == 3000
    assert told["examined"]["first"] == "2021-03-01T00:00:00+00:00"
    again = json.loads(command(database_settings, str(file), "--tenant", "acme", "--json").stdout)
    assert again["imported"]["stored"] == stored(db) == 3000
    assert again["imported"]["resumed_frames"] > 0
    report = audit(db)
    assert report.holds, report


@pytest.mark.usefixtures("tags")
def test_standard_input_is_the_same_file(db: PgConnection, database_settings: Settings, tmp_path: Path) -> None:
    text = long_csv(100).encode()
    (tmp_path / "past.csv").write_bytes(text)
    assert command(database_settings, "-", "--tenant", "acme", stdin=text).returncode == 0
    assert command(database_settings, str(tmp_path / "past.csv"), "--tenant", "acme").returncode == 0
    assert stored(db) == 100
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("import-")] == []


@pytest.mark.usefixtures("tags")
def test_another_file_with_the_same_readings_stores_nothing_twice(
    db: PgConnection, database_settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(long_csv(200))
    (tmp_path / "b.csv").write_text(long_csv(300))
    imported(database_settings, tmp_path / "a.csv")
    told = imported(database_settings, tmp_path / "b.csv")
    assert (told.stored, told.repeated) == (100, 200)
    assert stored(db) == 300


@pytest.mark.usefixtures("tags")
def test_a_killed_import_goes_on(db: PgConnection, database_settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "past.csv"
    file.write_text(long_csv(60_000))
    assert database_settings.database_url is not None
    environment = os.environ | {
        "WELLOS_DATABASE_URL": database_settings.database_url.get_secret_value(),
        "WELLOS_DATA_DIR": str(tmp_path),
    }
    with subprocess.Popen(
        [*COMMAND, str(file), "--tenant", "acme"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as running:
        while not stored(db) and running.poll() is None:
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
    before = stored(db)
    assert before
    result = command(database_settings, str(file), "--tenant", "acme", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["imported"]["stored"] == stored(db) == 60_000
    assert audit(db).holds


def test_rows_that_are_no_readings_are_kept_whole_and_the_others_are_stored(
    db: PgConnection, tags: list[int], database_settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "past.csv"
    file.write_text(
        "Timestamp;Well;Tag;Value;Quality\n"
        "01/03/2021 00:00;PB-001;tag_1;1,5;Good\n"
        "31/02/2021 00:01;PB-001;tag_1;1,5;Good\n"
        "01/03/2021 00:02;PB-001;tag_1;about ten;Good\n"
        "01/03/2021 00:03;PB-001;tag_1;2,5;Peculiar\n"
        "01/03/2021 00:04;PB-001\n"
        "01/03/2021 00:05;PB-001;tag_2;No Data;Good\n"
        "07/11/2021 01:30;PB-001;tag_2;7,5;64\n"
        "01/03/2091 00:05;PB-001;tag_2;8;Good\n"
    )
    mapping = tmp_path / "map.yaml"
    mapping.write_text(
        "time: {format: '%d/%m/%Y %H:%M', zone: America/Chicago}\nvalue: {decimal: ','}\ndelimiter: ';'\n"
    )
    result = command(database_settings, str(file), "--tenant", "acme", "--mapping", str(mapping), "--json")
    assert result.returncode == 1, result.stderr
    told = json.loads(result.stdout)
    assert {item["source"] for item in told["examined"]["examples"]} == {f"past.csv:{row}" for row in (2, 3, 4, 5, 7)}
    rows = db.execute("SELECT time, tag_id, value::text, quality FROM readings ORDER BY time").fetchall()
    assert rows == [(at("2021-03-01 06:00"), tags[0], "1.5", 2), (at("2021-03-01 06:05"), tags[1], "NaN", 0)]
    kept = db.execute("SELECT reason, original FROM quarantine ORDER BY source").fetchall()
    assert [reason for reason, _ in kept].count("malformed") == 5
    assert any(b"about ten" in text for _, text in kept)
    assert "future" in {reason for reason, _ in kept}
    assert audit(db).holds


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("time,well,tag,value\n2021-01-01T00:00:00Z,PB-001,tag_11,1\n", (), "Did you mean PB-001.tag_1"),
        ("time,well,tag,value\n2021-01-01 00:00,PB-001,tag_1,1\n", (), "--zone"),
        ("when,well,tag,value\n2021-01-01 00:00,PB-001,tag_1,1\n", (), "no column for the time"),
        ("time,well,tag,value\n2021-01-01 00:00,PB-001,tag_1,1\n", ("--zone", "America/Chicag"), "America/Chicago"),
        ("time,tag,value\n2021-01-01T00:00Z,tag_1,1\n", ("--well", "PB-002"), "PB-001"),
        ("time,tag,value,value\n2021-01-01T00:00Z,tag_1,1,1\n", (), "twice"),
    ],
)
@pytest.mark.usefixtures("tags")
def test_what_would_be_misread_is_refused_whole(
    db: PgConnection,
    database_settings: Settings,
    tmp_path: Path,
    text: str,
    options: tuple[str, ...],
    said: str,
) -> None:
    file = tmp_path / "past.csv"
    file.write_text(text)
    result = command(database_settings, str(file), "--tenant", "acme", *options)
    assert result.returncode == 2, result.stdout
    assert said in result.stderr.decode()
    assert "Traceback" not in result.stderr.decode()
    assert stored(db) == 0


@pytest.mark.parametrize("content", ["value: {decimals: ','}", "tags: [1]", "time: {zone: Nowhere}", "a: [", "7"])
def test_a_wrong_mapping_is_one_clear_error(tmp_path: Path, content: str) -> None:
    file = tmp_path / "map.yaml"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=r"map\.yaml"):
        read_mapping(file)


def test_parquet_with_a_column_a_tag_and_units_of_its_own(
    db: PgConnection, tags: list[int], database_settings: Settings, tmp_path: Path
) -> None:
    moments = [at("2021-03-01 00:00"), at("2021-03-01 00:01")]
    frame = pl.DataFrame({"time": moments, "PIC-1.PV": [689.4757293168, None], "PB-001.tag_2": [3.0, 4.0]})
    frame.write_parquet(tmp_path / "past.parquet")
    mapping = tmp_path / "map.yaml"
    mapping.write_text("tags:\n  PIC-1.PV: {well: PB-001, tag: tag_1, unit: kPa}\n")
    imported(database_settings, tmp_path / "past.parquet", mapping=mapping)
    rows = db.execute("SELECT tag_id, round(value::numeric, 9)::float8 FROM readings ORDER BY time, tag_id").fetchall()
    assert rows == [(tags[0], 100.0), (tags[1], 3.0), (tags[1], 4.0)]


def test_gaps_that_the_file_fills_are_closed_and_no_others(
    db: PgConnection, tags: list[int], database_settings: Settings, tmp_path: Path
) -> None:
    (connection,) = db.execute("SELECT connection_id FROM scada_connections").fetchone() or (0,)
    add_readings(db, [(at("2021-03-01 00:00"), tags[0], 1.0, 2)])
    gap = (
        "INSERT INTO ingest_gaps (spool_id, seq, connection_id, tag_id, started_at, ended_at, reason) "
        "VALUES (gen_random_uuid(), 1, %s, %s, %s, %s, 'disconnected') RETURNING gap_id"
    )
    inside = (at("2021-03-01 00:30"), at("2021-03-01 01:10"))
    beyond = (at("2021-03-01 02:00"), at("2021-03-02 00:00"))
    whole, one, open_, later = (
        db.execute(gap, (connection, tag, *span)).fetchone()
        for tag, span in ((None, inside), (tags[0], inside), (tags[1], beyond), (None, beyond))
    )
    (tmp_path / "past.csv").write_text(long_csv(180))
    assert imported(database_settings, tmp_path / "past.csv").gaps_closed == 2
    closed = db.execute("SELECT gap_id FROM ingest_gaps WHERE closed_at IS NOT NULL ORDER BY gap_id").fetchall()
    assert closed == [whole, one]
    assert open_ not in closed
    assert later not in closed


@pytest.mark.usefixtures("tags")
def test_a_dry_run_stores_nothing(db: PgConnection, database_settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "past.csv").write_text(long_csv(50))
    result = command(database_settings, str(tmp_path / "past.csv"), "--tenant", "acme", "--dry-run")
    assert b"nothing stored" in result.stdout
    assert stored(db) == 0
    assert db.execute("SELECT count(*) FROM ingest_ledger").fetchone() == (0,)


def test_a_reading_that_is_out_of_range_is_stored_as_bad(
    db: PgConnection, tags: list[int], database_settings: Settings, tmp_path: Path
) -> None:
    db.execute("UPDATE tags SET low = 0, high = 100 WHERE tag_id = %s", (tags[0],))
    (tmp_path / "past.csv").write_text("time,well,tag,value\n2021-01-01T00:00:00Z,PB-001,tag_1,5000\n")
    assert imported(database_settings, tmp_path / "past.csv").stored == 1
    assert db.execute("SELECT quality FROM readings").fetchone() == (0,)
    assert db.execute("SELECT count(*) FROM quality_events").fetchone() == (0,)
