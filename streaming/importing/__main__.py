"""`wellos readings import`: the command line of an import."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from streaming.importing.mapping import read_mapping
from streaming.importing.run import Importer
from wellos.clock import from_micros
from wellos.errors import ConfigurationError, Problem, WellosError
from wellos.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streaming.importing.run import Examined, Imported

__all__ = ["main"]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", metavar="FILE|-")
@click.option("--tenant", required=True, metavar="SLUG", help="Whose readings these are.")
@click.option("--mapping", type=click.Path(path_type=Path), help="YAML file that says what the columns and names mean.")
@click.option("--well", help="The one well of the file.")
@click.option("--zone", help="IANA time zone of times that say none, e.g. America/Chicago.")
@click.option(
    "--skip-unknown", is_flag=True, help="Leave out rows of names that are no tag, instead of refusing the file."
)
@click.option("--dry-run", is_flag=True, help="Look through the file and say what it holds; store nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def command(
    *,
    file: str,
    tenant: str,
    mapping: Path | None,
    well: str | None,
    zone: str | None,
    skip_unknown: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Bring readings of another system in from a CSV or Parquet FILE (- for standard input), however old they are.

    A row a reading (columns time, well, tag, value, and perhaps quality), or a column a tag (time, then WELL.TAG).
    The file is looked through first: unknown names or times without a zone refuse it whole. Then its readings go
    through the checks, the ledger and the quarantine of live ones. Run it again after an interruption and it goes on;
    run it twice and nothing is stored twice. Exit status 1: some rows are in quarantine; 2: the file was refused.
    """
    settings = load_settings()
    with _local(file, settings.data_dir) as (path, name):
        importer = Importer(settings, path, tenant, read_mapping(mapping), well=well, zone=_zone(zone), name=name)
        with _progress("looking through", None) as step:
            examined = importer.examine(step)
        if not skip_unknown:
            importer.refuse_unknown()
        imported = None
        if not dry_run:
            with _progress("storing", examined.rows) as step:
                imported = importer.store(step)
    click.echo(
        json.dumps(_document(examined, imported), indent=1, default=str) if as_json else _words(examined, imported)
    )
    if examined.refused or (imported is not None and imported.poisoned):
        sys.exit(1)


@contextmanager
def _local(file: str, data_dir: Path) -> Iterator[tuple[Path, str]]:
    """Give the file by path and name; standard input is kept in a temporary file first, as it is read twice."""
    if file != "-":
        yield Path(file), Path(file).name
        return
    data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=data_dir, prefix="import-") as kept:
        shutil.copyfileobj(sys.stdin.buffer, kept)
        kept.flush()
        yield Path(kept.name), "standard input"


def _zone(text: str | None) -> str | None:
    from zoneinfo import available_timezones  # noqa: PLC0415 - reads a folder, only where asked for

    from wellos.validation import did_you_mean  # noqa: PLC0415 - same

    if text is not None and text not in available_timezones():
        remedy = did_you_mean(text, sorted(available_timezones()))
        raise ConfigurationError([Problem("is not an IANA time zone", remedy, field="--zone", value=text)])
    return text


class _Step:
    """Moves a progress bar."""

    def __init__(self, progress: Progress, task: int) -> None:
        self._progress, self._task = progress, task

    def __call__(self, rows: int) -> None:
        self._progress.update(self._task, completed=rows)  # type: ignore[arg-type]


@contextmanager
def _progress(what: str, total: int | None) -> Iterator[_Step]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield _Step(progress, progress.add_task(what, total=total))


def _document(examined: Examined, imported: Imported | None) -> dict[str, object]:
    found = asdict(examined)
    first, last = found.pop("first_us"), found.pop("last_us")
    found["first"], found["last"] = _moment(first), _moment(last)
    return {"examined": found, "imported": None if imported is None else asdict(imported)}


def _moment(micros: int | None) -> str | None:
    return None if micros is None else from_micros(micros).isoformat()


def _words(examined: Examined, imported: Imported | None) -> str:
    lines = [f"{examined.rows:,} readings, {_moment(examined.first_us) or '-'} to {_moment(examined.last_us) or '-'}"]
    if examined.left_out:
        names = ", ".join(examined.unknown[:10])
        lines.append(f"{examined.left_out:,} rows of {len(examined.unknown)} unknown names left out: {names}")
    if examined.refused:
        lines.append(
            f"{examined.refused:,} rows are no readings" + (" and are in quarantine" if imported else "") + ":"
        )
        lines += [f"  {item['source']}: {item['reason']}" for item in examined.examples]
    if imported is None:
        return "\n".join([*lines, "nothing stored: --dry-run"])
    told = asdict(imported)
    parts = [
        f"{told[name]:,} {name}"
        for name in ("stored", "repeated", "replaced", "superseded", "duplicates")
        if told[name]
    ]
    lines.append(", ".join(parts) or "nothing to store")
    beside = [f"{told[name]:,} {name}" for name in ("quarantined", "poisoned") if told[name]]
    lines += [", ".join(beside)] if beside else []
    if imported.gaps_closed:
        lines.append(f"{imported.gaps_closed:,} gaps closed")
    if imported.hot_missed:
        lines.append(f"{imported.hot_missed:,} readings of the last hours are not in Redis, which cannot be reached")
    if imported.resumed_frames:
        lines.append("went on behind an earlier run of the same file")
    return "\n".join(lines)


def main() -> int:
    """Run the command; the exit status."""
    # Warnings of the sink would go through the progress bar.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        command(prog_name="wellos readings import")
    except WellosError as error:
        click.echo(f"wellos: {error}", err=True)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
