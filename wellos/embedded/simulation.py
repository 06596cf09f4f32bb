"""The simulated field as a child: its command line, its ready file, and the one-time backfill of its history."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import yaml

from wellos.embedded.server import Server
from wellos.files import replace_file
from wellos.fleet.model import Fleet, FleetTenant, TenantEntry

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.embedded.processes import Environment
    from wellos.storage.warm import PgConnection

__all__ = ["DEFAULT_HISTORY", "FieldOptions", "Simulation"]

DEFAULT_HISTORY = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class FieldOptions:
    """What the command line of `wellos up` says of the field."""

    wells: int = 12
    seed: int = 1
    replay: Path | None = None
    replay_speed: float | None = None
    zone: str = "America/Sao_Paulo"
    history: timedelta | None = None
    """None: thirty days, on the first start over an empty database."""


class Simulation:
    """`wellos simulate` as one part of the platform."""

    def __init__(self, folder: Path, options: FieldOptions) -> None:
        """Nothing is started yet."""
        self._options = options
        self._ready = folder / "simulator.json"
        self._progress = folder / "history.json"
        self._truth = folder / "truth.jsonl"
        self.fleet_file = folder / "fleet.yaml"
        self._history: timedelta | None = None

    def decide_history(self, connection: PgConnection) -> None:
        """Fill the past when asked to, when there is nothing in the database yet, or when a fill was cut short."""
        if self._options.replay is not None:
            return
        cut_short = self._progress.exists() and json.loads(self._progress.read_text())["state"] != "done"
        first = not self._progress.exists() and self._empty(connection)
        if self._options.history is not None:
            self._history = self._options.history
        elif first or cut_short:
            self._history = DEFAULT_HISTORY
        if self._history is not None and not self._history:
            self._history = None
        if self._history is not None:
            self._note("running")

    def prepare(self, environment: Environment) -> Server:
        """Return the process; ready when its ready file appears."""
        self._ready.unlink(missing_ok=True)
        options = self._options
        command = ["-m", "wellos", "simulate", "--fleet-out", str(self.fleet_file), "--ready-file", str(self._ready)]
        if options.replay is not None:
            command += ["--replay", str(options.replay.resolve()), "--zone", options.zone]
            if options.replay_speed is not None:
                command += ["--speed", f"{options.replay_speed:g}"]
        else:
            command += ["--wells", str(options.wells), "--seed", str(options.seed), "--truth", str(self._truth)]
        if self._history is not None:
            command += ["--history", f"{self._history // timedelta(minutes=1)}m"]
        spec = environment.spec("simulator", *command, grace_s=15)
        return Server(spec, environment.host, 0, "", self._ready.exists)

    def tenants(self) -> dict[str, str]:
        """Return slug and name of the tenants in the fleet file of the last start."""
        if not self.fleet_file.exists():
            return {}
        document = yaml.safe_load(self.fleet_file.read_text())
        return {tenant["slug"]: tenant["name"] for tenant in document["tenants"]}

    def left_behind(self, before: dict[str, str], fleet: Fleet) -> Fleet | None:
        """Return the tenants that were simulated and are no more, emptied, so that applying it retires what they had.

        None when there are none. Their readings stay, and they come back under their old numbers.
        """
        now = {tenant.entry.slug for tenant in fleet.tenants}
        gone = tuple(
            FleetTenant(TenantEntry(slug=slug, name=name), (), ()) for slug, name in before.items() if slug not in now
        )
        return Fleet(gone) if gone else None

    @property
    def told(self) -> dict[str, Any]:
        """What the simulator last said of itself; empty before it is ready."""
        if not self._ready.exists():
            return {}
        found: dict[str, Any] = json.loads(self._ready.read_text())
        return found

    def address(self) -> str:
        """Return where its servers listen, for people."""
        told = self.told
        return ", ".join(str(told[name]) for name in ("opcua", "modbus") if told.get(name))

    def history_left(self) -> str:
        """Return what the backfill is doing, empty when there is none or it is done."""
        if self._history is None:
            return ""
        history = self.told.get("history")
        if history is None:
            return "history: waiting for the simulator"
        if history["state"] == "done":
            self._history = None
            self._note("done")
            return ""
        return f"history: {history['what']} {history['share']:.0%}"

    def _note(self, state: str) -> None:
        replace_file(self._progress, json.dumps({"state": state}) + "\n")

    @staticmethod
    def _empty(connection: PgConnection) -> bool:
        row = connection.execute("SELECT EXISTS (SELECT FROM readings)").fetchone()
        return row == (False,)
