"""How sure a process may be of its leases: after a renewal, after a failure, after it stood still."""

from __future__ import annotations

import asyncio

from streaming.lease_table import Lease
from streaming.leases import Tenure
from wellos.clock import WallClock


class Clock(WallClock):
    """A monotonic clock that a test moves."""

    seconds = 100.0

    def monotonic(self) -> float:
        return self.seconds


async def is_sure(tenure: Tenure) -> bool:
    task = asyncio.create_task(tenure.sure())
    await asyncio.sleep(0.01)
    done = task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return done


async def test_sure_after_a_renewal_until_it_is_old() -> None:
    clock = Clock()
    tenure = Tenure(clock, 10.0, {})
    assert not await is_sure(tenure)
    await tenure.renewed(tenure.begin())
    assert await is_sure(tenure)
    clock.seconds += 9.5
    assert not await is_sure(tenure)
    assert tenure.wake.is_set()


async def test_sure_while_the_database_is_away() -> None:
    clock = Clock()
    tenure = Tenure(clock, 10.0, {})
    await tenure.renewed(tenure.begin())
    for _ in range(5):  # each attempt takes six seconds, and the next begins three later
        clock.seconds += 3
        started = tenure.begin()
        clock.seconds += 5.9
        assert await is_sure(tenure)
        await tenure.failed(started)
        assert await is_sure(tenure)
    clock.seconds += 30
    assert not await is_sure(tenure)


async def test_an_attempt_from_before_standing_still_says_nothing() -> None:
    clock = Clock()
    tenure = Tenure(clock, 10.0, {})
    started = tenure.begin()
    clock.seconds += 60
    waiting = asyncio.create_task(tenure.sure())
    await asyncio.sleep(0.01)
    await tenure.renewed(started)
    await asyncio.sleep(0.01)
    assert not waiting.done()
    await tenure.renewed(tenure.begin())
    await asyncio.wait_for(waiting, 90)


async def test_to_confirm_is_to_ask_anew() -> None:
    tenure = Tenure(Clock(), 10.0, {})
    started = tenure.begin()
    waiting = asyncio.create_task(tenure.confirm())
    await asyncio.sleep(0.01)
    await tenure.renewed(started)
    await asyncio.sleep(0.01)
    assert not waiting.done()
    await tenure.renewed(tenure.begin())
    await asyncio.wait_for(waiting, 90)


def test_frames_carry_the_term_under_which_they_were_read() -> None:
    tenure = Tenure(Clock(), 10.0, {1: 7})
    tenure.claim({2: Lease(65_536)})
    assert [tenure.frame_term(key) for key in (1, 2, 3)] == [7, 1, 0]
    tenure.drop({1})
    assert tenure.held == {2: 65_536}
    assert tenure.frame_term(1) == 7
