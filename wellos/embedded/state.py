"""What a running platform leaves in its data folder: the lock that says it runs, and where everything listens.

The lock is an flock that the supervisor and each guard hold. So long as one process of the platform is left, a new
start waits or is refused; when all are gone the kernel frees it, whatever killed them.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

from wellos.errors import ConfigurationError, Problem
from wellos.files import replace_file

__all__ = ["DataLock", "holder", "in_use", "read_addresses", "read_state", "write_state"]

_LOCK = "lock"
_STATE = "state.json"
_DYING_S = 1.0
"""A supervisor that was killed just now may be seen for a moment more."""


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Write `state.json`: it holds addresses with passwords."""
    replace_file(folder / _STATE, json.dumps(state, indent=1) + "\n")


def read_state(folder: Path) -> dict[str, Any] | None:
    """Return what the running supervisor last wrote; None when none runs on this folder or it has yet to write."""
    pid = holder(folder)
    if pid is None:
        return None
    try:
        state: dict[str, Any] = json.loads((folder / _STATE).read_text())
    except (FileNotFoundError, PermissionError):
        return None
    return state if state["pid"] == pid else None  # else it is what an earlier run left


def read_addresses(folder: Path) -> dict[str, Any]:
    """Return the settings, by field name, that the running platform on this folder has chosen; empty when none runs."""
    state = read_state(folder)
    return dict(state["settings"]) if state else {}


def holder(folder: Path) -> int | None:
    """Return the process id of the supervisor that holds this folder, None when there is none."""
    try:
        with (folder / _LOCK).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _living(file.read())
    except (FileNotFoundError, PermissionError):
        pass
    return None


def _living(text: str) -> int | None:
    """Return the process id in `text` if that process lives; a zombie does not."""
    if not text.strip().isdigit():
        return None
    pid = int(text)
    try:
        status = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return None
    return None if status in {"Z", "X"} else pid


class DataLock:
    """The exclusive hold on a data folder."""

    def __init__(self, folder: Path, *, wait_s: float = 60) -> None:
        """Take it.

        ConfigurationError names the process that has it. A supervisor that was killed leaves guards that still stop
        their servers: those are waited for.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            problem = Problem(
                f"cannot be used: {error.strerror}",
                "Name a folder you may write to.",
                field="WELLOS_DATA_DIR",
                value=str(folder),
            )
            raise ConfigurationError([problem]) from error
        began = time.monotonic()
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                pid = _living(os.pread(self._file, 32, 0).decode())
                waited = time.monotonic() - began
                if waited > wait_s or (pid is not None and waited > _DYING_S):
                    os.close(self._file)
                    raise in_use(folder, pid) from None
                time.sleep(0.1)
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def fileno(self) -> int:
        """Return the descriptor that keeps the lock; guards inherit it."""
        return self._file

    def release(self) -> None:
        """Let go; the folder is free when the last guard has ended."""
        os.close(self._file)


def in_use(folder: Path, pid: int | None) -> ConfigurationError:
    """Return the refusal of a second platform on one folder; it names the process that holds it, if one lives."""
    who = f"process {pid}" if pid is not None else "what a killed platform has left running"
    problem = Problem(
        f"the data folder {folder} is in use by {who}",
        "Stop that platform with `wellos down`, or give this one a folder of its own with WELLOS_DATA_DIR.",
    )
    return ConfigurationError([problem])
