"""`wellos health`: every part asked within ten seconds, and what runs badly in parts that are up."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from wellos.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wellos.health.report import Health

__all__ = ["health"]

_MOST = 5


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def health(*, as_json: bool) -> None:
    """Ask every part how it is: servers, ingest, archive, disk; and what runs badly.

    Also how Dagster's runs of the last 24 hours ended, the hit rate of the query cache, slow queries and indexes that
    nobody uses. Takes ten seconds at most. A part is asked if a setting names it, or if it runs on the data folder.

    Exit status 0 when no part is down, else 1.
    """
    from wellos.health.examine import examine  # noqa: PLC0415 - the clients of all servers, only when it runs

    found = examine(load_settings())
    click.echo(json.dumps(found.as_dict(), indent=1) if as_json else _text(found))
    sys.exit(0 if found.up else 1)


def _text(found: Health) -> str:
    lines = _columns([(part.name, part.state, f"{part.milliseconds:,.0f} ms", part.detail) for part in found.parts])
    rate = found.runs.success_rate if found.runs is not None else None
    if found.runs is None:
        lines.append("runs in 24 h: not known, Dagster's webserver does not say")
    else:
        share = "" if rate is None else f", {100 * rate:.0f} % succeeded"
        lines.append(f"runs in 24 h: {found.runs.succeeded} succeeded, {found.runs.failed} failed{share}")
    hits = found.cache.hit_rate if found.cache is not None else None
    lines.append("query cache: not used yet" if hits is None else f"query cache: {100 * hits:.1f} % hits")
    lines.append(f"slow queries: {len(found.slow)} ({found.slow_from})")
    lines += [f"  {one.mean_s:.2f} s, {one.calls:,} calls: {one.query}" for one in found.slow[:_MOST]]
    size = sum(index.bytes for index in found.unused) / (1 << 20)
    lines.append(f"unused indexes: {len(found.unused)}" + (f", {size:,.1f} MiB" if found.unused else ""))
    lines += [f"  {index.relation}.{index.index}: {index.bytes / (1 << 20):,.1f} MiB" for index in found.unused[:_MOST]]
    return "\n".join(lines)


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        "  ".join(
            (
                row[0].ljust(widths[0]),
                row[1].upper().ljust(widths[1]) if row[1] == "down" else row[1].ljust(widths[1]),
                row[2].rjust(widths[2]),
                row[3],
            )
        )
        for row in rows
    ]
