"""The common case of Sparkplug B data taken by columns: metrics by alias, with a floating point value and no remarks.

It takes a third less CPU than one metric after the other. Whatever is not of this form goes that longer way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from streaming.adapters.rows import MAX_MICROS
from wellos.protocols.sparkplug_pb import DataType

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NUMERIC", "Columns", "columns_of"]

NUMERIC = frozenset({*range(DataType.UNKNOWN, DataType.BOOLEAN + 1), DataType.DATETIME})
"""Data types whose metrics are numbers."""
_LATEST_MS = MAX_MICROS // 1000


class Columns(NamedTuple):
    """Metrics that all have tags."""

    positions: list[int]
    times: list[int]
    values: list[float]


def columns_of(message: Any, tagged: Mapping[int, int]) -> Columns | None:  # noqa: ANN401 - a protobuf message
    """Return the metrics of a data message, None unless each is an alias of `tagged` with a float and a time alone.

    `tagged`: position of the tag, for aliases of metrics whose type is numeric.
    """
    metrics = list(message.metrics)
    field = {metric.WhichOneof("value") for metric in metrics}
    if field == {"double_value"}:
        values = [metric.double_value for metric in metrics]
    elif field == {"float_value"}:
        values = [metric.float_value for metric in metrics]
    else:
        return None
    if any([metric.name or metric.is_historical or metric.is_null for metric in metrics]):  # noqa: C419 - faster
        return None
    if any([metric.HasField("properties") for metric in metrics]):  # noqa: C419 - faster
        return None
    if not NUMERIC.issuperset([metric.datatype for metric in metrics]):
        return None
    times = [metric.timestamp for metric in metrics]
    positions = [tagged.get(metric.alias, -1) for metric in metrics]
    if min(times) <= 0 or max(times) > _LATEST_MS or min(positions) < 0:
        return None
    return Columns(positions, [time * 1000 for time in times], values)
