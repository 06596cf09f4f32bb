"""A thread of one's own for blocking work that must never wait behind anybody else's."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Worker"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Worker:
    """One thread, started by the first call; calls run one after the other."""

    def __init__(self, name: str) -> None:
        """`name` is the thread's, as debuggers show it."""
        self._pool = ThreadPoolExecutor(1, name)

    async def run(self, call: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Run `call` on the thread and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: call(*args, **kwargs))
