"""The cold tier: one interface, two stores (Parquet files, BigQuery), and the checksum that proves a copy.

A store holds one copy of each (tenant, UTC day), replaced whole. What is proven about a copy is in `archive_manifest`;
a store knows nothing of receipts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from wellos.errors import RetryableError, WellosError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import date

    from wellos.readings import Readings

__all__ = [
    "SCHEMA_VERSION",
    "Checksum",
    "ColdError",
    "ColdRead",
    "ColdRetryError",
    "ColdStore",
    "Copy",
    "DamagedCopyError",
    "Inventory",
    "NotTheArchiveError",
    "StoreName",
]

StoreName = Literal["parquet", "bigquery"]

SCHEMA_VERSION = 1
"""Columns of a copy: time (us, UTC), tag_id, value, quality, status (as PostgreSQL keeps it, signed)."""


class ColdError(WellosError):
    """The cold store refuses for good: wrong project, no permission, a quota used up. Says what to do."""


class DamagedCopyError(ColdError):
    """A copy that cannot be read, or is not there although a receipt says so."""


class NotTheArchiveError(ColdError):
    """What the settings name is not the store that the receipts speak of: nothing may be concluded, nothing changed."""


class ColdRetryError(ColdError, RetryableError):
    """The cold store failed in passing, beyond the retries of its own."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a set of readings adds up to; the same in NumPy, PostgreSQL and BigQuery, in any order.

    Two sums of 31-bit hashes over (time, tag, value, quality, status) of each row; they add up over parts.
    """

    rows: int = 0
    a: int = 0
    b: int = 0

    def __add__(self, other: Checksum) -> Checksum:
        """Checksum of both sets together."""
        return Checksum(self.rows + other.rows, self.a + other.a, self.b + other.b)


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy just written."""

    location: str
    """Path below the store's folder, or `project.dataset.table$YYYYMMDD`."""
    rows: int
    bytes: int
    """As the store keeps it."""
    file_sha256: str
    """Of the file that was written or uploaded, in hexadecimal."""
    job_id: str | None = None


@dataclass(frozen=True, slots=True)
class ColdRead:
    """Readings of some tags, by tag and time, and what reading them touched."""

    readings: Readings
    bytes_scanned: int


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a store holds of one tenant and day, by its own books."""

    tenant: str
    day: date
    rows: int
    bytes: int


class ColdStore(Protocol):
    """A cold store. Tenants are slugs; every method may raise ColdError or ColdRetryError."""

    name: StoreName

    def ready(self, *, writing: bool) -> None:
        """Raise NotTheArchiveError unless this is the store that the receipts speak of; with `writing`, ask for rights.

        Every other method does so as well; who is about to change something else asks before. Changes nothing.
        """
        ...

    def write(self, tenant: str, day: date, pieces: Iterable[Readings], key: str) -> Copy:
        """Replace the tenant's day by these readings, sorted by tag and time over all pieces; atomic for readers.

        `key` names the attempt: the same key again is the same copy. An empty day is written too.
        """
        ...

    def checksum(self, tenant: str, day: date) -> Checksum:
        """Count and add up the copy, as it lies in the store, by the store's own engine; DamagedCopyError."""
        ...

    def read(self, tenant: str, tag_ids: Sequence[int], since_us: int, until_us: int, days: Sequence[date]) -> ColdRead:
        """Read tags with since <= time < until from the copies of these days; DamagedCopyError names a missing one."""
        ...

    def read_day(self, tenant: str, day: date) -> Iterator[Readings]:
        """Yield a whole copy in bounded pieces, by tag and time; DamagedCopyError."""
        ...

    def quarantine(self, tenant: str, day: date) -> str | None:
        """Put a copy aside where no reader finds it; return where, None when there is none."""
        ...

    def inventory(self, tenant: str) -> Sequence[Inventory]:
        """Return what the store holds of a tenant, by day."""
        ...

    def close(self) -> None:
        """Let connections go."""
        ...
