"""Sparkplug B messages to rows: births and aliases, data, deaths, sequence numbers. Pure, raising only PayloadError.

The alias table of an edge node is what its last births said. Data of a node whose birth we have not seen is used as
far as it names its metrics; the rest is rejected whole, and a rebirth is asked for.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from streaming.adapters.rows import MAX_MICROS, PayloadError, Rows
from streaming.adapters.sparkplug_columns import NUMERIC, columns_of
from streaming.adapters.sparkplug_node import CONTROL, LONGEST_NAME, Node, bdseq_of
from streaming.adapters.sparkplug_value import metric_quality, metric_value
from streaming.delivery import Filled
from wellos.protocols.sparkplug_pb import BDSEQ, NODE_REBIRTH, DataType, Payload
from wellos.quality import SPARKPLUG_GOOD, SPARKPLUG_STALE
from wellos.readings import Flag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wellos.protocols.mqtt import SparkplugAddress

__all__ = ["MAX_BYTES", "MAX_METRICS", "NAMESPACE", "SparkplugDecoder", "rebirth_request"]

NAMESPACE = "spBv1.0"
MAX_BYTES = 4 << 20
MAX_METRICS = 50_000
_NODE_TYPES = frozenset({"NBIRTH", "NDATA", "NDEATH"})
_DEVICE_TYPES = frozenset({"DBIRTH", "DDATA", "DDEATH"})
_IGNORED = frozenset({"NCMD", "DCMD", "STATE"})
_NODE_PARTS, _DEVICE_PARTS = 4, 5
_SEQUENCE = 256
_NAMES_REPORTED = 50_000
_MOST_PROBLEMS = 20
_NO_TAG = "no tag reads this metric"

_Key = tuple[str, str]


class SparkplugDecoder:
    """Host application side of the edge nodes of one connection."""

    def __init__(self, addresses: Sequence[SparkplugAddress], tag_ids: Sequence[int]) -> None:
        """Index the addresses by node; positions are those of `addresses`, `tag_ids` their numbers in the registry."""
        self._tag_ids = tag_ids
        self._tags: dict[_Key, dict[_Key, int]] = {}
        for position, address in enumerate(addresses):
            tags = self._tags.setdefault((address.group, address.node), {})
            tags[address.device or "", address.metric] = position
        self._nodes: dict[_Key, Node] = {}
        self._unknown: set[tuple[_Key, _Key]] = set()

    def begin(self, now_us: int) -> list[_Key]:
        """Return the nodes to ask for their births, at the start of a connection: all, as none of them is known."""
        for key in self._tags:
            self._nodes[key] = Node(asked_us=now_us)
        return list(self._tags)

    def continue_from(self, old: SparkplugDecoder, now_us: int) -> list[_Key]:
        """Take over what another decoder knows of our nodes; return those to ask, which have tags that it had not."""
        self._nodes = {key: node for key, node in old._nodes.items() if key in self._tags}
        for node in self._nodes.values():
            node.tagged = None
        new = [key for key, tags in self._tags.items() if not tags.keys() <= old._tags.get(key, {}).keys()]
        for key in new:
            self._nodes.setdefault(key, Node()).asked_us = now_us
        return new

    def decode(
        self, topic: str, payload: bytes, received_us: int, rows: Rows, *, repeated: bool = False
    ) -> _Key | None:
        """Append what one message holds to `rows`; return the (group, node) to ask for its births again, if any.

        `repeated`: the broker's DUP flag; such a message says nothing about the sequence.
        """
        try:
            kind, key, device = _parse_topic(topic)
            if kind in _IGNORED:
                return None
            if key not in self._tags:
                raise PayloadError("unknown_tag", "no tag of this connection reads this edge node")
            message = _parse(payload)
        except PayloadError as error:
            rows.reject(error, topic, payload)
            return None
        node = self._nodes.setdefault(key, Node())
        if kind == "NDEATH":
            if node.node_died(bdseq_of(message)):
                self._stale(key, None, received_us, rows)
            return None
        jumped = not repeated and self._sequence(key, node, message, received_us, rows, birth=kind == "NBIRTH")
        problems = self._born(key, node, kind, device, message)
        if kind != "DDEATH":
            node.gone.discard(device)
            self._metrics(key, node, device, message, received_us, rows, problems, birth=kind.endswith("BIRTH"))
        elif node.device_died(device):
            self._stale(key, device, _payload_micros(message) or received_us, rows)
        if problems:
            self._report(problems, topic, payload, rows)
        asking = jumped or node.incomplete or not node.born
        return key if asking and node.may_ask(received_us) else None

    def _born(self, key: _Key, node: Node, kind: str, device: str, message: Any) -> list[str]:  # noqa: ANN401 - protobuf
        """Learn from a birth; return what there was no room for."""
        if kind == "NBIRTH":
            node.node_born(message)
            self._unknown = {entry for entry in self._unknown if entry[0] != key}
        elif kind == "DBIRTH":
            node.device_born(device)
        else:
            return []
        left = node.learn(device, message.metrics)
        return [f"{left} metrics more than are remembered of a node"] if left else []

    def _report(self, problems: list[str], topic: str, payload: bytes, rows: Rows) -> None:
        more = f"; and {len(problems) - _MOST_PROBLEMS} more" if len(problems) > _MOST_PROBLEMS else ""
        reason = "unknown_tag" if all(problem.endswith(_NO_TAG) for problem in problems) else "malformed"
        detail = "; ".join(problem[-200:] for problem in problems[:_MOST_PROBLEMS]) + more
        rows.reject(PayloadError(reason, detail), topic, payload)

    def _stale(self, key: _Key, device: str | None, time_us: int, rows: Rows) -> None:
        for (owner, _), position in self._tags[key].items():
            if device is None or owner == device:
                rows.add(position, time_us, math.nan, SPARKPLUG_STALE, 0)

    def _sequence(
        self,
        key: _Key,
        node: Node,
        message: Any,  # noqa: ANN401 - a protobuf message
        received_us: int,
        rows: Rows,
        *,
        birth: bool,
    ) -> bool:
        """Follow the node's sequence; a jump is a gap of each of its tags since the message before."""
        if not message.HasField("seq") or message.seq >= _SEQUENCE:
            return False
        step = node.follow(int(message.seq), received_us, birth=birth)
        numbers = [self._tag_ids[position] for position in self._tags[key].values()]
        if step.gap is not None:
            rows.note_jump(key, *step.gap, numbers)
        if step.filled is not None:
            rows.filled += [Filled(*step.filled, number) for number in numbers]
        return step.ask

    def _metrics(
        self,
        key: _Key,
        node: Node,
        device: str,
        message: Any,  # noqa: ANN401 - a protobuf message
        received_us: int,
        rows: Rows,
        problems: list[str],
        *,
        birth: bool,
    ) -> None:
        """Append the metrics that have tags to `rows`, and what is wrong with the others to `problems`."""
        tags = self._tags[key]
        columns = None if birth else columns_of(message, node.positions(tags, NUMERIC))
        if columns is not None:
            rows.append(*columns, SPARKPLUG_GOOD)
            return
        default_us = _payload_micros(message)
        for metric in message.metrics:
            owner, name, datatype = device, metric.name, metric.datatype
            if isinstance(name, bytes):
                problems.append("a metric's name is not UTF-8")
                continue
            if not name and not birth:
                known = node.aliases.get(metric.alias)
                if known is None:
                    node.incomplete = True
                    problems.append(f"alias {metric.alias} is not in the births seen")
                    continue
                owner, name, datatype = known[0], known[1], datatype or known[2]
            position = tags.get((owner, name))
            if position is None:
                problems += self._first_unknown(key, owner, name)
                continue
            try:
                value = metric_value(metric, datatype or node.types.get((owner, name), DataType.UNKNOWN))
                time_us, flags = _metric_time(metric, default_us, received_us)
                rows.add(position, time_us, value, metric_quality(metric), flags)
            except PayloadError as error:
                problems.append(f"{name}: {error.detail}")

    def _first_unknown(self, key: _Key, device: str, name: str) -> list[str]:
        """Report a metric without a tag once a birth, not with every message."""
        if name == BDSEQ or name.startswith(CONTROL):
            return []
        if len(name) > LONGEST_NAME:
            return [f"a name of {len(name)} characters: {_NO_TAG}"]
        entry = (key, (device, name))
        if entry in self._unknown or len(self._unknown) >= _NAMES_REPORTED:
            return []
        self._unknown.add(entry)
        return [f"{name}: {_NO_TAG}"]


def rebirth_request(key: _Key, time_us: int) -> tuple[str, bytes]:
    """Return topic and payload of the one command we ever send: asking an edge node for its births."""
    message = Payload(timestamp=time_us // 1000)
    message.metrics.add(name=NODE_REBIRTH, timestamp=time_us // 1000, datatype=DataType.BOOLEAN, boolean_value=True)
    return f"{NAMESPACE}/{key[0]}/NCMD/{key[1]}", message.SerializeToString()


def _parse_topic(topic: str) -> tuple[str, _Key, str]:
    parts = topic.split("/")
    if parts[0] == NAMESPACE and len(parts) >= 2 and parts[1] == "STATE":  # noqa: PLR2004 - STATE/host
        return "STATE", ("", ""), ""
    if parts[0] != NAMESPACE or len(parts) not in (_NODE_PARTS, _DEVICE_PARTS):
        raise PayloadError("malformed", "not a Sparkplug B topic")
    kind = parts[2]
    expected = _DEVICE_TYPES if len(parts) == _DEVICE_PARTS else _NODE_TYPES
    if kind not in expected and kind not in _IGNORED:
        raise PayloadError("malformed", f"{kind or 'no message type'} does not belong to this topic")
    return kind, (parts[1], parts[3]), parts[4] if len(parts) == _DEVICE_PARTS else ""


def _parse(payload: bytes) -> Any:  # noqa: ANN401 - a protobuf message
    if len(payload) > MAX_BYTES:
        raise PayloadError("too_large", f"{len(payload)} bytes, the limit is {MAX_BYTES}")
    try:
        message = Payload.FromString(payload)
    except DecodeError as error:
        raise PayloadError("malformed", f"not a Sparkplug B payload: {error}") from error
    if len(message.metrics) > MAX_METRICS:
        raise PayloadError("too_large", f"{len(message.metrics)} metrics, the limit is {MAX_METRICS}")
    return message


def _payload_micros(message: Any) -> int:  # noqa: ANN401 - a protobuf message
    micros = int(message.timestamp) * 1000
    return micros if micros <= MAX_MICROS else 0


def _metric_time(metric: Any, default_us: int, received_us: int) -> tuple[int, int]:  # noqa: ANN401
    flags = int(Flag.HISTORICAL) if metric.is_historical else 0
    if metric.timestamp:
        micros = int(metric.timestamp) * 1000
        if micros > MAX_MICROS:
            raise PayloadError("malformed", f"time {metric.timestamp} is beyond the year 9999")
        return micros, flags
    if default_us:
        return default_us, flags
    return received_us, flags | int(Flag.ASSUMED_TIME)
