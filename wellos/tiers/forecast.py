"""What the tiers will hold and cost in a year if readings go on coming as they did lately: pure, no I/O.

Every reading goes through the tiers: Redis keeps it for the hot hours, the warm tier until it is past `raw_days`, the
archive for ever; aggregates are kept for `aggregate_days`. Bytes a reading are those of each tier now.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from wellos.tiers.inventory import GIB, prices

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from wellos.settings import Settings
    from wellos.tiers.inventory import Stock, TierName

__all__ = ["Forecast", "Growth", "Month", "forecast", "growth"]

MONTHS = 12
_MONTH_DAYS = 365 / 12
_GROWTH_DAYS = 7
_ASSUMED: Mapping[TierName, float] = {"hot": 8.0, "warm": 100.0, "cold": 4.0}
"""Bytes a reading of a tier that holds nothing yet."""


@dataclass(frozen=True, slots=True)
class Growth:
    """How readings came lately."""

    rows_per_day: float
    days: int
    """Days it is the mean of: of the last seven complete ones, those with readings."""


@dataclass(frozen=True, slots=True)
class Month:
    """The tiers at the end of a month from now; month 0 is now."""

    month: int
    day: date
    bytes: Mapping[TierName, float]
    cost: Mapping[TierName, float]
    """A month at this size."""
    cost_unarchived: float
    """A month if nothing ever left the warm tier."""

    @property
    def total(self) -> float:
        """All tiers together, a month."""
        return sum(self.cost.values())


@dataclass(frozen=True, slots=True)
class Forecast:
    """A year from now."""

    growth: Growth
    months: tuple[Month, ...]
    assumed: tuple[TierName, ...]
    """Tiers that hold nothing yet: their bytes a reading are an assumption."""

    @property
    def year_cost(self) -> float:
        """Cost of the twelve months, each at the mean of its begin and its end."""
        pairs = zip(self.months, self.months[1:], strict=False)
        return sum((before.total + after.total) / 2 for before, after in pairs)


def growth(stock: Stock, today: date) -> Growth:
    """Return the mean of the last seven complete days, of those that have readings."""
    rows: dict[date, int] = {}
    for item in _everything(stock):
        if today - timedelta(days=_GROWTH_DAYS) <= item[0] < today:
            rows[item[0]] = rows.get(item[0], 0) + item[1]
    return Growth(sum(rows.values()) / len(rows) if rows else 0.0, len(rows))


def forecast(stock: Stock, settings: Settings, today: date) -> Forecast:
    """Return the tiers' sizes and costs at the end of each of the next twelve months."""
    lately = growth(stock, today)
    price = prices(settings)
    each, assumed = _bytes_each(stock)
    months = []
    for month in range(MONTHS + 1):
        ahead = month * _MONTH_DAYS
        size = _sizes(stock, settings, lately.rows_per_day, each, ahead) if month else _now(stock)
        unarchived = size["hot"] / GIB * price["hot"] + size["aggregates"] / GIB * price["aggregates"]
        everything = sum(rows for _, rows in _everything(stock)) + lately.rows_per_day * ahead
        unarchived += _warm_bytes(everything, settings, lately.rows_per_day, stock, each["warm"]) / GIB * price["warm"]
        cost = {tier: size[tier] / GIB * price[tier] for tier in size}
        months.append(Month(month, today + timedelta(days=round(ahead)), size, cost, unarchived))
    return Forecast(lately, tuple(months), assumed)


def _everything(stock: Stock) -> list[tuple[date, int]]:
    """Readings by day in the warm tier, and in the cold one where they are no longer in the warm."""
    warm = {(item.tenant, item.day): item.rows for item in stock.warm}
    found = {(item.tenant, item.day): item.rows for item in stock.cold}
    # What came since for a dropped day is few beside it; a day that is in both tiers is the same.
    for key, rows in warm.items():
        found[key] = max(rows, found.get(key, 0))
    return [(day, rows) for (_, day), rows in found.items()]


def _bytes_each(stock: Stock) -> tuple[Mapping[TierName, float], tuple[TierName, ...]]:
    each: dict[TierName, float] = {}
    assumed: list[TierName] = []
    for tier, otherwise in _ASSUMED.items():
        rows, size = stock.total(tier)
        each[tier] = size / rows if rows and size else otherwise
        if not (rows and size):
            assumed.append(tier)
    return each, tuple(assumed)


def _now(stock: Stock) -> Mapping[TierName, float]:
    tiers: Sequence[TierName] = ("hot", "warm", "aggregates", "cold")
    return {tier: float(stock.total(tier)[1]) for tier in tiers}


def _sizes(
    stock: Stock, settings: Settings, rate: float, each: Mapping[TierName, float], ahead: float
) -> Mapping[TierName, float]:
    now = _now(stock)
    everything = sum(rows for _, rows in _everything(stock))
    rows_warm = stock.total("warm")[0]
    kept = min(rows_warm + rate * ahead, rate * settings.raw_days) if rate else float(rows_warm)
    archived = max(stock.total("cold")[0], everything + rate * (ahead - settings.archive_after_days))
    since = min((day for day, _ in _everything(stock)), default=None)
    newest = max((day for day, _ in _everything(stock)), default=None)
    covered = (newest - since).days + 1 if since is not None and newest is not None else 0
    a_day = now["aggregates"] / covered if covered and rate else 0.0
    return {
        "hot": rate * settings.hot_hours / 24 * each["hot"] if now["hot"] else 0.0,
        "warm": _warm_bytes(kept, settings, rate, stock, each["warm"]),
        "aggregates": min(now["aggregates"] + a_day * ahead, max(now["aggregates"], a_day * settings.aggregate_days)),
        "cold": archived * each["cold"],
    }


def _warm_bytes(rows: float, settings: Settings, rate: float, stock: Stock, each: float) -> float:
    """Bytes of so many readings: where days are compressed, the newest are not yet."""
    packed = [day for day in stock.days if day.compressed and day.rows]
    loose = [day for day in stock.days if not day.compressed and day.rows]
    if not packed:
        return rows * each
    small = sum(day.bytes for day in packed) / sum(day.rows for day in packed)
    large = sum(day.bytes for day in loose) / sum(day.rows for day in loose) if loose else each
    recent = min(rows, rate * settings.compress_after_days)
    return recent * large + (rows - recent) * small
