"""A Sparkplug B edge node with one device a well: births, data by alias or name, deaths, and births on command.

Data go out at QoS 1. The specification says 0; at 0 a broker drops what comes while its subscriber is away, and a
simulated field must not be the reason why a reading is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from wellos.protocols.sparkplug_pb import BDSEQ, NODE_REBIRTH, QUALITY_PROPERTY, DataType, Payload
from wellos.quality import SPARKPLUG_BAD, SPARKPLUG_GOOD, SPARKPLUG_UNCERTAIN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wellos.readings import Readings

__all__ = ["EdgeNode", "quality_of"]

_SEQUENCE = 256
_QUALITIES = (SPARKPLUG_GOOD, SPARKPLUG_UNCERTAIN, SPARKPLUG_BAD, SPARKPLUG_BAD)


def quality_of(status: int) -> int:
    """Return Sparkplug's quality for an OPC UA status code."""
    return _QUALITIES[status >> 30]


class EdgeNode:
    """The state of one edge node and its devices; it makes messages and sends none."""

    def __init__(self, group: str, node: str, devices: dict[str, tuple[str, ...]], *, aliases: bool = True) -> None:
        """Name the node and the metrics of each device.

        Without `aliases` data name their metrics: then they can be read by a host that has not seen the births.
        """
        self.group, self.node, self.devices = group, node, devices
        self._aliases = aliases
        self._first: dict[str, int] = {}
        for device, metrics in devices.items():
            self._first[device] = sum(map(len, (devices[name] for name in self._first))) + 1 if self._first else 1
            self._check(metrics)
        self._last: dict[str, list[tuple[int, float, int] | None]] = {
            device: [None] * len(metrics) for device, metrics in devices.items()
        }
        self._bdseq = -1
        self._seq = 0

    @staticmethod
    def _check(metrics: Sequence[str]) -> None:
        if len(set(metrics)) != len(metrics):
            raise ValueError(f"two metrics share a name: {metrics}")

    @property
    def command_topic(self) -> str:
        """Where hosts ask for births."""
        return f"spBv1.0/{self.group}/NCMD/{self.node}"

    def _topic(self, kind: str, device: str = "") -> str:
        return f"spBv1.0/{self.group}/{kind}/{self.node}" + (f"/{device}" if device else "")

    def _message(self, time_us: int) -> Any:  # noqa: ANN401 - a protobuf message
        message = Payload(timestamp=time_us // 1000, seq=self._seq)
        self._seq = (self._seq + 1) % _SEQUENCE
        return message

    def death(self) -> tuple[str, bytes]:
        """Return the will for a new connection: every connection has a birth and death of one number of its own."""
        self._bdseq = (self._bdseq + 1) % _SEQUENCE
        return self._death()

    def _death(self) -> tuple[str, bytes]:
        message = Payload()
        message.metrics.add(name=BDSEQ, datatype=DataType.INT64, long_value=self._bdseq)
        return self._topic("NDEATH"), message.SerializeToString()

    def births(self, now_us: int) -> Iterator[tuple[str, bytes]]:
        """Yield NBIRTH and the DBIRTH of each device; metrics carry what was sent last."""
        self._seq = 0
        message = self._message(now_us)
        message.metrics.add(name=BDSEQ, timestamp=now_us // 1000, datatype=DataType.INT64, long_value=self._bdseq)
        message.metrics.add(name=NODE_REBIRTH, timestamp=now_us // 1000, datatype=DataType.BOOLEAN, boolean_value=False)
        yield self._topic("NBIRTH"), message.SerializeToString()
        for device in self.devices:
            yield self.device_birth(device, now_us)

    def device_birth(self, device: str, now_us: int) -> tuple[str, bytes]:
        """Return the DBIRTH of a device. A metric of which nothing is known is null, and BAD."""
        message = self._message(now_us)
        for at, name in enumerate(self.devices[device]):
            known = self._last[device][at]
            metric = message.metrics.add(name=name, datatype=DataType.DOUBLE)
            if self._aliases:
                metric.alias = self._first[device] + at
            _fill(metric, *(known or (now_us, float("nan"), 0x80000000)))
        return self._topic("DBIRTH", device), message.SerializeToString()

    def device_death(self, device: str, now_us: int) -> tuple[str, bytes]:
        """Return the DDEATH of a device that is cut off."""
        return self._topic("DDEATH", device), self._message(now_us).SerializeToString()

    def data(self, device: str, samples: Readings, now_us: int) -> tuple[str, bytes]:
        """Return a DDATA with all samples in their order; `tag_id` is the metric's position in the device."""
        message = self._message(now_us)
        names, first, last = self.devices[device], self._first[device], self._last[device]
        add = message.metrics.add
        columns = (samples["tag_id"].tolist(), samples["time"].tolist(), samples["value"].tolist())
        for at, time_us, value, status in zip(*columns, samples["status"].tolist(), strict=True):
            metric = add(alias=first + at) if self._aliases else add(name=names[at])
            _fill(metric, time_us, value, status)
            last[at] = (time_us, value, status)
        return self._topic("DDATA", device), message.SerializeToString()

    def remember(self, device: str, samples: Readings) -> None:
        """Take samples as the last known ones without sending them: what the first birth shows."""
        columns = (samples["tag_id"].tolist(), samples["time"].tolist(), samples["value"].tolist())
        for at, *rest in zip(*columns, samples["status"].tolist(), strict=True):
            self._last[device][at] = (rest[0], rest[1], rest[2])

    @staticmethod
    def asks_for_births(payload: bytes) -> bool:
        """Tell whether a node command asks for the births again."""
        try:
            message = Payload.FromString(payload)
        except DecodeError:
            return False
        return any(metric.name == NODE_REBIRTH and metric.boolean_value for metric in message.metrics)


def _fill(metric: Any, time_us: int, value: float, status: int) -> None:  # noqa: ANN401 - a protobuf message
    metric.timestamp = time_us // 1000
    if value == value:  # noqa: PLR0124 - not NaN
        metric.double_value = value
    else:
        metric.is_null = True
    if status:
        metric.properties.keys.append(QUALITY_PROPERTY)
        metric.properties.values.add(type=DataType.INT32, int_value=quality_of(status))
