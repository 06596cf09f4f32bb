"""The history of the simulated OPC UA server: worked out anew from the field for any past span, page by page."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np
from asyncua import ua
from asyncua.server.history import HistoryManager
from asyncua.ua.status_codes import StatusCodes

from wellos.clock import to_micros
from wellos.simulator.wells import HEARTBEAT_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asyncua.server.internal_server import InternalServer

    from wellos.readings import Readings

__all__ = ["History", "Past", "Recorded"]

_BLOCK_US = HEARTBEAT_S * 1_000_000
_BLOCKS_A_PAGE = 100
_MOST_VALUES = 1000
_MOST_LAG_US = 901_000_000
"""A device's clock is behind its moment of sending by no more than this."""
_BLOCKS_KEPT = 256


class Past(Protocol):
    """Where the past comes from."""

    def now_us(self) -> int:
        """Platform time: nothing later is known."""
        ...

    def samples(self, well: int, after_us: int, until_us: int) -> Readings:
        """Return what a well (by its position on the server) sent in (after, until]."""
        ...


@dataclass(frozen=True, slots=True)
class Recorded:
    """Which well and tag a node shows."""

    well: int
    tag: int


class History(HistoryManager):
    """Answers HistoryRead of raw values. A continuation point is the next block of sending, and how far into it."""

    def __init__(
        self,
        server: InternalServer,
        past: Past,
        nodes: Mapping[ua.NodeId, Recorded],
        to_value: Callable[[int, float, int], ua.DataValue],
    ) -> None:
        """`to_value` makes (source time, value, status code) what the server shows."""
        super().__init__(server)
        self._past, self._nodes, self._to_value = past, nodes, to_value
        self._block = lru_cache(_BLOCKS_KEPT)(self._computed)
        self.reads = 0
        """Nodes asked for."""

    async def read_history(self, params: ua.HistoryReadParameters) -> list[ua.HistoryReadResult]:
        """Answer each node."""
        if params.ReleaseContinuationPoints:
            return [ua.HistoryReadResult() for _ in params.NodesToRead]
        return [self._read(params.HistoryReadDetails, wanted) for wanted in params.NodesToRead]

    def _read(self, details: object, wanted: ua.HistoryReadValueId) -> ua.HistoryReadResult:
        self.reads += 1
        recorded = self._nodes.get(wanted.NodeId)
        if recorded is None:
            return _refusal(StatusCodes.BadNodeIdUnknown)
        if not isinstance(details, ua.ReadRawModifiedDetails) or details.IsReadModified:
            return _refusal(StatusCodes.BadHistoryOperationUnsupported)
        start_us, end_us = to_micros(details.StartTime), to_micros(details.EndTime)
        first, skip = start_us // _BLOCK_US, 0
        if wanted.ContinuationPoint:
            first, skip = map(int, wanted.ContinuationPoint.split(b":"))
        most = min(int(details.NumValuesPerNode) or _MOST_VALUES, _MOST_VALUES)
        values: list[ua.DataValue] = []
        point = None
        last = min(end_us + _MOST_LAG_US, self._past.now_us()) // _BLOCK_US
        for block in range(first, last + 1):
            if len(values) >= most or block >= first + _BLOCKS_A_PAGE:
                point = b"%d:%d" % (block, skip)
                break
            found = self._of(recorded, block, start_us, end_us)[skip:]
            taken = found[: most - len(values)]
            columns = (taken["time"].tolist(), taken["value"].tolist(), taken["status"].tolist())
            values += [self._to_value(*row) for row in zip(*columns, strict=True)]
            if len(taken) < len(found):
                point = b"%d:%d" % (block, skip + len(taken))
                break
            skip = 0
        return ua.HistoryReadResult(ContinuationPoint=point, HistoryData=ua.HistoryData(DataValues=values))

    def _of(self, recorded: Recorded, block: int, start_us: int, end_us: int) -> Readings:
        sent = self._block(recorded.well, block)
        time, until = sent["time"], min(end_us, self._past.now_us())
        chosen: Readings = sent[(sent["tag_id"] == recorded.tag) & (time >= start_us) & (time <= until)]
        return chosen

    def _computed(self, well: int, block: int) -> Readings:
        begin = block * _BLOCK_US
        samples = self._past.samples(well, begin, begin + _BLOCK_US)
        return samples[np.argsort(samples["time"], kind="stable")]


def _refusal(code: int) -> ua.HistoryReadResult:
    return ua.HistoryReadResult(StatusCode=ua.StatusCode(ua.UInt32(code)))
