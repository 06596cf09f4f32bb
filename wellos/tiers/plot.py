"""The forecast of the tiers' cost as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wellos import plots

if TYPE_CHECKING:
    from wellos.tiers.forecast import Forecast

__all__ = ["draw"]


def draw(ahead: Forecast, currency: str) -> bytes:
    """Return a PNG of the monthly cost of each tier over the year, and of a year with nothing archived."""
    months = ahead.months
    costs: dict[str, list[float]] = {tier: [month.cost[tier] for month in months] for tier in months[0].cost}
    return plots.tier_costs(
        [month.day for month in months],
        costs,
        [month.cost_unarchived for month in months],
        title="Cost of the tiers, a year ahead",
        unit=f"{currency} a month",
    )
