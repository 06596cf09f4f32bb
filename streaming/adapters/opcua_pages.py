"""How far history was read, node by node, from whatever a server's continuation points are worth: pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wellos.clock import to_micros

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncua import ua

__all__ = ["MOST_NODES", "VALUES_AT_ONCE", "Cursor", "group_size"]

VALUES_AT_ONCE = 500
"""Most values in one answer: what is decoded in one piece, while live changes wait."""
MOST_NODES = 50
"""Most nodes in one request."""
_MOST_EMPTY = 3
_MOST_VALUES = 1_000_000


def group_size(span_us: int, interval_s: float, most: int = MOST_NODES) -> int:
    """Return how many nodes are asked at once, so that what a span may hold fits one answer."""
    expected = max(1.0, span_us / 1e6 / max(interval_s, 0.001))
    return max(1, min(most, int(VALUES_AT_ONCE / expected)))


@dataclass(slots=True)
class Cursor:
    """One node's way through its history."""

    handle: int
    node: ua.NodeId
    start_us: int
    end_us: int
    more: bytes | None = None
    """Continuation point of the next page."""
    ended: bool = False
    endless: bool = False
    """Given up: the server goes on without end."""
    _values: int = 0
    _empty: int = 0

    def turn(self, values: Sequence[ua.DataValue], more: bytes | None, most: int) -> None:
        """Take note of a page of at most `most` values.

        Some servers fill a page and give no continuation point: then it goes on from the last value's time.
        """
        self._values += len(values)
        self._empty = 0 if values else self._empty + 1
        if self._values > _MOST_VALUES or self._empty > _MOST_EMPTY:
            self.ended = self.endless = True
            return
        self.more = more
        if more is not None:
            return
        last_us = _newest(values)
        if len(values) < most or last_us is None or last_us >= self.end_us:
            self.ended = True
        else:
            self.start_us = max(last_us, self.start_us + 1)


def _newest(values: Sequence[ua.DataValue]) -> int | None:
    times: list[Any] = [value.SourceTimestamp for value in values if value.SourceTimestamp is not None]
    return to_micros(max(times)) if times else None
