"""Local times of a recording become UTC by row order; both schemas are found and described."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fix_field import COLUMNS, grouped_file, original_file, rows
from wellos.errors import ConfigurationError
from wellos.simulator.recordings import find_recordings, read_recording, to_utc
from wellos.simulator.replay import NO_DATA, Reader, mirror, plan

ZONE = "America/Sao_Paulo"
REAL = Path(__file__).parents[3] / "shared" / "data" / "petrobras_3w"
SECOND = 1_000_000


def utc(*local: str) -> list[str]:
    times = to_utc(pl.Series([datetime.fromisoformat(text) for text in local], dtype=pl.Datetime("us")), ZONE)
    return [f"{datetime.fromtimestamp(int(time) / SECOND, UTC):%Y-%m-%dT%H:%M:%S}" for time in times]


def test_an_ordinary_time_has_one_offset() -> None:
    assert utc("2017-07-01T12:00:00", "2017-12-01T12:00:00") == ["2017-07-01T15:00:00", "2017-12-01T14:00:00"]


def test_before_the_clock_is_set_back_it_is_the_first_pass_and_after_it_the_second() -> None:
    night = utc("2017-02-18T23:30:00", "2017-02-18T23:59:59", "2017-02-18T23:00:00", "2017-02-18T23:30:00")
    assert night == ["2017-02-19T01:30:00", "2017-02-19T01:59:59", "2017-02-19T02:00:00", "2017-02-19T02:30:00"]


def test_rows_a_little_out_of_order_are_not_a_clock_set_back() -> None:
    assert utc("2017-02-18T23:30:02", "2017-02-18T23:30:01") == ["2017-02-19T01:30:02", "2017-02-19T01:30:01"]


def test_a_clock_set_back_a_minute_early_keeps_unambiguous_times() -> None:
    night = utc("2017-02-18T23:59:00", "2017-02-18T22:59:01", "2017-02-18T23:00:00")
    assert night == ["2017-02-19T01:59:00", "2017-02-19T00:59:01", "2017-02-19T02:00:00"]


def test_a_recording_that_begins_within_the_hour_and_runs_past_it_is_the_second_pass() -> None:
    assert utc("2017-02-18T23:30:00", "2017-02-19T00:00:00") == ["2017-02-19T02:30:00", "2017-02-19T03:00:00"]


def test_a_recording_within_the_hour_is_the_first_pass() -> None:
    assert utc("2017-02-18T23:30:00", "2017-02-18T23:31:00") == ["2017-02-19T01:30:00", "2017-02-19T01:31:00"]


def test_a_time_that_never_was_keeps_the_offset_of_before() -> None:
    assert utc("2017-10-14T23:59:59", "2017-10-15T00:30:00") == ["2017-10-15T02:59:59", "2017-10-15T03:30:00"]


@given(
    st.datetimes(datetime(2010, 1, 1), datetime(2019, 1, 1)),  # noqa: DTZ001 - local times
    st.lists(st.integers(0, 7200), min_size=1, max_size=50),
)
def test_converting_back_gives_the_local_time_of_the_file(start: datetime, steps: list[int]) -> None:
    local = [start.replace(microsecond=0) + timedelta(seconds=step) for step in sorted(steps)]
    zone = ZoneInfo(ZONE)
    for naive, time in zip(local, to_utc(pl.Series(local, dtype=pl.Datetime("us")), ZONE).tolist(), strict=True):
        shown = datetime.fromtimestamp(time / SECOND, zone).replace(tzinfo=None)
        assert shown == naive or not _exists(naive, zone)


def _exists(naive: datetime, zone: ZoneInfo) -> bool:
    return naive.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) == naive


def test_both_schemas_are_found_in_order_of_well_and_start(tmp_path: Path) -> None:
    early, late = rows("2018-03-01T10:00:00", 5), rows("2018-04-01T10:00:00", 6)
    grouped_file(tmp_path / "0", "W.parquet", ("WELL-00001_20180401100000", late), ("WELL-00001_20180301100000", early))
    without = tuple(name for name in COLUMNS if name != "T-JUS-CKGL")
    original_file(tmp_path / "3", "WELL-00001_20180303100000.parquet", rows("2018-03-03T10:00:00", 7, without))
    found = find_recordings(tmp_path)
    assert [(one.grouped, one.rows, len(one.columns)) for one in found] == [(True, 5, 8), (False, 7, 7), (True, 6, 8)]
    assert {one.well for one in found} == {"WELL-00001"}
    assert find_recordings(tmp_path, "*_201804*") == found[2:]
    with pytest.raises(ConfigurationError, match="no recording"):
        find_recordings(tmp_path, "nothing")


def test_a_pandas_index_without_a_name_is_the_time(tmp_path: Path) -> None:
    frame = rows("2018-03-03T10:00:00", 3).rename({"timestamp": "__index_level_0__"})
    frame.write_parquet(tmp_path / "WELL-00001_20180303100000.parquet")
    (found,) = find_recordings(tmp_path)
    assert len(read_recording(found, ZONE).times) == 3


def test_a_reader_gives_rows_from_anywhere_and_a_null_is_bad(tmp_path: Path) -> None:
    first, second = rows("2018-03-01T10:00:00", 5), rows("2018-03-01T11:00:00", 6)
    grouped_file(tmp_path, "W.parquet", ("WELL-00001_20180301100000", first), ("WELL-00001_20180301110000", second))
    (well,) = plan(find_recordings(tmp_path), limit_rows=9)
    reader = Reader(well, ZONE)
    assert well.rows == 9
    readings, count = reader.rows(3, 100)
    assert (count, len(readings)) == (2, 16)
    readings, count = reader.rows(5, 100)
    assert (count, len(readings)) == (4, 32)
    empty = readings[readings["tag_id"] == well.tags.index("T-JUS-CKGL")]
    assert np.isnan(empty["value"]).all()
    assert set(empty["status"].tolist()) == {NO_DATA}
    assert set(empty["quality"].tolist()) == {0}
    assert set(readings[readings["tag_id"] != well.tags.index("T-JUS-CKGL")]["quality"].tolist()) == {2}


def test_the_mirrored_registers_do_not_overlap(tmp_path: Path) -> None:
    grouped_file(tmp_path, "W.parquet", ("WELL-00001_20180301100000", rows("2018-03-01T10:00:00", 5)))
    (well,) = plan(find_recordings(tmp_path))
    name, registers = mirror(well)
    assert name == "WELL-00001-MODBUS"
    assert [one.address.register for one in registers] == [4 * at for at in range(8)]


@pytest.mark.skipif(not REAL.is_dir(), reason="no recordings in ../shared/data/petrobras_3w")
def test_the_real_night_of_the_fold() -> None:
    (found,) = find_recordings(REAL, "WELL-00001_20170218210311")
    block = read_recording(found, ZONE)
    frame = pl.read_parquet(found.path).filter(pl.col("instance") == found.instance)
    local = pl.Series(block.times).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(ZONE).dt.replace_time_zone(None)
    assert local.to_list() == frame["timestamp"].to_list()
    # The clock was set back a minute before the hour: what it showed twice outside the hour stays repeated.
    repeated = len(block.times) - len(set(block.times.tolist()))
    naive = len(frame) - frame["timestamp"].n_unique()
    assert 0 < repeated < 60 < naive
