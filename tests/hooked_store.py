"""A cold store in which something happens at a named point, and an archiver that is killed there.

Run as `python -m tests.hooked_store TENANT DAY POINT`: archives the day by the settings of the environment and kills
itself with SIGKILL at the point.
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import date
from typing import TYPE_CHECKING

from wellos.archive.archiving import archive_day
from wellos.settings import load_settings
from wellos.storage.cold.opening import open_cold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from wellos.readings import Readings
    from wellos.storage.cold import Checksum, ColdRead, ColdStore, Copy, Inventory

POINTS = ("write", "piece", "last piece", "written", "checksum", "added up")


class HookedStore:
    """Passes everything on to a real store, and calls what is named after a point when it comes to it."""

    def __init__(self, store: ColdStore, hooks: Mapping[str, Callable[[], object]]) -> None:
        self.store, self.name = store, store.name
        self.hooks = dict(hooks)

    def _at(self, point: str) -> None:
        self.hooks.get(point, lambda: None)()

    def ready(self, *, writing: bool) -> None:
        self.store.ready(writing=writing)

    def write(self, tenant: str, day: date, pieces: Iterable[Readings], key: str) -> Copy:
        self._at("write")
        copy = self.store.write(tenant, day, self._passed(pieces), key)
        self._at("written")
        return copy

    def _passed(self, pieces: Iterable[Readings]) -> Iterator[Readings]:
        for piece in pieces:
            self._at("piece")
            yield piece
        self._at("last piece")

    def checksum(self, tenant: str, day: date) -> Checksum:
        self._at("checksum")
        found = self.store.checksum(tenant, day)
        self._at("added up")
        return found

    def read(self, tenant: str, tag_ids: Sequence[int], since_us: int, until_us: int, days: Sequence[date]) -> ColdRead:
        return self.store.read(tenant, tag_ids, since_us, until_us, days)

    def read_day(self, tenant: str, day: date) -> Iterator[Readings]:
        return self.store.read_day(tenant, day)

    def quarantine(self, tenant: str, day: date) -> str | None:
        self._at("quarantine")
        return self.store.quarantine(tenant, day)

    def inventory(self, tenant: str) -> Sequence[Inventory]:
        return self.store.inventory(tenant)

    def close(self) -> None:
        self.store.close()


def _main(tenant: str, day: str, point: str) -> None:
    settings = load_settings()
    store = HookedStore(open_cold(settings), {point: lambda: os.kill(os.getpid(), signal.SIGKILL)})
    archive_day(settings, store, tenant, date.fromisoformat(day))


if __name__ == "__main__":
    _main(*sys.argv[1:])
