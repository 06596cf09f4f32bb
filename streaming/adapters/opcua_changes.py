"""Data changes as columns: what publish responses decode to, and what readings are made of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["DataChanges"]


@dataclass(frozen=True, slots=True)
class DataChanges:
    """Monitored item notifications, a row each, in the order in which they came.

    The columns of a row in `others` say nothing but the handle: what is no plain number is the library's own object.
    """

    handle: NDArray[np.int64]
    value: NDArray[np.float64]
    """NaN: none was sent."""
    status: NDArray[np.uint32]
    source: NDArray[np.int64]
    """Ticks of 100 ns since 1601, as sent; 0 for none."""
    server: NDArray[np.int64]
    others: dict[int, Any]
    body: bytes = b""
    offset: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Where in `body` each row that is not in `others` begins."""

    @classmethod
    def empty(cls, count: int) -> DataChanges:
        """Return rows to be filled in."""
        times = np.zeros(count, np.int64), np.zeros(count, np.int64)
        columns = np.zeros(count, np.int64), np.full(count, np.nan), np.zeros(count, np.uint32), *times
        return cls(*columns, {}, offset=np.zeros(count, np.int64))

    @classmethod
    def of(cls, items: Sequence[ua.MonitoredItemNotification]) -> DataChanges:
        """Hold what the library decoded."""
        made = cls.empty(len(items))
        made.handle[:] = [item.ClientHandle for item in items]
        return replace(made, others=dict(enumerate(items)))

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.handle)

    def item(self, row: int) -> ua.MonitoredItemNotification:
        """Return one row as the library's object."""
        found = self.others.get(row)
        return found or struct_from_binary(ua.MonitoredItemNotification, Buffer(self.body, int(self.offset[row])))

    def without(self, handle: int) -> DataChanges:
        """Leave out the rows of a handle."""
        kept = self.handle != handle
        if kept.all():
            return self
        others = {new: self.others[old] for new, old in enumerate(np.flatnonzero(kept).tolist()) if old in self.others}
        times = self.source[kept], self.server[kept]
        columns = self.handle[kept], self.value[kept], self.status[kept], *times
        return DataChanges(*columns, others, self.body, self.offset[kept])
