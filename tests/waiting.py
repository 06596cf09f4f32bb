"""Waits for something to come true, for tests of processes that take their time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def eventually(check: Callable[[], bool], timeout_s: float = 90) -> None:
    """Return once `check()` is true; AssertionError when it never comes true."""
    deadline = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)
