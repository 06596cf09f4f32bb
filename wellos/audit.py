"""The accounting identity, from durable state only: the spool on disk, the ledger and the tables, never a counter.

received  = quarantined + duplicates + shed + spooled         for every connection
spooled   = committed + pending (+ corrupt, counted in frames)
committed = stored + repeated + replaced + superseded + poisoned
stored    = rows of `readings`                                for every tenant, as a tag may change its connection,
            + rows of dropped days by their receipts
quarantined + poisoned = rows of `quarantine` that were not retried
retried rows of `quarantine` = what the ledger entries of retries moved from there (`wellos.quarantine_retry`)
replaced + superseded  = rows of `reading_revisions`          for every spool
every spool's sequences in the ledger run from 1 without a hole, and what is pending goes on from there, all readable
every frame that shed readings has its row in `ingest_gaps`
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from wellos.audit_spool import pending_of, scan_spool
from wellos.quarantine_retry import RETRIES
from wellos.registry import check_names
from wellos.spool_format import read_spool_id
from wellos.storage.sql import query

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from wellos.spool_format import Header
    from wellos.storage.warm import PgConnection

__all__ = ["Audit", "AuditRow", "audit"]


@dataclass(slots=True)
class AuditRow:
    """One connection's terms, in readings; `corrupt` in frames.

    What was retried is no longer part of `quarantined` and `poisoned`.
    """

    tenant: str
    connection: str
    connection_id: int
    received: int = 0
    quarantined: int = 0
    duplicates: int = 0
    shed: int = 0
    committed: int = 0
    stored: int = 0
    repeated: int = 0
    replaced: int = 0
    superseded: int = 0
    poisoned: int = 0
    in_table: int = 0
    """In `readings`, and of dropped days in the cold tier according to the receipts in force."""
    in_quarantine: int = 0
    """Not retried; of these `deleted` have lost their original, `fenced` came from a stale owner."""
    corrupt: int = 0
    retried: int = 0
    booked: int = 0
    """Retried according to the ledger."""
    deleted: int = 0
    fenced: int = 0
    pending: int = 0
    """Readings in the spool that was scanned, not yet in the ledger."""
    pending_quarantined: int = 0


@dataclass(slots=True)
class Audit:
    """What was found; it holds when there is no problem."""

    rows: list[AuditRow]
    problems: list[str] = field(default_factory=list)
    spool_id: UUID | None = None
    pending_frames: int = 0
    damaged: int = 0
    """Damaged places in the pending part of the spool, a torn tail not counted."""
    compared: int | None = None
    """Readings compared one by one (`wellos.audit_content`); None: that was not asked for."""
    not_compared: int = 0
    """Readings left out of this: their days are in the cold tier."""

    @property
    def holds(self) -> bool:
        """Every term is accounted for."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON types."""
        found = asdict(self)
        return found | {"spool_id": None if self.spool_id is None else str(self.spool_id), "holds": self.holds}


def audit(
    conn: PgConnection, spool_dir: Path | None, *, tenant: str | None = None, connection: str | None = None
) -> Audit:
    """Check the identity over everything in the database and, with `spool_dir`, over what is pending there.

    With `tenant` or `connection` only what concerns these is reported, beside what is wrong with a whole spool;
    ConfigurationError when there is none of that name.

    `conn` must be idle. The spool is read first and the database in one snapshot after it, so a running ingest does
    not disturb: what was committed in between is in the ledger and no longer counted as pending.
    """
    scanned = scan_spool(spool_dir)
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        check_names(conn, tenant=tenant, connection=connection)
        rows = [AuditRow(*row) for row in conn.execute(query("audit_connections"), {"retries": RETRIES})]
        spools = conn.execute(query("audit_spools")).fetchall()
    spool_id = read_spool_id(spool_dir) if spool_dir is not None else None
    last = max((row[2] for row in spools if row[0] == spool_id), default=0)
    pending = pending_of(scanned, last)
    found = Audit(rows, spool_id=spool_id, damaged=pending.damaged)
    _add_pending(found, pending.headers)
    found.problems += _sequence_problems(spools)
    found.problems += [f"spool {spool_id}: {problem}" for problem in pending.problems]
    if last < scanned.cursor:
        found.problems.append(
            f"spool {spool_id}: the cursor says {scanned.cursor} frames are stored, the ledger ends at {last}: "
            "the database lost commits, or is another one"
        )
    concerned = {row.tenant for row in found.rows if _matches(row, tenant, connection)}
    found.problems += _tenant_problems([row for row in found.rows if row.tenant in concerned])
    found.rows = [row for row in found.rows if _matches(row, tenant, connection)]
    found.problems += _connection_problems(found.rows)
    return found


def _matches(row: AuditRow, tenant: str | None, connection: str | None) -> bool:
    return tenant in {None, row.tenant} and connection in {None, row.connection}


def _add_pending(found: Audit, headers: list[Header]) -> None:
    by_id = {row.connection_id: row for row in found.rows}
    found.pending_frames = len(headers)
    for header in headers:
        if header.connection_id not in by_id:
            row = AuditRow("", "", header.connection_id)
            by_id[header.connection_id] = row
            found.rows.append(row)
        row = by_id[header.connection_id]
        row.received += header.received
        row.duplicates += header.duplicates
        row.shed += header.shed
        row.pending += header.rows
        row.pending_quarantined += header.quarantined


def _sequence_problems(spools: list[tuple[Any, ...]]) -> list[str]:
    problems = []
    for spool_id, first, last, frames, revised, revisions, shed_without_gap in spools:
        if first != 1 or frames != last:
            problems.append(
                f"spool {spool_id}: {frames} frames in the ledger, sequences {first} to {last}: "
                f"{last - frames} are missing"
            )
        if revised != revisions:
            problems.append(f"spool {spool_id}: {revised} values lost a conflict, {revisions} are in reading_revisions")
        if shed_without_gap:
            problems.append(f"spool {spool_id}: {shed_without_gap} frames shed readings without a row in ingest_gaps")
    return problems


def _connection_problems(rows: list[AuditRow]) -> list[str]:
    problems = []
    for row in rows:
        name = f"{row.tenant}.{row.connection}" if row.connection else f"connection {row.connection_id}"
        kept = row.quarantined + row.pending_quarantined
        accounted = kept + row.duplicates + row.shed + row.committed + row.pending
        if row.received != accounted:
            problems.append(f"{name}: {row.received} received, {accounted} accounted for")
        outcomes = row.stored + row.repeated + row.replaced + row.superseded + row.poisoned
        if row.committed != outcomes:
            problems.append(f"{name}: {row.committed} committed, {outcomes} accounted for")
        if row.quarantined + row.poisoned != row.in_quarantine:
            problems.append(
                f"{name}: {row.quarantined + row.poisoned} should be in quarantine, {row.in_quarantine} are"
            )
        if row.retried != row.booked:
            problems.append(f"{name}: {row.retried} were retried from quarantine, the ledger says {row.booked}")
    return problems


def _tenant_problems(rows: list[AuditRow]) -> list[str]:
    stored: dict[str, int] = defaultdict(int)
    in_table: dict[str, int] = defaultdict(int)
    for row in rows:
        stored[row.tenant] += row.stored
        in_table[row.tenant] += row.in_table
    return [
        f"{tenant or 'no tenant'}: {stored[tenant]} stored according to the ledger, {in_table[tenant]} in readings"
        for tenant in stored
        if stored[tenant] != in_table[tenant]
    ]
