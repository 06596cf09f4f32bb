"""Sparkplug B messages to rows: births and aliases, data, deaths, sequence numbers. Pure, raising only PayloadError.

The alias table of an edge node is what its last births said. Data of a node whose birth we have not seen is used as
far as it names its metrics; the rest is rejected whole, and a rebirth is asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from streaming.adapters.rows import MAX_MICROS, PayloadError, Rows
from streaming.adapters.sparkplug_value import metric_quality, metric_value
from streaming.delivery import Gap
from wellos.protocols.sparkplug_pb import BDSEQ, NODE_REBIRTH, DataType, Payload
from wellos.quality import SPARKPLUG_STALE
from wellos.readings import Flag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wellos.protocols.mqtt import SparkplugAddress

__all__ = ["MAX_BYTES", "NAMESPACE", "SparkplugDecoder", "rebirth_request"]

NAMESPACE = "spBv1.0"
MAX_BYTES = 4 << 20
_NODE_TYPES = frozenset({"NBIRTH", "NDATA", "NDEATH"})
_DEVICE_TYPES = frozenset({"DBIRTH", "DDATA", "DDEATH"})
_IGNORED = frozenset({"NCMD", "DCMD", "STATE"})
_NODE_PARTS, _DEVICE_PARTS = 4, 5
_CONTROL = ("Node Control/", "Device Control/", "Node Info/")
_ASK_AGAIN_US = 30_000_000
_SEQUENCE = 256

_Key = tuple[str, str]
_Alias = tuple[str, str, int]


@dataclass(slots=True)
class _Node:
    """What we know of one edge node."""

    born: bool = False
    dead: bool = False
    incomplete: bool = False
    """Data came under an alias that no birth explains."""
    bdseq: int | None = None
    seq: int | None = None
    heard_us: int = 0
    asked_us: int = 0
    aliases: dict[int, _Alias | None] = field(default_factory=dict)
    """alias -> (device, metric, data type); None for one that a birth gave to two metrics."""
    types: dict[_Key, int] = field(default_factory=dict)
    """(device, metric) -> data type: data may leave it out."""


class SparkplugDecoder:
    """Host application side of the edge nodes of one connection."""

    def __init__(self, addresses: Sequence[SparkplugAddress], tag_ids: Sequence[int]) -> None:
        """Index the addresses by node; positions are those of `addresses`, `tag_ids` their numbers in the registry."""
        self._tag_ids = tag_ids
        self._tags: dict[_Key, dict[_Key, int]] = {}
        for position, address in enumerate(addresses):
            tags = self._tags.setdefault((address.group, address.node), {})
            tags[address.device or "", address.metric] = position
        self._nodes: dict[_Key, _Node] = {}
        self._unknown: set[tuple[_Key, _Key]] = set()

    def begin(self, now_us: int) -> list[_Key]:
        """Return the nodes to ask for their births, at the start of a connection: all, as none of them is known."""
        for key in self._tags:
            self._nodes[key] = _Node(asked_us=now_us)
        return list(self._tags)

    def continue_from(self, old: SparkplugDecoder, now_us: int) -> list[_Key]:
        """Take over what another decoder knows of our nodes; return those to ask, which have tags that it had not."""
        self._nodes = {key: node for key, node in old._nodes.items() if key in self._tags}
        new = [key for key, tags in self._tags.items() if not tags.keys() <= old._tags.get(key, {}).keys()]
        for key in new:
            self._nodes.setdefault(key, _Node()).asked_us = now_us
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
        node = self._nodes.setdefault(key, _Node())
        if kind == "NDEATH":
            self._node_death(key, node, message, received_us, rows)
            return None
        jumped = self._sequence(key, node, kind, message, received_us, rows, repeated=repeated)
        if kind == "NBIRTH":
            self._node_birth(key, node, message)
        elif kind == "DBIRTH":
            node.incomplete = False
            node.aliases = {alias: known for alias, known in node.aliases.items() if known and known[0] != device}
        if kind == "DDEATH":
            self._stale(key, device, _payload_micros(message) or received_us, rows)
        else:
            problems = self._metrics(key, node, device, message, received_us, rows, birth=kind.endswith("BIRTH"))
            if problems:
                rows.reject(PayloadError("malformed", "; ".join(problems)), topic, payload)
        return self._ask(key, node, received_us) if jumped or node.incomplete or not node.born else None

    def _node_birth(self, key: _Key, node: _Node, message: Any) -> None:  # noqa: ANN401 - a protobuf message
        node.born, node.dead, node.incomplete, node.asked_us = True, False, False, 0
        node.aliases.clear()
        node.types.clear()
        node.bdseq = _bdseq(message)
        self._unknown = {entry for entry in self._unknown if entry[0] != key}

    def _node_death(self, key: _Key, node: _Node, message: Any, received_us: int, rows: Rows) -> None:  # noqa: ANN401
        """Make every metric of the node and its devices stale, unless the will is that of an earlier session."""
        bdseq = _bdseq(message)
        if node.dead or (node.born and bdseq is not None and node.bdseq is not None and bdseq != node.bdseq):
            return
        node.born, node.dead, node.seq = False, True, None
        self._stale(key, None, received_us, rows)

    def _stale(self, key: _Key, device: str | None, time_us: int, rows: Rows) -> None:
        for (owner, _), position in self._tags[key].items():
            if device is None or owner == device:
                rows.add(position, time_us, math.nan, SPARKPLUG_STALE, 0)

    def _sequence(
        self,
        key: _Key,
        node: _Node,
        kind: str,
        message: Any,  # noqa: ANN401 - a protobuf message
        received_us: int,
        rows: Rows,
        *,
        repeated: bool,
    ) -> bool:
        """Follow the node's sequence; a jump is a gap of each of its tags since the message before."""
        if repeated or not message.HasField("seq") or message.seq >= _SEQUENCE:
            return False
        last, node.seq = node.seq, int(message.seq)
        before, node.heard_us = node.heard_us or received_us, received_us
        if kind == "NBIRTH" or last is None or node.seq in (last, (last + 1) % _SEQUENCE):
            return False
        start = min(before, received_us)
        rows.gaps += [
            Gap(start, received_us, "sequence_jump", self._tag_ids[position]) for position in self._tags[key].values()
        ]
        return True

    def _metrics(
        self,
        key: _Key,
        node: _Node,
        device: str,
        message: Any,  # noqa: ANN401 - a protobuf message
        received_us: int,
        rows: Rows,
        *,
        birth: bool,
    ) -> list[str]:
        tags, problems = self._tags[key], []
        default_us = _payload_micros(message)
        for metric in message.metrics:
            owner, name, datatype = device, metric.name, metric.datatype
            if isinstance(name, bytes):
                problems.append("a metric's name is not UTF-8")
                continue
            if birth:
                self._learn(node, device, metric)
            elif not name:
                known = node.aliases.get(metric.alias)
                if known is None:
                    node.incomplete = True
                    problems.append(f"alias {metric.alias} is not in the births seen")
                    continue
                owner, name, datatype = known[0], known[1], datatype or known[2]
            datatype = datatype or node.types.get((owner, name), DataType.UNKNOWN)
            position = tags.get((owner, name))
            if position is None:
                problems += self._first_unknown(key, owner, name)
                continue
            try:
                value = metric_value(metric, datatype)
                time_us, flags = _metric_time(metric, default_us, received_us)
                rows.add(position, time_us, value, metric_quality(metric), flags)
            except PayloadError as error:
                problems.append(f"{name}: {error.detail}")
        return problems

    def _learn(self, node: _Node, device: str, metric: Any) -> None:  # noqa: ANN401 - a protobuf message
        node.types[device, metric.name] = metric.datatype
        if not metric.HasField("alias") or metric.name == BDSEQ or metric.name.startswith(_CONTROL):
            return
        entry = (device, metric.name, int(metric.datatype))
        known = node.aliases.get(metric.alias, entry)
        # Two metrics under one alias break the specification: guessing would put a value on the wrong tag.
        node.aliases[metric.alias] = entry if known is not None and known[:2] == entry[:2] else None

    def _first_unknown(self, key: _Key, device: str, name: str) -> list[str]:
        """Report a metric without a tag once a birth, not with every message."""
        entry = (key, (device, name))
        if name == BDSEQ or name.startswith(_CONTROL) or entry in self._unknown:
            return []
        self._unknown.add(entry)
        return [f"{name}: no tag reads this metric"]

    def _ask(self, key: _Key, node: _Node, received_us: int) -> _Key | None:
        if node.asked_us and 0 <= received_us - node.asked_us < _ASK_AGAIN_US:
            return None
        node.asked_us = received_us
        return key


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
        return Payload.FromString(payload)
    except DecodeError as error:
        raise PayloadError("malformed", f"not a Sparkplug B payload: {error}") from error


def _bdseq(message: Any) -> int | None:  # noqa: ANN401 - a protobuf message
    for metric in message.metrics:
        if metric.name == BDSEQ:
            return int(metric.long_value or metric.int_value)
    return None


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
