"""Poll times of the Modbus adapter over platform time: no drift over hours, every due time polled or in a gap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streaming.adapters.schedule import Due, next_due
from streaming.delivery import Status
from tests.adapters.test_modbus_adapter import device
from tests.clocks import HeldClock
from tests.fix_adapters import Collector, make_connection, make_tag, running
from wellos.clock import ScaledClock, WallClock

if TYPE_CHECKING:
    import pytest

    from streaming.delivery import Gap

SPEED = 1200


def covered(gaps: list[Gap], interval_us: int) -> set[int]:
    """Due times named by gaps: each from the first that was missed to the one that was polled again."""
    return {due for gap in gaps for due in range(gap.start_us // interval_us, gap.end_us // interval_us)}


async def test_an_hour_in_three_seconds_without_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    """15 s and 60 s tags of one device at 1,200 times the machine's pace."""
    met: dict[int, list[int]] = {}

    def noted(last_us: int, now_us: int, interval_us: int) -> Due:
        due = next_due(last_us, now_us, interval_us)
        met.setdefault(interval_us, []).append(due.next_us)
        return due

    monkeypatch.setattr("streaming.adapters.modbus.next_due", noted)
    clock = ScaledClock(0, WallClock().micros(), SPEED)
    collector, status = Collector(), Status()
    async with device() as one:
        tags = [
            make_tag(1, "1:holding:5:uint16", interval_s=15.0),
            make_tag(2, "1:holding:6:uint16", interval_s=60.0),
        ]
        connection = make_connection("modbus", {"host": "127.0.0.1", "port": one.port}, tags)
        async with running(connection, collector, status, clock):
            await collector.until(
                lambda: (
                    bool(min(len(collector.of(tag)) for tag in (1, 2)))
                    and min(collector.of(tag)["time"].max() for tag in (1, 2)) >= 3600 * 10**6
                )
            )
    for tag_id, interval_us in ((1, 15_000_000), (2, 60_000_000)):
        times = collector.of(tag_id)["time"]
        dues = np.array(met[interval_us][: len(times)]) // interval_us
        polled = set(dues.tolist())
        missed = covered([gap for gap in collector.gaps if gap.tag_id == tag_id], interval_us)
        assert len(times) == len(polled), "each due time is polled once"
        assert (times >= dues * interval_us).all(), "never early"
        assert set(range(dues[0], dues[-1] + 1)) == polled | {due for due in missed if dues[0] <= due <= dues[-1]}
        assert len(dues) > 1


async def test_a_slow_device_is_an_overrun_and_a_full_pipeline_is_not() -> None:
    clock, collector, status = HeldClock(), Collector(), Status()

    class Slow(list[Any]):
        def append(self, request: object) -> None:
            clock.advance(0.12)
            super().append(request)

    async with device() as one:
        one.requests = Slow()
        tags = [make_tag(1, "1:holding:5:uint16", interval_s=0.05)]
        connection = make_connection("modbus", {"host": "127.0.0.1", "port": one.port}, tags)
        async with running(connection, collector, status, clock):
            await collector.until(lambda: len(collector.gaps) > 0)
            assert {gap.reason for gap in collector.gaps} == {"poll_overrun"}
            assert status.missed_polls >= 1


async def test_a_clock_set_back_does_not_stop_the_polls() -> None:
    class Settable(WallClock):
        back_us = 0

        def micros(self) -> int:
            return super().micros() - self.back_us

    clock, collector = Settable(), Collector()
    async with device() as one:
        tags = [make_tag(1, "1:holding:5:uint16", interval_s=0.1)]
        connection = make_connection("modbus", {"host": "127.0.0.1", "port": one.port}, tags)
        async with running(connection, collector, Status(), clock):
            await collector.until(lambda: len(collector.readings) >= 3)
            clock.back_us = 3600 * 10**6
            seen = len(collector.readings)
            await collector.until(lambda: len(collector.readings) >= seen + 3)
    times = collector.readings["time"]
    assert times[-1] < times[0]
