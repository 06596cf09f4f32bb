"""Archives a range of days of many tenants: what needs it, one after the other, past what fails."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg

from wellos.archive.archiving import archive_day, watch
from wellos.archive.receipts import pending
from wellos.errors import ConfigurationError, Problem, UnreachableError, WellosError
from wellos.registry import check_names
from wellos.storage.cold import NotTheArchiveError
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

    from wellos.archive.archiving import Archived
    from wellos.archive.receipts import Pending
    from wellos.clock import Clock
    from wellos.settings import Settings
    from wellos.storage.cold import ColdStore
    from wellos.storage.warm import PgConnection

__all__ = ["ArchiveFailuresError", "Failure", "Summary", "archive_days", "due", "last_due_day"]


@dataclass(frozen=True, slots=True)
class Failure:
    """A tenant's day that could not be archived."""

    tenant: str
    day: date
    error: WellosError | psycopg.Error | OSError

    def __str__(self) -> str:
        """One line."""
        place, told = f"{self.tenant} {self.day}: ", " ".join(str(self.error).split())
        return told if told.startswith(place) else place + told


@dataclass(slots=True)
class Summary:
    """What became of a range."""

    done: list[Archived] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


class ArchiveFailuresError(WellosError):
    """Some days of a range could not be archived; the others were."""

    def __init__(self, summary: Summary) -> None:
        """Keep what was done and what failed."""
        self.summary = summary
        lines = "\n".join(map(str, summary.failures))
        super().__init__(f"{len(summary.failures)} of {len(summary.failures) + len(summary.done)} failed:\n{lines}")


def last_due_day(settings: Settings, clock: Clock) -> date:
    """Return the newest UTC day that has been over for `archive_after_days`."""
    return clock.now().date() - timedelta(days=settings.archive_after_days + 1)


def due(
    conn: PgConnection,
    settings: Settings,
    store: ColdStore,
    clock: Clock,
    *,
    tenants: Sequence[str] | None = None,
    since: date | None = None,
    until: date | None = None,
    force: bool = False,
) -> list[Pending]:
    """Return what is to be archived of a range, `until` included; ConfigurationError for a range that cannot be.

    Without `until`, up to the last day that has been over for `archive_after_days`; one that is given stands for
    itself, so long as it has ended. With `since`, days without readings get their receipts too.
    """
    for tenant in tenants or ():
        check_names(conn, tenant=tenant)
    yesterday = clock.now().date() - timedelta(days=1)
    last = last_due_day(settings, clock) if until is None else until
    if last > yesterday:
        raise ConfigurationError(
            [Problem("has not ended yet", f"The last day is {yesterday}", field="--to", value=str(last))]
        )
    if since is not None and since > last:
        remedy = f"The last day is {last}" if until is None else "Give the earlier day first"
        raise ConfigurationError([Problem("is after the last day", remedy, field="--from", value=str(since))])
    return pending(conn, store.name, last, tenants=tenants, since=since, force=force, empty=since is not None)


def archive_days(
    settings: Settings,
    store: ColdStore,
    asked: Sequence[Pending],
    *,
    clock: Clock | None = None,
    force: bool = False,
    most: int | None = None,
    progress: Callable[[Pending], None] | None = None,
) -> Summary:
    """Archive what `due` returned, by day and tenant. One that fails stops no other; `progress` is called after each.

    `most`: end once so many are archived; those that fail do not count, so that the others have their turn.
    Raises ArchiveFailuresError at the end when any failed; UnreachableError and NotTheArchiveError at once.
    """
    clock = clock or settings.make_clock()
    summary = Summary()
    if asked:
        store.ready(writing=True)
        with connect(settings, autocommit=True) as conn:
            watch(conn, {one.day for one in asked})
    for one in asked:
        if most is not None and len(summary.done) >= most:
            break
        try:
            summary.done.append(archive_day(settings, store, one.tenant, one.day, clock=clock, force=force))
        except (UnreachableError, NotTheArchiveError):
            raise
        except (WellosError, psycopg.Error, OSError) as error:
            summary.failures.append(Failure(one.tenant, one.day, error))
        if progress is not None:
            progress(one)
    if summary.failures:
        raise ArchiveFailuresError(summary)
    return summary
