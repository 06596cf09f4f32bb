"""Where the partitions of an embedded stack begin."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl
import pytest

from wellos.embedded.partitions import first_partition
from wellos.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("history", "first"),
    [
        (None, date(2026, 2, 8)),
        (timedelta(0), date(2026, 2, 8)),
        (timedelta(days=3), date(2026, 2, 8)),
        (timedelta(days=60), date(2026, 1, 9)),
    ],
)
def test_partitions_begin_with_the_history_and_stay_there(
    tmp_path: Path, history: timedelta | None, first: date
) -> None:
    settings = load_settings(data_dir=tmp_path)
    assert first_partition(tmp_path, settings, NOW, history=history) == first
    assert first_partition(tmp_path, settings, NOW + timedelta(days=40), history=timedelta(days=1)) == first


def test_partitions_of_a_replay_begin_with_its_oldest_recording(tmp_path: Path) -> None:
    recordings = tmp_path / "3w"
    recordings.mkdir()
    times = [datetime(2014, 1, 24, 9, 33, 3) + timedelta(seconds=k) for k in range(3)]  # noqa: DTZ001 - local, as in 3W
    frame = pl.DataFrame({"timestamp": times, "P-PDG": [1.0, 2.0, 3.0]})
    frame.write_parquet(recordings / "WELL-00001_20140124093303.parquet")
    settings = load_settings(data_dir=tmp_path)
    assert first_partition(tmp_path, settings, NOW, replay=recordings) == date(2014, 1, 23)


def test_the_setting_stands_when_it_is_set_or_the_database_is_not_ours(tmp_path: Path) -> None:
    wished = load_settings(data_dir=tmp_path, partitions_start=date(2014, 1, 1))
    assert first_partition(tmp_path, wished, NOW) == date(2014, 1, 1)
    theirs = load_settings(data_dir=tmp_path, database_url="postgresql://user@host/db")
    assert first_partition(tmp_path, theirs, NOW) == theirs.partitions_start
    assert not (tmp_path / "partitions_start").exists()
