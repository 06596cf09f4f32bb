"""A server of the embedded stack: how to start it, where it listens, when it is ready, and how to run one."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import socket
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from wellos.embedded.child import Child
from wellos.embedded.guard import descendants
from wellos.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wellos.embedded.child import Spec

__all__ = [
    "RunningServer",
    "Server",
    "find_program",
    "free_port",
    "package_folder",
    "port_is_free",
    "private_folder",
    "reach",
    "running",
    "secret_file",
    "tcp_ready",
]

_SYSTEM_FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Server:
    """A prepared server: nothing runs yet."""

    spec: Spec
    host: str
    port: int
    url: str = field(repr=False)
    """The address clients use, with its password."""
    ready: Callable[[], bool] = field(repr=False)
    note: str = ""
    """What a user must know about this implementation; empty when there is nothing."""


class RunningServer:
    """A server that runs, and that a fault test may stop, kill, freeze and start again at the same address."""

    def __init__(self, server: Server) -> None:
        """Start it and wait until it is ready; ChildDied when it does not become so."""
        self.server = server
        self.start()

    @property
    def url(self) -> str:
        """The address clients use, with its password."""
        return self.server.url

    @property
    def host(self) -> str:
        """Address it listens on."""
        return self.server.host

    @property
    def port(self) -> int:
        """Port it listens on."""
        return self.server.port

    def start(self, timeout_s: float = 60) -> None:
        """Start it, again if it was stopped, and wait until it is ready."""
        self.child = Child(self.server.spec)
        with ExitStack() as starting:
            starting.callback(self.child.stop)
            self.child.wait_ready(self.server.ready, timeout_s)
            starting.pop_all()

    def stop(self) -> None:
        """Stop it cleanly."""
        self.child.stop()

    def kill(self) -> None:
        """Kill -9 the server and all its processes."""
        self._signal_all(signal.SIGKILL)
        self.child.stop()

    def freeze(self) -> None:
        """Stop all its processes without ending them: the address accepts connections and never answers."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in descendants(self.child.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, number)


@contextmanager
def running(server: Server) -> Iterator[RunningServer]:
    """Run a prepared server until the block ends."""
    handle = RunningServer(server)
    try:
        yield handle
    finally:
        handle.stop()


def find_program(name: str) -> str | None:
    """Return a program's path, looking also where Debian puts servers that a user's PATH leaves out."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":" + _SYSTEM_FOLDERS)


def package_folder(package: str) -> Path:
    """Return the folder of an installed package, without importing it."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        problem = Problem(f"the package {package} is not installed", "Install the project with its dependencies.")
        raise ConfigurationError([problem])
    return Path(found.origin).parent


def free_port(host: str) -> int:
    """Return a TCP port that is free on `host` now; ConfigurationError when `host` is no address of this machine."""
    try:
        with socket.create_server((host, 0), family=_family(host)) as listener:
            return int(listener.getsockname()[1])
    except OSError as error:
        message = f"nothing can listen there: {(error.strerror or str(error)).partition(' (while')[0]}"
        remedy = "Use an address of this machine: 127.0.0.1, or 0.0.0.0 for all it has."
        raise ConfigurationError([Problem(message, remedy, field="WELLOS_HOST", value=host)]) from error


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    try:
        with socket.create_server((host, port), family=_family(host)):
            return True
    except OSError:
        return False


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def reach(host: str) -> str:
    """Return the address clients on this machine use for a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104


def tcp_ready(host: str, port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection((reach(host).strip("[]"), port), timeout=1):
            return True
    except OSError:
        return False


def private_folder(folder: Path) -> Path:
    """Make a folder that only its owner can enter; folders above it keep their permissions."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder.resolve()


def secret_file(path: Path) -> str:
    """Return the random password kept in `path` (mode 0600), made on first use."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        password = secrets.token_urlsafe(24)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(password + "\n")
        return password
