"""Quarantine: found, shown, retried exactly once with the books balanced, exported whole, deleted with a reason."""

from __future__ import annotations

import base64
import csv
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
import pytest

from streaming.delivery import Rejected
from streaming.extras import Extras, encode_extras
from streaming.sinks.warm import WarmSink
from tests.seed import add_tags
from wellos.audit import audit
from wellos.cli import main
from wellos.clock import WallClock, from_micros
from wellos.quality import Quality
from wellos.quarantine import Filter, decode, find
from wellos.quarantine_retry import RETRIES, retry
from wellos.readings import Readings, empty, pack
from wellos.spool_format import Frame, Header

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

Run = Callable[..., tuple[int, str, str]]
NOW = 1_763_700_000_000_000
HOUR_US = 3_600_000_000


def frame(seq: int, connection: int, readings: Readings, rejected: tuple[Rejected, ...] = ()) -> Frame:
    rows = len(readings)
    header = Header(1, 0, 0, seq, connection, NOW, NOW, rows + len(rejected), len(rejected), 0, 0, rows, 0)
    return Frame(header, readings, encode_extras(Extras(rejected)))


def turned_away(reading: Readings, reason: str) -> Rejected:
    return Rejected(reason, "why", f"tag {reading['tag_id'][0]}", reading.tobytes())


def one(tag: int, value: float, hours: float = 0, quality: int = Quality.GOOD) -> Readings:
    return pack([NOW + round(hours * HOUR_US)], value, tag, quality)


@pytest.fixture
def tags(db: PgConnection) -> list[int]:
    """Numbers of three tags of one connection; the range of the first is 0 to 100."""
    found = add_tags(db, 3)
    db.execute("UPDATE tags SET low = 0, high = 100, sentinels = '{-999}' WHERE tag_id = %s", (found[0],))
    return found


@pytest.fixture
def filled(db: PgConnection, tags: list[int], database_settings: Settings) -> None:
    """A quarantine with an item of every kind, put there by the sink."""
    row = db.execute("SELECT connection_id FROM scada_connections").fetchone()
    assert row is not None
    connection = row[0]
    stranger = add_tags(db, 1, slug="other")[0]
    rejected = (
        turned_away(one(tags[0], 1), "unknown_tag"),
        turned_away(one(tags[0], 500, 1), "unknown_tag"),
        turned_away(one(tags[0], -999, 2), "unknown_tag"),
        turned_away(one(99, 1), "unknown_tag"),
        turned_away(one(stranger, 1), "unknown_tag"),
        turned_away(one(tags[1], 2, 3), "future"),
        turned_away(one(tags[1], 2, 30), "future"),
        Rejected("malformed", "not JSON", "w/1", b"{nope"),
        Rejected("unknown_tag", "no such topic", "w/2", b'{"v": 1}'),
        Rejected("malformed", "binary", "w/3", b"\xff\x00"),
    )
    refused = np.concatenate([one(tags[2], 5), one(tags[2], 6, 1, quality=9), one(tags[2], 7, 2)])
    sink = WarmSink(database_settings, uuid4(), WallClock())
    done = sink.commit([frame(1, connection, empty(), rejected), frame(2, connection, refused)])
    sink.close()
    assert (done.stored, done.poisoned) == (2, 1)


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_settings: Settings, tmp_path: Path
) -> Run:
    monkeypatch.chdir(tmp_path)
    assert database_settings.database_url is not None
    monkeypatch.setenv("WELLOS_DATABASE_URL", database_settings.database_url.get_secret_value())
    monkeypatch.setenv("WELLOS_DATA_DIR", str(tmp_path))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["wellos", "quarantine", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return run


def ids(db: PgConnection, reason: str | None = None) -> list[int]:
    return sorted(item.quarantine_id for item in find(db, Filter(reason=reason, resolved=True)))


def problems(db: PgConnection) -> list[str]:
    return audit(db, None).problems


@pytest.mark.usefixtures("filled")
def test_retried_once_and_the_books_balance(db: PgConnection, tags: list[int]) -> None:
    assert problems(db) == []
    everything = ids(db)
    assert len(everything) == 11
    dry = retry(db, everything, "anna", NOW + 4 * HOUR_US, dry_run=True)
    assert len(find(db, Filter())) == 11
    done = retry(db, everything, "anna", NOW + 4 * HOUR_US)
    assert [item.outcome for item in dry] == [item.outcome for item in done]
    assert sorted(item.outcome for item in done if item.outcome) == ["stored"] * 4
    why = {item.quarantine_id: item.why for item in done if item.outcome is None}
    assert [why.get(number, "") for number in everything] == [
        *("", "", "", "the registry has no tag 99", "tag 4 belongs to another tenant", ""),
        "its source time is still ahead of the platform's clock",
        *["it is a payload as it came over modbus, no reading: have the source send it again"] * 3,
        why[everything[10]],
    ]
    assert why[everything[10]].startswith("the database refuses it: 23514")
    # Graded as on the way in: out of range is BAD, a sentinel has no value.
    found = db.execute("SELECT value, quality FROM readings WHERE tag_id = %s ORDER BY time", (tags[0],)).fetchall()
    assert found[:2] == [(1, 2), (500, 0)]
    assert np.isnan(found[2][0])
    assert found[2][1] == 0
    assert problems(db) == []
    assert db.execute(
        "SELECT received, quarantined, rows, stored, poisoned FROM ingest_ledger WHERE spool_id = %s", (RETRIES,)
    ).fetchall() == [(0, -4, 4, 4, 0)]
    again = retry(db, everything, "anna", NOW + 4 * HOUR_US)
    assert not any(item.outcome for item in again)
    assert sum(item.why.startswith("retried already, by anna at ") for item in again) == 4
    assert [item.resolution_detail for item in find(db, Filter(resolved=True)) if item.resolution] == ["stored"] * 4


@pytest.mark.usefixtures("filled")
def test_a_refused_one_that_the_database_takes_now(db: PgConnection, tags: list[int]) -> None:
    db.execute("ALTER TABLE readings DROP CONSTRAINT readings_quality")
    (number,) = ids(db, "refused")
    assert [item.outcome for item in retry(db, [number], "anna", NOW + HOUR_US)] == ["stored"]
    assert db.execute("SELECT quality FROM readings WHERE tag_id = %s ORDER BY time", (tags[2],)).fetchall() == [
        (2,),
        (9,),
        (2,),
    ]
    assert problems(db) == []


@pytest.mark.usefixtures("filled")
def test_a_retry_of_what_was_stored_meanwhile(db: PgConnection, tags: list[int]) -> None:
    sink_id = uuid4()
    db.execute("INSERT INTO readings VALUES (%s, %s, 3, 2, 0)", (from_micros(NOW), tags[0]))
    db.execute(
        "INSERT INTO ingest_ledger SELECT %s, 1, min(connection_id), 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, now() "
        "FROM scada_connections",
        (sink_id,),
    )
    assert problems(db) == []
    first = ids(db, "unknown_tag")[0]
    assert [item.outcome for item in retry(db, [first], "anna", NOW)] == ["replaced"]
    revisions = db.execute("SELECT value, spool_id, seq FROM reading_revisions").fetchall()
    assert revisions == [(3, RETRIES, 1)]
    assert problems(db) == []


@pytest.mark.usefixtures("filled")
def test_tampering_with_what_was_retried_is_found(db: PgConnection) -> None:
    retry(db, ids(db), "anna", NOW + 4 * HOUR_US)
    db.execute("DELETE FROM quarantine WHERE resolution = 'retried' AND quarantine_id = %s", (ids(db)[0],))
    assert any("the ledger says 4" in problem for problem in problems(db))


@pytest.mark.usefixtures("filled")
def test_the_command(run: Run, db: PgConnection, tmp_path: Path) -> None:
    status, out, _ = run("list")
    assert status == 0
    assert out.count("unknown_tag") == 6
    assert "acme.plc" in out
    items = json.loads(run("list", "--json", "--reason", "malformed", "--tenant", "acme")[1])
    assert [item["source"] for item in items] == ["w/3", "w/1"]
    assert "nothing is in quarantine" in run("list", "--reason", "none_such")[1]
    assert "more than 2" in run("list", "--limit", "2")[2]
    everything = ids(db)

    shown = json.loads(run("show", str(everything[0]), "--json")[1])
    assert shown["decoded"]["content"] | {"time": ""} == {
        "time": "",
        "time_us": NOW,
        "tag_id": 1,
        "value": 1.0,
        "quality": "GOOD",
        "status": 0,
        "flags": 0,
    }
    assert "{nope" in run("show", str(everything[7]))[1]
    assert '"v": 1' in run("show", str(everything[8]))[1]
    assert "ff00" in run("show", str(everything[9]))[1]

    status, out, _ = run("retry", "--reason", "unknown_tag")
    assert status == 1
    assert "3 stored" in out
    assert "the registry has no tag 99" in out
    assert run("retry", str(everything[5]))[0] == 0, "it is long past"

    for name in ("all.jsonl", "all.csv"):
        assert run("export", name, "--all")[1] == f"{name}: 11 items\n"
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    with (tmp_path / "all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["quarantine_id"]) for row in rows] == [line["quarantine_id"] for line in lines]
    originals = {line["quarantine_id"]: base64.b64decode(line["original"]) for line in lines}
    assert originals[everything[9]] == b"\xff\x00"
    assert not list(tmp_path.glob("*.new"))

    assert run("delete", str(everything[7]), "--why", "test")[0] == 2
    assert run("delete", str(everything[7]), "--why", " ", "--yes")[0] == 2
    assert run("delete", str(everything[7]), "--why", "noise", "--yes")[1].startswith("1 deleted")
    assert run("delete", str(everything[7]), str(everything[0]), "--why", "noise", "--yes")[1].startswith("0 deleted")
    row = db.execute(
        "SELECT original, resolution, resolution_detail FROM quarantine WHERE quarantine_id = %s", (everything[7],)
    ).fetchone()
    assert row == (None, "deleted", "noise")
    assert problems(db) == []
    assert "deleted already" in run("retry", str(everything[7]))[1]


def test_bad_input_is_status_2(run: Run) -> None:
    for arguments in (
        ("show", "7"),
        ("show", "0"),
        ("show", "x"),
        ("retry", "7", "8"),
        ("retry",),
        ("retry", "7", "--reason", "future"),
        ("delete", "--yes", "--why", "x"),
        ("delete", "7"),
        ("export", "no/such/folder/file"),
        ("list", "--since", "yesterday"),
    ):
        status, _, err = run(*arguments)
        assert status == 2, arguments
        assert err
    assert "not in quarantine (value 8)" in run("retry", "7", "8")[2]


@pytest.mark.usefixtures("tags")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tenant", "acne"), "--tenant: no such tenant (value 'acne'). Did you mean acme?"),
        (("--connection", "pcl"), "--connection: no such connection (value 'pcl'). Did you mean plc?"),
        (("--tenant", "acme", "--connection", "xyz"), "no such connection (value 'xyz'). Known: plc."),
    ],
)
def test_an_unknown_name_is_an_error(run: Run, options: tuple[str, ...], said: str) -> None:
    for command in (("list",), ("list", "--json"), ("retry",), ("export", "f.csv"), ("delete", "--why", "x", "--yes")):
        status, out, err = run(*command, *options)
        assert (status, out) == (2, ""), command
        assert said in err
    assert run("list", "--tenant", "acme", "--connection", "plc")[0] == 0


def test_an_empty_registry_knows_no_tenant(run: Run) -> None:
    assert "There is none yet: add a tenant with `wellos fleet apply`" in run("list", "--tenant", "acme")[2]


def test_what_is_no_reading_is_not_taken_for_one() -> None:
    reading = one(5, 1.0)
    assert decode(reading.tobytes(), "tag 5")["kind"] == "reading"
    assert decode(reading.tobytes(), "tag 6")["kind"] == "binary"
    assert decode(b"[" * 100_000, "w")["kind"] == "text"
    assert decode(b"[NaN]", "w") == {"kind": "json", "content": ["NaN"]}
    assert decode(None, "w") == {"kind": "deleted"}
