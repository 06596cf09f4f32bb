"""Whether days that are in two tiers say the same in both: a seeded sample of proven copies against the database."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wellos.aggregates import day_window
from wellos.archive.receipts import receipt_in_force, receipts
from wellos.storage.cold.checksum import pg_checksum

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from wellos.archive.receipts import Receipt
    from wellos.storage.cold import StoreName
    from wellos.storage.warm import PgConnection

__all__ = ["Agreement", "agreements"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """One tenant's day that is in the warm tier and proven to be in the cold one."""

    tenant: str
    day: date
    archived: int
    """Readings by the receipt."""
    warm: int
    """Readings in the database."""
    agrees: bool


def agreements(conn: PgConnection, store: StoreName, seed: str, *, days: int) -> Sequence[Agreement]:
    """Add up some days in the database that have a copy and did not change since; which, the seed says.

    A day that changes while it is added up is left out: its receipt is stale, and it is archived again.
    """
    both = [one for one in receipts(conn, store) if one.dropped_at is None and not one.stale]
    chosen = random.Random(seed).sample(both, min(days, len(both)))  # noqa: S311 - a sample, no secret
    found = [_compared(conn, one) for one in sorted(chosen, key=lambda one: (one.day, one.tenant))]
    return [one for one in found if one is not None]


def _compared(conn: PgConnection, receipt: Receipt) -> Agreement | None:
    lies = pg_checksum(conn, receipt.tenant_id, *day_window(receipt.day))
    if lies != receipt.checksum:
        current = receipt_in_force(conn, receipt.store, receipt.tenant, receipt.day)
        if current is None or current.receipt_id != receipt.receipt_id or current.stale or current.dropped_at:
            return None
    return Agreement(receipt.tenant, receipt.day, receipt.rows, lies.rows, lies == receipt.checksum)
