"""Waiting for something that nobody announces, such as room in a library's queue, without spinning."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["until"]

_LOOK_AGAIN_S = 0.5


async def until(condition: Callable[[], object], every_s: float = _LOOK_AGAIN_S) -> None:
    """Return as soon as the condition holds, looking every so many seconds."""
    while not condition():  # noqa: ASYNC110 - the state belongs to a library that has no event for it
        await asyncio.sleep(every_s)
