"""Telemetry of wells by names: the statistics of the readings, and refusals that say what would do."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.querying import expected_raw, insert, wandering
from tests.seed import add_tags, at
from wellos.errors import ConfigurationError
from wellos.query.reader import Reader
from wellos.settings import load_settings
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

FROM = at("2026-10-05")  # a Monday
TO = FROM + timedelta(days=9)


@pytest.fixture(scope="module")
def pressure(module_database_url: str) -> pl.DataFrame:
    """Nine days of a tubing pressure, the first seven refreshed; and of a tag that is no metric."""
    with connect(load_settings(database_url=module_database_url), autocommit=True) as db:
        tags = add_tags(db, 2)
        db.execute("UPDATE tags SET name = 'tubing_pressure' WHERE tag_id = %s", (tags[0],))
        truth = wandering(tags, FROM, 9 * 48, 1800)
        early = truth["time"] < truth["time"].min() + 7 * 86_400_000_000
        insert(db, truth[early])
        db.execute("CALL refresh_aggregates()")
        insert(db, truth[~early])
    frame = expected_raw(truth, {tags[0]: "p", tags[1]: "other"}, FROM, TO, ("GOOD", "UNCERTAIN", "BAD"))
    return frame.filter(pl.col("tag") == "p")


@pytest.fixture
def reader(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    made = load_settings(database_url=module_database_url, data_dir=tmp_path_factory.mktemp("data"))
    with Reader(made) as found:
        yield found


@pytest.mark.parametrize(("interval", "every"), [("1hour", "1h"), ("1day", "1d"), ("1week", "1w"), ("1month", "1mo")])
def test_statistics(reader: Reader, pressure: pl.DataFrame, interval: str, every: str) -> None:
    found = reader.telemetry("acme", None, FROM, TO, interval)
    good = pl.col("value").filter(pl.col("quality") == "GOOD")
    expected = (
        pressure.group_by(pl.col("time").dt.truncate(every))
        .agg(
            n=pl.len().cast(pl.Int64),
            n_bad=(pl.col("quality") == "BAD").sum().cast(pl.Int64),
            tubing_pressure_avg=good.mean(),
            tubing_pressure_min=good.min(),
            tubing_pressure_max=good.max(),
            tubing_pressure_stddev=good.std(),
        )
        .sort("time")
    )
    assert_frame_equal(found.frame.select(expected.columns), expected, check_exact=False, rel_tol=1e-9)
    medians = found.frame["tubing_pressure_median"]
    assert medians.null_count() == (len(medians) if interval in {"1week", "1month"} else medians.null_count())
    if interval == "1hour":
        expected_medians = pressure.group_by(pl.col("time").dt.truncate("1h")).agg(good.median()).sort("time")["value"]
        assert medians.to_list() == expected_medians.to_list()
    assert found.frame["oil_rate_avg"].null_count() == len(found.frame)
    assert found.frame["well"].unique().to_list() == ["PB-001"]
    (part,) = found.provenance.parts
    assert (part.tier, part.rows) == ("warm", len(found.frame))
    assert part.start <= FROM < TO <= part.end


def test_what_cannot_be_asked(reader: Reader, pressure: pl.DataFrame) -> None:
    assert len(pressure)
    for arguments, text in (
        (("acmee", None, FROM, TO), "Did you mean acme?"),
        (("acme", "PB-01", FROM, TO), "Did you mean PB-001?"),
        (("acme", None, FROM, TO, "5min"), "no interval of telemetry"),
        (("acme", None, TO, FROM), "is not before end"),
        (("acme", None, at("2001-01-01"), TO, "1day"), "is before telemetry is kept (730 days, WELLOS_AGGREGATE_DAYS)"),
    ):
        with pytest.raises(ConfigurationError) as refused:
            reader.telemetry(*arguments)
        assert text in str(refused.value)


def test_late_readings_show_in_the_watermark(reader: Reader, pressure: pl.DataFrame, module_database_url: str) -> None:
    assert len(pressure)
    assert reader.telemetry("acme", "PB-001", FROM, TO).provenance.watermark == TO
    with connect(load_settings(database_url=module_database_url), autocommit=True) as db:
        db.execute("UPDATE readings SET status = status WHERE time = %s", (at("2026-10-07 10:30"),))
        watermark = reader.telemetry("acme", "PB-001", FROM, TO).provenance.watermark
        assert at("2026-10-07") <= watermark <= at("2026-10-07 10:30")
        db.execute("CALL refresh_aggregates()")
    assert reader.telemetry("acme", "PB-001", FROM, TO).provenance.watermark == TO
