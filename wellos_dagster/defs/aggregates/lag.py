"""How far aggregates were behind in the last runs, as a plot."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from wellos import plots
from wellos.clock import WallClock

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["lag_plot"]

_MOST = 200
"""Materialisations looked at: sixteen hours of a run every five minutes."""


def lag_plot(
    instance: dg.DagsterInstance, asset: str, now_s: "Mapping[str, float]", names: "Mapping[str, str]"
) -> dg.MetadataValue:
    """Plot the seconds that runs of `asset` found each aggregate behind, and those found now; by wall time.

    `names` gives the name of the metadata of each aggregate; a run of many days counts once.
    """
    moments: dict[str, list[datetime]] = {relation: [] for relation in names}
    seconds: dict[str, list[float]] = {relation: [] for relation in names}
    seen: set[str] = set()
    records = instance.fetch_materializations(dg.AssetKey(asset), limit=_MOST).records
    for record in reversed(records):
        materialization = record.asset_materialization
        if materialization is None or record.run_id in seen:
            continue
        seen.add(record.run_id)
        for relation, name in names.items():
            value = materialization.metadata.get(name)
            if isinstance(value, dg.FloatMetadataValue) and value.value is not None:
                moments[relation].append(datetime.fromtimestamp(record.timestamp, UTC))
                seconds[relation].append(value.value)
    for relation in names:
        moments[relation].append(WallClock().now())
        seconds[relation].append(now_s[relation])
    title = f"Lag when each run began, last {len(seen) + 1}"
    return dg.MetadataValue.md(
        plots.markdown_image(plots.lags(moments, seconds, title=title), alt="lag of the last runs")
    )
