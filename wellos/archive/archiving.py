"""Archives one tenant's day: export, write, and proof that the cold copy equals the database, value by value.

Three sums are compared: PostgreSQL's own over the day, that of what was streamed, and that of the copy by the cold
store's own engine. Only when all agree is there a receipt in force. From the moment a copy may be replaced until its
successor is proven there is none, so nothing is dropped on the word of a receipt whose copy has gone.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg

from wellos.aggregates import day_window
from wellos.archive.export import Contents, count_readings, export_readings
from wellos.archive.locks import lock_copy, lock_day
from wellos.archive.prefetch import prefetched
from wellos.archive.receipts import Attempt, Proof, Receipt, proven_rows, receipt_in_force
from wellos.archive.snapshot import open_snapshot
from wellos.archive.tally import Tally
from wellos.errors import ConfigurationError, Problem, RetryableError, WellosError
from wellos.registry import check_names
from wellos.storage.cold import Checksum, Copy, DamagedCopyError
from wellos.storage.cold.checksum import pg_checksum
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import date, datetime
    from typing import Literal
    from uuid import UUID

    from wellos.archive.snapshot import DaySnapshot
    from wellos.clock import Clock
    from wellos.readings import Readings
    from wellos.settings import Settings
    from wellos.storage.cold import ColdStore
    from wellos.storage.warm import PgConnection

__all__ = ["ArchiveMismatchError", "Archived", "DroppedDayError", "VanishedDayError", "WatchError", "archive_day"]


class ArchiveMismatchError(WellosError):
    """The cold copy is not what the database holds; it was put aside."""

    def __init__(self, tenant: str, day: date, detail: str, location: str | None) -> None:
        """Name the copy, what differs, and where it is now."""
        self.tenant, self.day, self.detail, self.location = tenant, day, detail, location
        where = f" The copy was put aside: {location}." if location else ""
        super().__init__(f"{tenant} {day}: {detail}.{where} Nothing was dropped; archive the day again")


class DroppedDayError(WellosError):
    """The day has left the warm tier: what is there came since, and would replace the full copy by a part."""

    def __init__(self, tenant: str, day: date) -> None:
        """Name the day and the remedy."""
        self.tenant, self.day = tenant, day
        super().__init__(
            f"{tenant} {day}: its readings are in the cold tier; the database holds only what came since. "
            f"Bring it back first: wellos restore --day {day}"
        )


class VanishedDayError(WellosError):
    """The warm tier holds nothing of a day that was archived with readings, although nobody dropped it."""

    def __init__(self, tenant: str, day: date, rows: int) -> None:
        """Name the day and the remedy."""
        self.tenant, self.day, self.rows = tenant, day, rows
        super().__init__(
            f"{tenant} {day}: the archive holds {rows:,} readings, the database none, and the day was not dropped. "
            "The copy is left alone, as it may be the only one. If they were deleted on purpose, add --force: "
            "the copy is put aside then"
        )


class WatchError(RetryableError):
    """Changes of the day cannot be noted yet."""


@dataclass(frozen=True, slots=True)
class Archived:
    """What `archive_day` did, and the receipt in force."""

    receipt: Receipt
    outcome: Literal["archived", "renewed", "unchanged"]
    """renewed: the day was written to and is equal all the same; the copy is as it was, with a fresh receipt."""
    seconds: dict[str, float] = field(default_factory=dict)
    """What it was spent on; parts overlap."""


@dataclass(frozen=True, slots=True)
class _Work:
    """What every step needs."""

    settings: Settings
    conn: PgConnection
    store: ColdStore
    clock: Clock
    tenant: str
    tenant_id: UUID
    day: date
    begun: float
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add what the block takes to a step."""
        begun = self.clock.monotonic()
        try:
            yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0) + self.clock.monotonic() - begun

    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return self.clock.monotonic() - self.begun


def archive_day(
    settings: Settings, store: ColdStore, tenant: str, day: date, *, clock: Clock | None = None, force: bool = False
) -> Archived:
    """Bring the cold copy of a tenant's UTC day up to date and prove it. Doing so again changes nothing.

    A day that is archived and did not change since is left alone, unless `force`. Raises ArchiveMismatchError,
    DroppedDayError, VanishedDayError; DayBusyError when another archiver, a drop or a restore is at the day;
    ConfigurationError for an unknown tenant or a day that has not ended; ColdError of the store.
    """
    clock = clock or settings.make_clock()
    if day >= clock.now().date():
        remedy = f"It can be archived once it has: from {day + timedelta(days=1)} 00:00 UTC on"
        raise ConfigurationError([Problem("this day has not ended", remedy, field="day", value=str(day))])
    with connect(settings, autocommit=True) as conn:
        tenant_id = _tenant_id(conn, tenant)
        with lock_day(conn, day, shared=True), lock_copy(conn, tenant_id, day, store.name):
            work = _Work(settings, conn, store, clock, tenant, tenant_id, day, clock.monotonic())
            return _archive(work, force=force)


def _tenant_id(conn: PgConnection, tenant: str) -> UUID:
    check_names(conn, tenant=tenant)
    row = conn.execute("SELECT tenant_id FROM tenants WHERE slug = %s", (tenant,)).fetchone()
    assert row is not None  # noqa: S101 - just checked, and tenants are never deleted
    found: UUID = row[0]
    return found


def watch(conn: PgConnection, days: Iterable[date]) -> None:
    """Have every change of these days noted from now on; WatchError when a writer is at it for a minute."""
    try:
        conn.execute("CALL watch_days(%s::date[])", (list(days),))
    except psycopg.errors.LockNotAvailable as error:
        raise WatchError(f"{error.diag.message_primary}. {error.diag.message_hint}") from error


def _archive(work: _Work, *, force: bool) -> Archived:
    with work.timed("watch"):
        watch(work.conn, [work.day])
    current = receipt_in_force(work.conn, work.store.name, work.tenant, work.day)
    if current is not None and not current.stale and not force:
        return Archived(current, "unchanged")
    work.store.ready(writing=True)
    with open_snapshot(work.settings, work.day, work.clock) as snapshot:
        if _dropped(snapshot):
            raise DroppedDayError(work.tenant, work.day)
        with work.timed("count"):
            contents = count_readings(snapshot.conn, work.tenant_id, work.day)
        proven = proven_rows(work.conn, work.tenant_id, work.day, work.store.name)
        if proven and not contents.rows:
            if not force:
                raise VanishedDayError(work.tenant, work.day, proven)
            work.store.quarantine(work.tenant, work.day)
        outcome: Literal["archived", "renewed"] = "archived"
        if current is not None and not force and _renew(work, snapshot, contents, current):
            outcome = "renewed"
        else:
            _replace(work, snapshot, contents)
    fresh = receipt_in_force(work.conn, work.store.name, work.tenant, work.day)
    assert fresh is not None  # noqa: S101 - the lock of the copy is held
    return Archived(fresh, outcome, work.seconds)


def _dropped(snapshot: DaySnapshot) -> bool:
    """Whether the day has left the warm tier; a drop cannot come between, as the day's lock is held."""
    row = snapshot.conn.execute("SELECT dropped_at FROM reading_days WHERE day = %s", (snapshot.day,)).fetchone()
    return row is not None and row[0] is not None


def _renew(work: _Work, snapshot: DaySnapshot, contents: Contents, current: Receipt) -> bool:
    """Give the same copy a fresh receipt when it, the old receipt and the database agree; whether they do."""
    if contents.rows != current.rows:
        return False
    with _adding_up(work, snapshot, contents) as database:
        try:
            with work.timed("store checksum"):
                cold = work.store.checksum(work.tenant, work.day)
        except DamagedCopyError:
            return False
        found = database()
    if not cold == found == current.checksum:
        return False
    attempt = Attempt.begin(work.conn, work.tenant_id, work.day, work.store.name, snapshot.taken_at)
    copy = Copy(current.location, current.rows, current.bytes, current.file_sha256 or "", current.job_id)
    proof = _proof(snapshot, contents, found, current.first_time, current.last_time)
    attempt.verified(proof, copy, work.clock.now(), work.elapsed())
    return True


def _replace(work: _Work, snapshot: DaySnapshot, contents: Contents) -> None:
    """Write the copy anew and prove it."""
    attempt = Attempt.begin(work.conn, work.tenant_id, work.day, work.store.name, snapshot.taken_at)
    try:
        copy, proof, problem = _write(work, snapshot, contents, attempt)
    except (WellosError, psycopg.Error, OSError) as error:
        if not work.conn.closed:
            attempt.abandoned(f"{type(error).__name__}: {error}")
        raise
    if problem is None:
        attempt.verified(proof, copy, work.clock.now(), work.elapsed())
        return
    attempt.quarantined(proof, copy, work.clock.now(), work.elapsed(), problem)
    location = work.store.quarantine(work.tenant, work.day)
    if location is not None:
        attempt.moved(location, problem)
    raise ArchiveMismatchError(work.tenant, work.day, problem, location)


def _write(work: _Work, snapshot: DaySnapshot, contents: Contents, attempt: Attempt) -> tuple[Copy, Proof, str | None]:
    """Return the copy, what the database says it should be, and what differs."""
    attempt.replace_older()
    tally = Tally()
    key = f"{attempt.receipt_id}-{uuid4().hex[:8]}"  # never that of another database's attempt
    with _adding_up(work, snapshot, contents) as database:
        with prefetched(export_readings(snapshot.conn, contents)) as pieces, work.timed("export and write"):
            copy = work.store.write(work.tenant, work.day, _passing(work, pieces, tally), key)
        with work.timed("store checksum"):
            cold = _cold_checksum(work)
        found = database()
    proof = _proof(snapshot, contents, found, tally.first, tally.last)
    sums = {"the database": found, "what was streamed": tally.checksum, "the copy": cold}
    if copy.rows == found.rows and all(one == found for one in sums.values()):
        return copy, proof, None
    told = "; ".join(f"{name} {_told(one)}" for name, one in sums.items())
    return copy, proof, f"the copy differs: {told}; {copy.rows:,} rows written"


def _passing(work: _Work, pieces: Iterator[Readings], tally: Tally) -> Iterator[Readings]:
    """Yield the pieces while they are counted; then see that the locks are still held, before the copy is replaced."""
    for piece in pieces:
        tally.add(piece)
        yield piece
    work.conn.execute("SELECT 1")


def _cold_checksum(work: _Work) -> Checksum | str:
    """Return what the store makes of the copy; what is wrong with one that cannot be read."""
    try:
        return work.store.checksum(work.tenant, work.day)
    except DamagedCopyError as error:
        return str(error)


def _told(one: Checksum | str) -> str:
    return f"{one.rows:,} rows, sums {one.a} and {one.b}" if isinstance(one, Checksum) else f"is damaged ({one})"


def _proof(
    snapshot: DaySnapshot, contents: Contents, found: Checksum, first: datetime | None, last: datetime | None
) -> Proof:
    return Proof(found, contents.connections, first, last, snapshot.snapshot, snapshot.cluster, snapshot.taken_at)


@contextmanager
def _adding_up(work: _Work, snapshot: DaySnapshot, contents: Contents) -> Iterator[Callable[[], Checksum]]:
    """Have the database add up the day in the same snapshot, beside what the block does; yield what waits for it."""
    tag_ids = contents.tag_ids.tolist()  # all of the tenant's: named one by one, so that others' are not looked at

    def add_up() -> Checksum:
        with work.timed("database checksum"):
            return pg_checksum(conn, work.tenant_id, *day_window(work.day), tag_ids)

    with snapshot.another() as conn, ThreadPoolExecutor(1, "checksum") as thread:
        coming = thread.submit(add_up)
        try:
            yield coming.result
        finally:
            if not coming.done():
                conn.cancel_safe()
