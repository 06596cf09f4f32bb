"""What an instrument measures of a well's state: rates, totals, levels and things that turn, each read perfectly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from wellos.simulator.behaviour import Floats, State

__all__ = ["Fillage", "Level", "Rate", "Running", "Signal", "Total", "read"]


@dataclass(frozen=True, slots=True)
class Rate:
    """A metered rate: the phase's true rate times the meter's factor."""

    phase: str
    factor: float


@dataclass(frozen=True, slots=True)
class Total:
    """The same meter's totaliser, from an arbitrary first count."""

    phase: str
    factor: float
    first: float


@dataclass(frozen=True, slots=True)
class Level:
    """A pressure, temperature or the like: one value flowing, one shut in, and the well's waves on top."""

    flowing: float
    shut_in: float
    swing: Floats
    """In the unit of the level."""
    rise_days: float
    fall_days: float


@dataclass(frozen=True, slots=True)
class Running:
    """Something that turns: nothing at rest, an inrush at the start, then its value with waves and strokes."""

    value: float
    swing: Floats
    """As a share of the value."""
    stroke: float = 0.0
    strokes_a_minute: float = 0.0
    inrush: float = 0.0
    follows_speed: float = 0.0
    """Power of the segment's speed."""


@dataclass(frozen=True, slots=True)
class Fillage:
    """Pump fillage: full after a rest, falling as the pump outruns the inflow; at rest the last card's."""

    full: float
    pumped_off: float
    swing: Floats


Signal: TypeAlias = Rate | Total | Level | Running | Fillage


def read(signal: Signal, state: State) -> Floats:
    """Return what a perfect instrument would show at the state's moments."""
    match signal:
        case Rate():
            return state.rate(signal.phase) * signal.factor
        case Total():
            return state.produced(signal.phase) * signal.factor + signal.first
        case Level():
            built = state.build_up(signal.rise_days, signal.fall_days)
            swing = (state.basis @ signal.swing) * (1 - 0.95 * built)  # a well shut in does not slug
            level: Floats = signal.flowing + (signal.shut_in - signal.flowing) * built + swing
            return level
        case Running():
            return _running(signal, state)
        case Fillage():
            return _fillage(signal, state)


def _running(signal: Running, state: State) -> Floats:
    value: Floats = signal.value * (1 + state.basis @ signal.swing)
    if signal.follows_speed:
        value *= state.speed**signal.follows_speed
    if signal.stroke:
        value += signal.stroke * np.sin(2 * np.pi * signal.strokes_a_minute * 1440 * state.t)
    if signal.inrush:
        value *= 1 + signal.inrush * np.exp(-state.since_start * 1440 / 3)
    return np.where(state.running, np.maximum(value, 0), 0.0)


def _fillage(signal: Fillage, state: State) -> Floats:
    within = np.minimum(state.phase / state.well.duty, 1.0) if state.well.duty < 1 else 0.3
    card = signal.full + (signal.pumped_off - signal.full) * within**1.5 + state.basis @ signal.swing
    return np.where(state.on, np.clip(card, 0, 100), 0.0)
