"""Days that are over are watched, once; a writer that takes its time puts it off."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

from tests.seed import add_readings, add_tags, at
from tests.waiting import eventually
from wellos.query import watch_closed_days
from wellos.settings import load_settings
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

DAY = "SELECT min(day), max(day), count(*), count(settled_at) FROM reading_days"


def at_noon(url: str, folder: Path, day: str) -> Settings:
    """Settings whose platform time stands at noon of a day, nearly."""
    clock = f"{day}T12:00:00Z@{day}T12:00:00Z*0.000001"
    return load_settings(database_url=url, data_dir=folder, raw_days=10, clock=clock)


def test_what_is_over_is_watched_once(db: PgConnection, database_url: str, tmp_path: Path) -> None:
    first = watch_closed_days(at_noon(database_url, tmp_path, "2026-10-20"))
    assert (first[0], first[-1], len(first)) == (at("2026-10-03").date(), at("2026-10-19").date(), 17)
    assert watch_closed_days(at_noon(database_url, tmp_path, "2026-10-20")) == []
    assert watch_closed_days(at_noon(database_url, tmp_path, "2026-10-21")) == [at("2026-10-20").date()]
    assert db.execute(DAY).fetchone() == (first[0], at("2026-10-20").date(), 18, 18)


def test_it_waits_for_writers(db: PgConnection, database_url: str, tmp_path: Path) -> None:
    settings = at_noon(database_url, tmp_path, "2026-10-20")
    (tag,) = add_tags(db)
    found: list[int] = []
    with connect(settings) as writer:
        add_readings(writer, [(at("2026-10-19 10:00"), tag, 1.0, 2)])
        watching = threading.Thread(target=lambda: found.append(len(watch_closed_days(settings))))
        watching.start()
        eventually(lambda: db.execute(DAY).fetchone()[2:] == (17, 0))  # type: ignore[index]
        assert found == []
        writer.commit()
        watching.join(60)
    assert found == [17]
    assert db.execute(DAY).fetchone()[3] == 17  # type: ignore[index]
    assert timedelta(0) < settings.make_clock().now() - at("2026-10-20") < timedelta(days=1)
