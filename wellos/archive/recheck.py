"""Checks cold copies against their receipts without the warm tier, and mends what can be mended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import psycopg

from wellos.archive.archiving import archive_day
from wellos.archive.locks import lock_copy, lock_day
from wellos.archive.receipts import mark, receipt_in_force, receipts, suspects
from wellos.errors import UnreachableError, WellosError
from wellos.storage.cold import DamagedCopyError, NotTheArchiveError
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

    from wellos.archive.receipts import Receipt
    from wellos.clock import Clock
    from wellos.settings import Settings
    from wellos.storage.cold import ColdStore
    from wellos.storage.warm import PgConnection

__all__ = ["Checked", "Outcome", "RecheckError", "recheck"]

Outcome = Literal["equal", "replaced", "repaired", "recovered", "damaged", "failed"]
"""repaired: it was not, and the day was archived anew. recovered: a copy found damaged before is right again.
damaged: it is not what was proven, and its readings are nowhere else. replaced: archived anew by somebody meanwhile.
failed: the store or the database did not answer, or the day could not be archived anew."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of one copy."""

    tenant: str
    day: date
    outcome: Outcome
    location: str
    detail: str = ""


class RecheckError(WellosError):
    """Copies that are not what was proven, or could not be looked at."""

    def __init__(self, checked: Sequence[Checked]) -> None:
        """Keep all that was checked; the message names what is wrong."""
        self.checked = tuple(checked)
        wrong = [one for one in checked if one.outcome in {"damaged", "failed"}]
        super().__init__("\n".join(f"{one.tenant} {one.day}: {one.detail}" for one in wrong))


def recheck(
    settings: Settings,
    store: ColdStore,
    *,
    clock: Clock | None = None,
    tenants: Sequence[str] | None = None,
    since: date | None = None,
    until: date | None = None,
    progress: Callable[[int, Checked], None] | None = None,
) -> list[Checked]:
    """Add up every cold copy that has a receipt; archive those anew that differ and are in the warm tier still.

    `progress` is called with how many there are and each. Raises RecheckError at the end when one is damaged for good
    or could not be looked at, NotTheArchiveError at once.
    """
    clock = clock or settings.make_clock()
    done: list[Checked] = []
    store.ready(writing=False)
    with connect(settings, autocommit=True) as conn:
        chosen = {"tenants": tenants, "since": since, "until": until}
        listed = [*receipts(conn, store.name, **chosen), *suspects(conn, store.name, **chosen)]  # type: ignore[arg-type]
        for receipt in listed:
            try:
                checked = _check(settings, conn, store, clock, receipt)
            except (UnreachableError, NotTheArchiveError):
                raise
            except (WellosError, psycopg.Error, OSError) as error:
                checked = Checked(receipt.tenant, receipt.day, "failed", receipt.location, str(error))
            done.append(checked)
            if progress is not None:
                progress(len(listed), checked)
    if any(one.outcome in {"damaged", "failed"} for one in done):
        raise RecheckError(done)
    return done


def _check(settings: Settings, conn: PgConnection, store: ColdStore, clock: Clock, receipt: Receipt) -> Checked:
    in_force = receipt_in_force(conn, store.name, receipt.tenant, receipt.day)
    problem = _difference(store, receipt)
    if problem is None and in_force is not None:
        return Checked(receipt.tenant, receipt.day, "equal", receipt.location)
    with lock_day(conn, receipt.day, shared=True), lock_copy(conn, receipt.tenant_id, receipt.day, store.name):
        outcome, detail = _settle(conn, store, receipt)
    if outcome == "repaired":
        archive_day(settings, store, receipt.tenant, receipt.day, clock=clock)
    return Checked(receipt.tenant, receipt.day, outcome, receipt.location, detail)


def _settle(conn: PgConnection, store: ColdStore, receipt: Receipt) -> tuple[Outcome, str]:
    """Look again where nobody can replace the copy, and set the receipt right."""
    current = receipt_in_force(conn, store.name, receipt.tenant, receipt.day)
    known = {one.receipt_id for one in suspects(conn, store.name, tenants=[receipt.tenant], since=receipt.day)}
    if receipt.receipt_id not in known and (current is None or current.receipt_id != receipt.receipt_id):
        return "replaced", ""
    problem = _difference(store, receipt)
    if problem is None:
        if current is not None:
            return "equal", ""
        mark(conn, receipt.receipt_id, "verified", "found damaged, and put right since")
        return "recovered", "it is what was proven again"
    if (current or receipt).dropped_at is None:
        mark(conn, receipt.receipt_id, "quarantined", problem, store.quarantine(receipt.tenant, receipt.day))
        return "repaired", problem
    mark(conn, receipt.receipt_id, "quarantined", problem)
    return "damaged", (
        f"{problem}. The day has left the warm tier, so `wellos restore` has nothing else to restore from: "
        f"put {receipt.location} back from a backup of the archive, then run `wellos archive --verify` again"
    )


def _difference(store: ColdStore, receipt: Receipt) -> str | None:
    """Say how the copy differs from its receipt; None: it does not."""
    try:
        found = store.checksum(receipt.tenant, receipt.day)
    except DamagedCopyError as error:
        return f"{receipt.location} is damaged: {error}"
    if found == receipt.checksum:
        return None
    return (
        f"{receipt.location} holds {found.rows:,} rows with sums {found.a} and {found.b}, not the "
        f"{receipt.rows:,} with {receipt.checksum_a} and {receipt.checksum_b} that were proven"
    )
