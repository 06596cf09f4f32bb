"""Runs an iterator one item ahead of who reads it, in a thread of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["prefetched"]

T = TypeVar("T")


@contextmanager
def prefetched(items: Iterator[T]) -> Iterator[Iterator[T]]:
    """Yield the same items; the next is made while one is worked on. An exception in making it is raised here.

    When the block ends the thread has too, at the item it was at.
    """
    with ThreadPoolExecutor(1, "prefetch") as thread:

        def ahead() -> Iterator[T]:
            coming = thread.submit(next, items, None)
            while (item := coming.result()) is not None:
                coming = thread.submit(next, items, None)
                yield item

        yield ahead()
