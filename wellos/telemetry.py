"""The metrics of a well that the telemetry relations have columns for, and the names of those columns."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

__all__ = ["METRICS", "STATISTICS", "Metric", "columns", "metric_of"]

Metric: TypeAlias = Literal[
    "oil_rate",
    "gas_rate",
    "water_rate",
    "tubing_pressure",
    "casing_pressure",
    "line_pressure",
    "temperature",
    "motor_current",
    "none",
]
"""What a tag may be said to measure; `none` is no metric."""

METRICS: tuple[str, ...] = tuple(name for name in get_args(Metric) if name != "none")
"""As `telemetry_metrics()` has them in the database."""

STATISTICS = ("avg", "min", "max", "median", "stddev")
"""Of the GOOD readings of a bucket."""


def columns() -> tuple[str, ...]:
    """Return the names of the columns that hold statistics, in order: `oil_rate_avg`, `oil_rate_min` and so on."""
    return tuple(f"{metric}_{statistic}" for metric in METRICS for statistic in STATISTICS)


def metric_of(name: str, metric: str | None) -> str | None:
    """Return the metric that a tag's readings count for, from its name and the `metric` it was given; None: none."""
    effective = name if metric is None else metric
    return effective if effective in METRICS else None
