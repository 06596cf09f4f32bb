"""The platform's own processes as children: simulator, ingest, and Dagster's three."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import httpx
from psycopg.conninfo import conninfo_to_dict

from wellos.embedded.child import Spec
from wellos.embedded.server import Server, private_folder, reach, tcp_ready

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Environment", "code_server", "daemon", "ingest", "python_folder", "shared_file", "webserver"]

LOCATION = "wellos"


def python_folder() -> Path:
    """Return the folder our packages are imported from."""
    return Path(__file__).resolve().parents[2]


def shared_file(name: str) -> Path:
    """Return a file that lies at the root of a checkout, and in `_share` inside a wheel."""
    packaged = Path(__file__).resolve().parents[1] / "_share" / name
    return packaged if packaged.exists() else python_folder() / name


@dataclass(frozen=True, slots=True)
class Environment:
    """What every child is told: the settings as environment variables, and where logs go."""

    folder: Path
    host: str
    settings: Mapping[str, str | int] = field(repr=False)

    @property
    def logs(self) -> Path:
        """Folder of the children's logs."""
        return self.folder / "logs"

    def variables(self, **more: str) -> dict[str, str]:
        """Return the whole environment of a child."""
        ours = {f"WELLOS_{name.upper()}": str(value) for name, value in self.settings.items()}
        found = os.environ.get("PYTHONPATH")
        # A checkout that is not installed must be importable from any working folder.
        path = os.pathsep.join([str(python_folder()), *([found] if found else [])])
        return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **ours, **self._broker_login(), **more}

    def _broker_login(self) -> dict[str, str]:
        """Return what the simulator's fleet file refers to where the broker asks for a login."""
        parts = urlsplit(str(self.settings.get("mqtt_url", "")))
        if not parts.username:
            return {}
        return {"MQTT_USER": unquote(parts.username), "MQTT_PASSWORD": unquote(parts.password or "")}

    def spec(self, name: str, *command: str, more: Mapping[str, str] | None = None, grace_s: float = 10) -> Spec:
        """Return how to run one of our processes, with `more` in its environment."""
        variables = self.variables(**(more or {}))
        return Spec(name, (sys.executable, *command), self.logs / f"{name}.log", variables, grace_s=grace_s)


def ingest(environment: Environment) -> Server:
    """Return the ingest process; ready when /livez answers."""
    host, port = environment.host, int(environment.settings["metrics_port"])
    url = f"http://{reach(host)}:{port}"
    spec = environment.spec("ingest", "-m", "streaming", grace_s=30)
    return Server(spec, host, port, url, lambda: http_ok(f"{url}/livez"))


def code_server(environment: Environment, port: int) -> Server:
    """Return the process that loads the Dagster definitions and launches runs."""
    host = environment.host
    command = (
        *("-m", "dagster", "code-server", "start", "-h", host, "-p", str(port)),
        *("-m", "wellos_dagster.definitions", "--location-name", LOCATION),
        "--use-python-environment-entry-point",  # runs are started with this interpreter, whatever is first on PATH
    )
    spec = environment.spec("code-server", *command, more=_dagster_variables(environment))
    return Server(spec, host, port, f"grpc://{reach(host)}:{port}", lambda: tcp_ready(host, port))


def webserver(environment: Environment, code_port: int) -> Server:
    """Return the Dagster UI; ready when it answers HTTP."""
    host, port = environment.host, int(environment.settings["dagster_port"])
    url = f"http://{reach(host)}:{port}"
    workspace = _dagster_home(environment, code_port) / "workspace.yaml"
    command = ("-m", "dagster_webserver", "-h", host, "-p", str(port), "-w", str(workspace))
    spec = environment.spec("dagster", *command, more=_dagster_variables(environment))
    return Server(spec, host, port, url, lambda: http_ok(f"{url}/server_info"))


def daemon(environment: Environment, code_port: int) -> Server:
    """Return the process that ticks schedules and sensors and takes runs from the queue; its health is in the UI's."""
    workspace = _dagster_home(environment, code_port) / "workspace.yaml"
    spec = environment.spec(
        "daemon", "-m", "dagster._daemon", "run", "-w", str(workspace), more=_dagster_variables(environment)
    )
    return Server(spec, environment.host, 0, "", lambda: True)


def http_ok(url: str) -> bool:
    """Whether a GET is answered with success."""
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.TransportError:
        return False


def _dagster_home(environment: Environment, code_port: int) -> Path:
    home = private_folder(environment.folder / "dagster")
    shutil.copyfile(shared_file("dagster.yaml"), home / "dagster.yaml")
    host = reach(environment.host)
    entry = f"{{host: '{host}', port: {code_port}, location_name: {LOCATION}}}"
    text = f"# written by wellos at every start\nload_from:\n  - grpc_server: {entry}\n"
    (home / "workspace.yaml").write_text(text)
    return home


def _dagster_variables(environment: Environment) -> dict[str, str]:
    parts = conninfo_to_dict(str(environment.settings["dagster_database_url"]))
    return {
        "DAGSTER_HOME": str(environment.folder / "dagster"),
        "DAGSTER_PG_HOST": str(parts.get("host") or "localhost"),
        "DAGSTER_PG_PORT": str(parts.get("port") or "5432"),
        "DAGSTER_PG_USER": str(parts.get("user") or "postgres"),
        "DAGSTER_PG_PASSWORD": str(parts.get("password") or ""),
        "DAGSTER_PG_DB": str(parts.get("dbname") or parts.get("user") or "postgres"),
        "PGSSLMODE": str(parts.get("sslmode") or os.environ.get("PGSSLMODE", "prefer")),
        # The default handles five runs a tick: a backfill of hundreds would delay alerts by many minutes.
        "DAGSTER_RUN_STATUS_SENSOR_PROCESS_LIMIT": "25",
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "NO_COLOR": "1",
    }
