"""The simulated oil field: what every device sends in any span of time, as a pure function of the seed.

The same seed gives the same reading at the same moment whether it is asked for in a month at once or second by second,
before or after a restart: behaviour is in closed form, instrument noise is a hash of tag and time, and a tag that
reports by exception begins afresh, with a report, in every heartbeat block of `HEARTBEAT_S` seconds.
"""

from __future__ import annotations

from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wellos.errors import ConfigurationError, Problem
from wellos.quality import from_opcua
from wellos.readings import empty, pack
from wellos.simulator import noise
from wellos.simulator.behaviour import FIRST_US
from wellos.simulator.faults import FaultPlan, Scans, apply
from wellos.simulator.model import Fault, SimTag, SimWell
from wellos.simulator.signals import Total, read
from wellos.simulator.wells import HEARTBEAT_S, roster

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wellos.readings import Readings
    from wellos.simulator.behaviour import Floats, State, WellBehaviour
    from wellos.simulator.instruments import Instrument

__all__ = ["Fault", "Field", "SimTag", "SimWell"]

_SECOND_US = 1_000_000
_BLOCK_US = HEARTBEAT_S * _SECOND_US
_BLOCKS_AT_ONCE = 288  # a day: bounds the memory of one step of a long range


class _Sent(NamedTuple):
    """Readings in the order in which they were sent, and when."""

    at: NDArray[np.int64]
    readings: Readings


class Field:
    """Wells of a seed, and what they send. Nothing in it changes with use but caches."""

    def __init__(
        self, *, seed: int, wells: int = 12, tags: int | None = None, start_us: int = FIRST_US, faults: bool = True
    ) -> None:
        """Lay out the field; `start_us` is the first moment of which anything is sent (from 2016 on)."""
        problems = []
        if seed < 0:
            problems.append(Problem("must not be negative", "Use 0 or more.", field="seed", value=seed))
        if start_us < FIRST_US:
            problems.append(
                Problem("the field has no wells before 2016", "Start later.", field="start", value=start_us)
            )
        if problems:
            raise ConfigurationError(problems)
        self.seed, self.start_us = seed, start_us
        entries = roster(seed, wells, tags)
        self.wells: tuple[SimWell, ...] = tuple(well for well, _, _ in entries)
        self.behaviours: tuple[WellBehaviour, ...] = tuple(behaviour for _, behaviour, _ in entries)
        self.instruments: tuple[tuple[Instrument, ...], ...] = tuple(instruments for _, _, instruments in entries)
        self._plan = FaultPlan(seed, self.wells) if faults else None
        self._block: dict[int, tuple[int, _Sent]] = {}

    def faults(self, start_us: int, end_us: int) -> list[Fault]:
        """Return the faults that show at any moment of [start, end): the ground truth."""
        return self._plan.between(max(start_us, self.start_us), end_us) if self._plan else []

    def samples(self, well: int, after_us: int, until_us: int, *, every_s: int | None = None) -> Readings:
        """Return what a well's device sends in (after, until], in the order of sending.

        `tag_id` is the index into `well.tags`, `status` an OPC UA status code; a reading without a value is NaN and
        BAD. `time` is the device's clock: behind the moment of sending while that is skewed. With `every_s`
        instruments are looked at no more often than that: the same readings, fewer. Do not write to what is returned.
        """
        after_us = max(after_us, self.start_us - 1)
        if until_us <= after_us:
            return empty()
        offset = self._offset_us(well)
        first = (after_us - offset) // _BLOCK_US
        count = -(-(until_us - offset) // _BLOCK_US) - first
        if every_s is None and count <= 2:
            pieces = [self._cached(well, block) for block in range(first, first + count)]
        else:
            starts = range(first, first + count, _BLOCKS_AT_ONCE)
            pieces = [self._send(well, at, min(_BLOCKS_AT_ONCE, first + count - at), every_s or 1) for at in starts]
        parts = []
        for piece in pieces:
            low, high = np.searchsorted(piece.at, (after_us, until_us), side="right")
            parts.append(piece.readings[low:high])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def measured(self, well: int, number: int, time_us: NDArray[np.int64]) -> Floats:
        """Return what one instrument shows at given moments, ascending, its own error included, faults left out."""
        return self._measure(well, number, self.behaviours[well].state(time_us), time_us)

    def _offset_us(self, well: int) -> int:
        # Spreads the wells' blocks over the heartbeat, so that a large field works a little every second.
        return well * 7919 % HEARTBEAT_S * _SECOND_US

    def _cached(self, well: int, block: int) -> _Sent:
        held = self._block.get(well)
        if held is None or held[0] != block:
            sent = self._send(well, block, 1, 1)
            sent.readings.setflags(write=False)
            held = self._block[well] = (block, sent)
        return held[1]

    @cached_property
    def _tag_keys(self) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(noise.key(self.seed, well.name, tag.name) for tag in well.tags) for well in self.wells)

    def _measure(self, well: int, number: int, state: State, time_us: NDArray[np.int64]) -> Floats:
        instrument = self.instruments[well][number]
        value = read(instrument.signal, state)
        if isinstance(instrument.signal, Total):
            counts = np.floor(value / instrument.resolution)
            turn = round(instrument.high / instrument.resolution)
            register: Floats = np.mod(counts, turn) * instrument.resolution
            return register
        error = noise.normal(self._tag_keys[well][number], time_us // _SECOND_US)
        error *= instrument.noise + instrument.noise_share * np.abs(value)
        steps = np.rint(np.clip(value + error, 0, instrument.high) / instrument.resolution)
        shown: Floats = steps * instrument.resolution
        return shown

    def _send(self, well: int, first: int, count: int, every_s: int) -> _Sent:
        """Work out everything sent in `count` heartbeat blocks."""
        begin = first * _BLOCK_US + self._offset_us(well)
        tags = self.wells[well].tags
        planned = self.faults(begin, begin + count * _BLOCK_US + 1)
        mine = [fault for fault in planned if fault.well == well]
        scan_of = [max(tag.scan_s, every_s) for tag in tags]
        order = sorted(range(len(tags)), key=scan_of.__getitem__)
        parts = []
        for scan_s, numbers in groupby(order, key=scan_of.__getitem__):
            scans = self._scan(well, np.array(list(numbers)), begin, scan_s, count)
            for fault in mine:
                apply(fault, scans, tags, lambda number, at: float(self.measured(well, number, np.array([at]))[0]))
            if tags[0].mode == "rbe":
                _report_by_exception(scans, np.array([tags[number].deadband for number in scans.numbers]), count)
            parts.append(_packed(scans))
        at = np.concatenate([part.at for part in parts])
        readings = np.concatenate([part.readings for part in parts])
        by_time = np.argsort(at, kind="stable")
        return _Sent(at[by_time], readings[by_time])

    def _scan(self, well: int, numbers: NDArray[np.int64], begin: int, scan_s: int, blocks: int) -> Scans:
        step = scan_s * _SECOND_US
        time = (begin // step + 1) * step + step * np.arange(blocks * HEARTBEAT_S // scan_s)
        state = self.behaviours[well].state(time)
        value = np.stack([self._measure(well, int(number), state, time) for number in numbers])
        shape = value.shape
        return Scans(
            numbers, time, value, np.zeros(shape, np.uint32), np.ones(shape, np.bool_), np.zeros(shape[1], np.int64)
        )


def _report_by_exception(scans: Scans, deadband: Floats, blocks: int) -> None:
    """Keep what a device reports: the first scan of each block, then each that left the deadband or changed status."""
    shape = (scans.numbers.size, blocks, -1)
    value, status, sent = scans.value.reshape(shape), scans.status.reshape(shape), scans.sent.reshape(shape)
    last = np.full(shape[:2], np.nan)
    last_status = np.zeros(shape[:2], np.uint32)
    spoken = np.zeros(shape[:2], np.bool_)
    for scan in range(value.shape[2]):
        now, code, alive = value[:, :, scan], status[:, :, scan], sent[:, :, scan]
        # Half a resolution step of slack: quantised values differ by whole steps, give or take a rounding error.
        moved = np.abs(now - last) > deadband[:, None] + 1e-9
        report = alive & (~spoken | moved | (code != last_status))
        np.copyto(last, now, where=report)
        np.copyto(last_status, code, where=report)
        spoken |= report
        sent[:, :, scan] = report


def _packed(scans: Scans) -> _Sent:
    column, row = np.nonzero(scans.sent.T)
    status = scans.status[row, column]
    at = scans.time[column]
    readings = pack(at - scans.lag[column], scans.value[row, column], scans.numbers[row], from_opcua(status), status)
    return _Sent(at, readings)
