"""How a well flows: decline, stops and starts, slugging and pump cycles, and the exact integral of its rates.

A well produces in segments between stops. In segment i, which starts at s_i, a phase flows at

    q * exp(-D (t - c)) * f_i * [1 + h_i exp(-u/T1) - (1 + h_i) exp(-u/T2)] * [1 + sum_k a_k cos w_k t + b_k sin w_k t]

with u = t - s_i: exponential decline since the last workover c, the segment's speed, flush production after a stop, and
slugging, daily and slow swings as a sum of waves. Every factor is an exponential, so the volume produced is known in
closed form for any moment, and a totaliser needs no memory. Time is in days since `EPOCH_US`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from wellos.simulator import noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DAY_US", "EPOCH_US", "FIRST_US", "Floats", "Flow", "Segments", "State", "WellBehaviour"]

Floats: TypeAlias = "NDArray[np.float64]"

DAY_US = 86_400_000_000
EPOCH_US = 1_448_928_000_000_000  # 2015-12-01 UTC: where time is counted from
FIRST_US = 1_451_606_400_000_000  # 2016-01-01 UTC: the first day of the field; every well has started by then

_FLUSH_DAYS = 0.15
_RAMP_DAYS = 8 / 1440
_SEGMENTS_A_BLOCK = 64
_SEGMENTS_A_CYCLE = 60  # a workover, and decline anew, after so many stops


@dataclass(frozen=True, slots=True)
class Flow:
    """One phase: its rate a day at the start of a cycle of decline, its decline a day, and its swings."""

    rate: float
    decline: float
    swing: Floats
    """Cosine, then sine coefficients of the well's waves; their absolute sum stays below 1."""


@dataclass(frozen=True, slots=True)
class Segments:
    """Consecutive segments: the stop before each, its start, and what is constant in it."""

    first: int
    stop: Floats
    """When the well stopped."""
    start: Floats
    """When it produced again."""
    end: Floats
    """When it stops next."""
    speed: Floats
    flush: Floats
    cycle: Floats
    """Start of the cycle of decline."""


@dataclass(frozen=True, eq=False)
class WellBehaviour:
    """One well's character; every method is a pure function of time."""

    key: int
    period: float
    """Mean days between stops."""
    waves: Floats
    """Angular frequencies, radians a day."""
    speed_spread: float
    """Half the range of a segment's speed about 1."""
    flows: dict[str, Flow]
    duty: float = 1.0
    """Share of a pump cycle (the first wave) during which the pump runs; 1 runs always."""
    _produced: dict[str, Floats] = field(default_factory=dict, repr=False)

    def segments(self, first: int, count: int) -> Segments:
        """Return `count` segments from number `first` on."""
        index = np.arange(first, first + count + 1)
        stop = (index + 0.15 + 0.7 * noise.uniform(self.key ^ 1, index)) * self.period
        start = stop + self._stop_days(index)
        index, end = index[:-1], stop[1:]
        speed: Floats = 1 + self.speed_spread * (2 * noise.uniform(self.key ^ 2, index) - 1)
        shift = self.key % _SEGMENTS_A_CYCLE
        workover = (index + shift) // _SEGMENTS_A_CYCLE * _SEGMENTS_A_CYCLE - shift
        cycle = workover.astype(np.float64) * self.period
        flush: Floats = np.minimum(0.5, 0.6 * (start - stop))[:-1]
        return Segments(first, stop[:-1], start[:-1], end, speed, flush, cycle)

    def _stop_days(self, index: NDArray[np.int64]) -> Floats:
        # Most stops are trips of half an hour to four hours, some a shift, a few wait for a rig. None outlasts a
        # fifth of the period: with the jitter of the stops this keeps segments apart.
        kind, length = noise.uniform(self.key ^ 3, index), noise.uniform(self.key ^ 4, index)
        hours = np.where(
            kind < 0.65, 0.5 * 8.0**length, np.where(kind < 0.92, 5.0 + 9.0 * length, 18.0 + 14.0 * length)
        )
        return np.minimum(hours / 24, 0.2 * self.period)

    def segment_of(self, t: Floats) -> NDArray[np.int64]:
        """Return the number of the segment (with the stop before it) that each moment is in."""
        index = np.floor(t / self.period).astype(np.int64)
        stop = (index + 0.15 + 0.7 * noise.uniform(self.key ^ 1, index)) * self.period
        return index - (t < stop)

    def stops(self, after: float, until: float) -> list[tuple[float, float]]:
        """Return (stop, restart) of stops that ended in (after, until], in days."""
        first, last = self.segment_of(np.array([after, until]))
        s = self.segments(int(first), int(last - first) + 1)
        ended = (s.start > after) & (s.start <= until)
        return list(zip(s.stop[ended].tolist(), s.start[ended].tolist(), strict=True))

    def basis(self, t: Floats) -> Floats:
        """Return cosine and sine of every wave: one row a moment."""
        angle = np.multiply.outer(t, self.waves)
        return np.concatenate([np.cos(angle), np.sin(angle)], axis=1)

    def state(self, time_us: NDArray[np.int64]) -> State:
        """Return everything known of the well at each moment (microseconds UTC), computed as it is asked for."""
        return State(self, (time_us - EPOCH_US) / DAY_US)

    @cached_property
    def _decays(self) -> Floats:
        return np.array([0.0, 1 / _FLUSH_DAYS, 1 / _RAMP_DAYS])

    def transient(self, u: Floats, flush: Floats) -> tuple[Floats, Floats]:
        """Return the decaying exponentials of a start-up (moments x 3) and their weights."""
        decay = np.exp(-np.multiply.outer(u, self._decays))
        weight = np.stack([np.ones_like(flush), flush, -(1 + flush)], axis=1)
        return decay, weight

    def antiderivative(self, flow: Flow, t: Floats, since: Floats, cycle: Floats, flush: Floats) -> Floats:
        """Return the integral of a phase's rate at speed 1, up to a constant of its segment."""
        rho = flow.decline + self._decays
        cosine, sine = np.split(flow.swing, 2)
        square = rho[:, None] ** 2 + self.waves**2
        of_cos = (-rho[:, None] * cosine - self.waves * sine) / square
        of_sin = (self.waves * cosine - rho[:, None] * sine) / square
        decay, weight = self.transient(t - since, flush)
        inner = self.basis(t) @ np.concatenate([of_cos, of_sin], axis=1).T - 1 / rho
        total: Floats = flow.rate * np.exp(-flow.decline * (t - cycle)) * np.sum(decay * weight * inner, axis=1)
        return total

    def volumes(self, flow: Flow, first: int, count: int) -> Floats:
        """Return what each segment produces in all."""
        s = self.segments(first, count)
        at_start = self.antiderivative(flow, s.start, s.start, s.cycle, s.flush)
        at_end = self.antiderivative(flow, s.end, s.start, s.cycle, s.flush)
        volume: Floats = s.speed * (at_end - at_start)
        return volume

    def produced_before(self, phase: str, first: int, count: int) -> Floats:
        """Return the volume produced from segment 0 up to the start of each of `count` segments from `first` on."""
        table = self._produced.get(phase, np.zeros(1))
        while table.size < first + count:
            # Blocks of a fixed size, summed in order: the table is the same however far it was asked for at first.
            block = self.volumes(self.flows[phase], table.size - 1, _SEGMENTS_A_BLOCK)
            table = np.concatenate([table[:-1], np.cumsum(np.concatenate([table[-1:], block]))])
            self._produced[phase] = table
        return table[first : first + count]


class State:
    """A well at given moments: each quantity an array over them."""

    def __init__(self, well: WellBehaviour, t: Floats) -> None:
        """`t`: days since `EPOCH_US`, ascending."""
        self.well, self.t = well, t
        index = well.segment_of(t)
        first = int(index[0]) if index.size else 0
        count = int(index[-1]) - first + 1 if index.size else 1
        self.segments, self.at = well.segments(first, count), index - first
        s = self.segments
        self.start = s.start[self.at]
        self.on = t >= self.start
        self.since_start = np.maximum(t - self.start, 0.0)
        self.since_stop = t - s.stop[self.at]
        """Keeps growing after the restart."""
        self.stopped_for = np.minimum(self.since_stop, (s.start - s.stop)[self.at])
        """Length of the present stop so far, or of the last one."""
        self.speed = s.speed[self.at]
        self._built: dict[tuple[float, float], Floats] = {}

    @cached_property
    def basis(self) -> Floats:
        """Cosine and sine of every wave."""
        return self.well.basis(self.t)

    @cached_property
    def phase(self) -> Floats:
        """Where the pump is in its cycle of running and resting, 0 to 1."""
        turns: Floats = self.t * (self.well.waves[0] / (2 * np.pi))
        within: Floats = turns - np.floor(turns)
        return within

    @cached_property
    def running(self) -> NDArray[np.bool_]:
        """The pump runs: the well is on and not waiting for inflow."""
        running: NDArray[np.bool_] = self.on & (self.phase < self.well.duty) if self.well.duty < 1 else self.on
        return running

    @cached_property
    def _ramp(self) -> Floats:
        decay, weight = self.well.transient(self.since_start, self.segments.flush[self.at])
        shape: Floats = np.sum(decay * weight, axis=1) * self.speed * self.on
        return shape

    def build_up(self, rise_days: float, fall_days: float) -> Floats:
        """Return how far a stop has taken the well from flowing (0) to shut in (1): hyperbolic, then an exponential."""
        if (rise_days, fall_days) not in self._built:
            rise = self.stopped_for / (self.stopped_for + rise_days)
            self._built[rise_days, fall_days] = rise * np.exp(-self.since_start / fall_days)
        return self._built[rise_days, fall_days]

    def rate(self, phase: str) -> Floats:
        """Return a phase's true rate, units a day."""
        flow = self.well.flows[phase]
        decline = np.exp(-flow.decline * (self.t - self.segments.cycle[self.at]))
        shape: Floats = flow.rate * decline * self._ramp * (1 + self.basis @ flow.swing)
        return shape

    def produced(self, phase: str) -> Floats:
        """Return the true volume produced since the field's first day: the integral of `rate`, exactly."""
        s, well, flow = self.segments, self.well, self.well.flows[phase]
        at_start = well.antiderivative(flow, s.start, s.start, s.cycle, s.flush)
        now = np.maximum(self.t, self.start)
        partial = well.antiderivative(flow, now, self.start, s.cycle[self.at], s.flush[self.at]) - at_start[self.at]
        before = well.produced_before(phase, s.first, s.stop.size)
        total: Floats = before[self.at] + self.speed * partial
        return total
