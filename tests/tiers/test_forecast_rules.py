"""The forecast of sizes and costs: what must hold whatever the tiers hold."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellos.settings import Settings
from wellos.tiers.forecast import forecast, growth
from wellos.tiers.inventory import GIB, DayRows, Holding, Stock
from wellos.tiers.plot import draw
from wellos.tiers.warm import WarmDay

if TYPE_CHECKING:
    from wellos.tiers.inventory import TierName

TODAY = date(2026, 3, 10)
DAY = timedelta(days=1)


def holding(tier: TierName, rows: int, size: int) -> Holding:
    return Holding(tier, "acme", rows, size, None, None, None, 0.0)


def stock(warm: dict[int, int], cold: dict[int, int] | None = None, *, each: int = 100, packed: int = 0) -> Stock:
    """Days ago -> readings, in the warm tier at 100 bytes and in the cold at 2."""
    cold = cold or {}
    holdings = [
        holding("hot", 1000, 8000),
        holding("warm", sum(warm.values()), each * sum(warm.values())),
        holding("aggregates", 0, 5000),
        holding("cold", sum(cold.values()), 2 * sum(cold.values())),
    ]
    days = [
        WarmDay(
            TODAY - ago * DAY, "x", rows, 0, (10 if ago > packed > 0 else each) * rows, 0, ago > packed > 0, None, None
        )
        for ago, rows in warm.items()
    ]
    return Stock(
        tuple(holdings),
        tuple(DayRows("acme", TODAY - ago * DAY, rows) for ago, rows in warm.items()),
        tuple(DayRows("acme", TODAY - ago * DAY, rows, 2 * rows) for ago, rows in cold.items()),
        tuple(days),
        (),
    )


DAYS = st.dictionaries(st.integers(0, 200), st.integers(1, 10**6), max_size=40)


@given(DAYS, DAYS)
def test_nothing_in_the_archive_ever_shrinks_and_costs_add_up(warm: dict[int, int], cold: dict[int, int]) -> None:
    found = forecast(stock(warm, cold), Settings(), TODAY)
    assert [month.month for month in found.months] == list(range(13))
    sizes = [month.bytes["cold"] for month in found.months]
    assert sizes == sorted(sizes)
    totals = [month.total for month in found.months]
    assert min(totals) * 12 <= found.year_cost * (1 + 1e-9)
    assert found.year_cost <= max(totals) * 12 * (1 + 1e-9)
    for month in found.months:
        assert month.total == pytest.approx(sum(month.cost.values()))
        assert all(value >= 0 for value in month.bytes.values())


def test_growth_is_of_the_last_complete_days_in_either_tier() -> None:
    found = growth(stock({0: 999, 1: 100, 2: 300}, {2: 300, 3: 200, 30: 10**9}), TODAY)
    assert (found.rows_per_day, found.days) == (200, 3)
    assert growth(stock({}), TODAY) == growth(stock({50: 7}), TODAY)


def test_the_warm_tier_stops_growing_at_its_retention() -> None:
    settings = Settings(raw_days=90)
    found = forecast(stock(dict.fromkeys(range(1, 31), 1000)), settings, TODAY)
    assert found.months[1].bytes["warm"] == pytest.approx(100 * 1000 * (30 + 365 / 12))
    assert found.months[12].bytes["warm"] == pytest.approx(100 * 1000 * 90)
    unarchived = found.months[12].cost_unarchived - found.months[12].cost["hot"] - found.months[12].cost["aggregates"]
    assert unarchived == pytest.approx(100 * 1000 * (30 + 365) / GIB * settings.price_warm_gib_month)


def test_the_archive_follows_with_everything_that_is_old_enough() -> None:
    warm, cold = dict.fromkeys(range(1, 31), 1000), dict.fromkeys(range(3, 31), 1000)
    found = forecast(stock(warm, cold), Settings(archive_after_days=2), TODAY)
    assert found.months[0].bytes["cold"] == 2 * 28_000
    assert found.months[12].bytes["cold"] == pytest.approx(2 * (30_000 + 1000 * (365 - 2)))
    assert found.assumed == ()


def test_what_a_tier_that_is_empty_would_take_is_an_assumption() -> None:
    found = forecast(stock({1: 1000}), Settings(), TODAY)
    assert found.assumed == ("cold",)
    assert found.months[12].bytes["cold"] > 0


def test_only_the_newest_days_are_not_compressed() -> None:
    settings = Settings(raw_days=90, compress_after_days=7)
    found = forecast(stock(dict.fromkeys(range(1, 91), 1000), packed=7), settings, TODAY)
    assert found.months[12].bytes["warm"] == pytest.approx(7 * 1000 * 100 + 83 * 1000 * 10)


def test_a_field_that_stands_still_stays_as_it_is() -> None:
    found = forecast(stock({50: 1000}, {60: 500}), Settings(), TODAY)
    assert found.growth.rows_per_day == 0
    assert found.months[12].bytes["warm"] == found.months[0].bytes["warm"]
    assert found.months[12].bytes["cold"] == 2 * 1500, "what is in the warm tier is archived"


def test_the_picture_is_small() -> None:
    png = draw(forecast(stock(dict.fromkeys(range(1, 31), 10**6)), Settings(), TODAY), "USD")
    assert png.startswith(b"\x89PNG")
    assert len(png) < 60_000
