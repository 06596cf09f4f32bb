"""Receipts: what is proven to be in the cold tier, what is still to be archived, and the record of every attempt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.rows import class_row, dict_row, scalar_row
from psycopg.types.json import Jsonb

from wellos.errors import RetryableError
from wellos.storage.cold import SCHEMA_VERSION, Checksum
from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime
    from uuid import UUID

    from wellos.storage.cold import Copy, StoreName
    from wellos.storage.warm import PgConnection

__all__ = [
    "Attempt",
    "LostAttemptError",
    "Pending",
    "Proof",
    "Receipt",
    "mark",
    "pending",
    "proven_rows",
    "receipt_in_force",
    "receipts",
    "suspects",
]


@dataclass(frozen=True, slots=True)
class Receipt:
    """A verified copy of a tenant's day: a row of the view `archive_receipts`."""

    tenant: str
    tenant_id: UUID
    day: date
    store: StoreName
    receipt_id: int
    rows: int
    checksum_a: int
    checksum_b: int
    connections: Mapping[int, int]
    """Rows by connection_id."""
    first_time: datetime | None
    last_time: datetime | None
    bytes: int
    location: str
    file_sha256: str | None
    job_id: str | None
    schema_version: int
    watermark: datetime
    """When the snapshot was taken, by the platform's clock."""
    verified_at: datetime
    duration_s: float
    dropped_at: datetime | None
    restored_at: datetime | None
    keep_until: datetime | None
    stale: bool
    """Readings of the day changed after the snapshot."""

    @property
    def checksum(self) -> Checksum:
        """Of the copy."""
        return Checksum(self.rows, self.checksum_a, self.checksum_b)


@dataclass(frozen=True, slots=True)
class Pending:
    """A tenant's day that is to be archived."""

    tenant: str
    day: date
    receipt_id: int | None
    """The receipt in force, which is stale; None: there is none."""
    archived_rows: int | None
    verified_at: datetime | None
    failed: int
    """Attempts since the last that succeeded."""

    @property
    def reason(self) -> str:
        """Why: `new`, or `changed` since it was archived."""
        return "new" if self.receipt_id is None else "changed"


def receipts(
    conn: PgConnection,
    store: StoreName,
    *,
    tenants: Sequence[str] | None = None,
    since: date | None = None,
    until: date | None = None,
) -> list[Receipt]:
    """Return the receipts in force of a store, by day and tenant; `until` is the last day."""
    return _read(conn, "archive_receipts", store, tenants, since, until)


def suspects(
    conn: PgConnection,
    store: StoreName,
    *,
    tenants: Sequence[str] | None = None,
    since: date | None = None,
    until: date | None = None,
) -> list[Receipt]:
    """Return the receipts of dropped days that are out of force as their copies were found damaged."""
    return _read(conn, "archive_suspects", store, tenants, since, until)


def proven_rows(conn: PgConnection, tenant_id: UUID, day: date, store: StoreName) -> int:
    """Return how many readings the newest copy had that was ever proven, 0 without one."""
    with conn.cursor(row_factory=scalar_row) as cursor:
        asked = {"tenant": tenant_id, "day": day, "store": store}
        return cursor.execute(query("archive_proven_rows"), asked).fetchone() or 0


def receipt_in_force(conn: PgConnection, store: StoreName, tenant: str, day: date) -> Receipt | None:
    """Return the receipt of a tenant's day, None when nothing of it is proven."""
    found = receipts(conn, store, tenants=[tenant], since=day, until=day)
    return found[0] if found else None


def pending(
    conn: PgConnection,
    store: StoreName,
    until: date,
    *,
    tenants: Sequence[str] | None = None,
    since: date | None = None,
    force: bool = False,
    empty: bool = False,
    gaps: bool = False,
) -> list[Pending]:
    """Return what is to be archived up to the day `until`, by day and tenant, from days that are in the warm tier.

    A day counts as soon as it has a chunk or partition, for every tenant: one without readings has its receipt too.
    `empty`: days without, between the first that has one and `until`, as well. `gaps`: those between the first and the
    last of the range that have one or are archived, as well. `force`: what is proven, as well.
    """
    asked = {"store": store, "until": until, "tenants": _listed(tenants), "since": since, "force": force}
    with conn.cursor(row_factory=class_row(Pending)) as cursor:
        return cursor.execute(query("archive_pending"), asked | {"empty": empty, "gaps": gaps}).fetchall()


@dataclass(frozen=True, slots=True)
class Proof:
    """What an attempt found in the database: the side that the copy is compared with."""

    checksum: Checksum
    connections: Mapping[int, int]
    first_time: datetime | None
    last_time: datetime | None
    snapshot: str
    cluster: str
    watermark: datetime


class LostAttemptError(RetryableError):
    """Another took an attempt for cut off, as the session that held the lock had gone."""

    def __init__(self, receipt_id: int) -> None:
        """Name the attempt."""
        self.receipt_id = receipt_id
        super().__init__(f"receipt {receipt_id} was taken over by another archiver. Nothing is lost: try again")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A receipt under way, on a connection in autocommit mode that holds the copy's lock."""

    conn: PgConnection
    receipt_id: int

    @classmethod
    def begin(cls, conn: PgConnection, tenant_id: UUID, day: date, store: StoreName, now: datetime) -> Attempt:
        """Record that it begins; one that was cut off before is marked abandoned."""
        asked = {"tenant": tenant_id, "day": day, "store": store, "now": now}
        row = conn.execute(query("archive_begin"), asked).fetchone()
        assert row is not None  # noqa: S101 - RETURNING of one row
        return cls(conn, int(row[0]))

    def replace_older(self) -> None:
        """Take the receipt in force out of force: from here on its copy may be replaced, proven or not."""
        self.conn.execute(query("archive_replace"), {"receipt": self.receipt_id})

    def verified(self, proof: Proof, copy: Copy, now: datetime, duration_s: float) -> None:
        """Put this receipt in force, in one transaction with what it replaces."""
        with self.conn.transaction():
            self.replace_older()
            self._finish("verified", proof, copy, now, duration_s, "")

    def quarantined(self, proof: Proof, copy: Copy, now: datetime, duration_s: float, detail: str) -> None:
        """Record that the copy differs."""
        self._finish("quarantined", proof, copy, now, duration_s, detail)

    def moved(self, location: str, detail: str) -> None:
        """Record where the copy that differs was put aside."""
        mark(self.conn, self.receipt_id, "quarantined", detail, location)

    def abandoned(self, detail: str) -> None:
        """Record that it failed before there was a copy to compare."""
        mark(self.conn, self.receipt_id, "abandoned", detail)

    def _finish(self, state: str, proof: Proof, copy: Copy, now: datetime, duration_s: float, detail: str) -> None:
        fields = {
            "receipt": self.receipt_id,
            "state": state,
            "rows": proof.checksum.rows,
            "checksum_a": proof.checksum.a,
            "checksum_b": proof.checksum.b,
            "connections": Jsonb(proof.connections),
            "first_time": proof.first_time,
            "last_time": proof.last_time,
            "bytes": copy.bytes,
            "location": copy.location,
            "file_sha256": copy.file_sha256,
            "job_id": copy.job_id,
            "schema_version": SCHEMA_VERSION,
            "snapshot": proof.snapshot,
            "cluster": proof.cluster,
            "watermark": proof.watermark,
            "verified_at": now if state == "verified" else None,
            "duration_s": duration_s,
            "detail": detail,
        }
        done = self.conn.execute(query("archive_finish"), fields)
        if done.rowcount != 1:
            raise LostAttemptError(self.receipt_id)


def mark(conn: PgConnection, receipt_id: int, state: str, detail: str, location: str | None = None) -> None:
    """Change the state of a receipt."""
    conn.execute(query("archive_mark"), {"receipt": receipt_id, "state": state, "detail": detail, "location": location})


def _read(
    conn: PgConnection,
    name: str,
    store: StoreName,
    tenants: Sequence[str] | None,
    since: date | None,
    until: date | None,
) -> list[Receipt]:
    asked = {"store": store, "tenants": _listed(tenants), "since": since, "until": until}
    with conn.cursor(row_factory=dict_row) as cursor:
        return [_receipt(row) for row in cursor.execute(query(name), asked)]


def _listed(tenants: Sequence[str] | None) -> list[str] | None:
    return None if tenants is None else list(tenants)


def _receipt(row: dict[str, Any]) -> Receipt:
    row["connections"] = {int(one): rows for one, rows in row["connections"].items()}
    return Receipt(**row)
