"""Three instances on one simulated field, one killed, one joining: a connection has one reader, a reading one row."""

from __future__ import annotations

import math
from bisect import bisect
from collections import defaultdict
from datetime import timedelta
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.ingesting import IngestProcess, ingests, register, simulated_field
from tests.waiting import eventually
from wellos.audit import audit
from wellos.clock import ScaledClock, WallClock, parse_clock, to_micros
from wellos.simulator.field import Field

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path
    from uuid import UUID

    from wellos.clock import Clock
    from wellos.storage.warm import PgConnection

pytestmark = pytest.mark.fault
LEASE_S = 3.0
SPEED = 60


class Watch:
    """Looks at who holds what, and that no two processes run one connection."""

    def __init__(self, db: PgConnection) -> None:
        self.db = db

    def owners(self) -> dict[int, str]:
        rows = self.db.execute(
            "SELECT connection_id, spool_id::text FROM ingest_leases WHERE expires_at > clock_timestamp()"
        )
        return dict(rows.fetchall())

    def connections(self) -> int:
        row = self.db.execute("SELECT count(*) FROM scada_connections").fetchone()
        assert row is not None
        return int(row[0])

    def shared_by(self, *processes: IngestProcess) -> bool:
        """Tell whether these read all connections, and share them fairly."""
        found = list(self.owners().values())
        counts = [found.count(process.spool_id) for process in processes]
        most = -(-self.connections() // len(processes))
        return sum(counts) == self.connections() and max(counts) <= most

    def all_read(self) -> bool:
        """Tell whether every connection has stored readings under its present term since it was claimed."""
        silent = self.db.execute(
            """SELECT count(*) FROM ingest_leases l WHERE NOT EXISTS (
                   SELECT FROM ingest_ledger g WHERE g.connection_id = l.connection_id AND g.spool_id = l.spool_id
                      AND g.rows > 0 AND g.committed_at > l.claimed_at)"""
        ).fetchone()
        return silent == (0,)


def running_of(processes: list[IngestProcess]) -> float:
    return sum(process.metric("scada_leases_held") for process in processes)


def one_poll_an_interval(db: PgConnection) -> None:
    """Check that no Modbus tag was polled by two at once: polls are due at multiples of the interval.

    A poll that is late falls into the next interval, and so does the first one of a new reader: one reading too many.
    """
    polls = db.execute(
        """SELECT tag_id, (extract(epoch FROM time) / interval_s)::numeric AS due, (
                      SELECT count(*) FROM ingest_lease_terms t WHERE t.connection_id = g.connection_id) AS readers
           FROM readings JOIN tags g USING (tag_id) JOIN scada_connections c USING (connection_id)
           WHERE c.protocol = 'modbus' ORDER BY 1, 2"""
    ).fetchall()
    assert len(polls) > 1000
    for tag_id, found in groupby(polls, key=itemgetter(0)):
        rows = list(found)
        slots = np.array([int(due) for _, due, _ in rows])
        # The most readings beyond one an interval, over any stretch of time.
        excess = np.arange(len(slots)) - slots
        most = int((excess - np.minimum.accumulate(excess)).max())
        assert most <= rows[0][2], f"tag {tag_id}: {most} readings more than polls were due"


def one_reader_at_a_time(db: PgConnection, clock: Clock, until: datetime) -> None:
    """Check that what is stored of a connection was received by the instance whose term it then was.

    Not over MQTT: a broker hands a message to one session alone, so whoever has it stores it, as the fence lets it.
    """
    assert isinstance(clock, ScaledClock)
    terms: dict[int, list[tuple[int, UUID]]] = defaultdict(list)
    for connection_id, spool, at in db.execute(
        "SELECT connection_id, spool_id, claimed_at FROM ingest_lease_terms ORDER BY term"
    ):
        began = clock.start_us + round((to_micros(at) - clock.anchor_us) * clock.speed)
        terms[connection_id].append((began, spool))
    frames = db.execute(
        """SELECT connection_id, spool_id, received_at FROM ingest_ledger JOIN scada_connections USING (connection_id)
           WHERE rows > poisoned AND received_at < %s AND protocol <> 'mqtt' ORDER BY received_at""",
        (until,),
    ).fetchall()
    assert len(frames) > 50
    for connection_id, spool, at in frames:
        mine = terms[connection_id]
        owner = mine[bisect(mine, to_micros(at), key=itemgetter(0)) - 1][1]
        assert spool == owner, f"connection {connection_id}: {spool} read at {at}, in the term of {owner}"


def what_was_sent(db: PgConnection, clock: Clock) -> None:
    """Check every value that came with its source's time against the field."""
    field = Field(seed=1, wells=12)
    names = {(well.name, tag.name): (n, k) for n, well in enumerate(field.wells) for k, tag in enumerate(well.tags)}
    stored = db.execute(
        """SELECT w.name, g.name, (extract(epoch FROM time) * 1000000)::bigint, value
           FROM readings JOIN tags g USING (tag_id) JOIN wells w USING (well_id)
           JOIN scada_connections c USING (connection_id)
           WHERE c.protocol <> 'modbus'"""
    ).fetchall()
    first, last = min(row[2] for row in stored), clock.micros()
    sent = {
        (n, tag, time): value
        for n in range(len(field.wells))
        for time, value, tag in field.samples(n, first - 1, last)[["time", "value", "tag_id"]].tolist()
    }
    wrong = [row for row in stored if not same(row[3], sent.get((*names[row[0], row[1]], row[2])))]
    assert len(stored) > 1000
    assert wrong == []


def same(value: float, wanted: float | None) -> bool:
    return wanted is not None and (value == wanted or (math.isnan(value) and math.isnan(wanted)))


def test_one_is_killed_and_one_joins(tmp_path: Path, database_url: str, db: PgConnection, mqtt_url: str) -> None:
    start = WallClock().now() - timedelta(hours=6)
    clock = f"{start.isoformat()}@{WallClock().now().isoformat()}*{SPEED}"
    watch = Watch(db)
    with (
        simulated_field(tmp_path / "field", mqtt_url, clock) as fleet,
        ingests(tmp_path, database_url=database_url, clock=clock, lease_s=LEASE_S) as make,
    ):
        register(db, fleet)
        first, second, third = make("first"), make("second"), make("third")
        first.start()
        assert watch.connections() == 4
        eventually(lambda: watch.shared_by(first))
        second.start()
        eventually(lambda: watch.shared_by(first, second))
        eventually(watch.all_read)
        second.kill()
        third.start()
        eventually(lambda: watch.shared_by(first, third))
        eventually(watch.all_read)
        eventually(lambda: running_of([first, third]) == watch.connections())
        second.start()  # stores what its spool still holds, and takes its share again
        eventually(lambda: watch.shared_by(first, second, third))
        eventually(watch.all_read)
        alive = [first, second, third]
        eventually(lambda: sum(process.metric("scada_connections_unclaimed") for process in alive) == 0)
        for process in alive:
            assert not [item for item in process.events() if item["level"] == "error"]
        # From here on one that cannot end an adapter in time gives its leases up and leaves: two may read for a moment.
        stopping = parse_clock(clock).now()
        assert [process.stop() for process in alive] == [0, 0, 0]
    for process in alive:
        assert audit(db, process.folder / "spool").problems == []
    terms = db.execute("SELECT count(*), max(term) FROM ingest_lease_terms").fetchone()
    assert terms is not None
    assert terms[1] >= 2, "no connection changed its reader"
    taken_over = """
        SELECT count(*) FROM ingest_gaps g JOIN ingest_ledger l USING (spool_id, seq)
        WHERE g.reason IN ('disconnected', 'session_lost', 'poll_missed')"""
    assert db.execute(taken_over).fetchone() != (0,), "time without a reader is a gap"
    one_poll_an_interval(db)
    one_reader_at_a_time(db, parse_clock(clock), stopping)
    what_was_sent(db, parse_clock(clock))
