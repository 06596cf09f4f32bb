"""The link to the database cut, also after the COMMIT was sent: nothing lost, nothing doubled."""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from psycopg.conninfo import conninfo_to_dict

from streaming.sinks.warm import Committed, UnavailableError, WarmSink
from tests import feeder
from tests.proxy import Proxy, proxy_to
from tests.waiting import eventually
from wellos.clock import WallClock
from wellos.settings import load_settings
from wellos.spool_format import Frame, Header

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wellos.storage.warm import PgConnection

pytestmark = pytest.mark.fault


@pytest.fixture
def link(database_url: str) -> Iterator[Proxy]:
    parts = conninfo_to_dict(database_url)
    with proxy_to(str(parts["host"]), int(str(parts["port"]))) as proxy:
        yield proxy


@pytest.fixture
def sink(link: Proxy, database_url: str, tmp_path: Path) -> Iterator[WarmSink]:
    parts = conninfo_to_dict(database_url)
    url = f"postgresql://{parts['user']}:{parts.get('password', '')}@127.0.0.1:{link.port}/{parts['dbname']}"
    made = WarmSink(load_settings(database_url=url, data_dir=tmp_path), uuid4(), WallClock())
    yield made
    made.close()


def frame(seq: int) -> Frame:
    header = Header(1, 0, 0, seq, 1, feeder.BASE_US, feeder.BASE_US, feeder.ROWS, 0, 0, 0, feeder.ROWS, 0)
    return Frame(header, feeder.readings_of(seq), b"")


def test_the_answer_to_commit_is_lost(sink: WarmSink, link: Proxy, db: PgConnection) -> None:
    sink.commit([frame(1)])
    skipped = 0
    for seq in range(2, 12):
        link.swallow = b"COMMIT"
        with pytest.raises(UnavailableError):
            sink.commit([frame(seq), frame(seq + 100)])
        skipped += sink.commit([frame(seq), frame(seq + 100)]).skipped
    sink.close()
    assert link.swallowed == 10
    assert skipped == 20, "every commit had gone through"
    assert db.execute("SELECT count(*), count(DISTINCT (tag_id, time)) FROM readings").fetchone() == (840, 840)


def test_the_link_is_cut_between_commits(sink: WarmSink, link: Proxy, db: PgConnection) -> None:
    cuts = 0
    for seq in range(1, 31):
        if seq % 3 == 0:
            cuts += link.cut() > 0
            with pytest.raises(UnavailableError):
                sink.commit([frame(seq)])
        assert sink.commit([frame(seq)]).stored == feeder.ROWS
    sink.close()
    assert cuts == 10
    assert db.execute("SELECT count(*), count(DISTINCT (tag_id, time)) FROM readings").fetchone() == (1200, 1200)


def _again(sink: WarmSink, frames: list[Frame]) -> Committed:
    """Commit as the drain does, again and again: the server may still be ending the transaction that was cut off."""
    done: list[Committed] = []

    def taken() -> bool:
        with suppress(UnavailableError):
            done.append(sink.commit(frames))
        return bool(done)

    eventually(taken)
    return done[0]


def test_the_link_is_cut_in_the_middle_of_commits(sink: WarmSink, link: Proxy, db: PgConnection) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)  # noqa: T201 - pytest shows it when the test fails
    moments, failed, skipped, seq = random.Random(seed), 0, 0, 200
    sink.commit([frame(number) for number in range(1, 201)])
    whole = link.sent  # with a new connection: a little more than a commit by itself
    for _ in range(14):
        frames = [frame(number) for number in range(seq + 1, seq + 201)]
        seq += 200
        link.cut_at = link.sent + moments.randrange(1, whole)
        try:
            sink.commit(frames)
        except UnavailableError:
            failed += 1
            skipped += _again(sink, frames).skipped
        link.cut_at = None
    assert failed > 3
    sink.close()
    assert skipped in range(0, 14 * 200 + 1, 200), "a transaction is in whole or not at all"
    rows = seq * feeder.ROWS
    assert db.execute("SELECT count(*), count(DISTINCT (tag_id, time)) FROM readings").fetchone() == (rows, rows)
    assert db.execute("SELECT count(*), max(seq) FROM ingest_ledger").fetchone() == (seq, seq)


def test_a_silent_server_is_left_when_told(sink: WarmSink, link: Proxy, db: PgConnection) -> None:
    sink.commit([frame(1)])
    link.silent = True
    threading.Timer(0.3, sink.abort).start()
    with pytest.raises(UnavailableError):
        sink.commit([frame(2)])
    link.silent = False
    assert sink.commit([frame(2)]).stored == feeder.ROWS
    sink.close()
    assert db.execute("SELECT count(*) FROM readings").fetchone() == (2 * feeder.ROWS,)
