"""What a host knows of one Sparkplug B edge node: births, aliases, data types, and where its sequence stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wellos.protocols.sparkplug_pb import BDSEQ

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["CONTROL", "LONGEST_NAME", "Node", "Step", "bdseq_of"]

CONTROL = ("Node Control/", "Device Control/", "Node Info/")
LONGEST_NAME = 1024
_MOST_METRICS = 200_000
"""Metrics whose alias and type are kept of a node: what its births may make us remember is bounded."""
_ASK_AGAIN_US = 30_000_000
_SEQUENCE = 256

_Metric = tuple[str, str]
"""Device (empty: the node itself) and name."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a message's sequence number says."""

    gap: tuple[int, int] | None = None
    """From the message before to this one, when numbers between are missing."""
    filled: tuple[int, int] | None = None
    """A gap of which all messages have come after all, out of order."""
    ask: bool = False


@dataclass(slots=True)
class Node:
    """One edge node."""

    born: bool = False
    dead: bool = False
    incomplete: bool = False
    """Data came under an alias that no birth explains."""
    bdseq: int | None = None
    seq: int | None = None
    heard_us: int = 0
    asked_us: int = 0
    aliases: dict[int, tuple[str, str, int] | None] = field(default_factory=dict)
    """alias -> (device, metric, data type); None for one that a birth gave to two metrics."""
    types: dict[_Metric, int] = field(default_factory=dict)
    """(device, metric) -> data type: data may leave it out."""
    gone: set[str] = field(default_factory=set)
    """Devices that have died."""
    tagged: dict[int, int] | None = None
    """alias -> position of its tag, of numeric metrics; None: to be made anew after a birth or a change of tags."""
    missing: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Sequence numbers skipped, and the gap each belongs to: they may come late."""

    def node_born(self, message: Any) -> None:  # noqa: ANN401 - a protobuf message
        """Forget all that earlier births said."""
        self.born, self.dead, self.incomplete, self.asked_us = True, False, False, 0
        self.aliases.clear()
        self.types.clear()
        self.gone.clear()
        self.missing.clear()
        self.tagged = None
        self.bdseq = bdseq_of(message)

    def device_born(self, device: str) -> None:
        """Forget what the device's earlier births said."""
        self.incomplete = False
        self.tagged = None
        self.gone.discard(device)
        self.aliases = {alias: known for alias, known in self.aliases.items() if known and known[0] != device}
        self.types = {metric: kind for metric, kind in self.types.items() if metric[0] != device}

    def node_died(self, bdseq: int | None) -> bool:
        """Return whether this is news, and not the will of an earlier session."""
        if self.dead or (self.born and bdseq is not None and self.bdseq is not None and bdseq != self.bdseq):
            return False
        self.born, self.dead, self.seq = False, True, None
        return True

    def device_died(self, device: str) -> bool:
        """Return whether this is news."""
        news = device not in self.gone
        if len(self.gone) < _MOST_METRICS:
            self.gone.add(device)
        return news

    def learn(self, device: str, metrics: Sequence[Any]) -> int:
        """Take names, aliases and types of a birth; return how many there was no room for."""
        self.tagged = None
        for number, metric in enumerate(metrics):
            if len(self.types) >= _MOST_METRICS:
                return len(metrics) - number
            name, kind = metric.name, metric.datatype
            if isinstance(name, bytes) or len(name) > LONGEST_NAME:
                continue
            self.types[device, name] = kind
            if not metric.HasField("alias") or name == BDSEQ or name.startswith(CONTROL):
                continue
            alias = metric.alias
            known = self.aliases.get(alias, (device, name, kind))
            # Two metrics under one alias break the specification: guessing would put a value on the wrong tag.
            self.aliases[alias] = (device, name, kind) if known is not None and known[:2] == (device, name) else None
        return 0

    def positions(self, tags: Mapping[_Metric, int], numeric: frozenset[int]) -> dict[int, int]:
        """Return alias -> position of its tag, for all metrics of a numeric type that have one."""
        if self.tagged is None:
            self.tagged = {
                alias: tags[known[:2]]
                for alias, known in self.aliases.items()
                if known is not None and known[2] in numeric and known[:2] in tags
            }
        return self.tagged

    def follow(self, seq: int, received_us: int, *, birth: bool) -> Step:
        """Take the next sequence number. One of those skipped may come late; any other jump skips all between."""
        last = self.seq
        before, self.heard_us = min(self.heard_us or received_us, received_us), received_us
        if birth or last is None or seq == (last + 1) % _SEQUENCE:
            self.seq = seq
            self.missing.pop(seq, None)
            return Step()
        if seq == last:
            return Step()
        late = self.missing.pop(seq, None)
        if late is not None:
            return Step(filled=None if late in self.missing.values() else late)
        self.seq = seq
        gap = (before, received_us)
        # Backwards it is no skip but a node that began anew: which numbers are missing is not known.
        skipped = (seq - last - 1) % _SEQUENCE
        if skipped < _SEQUENCE // 2:
            self.missing |= {(last + 1 + step) % _SEQUENCE: gap for step in range(skipped)}
        return Step(gap=gap, ask=True)

    def may_ask(self, received_us: int) -> bool:
        """Whether it is time to ask for births: then note that it is done."""
        if self.asked_us and 0 <= received_us - self.asked_us < _ASK_AGAIN_US:
            return False
        self.asked_us = received_us
        return True


def bdseq_of(message: Any) -> int | None:  # noqa: ANN401 - a protobuf message
    """Return the number that ties a death to its birth; None without one."""
    for metric in message.metrics:
        if metric.name == BDSEQ:
            return int(metric.long_value or metric.int_value)
    return None
