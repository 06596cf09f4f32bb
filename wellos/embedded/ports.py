"""Ports of the embedded stack: as set, else as last time if still free, else free ones, kept in the data folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from wellos.embedded.server import free_port, port_is_free
from wellos.errors import ConfigurationError, Problem
from wellos.files import replace_file

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Ports"]


class Ports:
    """The ports of one data folder."""

    def __init__(self, folder: Path, host: str) -> None:
        """Read what was chosen before."""
        self._path, self._host = folder / "ports.json", host
        self._kept: dict[str, int] = json.loads(self._path.read_text()) if self._path.exists() else {}
        self._taken: set[int] = set()

    def choose(self, name: str, wanted: int = 0, preferred: int = 0) -> int:
        """Return the port of part `name`: `wanted` if set, else last time's, `preferred` or any, whichever is free.

        ConfigurationError when a port that was set is taken.
        """
        if wanted:
            if not port_is_free(self._host, wanted):
                setting = f"WELLOS_{name.upper()}_PORT"
                problem = Problem(
                    "the port is taken by another process", f"Free it, or unset {setting}.", field=setting
                )
                raise ConfigurationError([problem])
            return self._take(wanted)
        for port in (self._kept.get(name, 0), preferred):
            if port and port not in self._taken and port_is_free(self._host, port):
                return self._keep(name, port)
        port = free_port(self._host)
        while port in self._taken:
            port = free_port(self._host)
        return self._keep(name, port)

    def _keep(self, name: str, port: int) -> int:
        if self._kept.get(name) != port:
            self._kept[name] = port
            replace_file(self._path, json.dumps(self._kept, indent=1) + "\n")
        return self._take(port)

    def _take(self, port: int) -> int:
        self._taken.add(port)
        return port
