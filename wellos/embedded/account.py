"""Servers never run with root's rights: the command that gives them up, and the folder they then may write.

PostgreSQL refuses root, and the others need none of it. Started by root, a server enters a user namespace of its own,
where it is user 1000 and root's capabilities are gone, while the files it makes stay root's on disk: nobody's
permissions change. Where the kernel or a container forbids user namespaces, the server runs as an unprivileged
account of the machine instead, which must then be able to reach the data folder and the programs by itself.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from wellos.embedded.server import find_program
from wellos.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Account", "unprivileged", "unprivileged_account"]

_CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """How a server is started: a command prefix, the owner its folder needs, and what to tell the user."""

    prefix: tuple[str, ...] = ()
    owner: tuple[int, int] | None = None
    note: str = ""

    def own(self, folder: Path) -> None:
        """Give a folder of ours, and what is in it, to the account that will write there."""
        if self.owner is None:
            return
        os.chown(folder, *self.owner)
        for path in folder.rglob("*"):
            os.chown(path, *self.owner, follow_symlinks=False)

    def require(self, folder: Path, program: Path) -> None:
        """ConfigurationError when the account cannot get at `folder` or `program`."""
        if self.owner is None:
            return
        checks = ((("test", "-w", str(folder)), folder, "WELLOS_DATA_DIR"), (("test", "-x", str(program)), program, ""))
        problems = [
            Problem(
                f"the account {_name(self.owner[0])}, which runs the server as root may not, cannot reach {path}",
                "Use a folder it can enter, such as /var/lib/wellos, or start as an ordinary user.",
                field=setting or None,
            )
            for command, path, setting in checks
            if subprocess.run([*self.prefix, *command], check=False).returncode
        ]
        if problems:
            raise ConfigurationError(problems)


@cache
def unprivileged() -> Account:
    """Return how servers are started here: as we are, in a user namespace, or as another account."""
    if os.geteuid() != 0:
        return Account()
    unshare = find_program("unshare")
    if unshare is not None:
        prefix = (unshare, "--user", "--map-user=1000", "--map-group=1000")
        if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode == 0:
            return Account(prefix)
    return unprivileged_account()


@cache
def unprivileged_account() -> Account:
    """Return the fallback: an account of this machine that is not root."""
    setpriv = find_program("setpriv")
    found = next((entry for entry in pwd.getpwall() if entry.pw_name in _CANDIDATES and entry.pw_uid != 0), None)
    if setpriv is None or found is None:
        problem = Problem(
            "started by root, where user namespaces are not allowed and no account postgres or nobody can be taken on",
            "Start as an ordinary user.",
        )
        raise ConfigurationError([problem])
    ids = (f"--reuid={found.pw_uid}", f"--regid={found.pw_gid}")
    prefix = (setpriv, *ids, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs")
    note = f"runs as the account {found.pw_name}: started by root where user namespaces are not allowed"
    return Account(prefix, (found.pw_uid, found.pw_gid), note)


def _name(uid: int) -> str:
    return pwd.getpwuid(uid).pw_name
