"""What fits which range, where buckets begin, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.seed import at
from wellos.errors import ConfigurationError
from wellos.query.intervals import INTERVALS, automatic, ceil, choose, estimate, floor, named

START = at("2026-11-01")
_moments = st.datetimes(datetime(2000, 1, 1), datetime(2035, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))  # noqa: DTZ001 - given its zone at once


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        (1, "raw"),
        (24, "raw"),
        (25, "1min"),
        (168, "1min"),
        (169, "1hour"),
        (720, "1hour"),
        (721, "1day"),
        (9000, "1day"),
    ],
)
def test_automatic(hours: int, expected: str) -> None:
    assert automatic(timedelta(hours=hours)) == expected


@given(name=st.sampled_from([*INTERVALS]), moment=_moments)
def test_buckets_hold_their_moments(name: str, moment: datetime) -> None:
    interval = named(name)
    start, end = floor(interval, moment), ceil(interval, moment)
    assert start <= moment <= end
    assert floor(interval, start) == start == ceil(interval, start)
    assert floor(interval, end) == end
    if interval.width is not None and start != end:
        assert ceil(interval, start + timedelta(microseconds=1)) == end
        assert timedelta() < end - start <= max(interval.width, timedelta(days=31 if name == "1month" else 0))


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    assert floor(named("1week"), at("2026-11-21 08:00")) == at("2026-11-16")
    assert ceil(named("1week"), at("2026-11-21 08:00")) == at("2026-11-23")
    assert floor(named("1month"), at("2026-12-21 08:00")) == at("2026-12-01")
    assert ceil(named("1month"), at("2026-12-21 08:00")) == at("2027-01-01")


def test_a_range_too_fine_is_refused_with_the_one_that_does() -> None:
    with pytest.raises(ConfigurationError) as refused:
        choose("raw", [15.0] * 20, START, START + timedelta(days=365), 1_000_000, paged=False)
    text = str(refused.value)
    assert "interval" in text
    assert "about 42,048,000 rows" in text
    assert "1,000,000 (WELLOS_QUERY_MAX_ROWS)" in text
    assert "interval='1hour', about 175,200 rows" in text


def test_what_is_refused_may_be_paged() -> None:
    assert choose("raw", [15.0] * 20, START, START + timedelta(days=365), 1_000_000, paged=True).name == "raw"


def test_nothing_does_for_very_many() -> None:
    with pytest.raises(ConfigurationError, match="fewer tags or less time"):
        choose("1min", [15.0] * 20, START, START + timedelta(days=365), 10, paged=False)


def test_the_automatic_choice_is_never_refused() -> None:
    assert choose(None, [1.0] * 200, START, START + timedelta(days=1), 1_000_000, paged=False).name == "1min"
    assert choose(None, [15.0] * 20, START, START + timedelta(days=7), 1_000_000, paged=False).name == "1min"


def test_an_unknown_interval_names_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="Did you mean 1min"):
        named("1mins")


def test_slow_tags_count_for_what_they_send() -> None:
    assert estimate(named("1min"), [3600.0], START, START + timedelta(days=1)) == 24
    assert estimate(named("15s"), [1.0], START, START + timedelta(minutes=1)) == 60
