"""Polling at fixed times of the platform's clock: due times are multiples of the interval, so that nothing drifts."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wellos.clock import pace

if TYPE_CHECKING:
    from wellos.clock import Clock

__all__ = ["Due", "next_due", "sleep_until"]

_LONGEST_NAP_S = 1.0
_SHORTEST_NAP_S = 0.001


@dataclass(frozen=True, slots=True)
class Due:
    """What `next_due` found: when to poll next, and the due times that have gone by without a poll."""

    next_us: int
    missed: int
    first_missed_us: int


def next_due(last_us: int, now_us: int, interval_us: int) -> Due:
    """Return the due time after `last_us` that can still be met at `now_us`.

    The latest due time that has passed is still met, late; the ones before it are missed.
    """
    following = (last_us // interval_us + 1) * interval_us
    latest = now_us // interval_us * interval_us
    missed = max(0, (latest - following) // interval_us)
    return Due(max(following, latest), missed, following)


async def sleep_until(clock: Clock, due_us: int, wake: asyncio.Event) -> bool:
    """Wait until the platform's clock shows `due_us`, whatever its pace against the machine's; return true then.

    False: `wake` was set, or the clock was set back, so that the due time has to be reckoned anew.
    """
    rate = pace(clock)
    least = due_us - clock.micros()
    while (left := due_us - clock.micros()) > 0:
        if wake.is_set() or left > least:
            return False
        least = left
        before_us, before = clock.micros(), clock.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(max(left / 1e6 / rate, _SHORTEST_NAP_S), _LONGEST_NAP_S / max(rate, 1.0))):
                await wake.wait()
        elapsed = clock.monotonic() - before
        if elapsed > 0:
            rate = max((clock.micros() - before_us) / 1e6 / elapsed, 1e-6)
    return not wake.is_set()
