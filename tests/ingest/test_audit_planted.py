"""The audit finds what is planted: a hole in the ledger, a reading too many, too few, or altered."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner

from streaming.sinks.warm import WarmSink
from streaming.spool import Entry, Journal
from tests import feeder
from tests.seed import add_tags
from wellos.cli.audit import audit_command
from wellos.clock import WallClock
from wellos.errors import ConfigurationError
from wellos.settings import Settings, load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.storage.warm import PgConnection


@pytest.fixture
def stored(database_settings: Settings, db: PgConnection, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spool whose frames are stored and kept: a conflict, a refused row and a BAD one among them."""
    add_tags(db, feeder.TAGS)
    folder = database_settings.data_dir
    journal = Journal(
        folder / "spool", quota_bytes=1 << 24, segment_bytes=1 << 14, now_us=lambda: 0, keep_bytes=1 << 24, keep_s=3600
    )
    other, refused, bad = (feeder.readings_of(number) for number in (3, 5, 6))
    other["value"][:4] += 1
    other["quality"][2:4] = 0
    refused["quality"][7] = 9
    bad["value"], bad["quality"] = np.nan, 0
    for readings in (*map(feeder.readings_of, range(5)), other, refused, bad):
        journal.append(Entry(1, feeder.BASE_US, readings))
        journal.sync()
    sink = WarmSink(load_settings(database_url=database_settings.database_url), journal.spool_id, WallClock())
    while items := journal.read(100):
        sink.commit(items)
        journal.advance(items)
    sink.close()
    journal.close()
    assert database_settings.database_url is not None
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WELLOS_DATABASE_URL", database_settings.database_url.get_secret_value())
    monkeypatch.setenv("WELLOS_DATA_DIR", str(folder))
    return folder


def problems(*options: str) -> list[str]:
    result = CliRunner().invoke(audit_command, ["--json", *options])
    found = json.loads(result.output)
    assert result.exit_code == (1 if found["problems"] else 0)
    return list(map(str, found["problems"]))


@pytest.mark.usefixtures("stored")
def test_what_was_received_is_stored() -> None:
    assert problems() == []
    found = json.loads(CliRunner().invoke(audit_command, ["--json", "--readings"]).output)
    assert (found["problems"], found["compared"]) == ([], 8 * feeder.ROWS)


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("UPDATE readings SET value = value + 1 WHERE time = (SELECT min(time) FROM readings)", "as it was received"),
        ("UPDATE readings SET quality = 1 WHERE time = (SELECT min(time) FROM readings)", "as it was received"),
        ("UPDATE readings SET status = 99 WHERE time = (SELECT min(time) FROM readings)", "as it was received"),
        ("DELETE FROM readings WHERE time = (SELECT min(time) FROM readings)", "stored according to the ledger"),
        ("INSERT INTO readings SELECT time - interval '1s', tag_id, 1, 2, 0 FROM readings LIMIT 1", "in readings"),
        ("DELETE FROM ingest_ledger WHERE seq = 2", "1 are missing"),
        ("UPDATE ingest_ledger SET stored = stored - 1, repeated = repeated + 1 WHERE seq = 1", "in readings"),
        ("DELETE FROM quarantine", "should be in quarantine"),
        ("DELETE FROM reading_revisions", "in reading_revisions"),
    ],
)
def test_what_is_planted_is_found(db: PgConnection, damage: str, expected: str) -> None:
    db.execute(damage)
    assert any(expected in problem for problem in problems("--readings")), damage


@pytest.mark.usefixtures("stored")
def test_of_one_tenant_or_connection(db: PgConnection) -> None:
    add_tags(db, 1, slug="other")
    db.execute("INSERT INTO readings SELECT now(), max(tag_id), 1, 2, 0 FROM tags")
    assert problems("--tenant", "acme", "--connection", "plc") == []
    assert problems("--tenant", "other") == ["other: 0 stored according to the ledger, 1 in readings"]
    result = CliRunner().invoke(audit_command, ["--tenant", "nobody"])
    assert isinstance(result.exception, ConfigurationError)
