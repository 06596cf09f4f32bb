"""`wellos up` runs the whole platform in the foreground or detached; `wellos down` stops it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import psutil
import structlog
from rich.console import Console
from rich.live import Live

from wellos import logs
from wellos.cli.duration import Duration
from wellos.cli.field_options import refuse_idle, zone_option
from wellos.embedded.child import tail
from wellos.embedded.server import private_folder
from wellos.embedded.stack import Options, Platform
from wellos.embedded.state import DataLock, holder, in_use, read_state
from wellos.embedded.supervisor import StopRequested
from wellos.embedded.view import render, to_text
from wellos.errors import ConfigurationError, Problem, WellosError
from wellos.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from wellos.settings import Settings

__all__ = ["down", "up"]

_DOWN_S = 90.0
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_SUMMARY_S = 60.0
_LIVE_ONLY, _REPLAY_ONLY = {"wells", "seed", "history"}, {"zone"}


class TerminalReport:
    """A live table at the foot of the terminal, with what happens scrolling above it."""

    def __init__(self) -> None:
        """Nothing is shown before the first refresh."""
        self.snapshot: Callable[[], dict[str, Any]] | None = None
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False)
        self._shown = 0.0

    def event(self, text: str) -> None:
        """Print a line above the table."""
        self._console.print(text, highlight=False, markup=False)
        self.refresh(force=True)

    def refresh(self, *, force: bool = False) -> None:
        """Draw the table again, twice a second."""
        if self.snapshot is not None and (force or time.monotonic() - self._shown > 0.5):  # noqa: PLR2004
            self._shown = time.monotonic()
            self._live.start()
            self._live.update(render(self.snapshot(), in_full=False), refresh=True)

    def close(self) -> None:
        """Leave the last table on the screen."""
        self._live.stop()


class LineReport:
    """Plain log lines, with one line of figures a minute."""

    def __init__(self) -> None:
        """Log as `wellos.up`."""
        self.snapshot: Callable[[], dict[str, Any]] | None = None
        self._log = structlog.get_logger("wellos.up")
        self._shown = time.monotonic()

    def event(self, text: str) -> None:
        """Log it."""
        self._log.info(text)

    def refresh(self, *, force: bool = False) -> None:
        """Log the figures, if it is time."""
        if self.snapshot is None or not (force or time.monotonic() - self._shown > _SUMMARY_S):
            return
        self._shown = time.monotonic()
        figures = self.snapshot()["figures"]
        if figures["ingest"]:
            states = [one["state"] for one in figures["connections"]]
            self._log.info("figures", **figures["ingest"], connections=len(states), connected=states.count("connected"))

    def close(self) -> None:
        """Nothing to put away."""


@click.command()
@click.option("--detach", is_flag=True, help="Return when the platform is ready; `wellos down` stops it.")
@click.option("--wells", type=click.IntRange(1, 500), default=12, show_default=True, help="Wells of the field.")
@click.option("--seed", type=int, default=1, show_default=True, help="Same seed, same field and same readings.")
@click.option("--speed", type=click.FloatRange(min=1), help="Run platform time this many times as fast, from the past.")
@click.option("--replay", type=_FOLDER, help="Serve recordings of the Petrobras 3W layout, at --speed, instead.")
@zone_option
@click.option(
    "--history",
    type=Duration(),
    metavar="30d",
    help="Store this much of the field's past first; unset: 30d on the first start over an empty database.",
)
@click.pass_context
def up(context: click.Context, /, *, detach: bool, **options: Any) -> None:  # noqa: ANN401 - click's values, typed by Options
    """Run the whole platform: database, Redis, broker, simulated field, ingest and Dagster.

    A part whose address is set (WELLOS_DATABASE_URL, WELLOS_REDIS_URL, ...) is used, and not started. Everything else
    is kept in WELLOS_DATA_DIR. Ctrl-C or SIGTERM stops it all; the data stays for the next start.
    """
    if sys.platform != "linux":
        remedy = "Use Linux, a container or a virtual machine of it, or compose.yaml."
        raise ConfigurationError([Problem("the embedded stack runs on Linux only", remedy)])
    settings = load_settings()
    if settings.fleet_file is not None:
        idle, why = (
            _LIVE_ONLY | _REPLAY_ONLY | {"replay"},
            "has no meaning with WELLOS_FLEET_FILE: nothing is simulated",
        )
    elif options["replay"] is not None:
        idle, why = _LIVE_ONLY, "has no meaning for a replay"
    else:
        idle, why = _REPLAY_ONLY, "has no meaning without --replay"
    refuse_idle(context, idle, why)
    if detach:
        _detach(settings)
    else:
        _run(settings, Options(**options))


def _run(settings: Settings, options: Options) -> None:
    terminal = sys.stderr.isatty() and settings.log_format != "json"
    plain = settings.log_format == "auto"
    logs.configure(settings.model_copy(update={"log_format": "console"}) if plain else settings)
    lock = DataLock(settings.data_dir)
    report = TerminalReport() if terminal else LineReport()
    platform = Platform(settings, options, lock, report)
    report.snapshot = platform.snapshot
    try:
        platform.run()
    except StopRequested:
        pass
    finally:
        report.close()
        lock.release()


def _detach(settings: Settings) -> None:
    """Start ourselves in a session of our own and pass on what it logs until it is ready or has ended."""
    pid = holder(settings.data_dir)
    if pid is not None:  # said here, as the log below is that platform's
        raise in_use(settings.data_dir, pid)
    log = private_folder(settings.data_dir) / "logs" / "up.log"
    log.parent.mkdir(mode=0o700, exist_ok=True)
    arguments = [argument for argument in sys.argv[1:] if argument != "--detach"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "wellos", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    with log.open("r", errors="replace") as lines:
        while True:
            ended = process.poll()
            click.echo(lines.read(), nl=False, err=True)
            if ended is not None:
                click.echo(lines.read(), nl=False, err=True)
                sys.exit(ended)
            state = read_state(settings.data_dir)
            if state is not None and state["pid"] == process.pid and state["phase"] == "ready":
                click.echo(to_text(state, in_full=False), nl=False)
                return
            time.sleep(0.2)


@click.command()
def down() -> None:
    """Stop the platform that runs on WELLOS_DATA_DIR, and wait until nothing of it is left."""
    folder = load_settings().data_dir
    pid = holder(folder)
    if pid is None:
        click.echo(f"nothing runs on {folder}")
        return
    os.kill(pid, signal.SIGTERM)
    _wait_gone(folder, pid)
    click.echo(f"stopped process {pid} and all its parts; the data stays in {folder}")


def _wait_gone(folder: Path, pid: int) -> None:
    deadline = time.monotonic() + _DOWN_S
    while holder(folder) is not None or _runs(pid):
        if time.monotonic() > deadline:
            words = tail(folder / "logs" / "up.log")
            raise WellosError(f"process {pid} has not stopped within {_DOWN_S:g} s; its last words:\n{words}")
        time.sleep(0.1)


def _runs(pid: int) -> bool:
    """Whether the process is there; one that only waits for its parent to notice its end is not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
