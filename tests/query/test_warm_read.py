"""Readings and buckets of the warm tier: what was asked for, in the columns that were promised, and said of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.querying import assert_seams, expected_buckets, expected_raw, insert, plain, same, wandering
from tests.seed import add_tags, at
from wellos.errors import ConfigurationError
from wellos.query.reader import Reader
from wellos.settings import load_settings
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wellos.readings import Readings

FROM = at("2026-10-01")
TO = FROM + timedelta(days=10)
WHOLE = ("acme", "PB-001", None)


@pytest.fixture(scope="module")
def stored(module_database_url: str) -> tuple[Readings, dict[int, str]]:
    """Ten days of three tags; the first eight are refreshed, the rest is computed when asked."""
    with connect(load_settings(database_url=module_database_url), autocommit=True) as db:
        names = {tag: f"tag_{number + 1}" for number, tag in enumerate(add_tags(db, 3))}
        add_tags(db, 2, "other")
        db.execute("UPDATE tags SET interval_s = 600")
        truth = wandering(names, FROM, 1440, 600)
        early = truth["time"] < truth["time"].min() + 8 * 86_400_000_000
        insert(db, truth[early])
        db.execute("CALL refresh_aggregates()")
        insert(db, truth[~early])
    return truth, names


@pytest.fixture(scope="module")
def reader(module_database_url: str, stored: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    assert stored
    settings = load_settings(
        database_url=module_database_url, data_dir=tmp_path_factory.mktemp("data"), query_max_rows=10_000
    )
    with Reader(settings) as made:
        yield made


def test_readings_of_some_tags(reader: Reader, stored: tuple[Readings, dict[int, str]]) -> None:
    truth, names = stored
    span = (at("2026-10-02 23:30"), at("2026-10-04 00:30"))
    found = reader.readings("acme", "PB-001", ["tag_3", "tag_1"], *span, "raw")
    two = {tag: name for tag, name in names.items() if name != "tag_2"}
    expected = expected_raw(truth, names, *span)
    assert_frame_equal(plain(found.frame), expected.filter(pl.col("tag").is_in(list(two.values()))))
    assert_seams(found, *span)
    (part,) = found.provenance.parts
    assert (part.tier, part.relation, part.cached) == ("warm", "readings", False)
    assert part.rows >= found.provenance.rows
    assert found.provenance.milliseconds >= part.milliseconds > 0
    assert found.provenance.watermark == span[1]
    assert found.provenance.bytes_scanned == 0
    assert not found.provenance.cache_hit


def test_the_types_of_the_columns(reader: Reader) -> None:
    frame = reader.readings(*WHOLE, FROM, FROM + timedelta(hours=1)).frame
    assert dict(frame.schema) == {
        "time": pl.Datetime("us", "UTC"),
        "tag": pl.Categorical(),
        "value": pl.Float64(),
        "quality": pl.Enum(["BAD", "UNCERTAIN", "GOOD"]),
        "status": pl.UInt32(),
    }


def test_qualities(reader: Reader, stored: tuple[Readings, dict[int, str]]) -> None:
    span = (FROM, FROM + timedelta(days=1))
    for asked in ("GOOD", ["BAD"], ("GOOD", "UNCERTAIN", "BAD")):
        words = [asked] if isinstance(asked, str) else asked
        found = reader.readings(*WHOLE, *span, quality=asked)
        assert_frame_equal(plain(found.frame), expected_raw(*stored, *span, words))


@pytest.mark.parametrize(
    ("interval", "every", "hours"),
    [
        ("15s", "15s", 5),
        ("1min", "1m", 30),
        ("5min", "5m", 30),
        ("1hour", "1h", 240),
        ("1day", "1d", 240),
        ("1week", "1w", 240),
        ("1month", "1mo", 240),
    ],
)
def test_buckets(
    reader: Reader, stored: tuple[Readings, dict[int, str]], interval: str, every: str, hours: int
) -> None:
    truth, names = stored
    start = TO - timedelta(hours=hours)
    found = reader.readings(*WHOLE, start, TO, interval)
    same(found.frame, expected_buckets(truth, names, at("2026-09-01") if hours == 240 else start, TO, every))
    first, last = found.provenance.parts[0], found.provenance.parts[-1]
    assert first.start <= start
    assert last.end >= TO
    assert_seams(found, first.start, last.end)


def test_buckets_are_whole(reader: Reader, stored: tuple[Readings, dict[int, str]]) -> None:
    found = reader.readings(*WHOLE, at("2026-10-02 10:20"), at("2026-10-02 11:01"), "1hour", "GOOD")
    same(found.frame, expected_buckets(*stored, at("2026-10-02 10:00"), at("2026-10-02 12:00"), "1h"))


def test_the_interval_that_fits_is_taken(reader: Reader) -> None:
    for days, relation in ((1, "readings"), (7, "readings_1min"), (30, "readings_1hour"), (40, "readings_1day")):
        found = reader.readings(*WHOLE, FROM, FROM + timedelta(days=days))
        assert found.provenance.relation == relation


def test_pages_are_the_whole(reader: Reader, stored: tuple[Readings, dict[int, str]]) -> None:
    for interval, limit in (("raw", 1000), ("raw", 7), ("1hour", 100)):
        span = (FROM, FROM + timedelta(days=10 if limit > 7 else 0.1))
        pages, cursor = [], None
        while True:
            page = reader.readings(*WHOLE, *span, interval, limit=limit, cursor=cursor)
            pages.append(page.frame)
            cursor = page.next
            if cursor is None:
                break
            assert len(page.frame) == limit
        expected = expected_raw(*stored, *span) if interval == "raw" else expected_buckets(*stored, FROM, span[1], "1h")
        same(pl.concat(pages), expected[: len(expected)] if interval == "raw" else expected)


def test_late_readings_show_in_the_watermark(reader: Reader, stored: object, module_database_url: str) -> None:
    assert stored
    span = (FROM, TO)
    assert reader.readings(*WHOLE, *span, "1hour").provenance.watermark == TO
    with connect(load_settings(database_url=module_database_url), autocommit=True) as db:
        db.execute("UPDATE readings SET status = status WHERE time = %s", (at("2026-10-05 10:30"),))
        late = reader.readings(*WHOLE, *span, "1hour").provenance.watermark
        assert at("2026-10-05") <= late <= at("2026-10-05 10:30")
        db.execute("CALL refresh_aggregates()")
    assert reader.readings(*WHOLE, *span, "1hour").provenance.watermark == TO


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("acmee", "PB-001", None), "tenant: no such tenant (value 'acmee'). Did you mean acme?"),
        (("acme", "PB-01", None), "well: no such well (value 'PB-01'). Did you mean PB-001?"),
        (
            ("acme", "PB-001", ["tag_1", "tag1", "tga_2"]),
            "tags: no such tag of PB-001 (value 'tga_2'). Did you mean tag_2?",
        ),
        (("acme", "PB-001", []), "tags: names no tag"),
    ],
)
def test_unknown_names(reader: Reader, arguments: tuple[str, str, list[str] | None], text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        reader.readings(*arguments, FROM, TO)
    assert text in str(refused.value)


def test_what_cannot_be_asked(reader: Reader) -> None:
    naive = FROM.replace(tzinfo=None)
    for asked, text in (
        ({"start": naive}, "start: has no time zone"),
        ({"start": TO, "end": FROM}, "start: is not before end"),
        ({"interval": "hour"}, "Did you mean 1hour?"),
        ({"quality": "Good"}, "Did you mean GOOD?"),
        ({"interval": "1hour", "quality": ["BAD"]}, "n_uncertain and n_bad count the others"),
        ({"limit": 0}, "limit: must be 1 to 10000"),
        ({"cursor": "1.1"}, "cursor: needs limit="),
        ({"cursor": "x", "limit": 5}, "cursor: is not of this query"),
        ({"interval": "1min", "end": FROM + timedelta(days=100)}, "interval='1hour'"),
    ):
        with pytest.raises(ConfigurationError) as refused:
            reader.readings(*WHOLE, **{"start": FROM, "end": TO, **asked})  # type: ignore[arg-type]
        assert text in str(refused.value)


def test_more_than_was_expected_is_refused(stored: object, module_database_url: str, tmp_path: Path) -> None:
    assert stored
    settings = load_settings(database_url=module_database_url, data_dir=tmp_path, query_max_rows=50)
    with connect(settings, autocommit=True) as db:
        db.execute("UPDATE tags SET interval_s = 86400")
    try:
        with Reader(settings) as reader:
            with pytest.raises(ConfigurationError, match="more than 50 rows"):
                reader.readings(*WHOLE, FROM, FROM + timedelta(days=1), "raw")
            page = reader.readings(*WHOLE, FROM, FROM + timedelta(days=1), "raw", limit=50)
            assert len(page.frame) == 50
    finally:
        with connect(settings, autocommit=True) as db:
            db.execute("UPDATE tags SET interval_s = 600")
