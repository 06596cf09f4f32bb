from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from streaming.adapters.schedule import Due, next_due, sleep_until
from wellos.clock import ScaledClock, WallClock

micros = st.integers(0, 10**16)
intervals = st.integers(1, 10**9)


def test_on_time_is_the_next_multiple() -> None:
    assert next_due(100, 101, 50) == Due(150, 0, 150)
    assert next_due(100, 149, 50) == Due(150, 0, 150)


def test_late_polls_the_latest_and_names_the_missed() -> None:
    assert next_due(100, 150, 50) == Due(150, 0, 150)
    assert next_due(100, 199, 50) == Due(150, 0, 150)
    assert next_due(100, 310, 50) == Due(300, 3, 150)


def test_a_clock_that_steps_back_waits() -> None:
    assert next_due(1000, 10, 50) == Due(1050, 0, 1050)


@given(micros, micros, intervals)
def test_due_times_are_multiples_and_every_one_is_polled_or_missed(last: int, now: int, interval: int) -> None:
    last = last // interval * interval
    due = next_due(last, now, interval)
    assert due.next_us % interval == 0
    assert due.next_us > last
    assert due.next_us == last + (due.missed + 1) * interval
    assert due.next_us <= max(now, last + interval)
    assert due.missed == 0 or due.first_missed_us == last + interval


async def test_sleeps_at_the_pace_of_the_platform() -> None:
    wall = WallClock().micros()
    clock = ScaledClock(wall - 10**12, wall, 1000.0)
    due = clock.micros() + 50_000_000
    assert await sleep_until(clock, due, asyncio.Event())
    assert due <= clock.micros() < due + 3600 * 10**6


async def test_a_clock_that_is_set_back_or_a_wake_ends_the_wait() -> None:
    class SetBack(WallClock):
        shift_us = 0

        def micros(self) -> int:
            self.shift_us -= 3_600_000_000
            return super().micros() + self.shift_us

    clock = SetBack()
    assert not await sleep_until(clock, clock.micros() + 10**7, asyncio.Event())
    wake = asyncio.Event()
    wake.set()
    assert not await sleep_until(WallClock(), WallClock().micros() + 10**9, wake)
    assert not await sleep_until(WallClock(), 0, wake), "also when it is due: what woke it comes first"
