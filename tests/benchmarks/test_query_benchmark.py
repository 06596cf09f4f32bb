"""The benchmark of queries measures right answers only: what it makes up, loads and compares is proven here."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from statistics import median, pstdev
from typing import Any

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.query_catalog import Query, WrongAnswerError, catalog, compare
from benchmarks.query_data import by_tag, by_well, minutes
from benchmarks.query_load import Span
from tests.seed import at
from wellos.quality import Quality

SMALL = ["--json", "--wells", "2", "--clients", "1,2", "--queries", "3", "--raw-queries", "1"]


@pytest.mark.parametrize("buckets", [1, 24])
def test_buckets_are_those_of_the_good_minutes(buckets: int) -> None:
    day, place = minutes(3, 2), 1440 // buckets
    made, wide = by_tag(day, buckets), by_well(day, buckets, {"oil_rate": np.array([1])})
    good = [v for v, q in zip(day.values[1, -place:], day.quality[1, -place:], strict=True) if q == Quality.GOOD]
    assert made["n"][1, -1] == place
    assert made["n_good"][1, -1] == len(good)
    assert made["n_good"].sum() + made["n_uncertain"].sum() + made["n_bad"].sum() == day.values.size
    assert made["sum"][1, -1] == pytest.approx(sum(good))
    assert made["sum_sq"][1, -1] == pytest.approx(sum(v * v for v in good))
    ends = [made[name][1, -1] for name in ("first", "last", "min", "max")]
    assert ends == [good[0], good[-1], min(good), max(good)]
    assert wide["oil_rate_median"][0, -1] == pytest.approx(median(good))
    assert wide["n_good"].tolist() == made["n_good"][1:].tolist()


def test_a_day_is_the_same_every_time_and_another_is_another() -> None:
    assert minutes(3, 2).values.tolist() == minutes(3, 2).values.tolist()
    assert minutes(3, 2).values.tolist() != minutes(4, 2).values.tolist()
    assert 0 < np.count_nonzero(minutes(3, 20).quality != Quality.GOOD) < 500


def test_queries_end_with_the_bucket_in_progress_and_reach_as_far_back_as_there_is() -> None:
    span = Span(at("2026-11-20 17:30"), 300, 300, 2)
    queries = {query.name: query for query in catalog(span)}
    assert (queries["well hourly 30 d"].since, queries["well hourly 30 d"].until) == (
        at("2026-10-21 18:00"),
        at("2026-11-20 18:00"),
    )
    assert queries["all wells daily 30 d"].until == at("2026-11-21 00:00")
    assert queries["well daily 300 d"].since == at("2026-01-24 00:00")
    assert [name for name in queries if "300" in name] == ["well daily 300 d", "tag daily 300 d"]
    assert len(catalog(replace(span, days=30))) == len(queries) - 2


def _query(width: timedelta) -> Query:
    return Query("q", "telemetry_daily", "well_id", width, at("2026-11-01"), at("2026-11-02"))


def _row(**changed: float | None) -> tuple[Any, ...]:
    query = _query(timedelta(days=1))
    values: dict[str, float | None] = dict.fromkeys(query.columns[2:], pstdev([1, 2, 4]))
    return (at("2026-11-01"), 7, 60, 59, *(values | changed).values())


def test_equal_to_rounding_is_equal() -> None:
    assert compare(_query(timedelta(days=1)), [_row()], [_row(oil_rate_avg=pstdev([1, 2, 4]) * (1 + 1e-13))]) == 1


@pytest.mark.parametrize(
    ("told", "width"),
    [
        ([], timedelta(days=1)),
        ([(*_row()[:3], 58, *_row()[4:])], timedelta(days=1)),
        ([_row(oil_rate_avg=1.2)], timedelta(days=1)),
        ([_row(oil_rate_avg=None)], timedelta(days=1)),
        ([_row(oil_rate_median=None)], timedelta(hours=1)),
    ],
    ids=["a row is missing", "a count differs", "a mean differs", "no mean", "no median of an hour"],
)
def test_a_wrong_answer_is_an_error(told: list[tuple[Any, ...]], width: timedelta) -> None:
    with pytest.raises(WrongAnswerError):
        compare(_query(width), [_row()], told)


def test_the_median_of_a_day_in_progress_may_be_missing() -> None:
    assert compare(_query(timedelta(days=1)), [_row()], [_row(oil_rate_median=None)]) == 1


@pytest.mark.parametrize("scale", ["1", "100"])
def test_a_small_run(scale: str, database_server: str, capsys: pytest.CaptureFixture[str]) -> None:
    days = {"1": "1", "100": "3"}[scale]
    assert main(["query", *SMALL, "--scale", scale, "--days", days, "--database-url", database_server]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["figures"]["rows that agree with readings"] >= 2 * 24
    assert report["figures"][f"well hourly {days} d: aggregate p95 ms"] > 0
    assert report["limit"][f"tag daily {days} d, 2 clients: plain table p50 ms"] > 0
    assert ("well hourly 1 d: readings p50 ms" in report["figures"]) == (scale == "1")
    assert (report["figures"]["s to copy aggregates"] > 0) == (scale == "100")


def test_an_embedded_server_cannot_be_kept(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WELLOS_DATABASE_URL", raising=False)
    with pytest.raises(SystemExit) as left:
        main(["query", "--keep"])
    assert left.value.code == 2
    assert "--database-url" in capsys.readouterr().err
