"""Whether copies in the archive are still what was proven: a seeded sample, added up by the store itself."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wellos.archive.receipts import receipt_in_force, receipts
from wellos.storage.cold import DamagedCopyError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from wellos.archive.receipts import Receipt
    from wellos.storage.cold import ColdStore
    from wellos.storage.warm import PgConnection

__all__ = ["Sounded", "sound"]


@dataclass(frozen=True, slots=True)
class Sounded:
    """One copy that was looked at."""

    tenant: str
    day: date
    rows: int
    bytes: int
    location: str
    problem: str
    """Empty: it is what was proven."""


def sound(conn: PgConnection, store: ColdStore, seed: str, *, copies: int) -> Sequence[Sounded]:
    """Have the store add up some of the copies that have a receipt; which, the seed says. Changes nothing.

    A copy that is replaced meanwhile is compared with its new receipt.
    """
    known = receipts(conn, store.name)
    chosen = random.Random(seed).sample(known, min(copies, len(known)))  # noqa: S311 - a sample, no secret
    return [_sounded(conn, store, one) for one in sorted(chosen, key=lambda one: (one.day, one.tenant))]


def _sounded(conn: PgConnection, store: ColdStore, receipt: Receipt) -> Sounded:
    problem = _problem(store, receipt)
    if problem:
        current = receipt_in_force(conn, store.name, receipt.tenant, receipt.day)
        if current is None:
            problem = ""  # it is being replaced, and there is no word for it now
        elif current.receipt_id != receipt.receipt_id:
            receipt, problem = current, _problem(store, current)
    return Sounded(receipt.tenant, receipt.day, receipt.rows, receipt.bytes, receipt.location, problem)


def _problem(store: ColdStore, receipt: Receipt) -> str:
    try:
        found = store.checksum(receipt.tenant, receipt.day)
    except DamagedCopyError as error:
        return f"it cannot be read: {error}"
    if found == receipt.checksum:
        return ""
    values = ", of other values" if found.rows == receipt.rows else ""
    return f"it holds {found.rows:,} readings, its receipt says {receipt.rows:,}{values}"
