"""`wellos audit`: says whether every reading that was received is accounted for."""

from __future__ import annotations

import json
import sys

import click

from wellos.audit import Audit, audit
from wellos.audit_content import compare
from wellos.fleet.apply import needs_registry
from wellos.settings import load_settings
from wellos.storage.warm import connect

__all__ = ["audit_command"]

_COLUMNS = (
    *("received", "quarantined", "duplicates", "shed", "pending", "committed"),
    *("stored", "repeated", "replaced", "superseded", "poisoned", "fenced", "corrupt", "retried", "deleted"),
)


@click.command("audit")
@click.option("--tenant", metavar="SLUG", help="Only this tenant.")
@click.option("--connection", help="Only connections of this name.")
@click.option("--readings", is_flag=True, help="Also compare each reading that the spool keeps with what is stored.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def audit_command(*, tenant: str | None, connection: str | None, readings: bool, as_json: bool) -> None:
    """Check the accounting identity, per tenant and connection, from the spool on disk, the ledger and the tables.

    The spool is that of WELLOS_DATA_DIR; it may be in use. Counts every stored reading, so it takes a while on a large
    database. Exit status 0 when the identity holds, 1 when it does not.
    """
    settings = load_settings()
    with connect(settings, autocommit=True) as conn, needs_registry():
        found = audit(conn, settings.data_dir / "spool", tenant=tenant, connection=connection)
        if readings:
            found.compared, found.not_compared, problems = compare(conn, settings.data_dir / "spool")
            found.problems += problems
    click.echo(json.dumps(found.as_dict(), indent=1) if as_json else _text(found))
    sys.exit(0 if found.holds else 1)


def _text(found: Audit) -> str:
    table = [["connection", *_COLUMNS]]
    for row in found.rows:
        name = f"{row.tenant}.{row.connection}" if row.connection else f"#{row.connection_id}"
        table.append([name, *(f"{getattr(row, column):,}" for column in _COLUMNS)])
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in table
    ]
    lines.append(f"{found.pending_frames:,} frames pending in the spool, {found.damaged:,} damaged places")
    if found.compared is not None:
        lines.append(f"{found.compared:,} readings that the spool keeps were compared with what is stored")
    if found.not_compared:
        lines.append(f"{found.not_compared:,} were not: their days are in the cold tier")
    if found.spool_id is None:
        lines.append("there is no spool in WELLOS_DATA_DIR: what waits in one elsewhere was not looked at")
    lines += [f"DOES NOT HOLD  {problem}" for problem in found.problems] or ["the identity holds"]
    return "\n".join(lines)
