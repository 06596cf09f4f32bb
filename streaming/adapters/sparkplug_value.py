"""Value and quality of one Sparkplug B metric."""

from __future__ import annotations

import math
from typing import Any

from streaming.adapters.rows import PayloadError
from wellos.protocols.sparkplug_pb import QUALITY_PROPERTY, DataType
from wellos.quality import SPARKPLUG_GOOD

__all__ = ["metric_quality", "metric_value"]

_SIGNED = {DataType.INT8: 8, DataType.INT16: 16, DataType.INT32: 32, DataType.INT64: 64}
_REFUSED = {
    DataType.STRING: "text",
    DataType.TEXT: "text",
    DataType.UUID: "text",
    DataType.DATASET: "a data set",
    DataType.BYTES: "bytes",
    DataType.FILE: "a file",
    DataType.TEMPLATE: "a template",
}
_LAST_SCALAR = DataType.TEMPLATE
_REFUSED_FIELDS = {
    "string_value": "text",
    "bytes_value": "bytes",
    "dataset_value": "a data set",
    "template_value": "a template",
}
_UINT32 = 0xFFFFFFFF


def metric_value(metric: Any, datatype: int) -> float:  # noqa: ANN401 - a protobuf message
    """Return the metric's number in raw units, NaN where it has none; PayloadError for what is not a number.

    A date is its milliseconds since 1970 UTC, true is 1.
    """
    refused = _REFUSED.get(datatype)  # type: ignore[call-overload]
    if refused is None and datatype > _LAST_SCALAR:
        refused = f"data type {datatype}, an array"
    if refused is not None:
        raise PayloadError("malformed", f"{refused}, not a number")
    field = metric.WhichOneof("value")
    if metric.is_null or field is None:
        return math.nan
    if field in _REFUSED_FIELDS:
        raise PayloadError("malformed", f"{_REFUSED_FIELDS[field]}, not a number")
    raw = getattr(metric, field)
    if field in ("int_value", "long_value"):
        bits = _SIGNED.get(datatype)  # type: ignore[call-overload]
        if bits is not None:
            # Senders differ in whether they sign-extend small integers: only the bits of the type count.
            raw &= (1 << bits) - 1
            raw -= (raw >> (bits - 1)) << bits
    return float(raw)


def metric_quality(metric: Any) -> int:  # noqa: ANN401 - a protobuf message
    """Return the metric's quality property as a status code; a metric without one is good."""
    if not metric.HasField("properties"):
        return SPARKPLUG_GOOD
    properties = metric.properties
    for name, value in zip(properties.keys, properties.values, strict=False):
        if name == QUALITY_PROPERTY:
            field = value.WhichOneof("value")
            if field in ("int_value", "long_value"):
                return int(getattr(value, field)) & _UINT32
            if field is None:
                return SPARKPLUG_GOOD
            raise PayloadError("malformed", "its quality property is not an integer")
    return SPARKPLUG_GOOD
