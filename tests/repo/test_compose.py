"""compose.yaml and the Dockerfile against what the code needs: they cannot be run where the tests run."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from wellos.settings import Settings

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
OURS = [name for name, service in SERVICES.items() if "build" in service]


def image(name: str) -> str:
    """A variable that the image sets."""
    found = re.search(rf"\b{name}=(\S+)", DOCKERFILE)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_one_that_is_read(name: str) -> None:
    known = {f"WELLOS_{field.upper()}" for field in Settings.model_fields}
    wanted = set(re.findall(r"env: (DAGSTER_PG_\w+)", (ROOT / "dagster.yaml").read_text()))
    assert len(wanted) == 5
    given = set(SERVICES[name]["environment"])
    assert {key for key in given if key.startswith("WELLOS_")} <= known
    assert {key for key in given if key.startswith("DAGSTER_PG_")} == wanted


def test_whoever_audits_has_the_spool_and_the_ui_has_the_logs_of_runs() -> None:
    data = f"data:{image('WELLOS_DATA_DIR')}"
    logs = f"run-logs:{image('DAGSTER_HOME')}/storage"
    assert all(data in SERVICES[name]["volumes"] for name in ("ingest", "code"))
    assert all(logs in SERVICES[name]["volumes"] for name in ("code", "webserver"))


def test_no_secret_has_a_default_and_no_port_is_open_to_others() -> None:
    text = (ROOT / "compose.yaml").read_text()
    assert re.findall(r"\$\{\w+", text)
    assert all(item.endswith(":?set it}") for item in re.findall(r"\$\{[^}]*\}", text))
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert ".env" in (ROOT / ".dockerignore").read_text().splitlines()
    assert re.search(r"^USER wellos$", DOCKERFILE, re.MULTILINE)


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate"}))
def test_every_service_has_a_health_check(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]


def test_what_is_mounted_or_copied_is_there() -> None:
    mounted = [item for service in SERVICES.values() for item in service.get("volumes", ()) if item.startswith("./")]
    assert mounted
    assert all((ROOT / item.split(":")[0]).is_file() for item in mounted)
    copied = re.findall(r"^COPY (?:--chown=\S+ )?(\S+) ", DOCKERFILE, re.MULTILINE)
    assert {"dagster.yaml", "requirements.lock", "deploy/workspace.yaml"} <= set(copied)
    assert all((ROOT / item).exists() for item in copied if not item.startswith("--from="))


def test_the_code_server_is_where_the_workspace_says() -> None:
    [entry] = yaml.safe_load((ROOT / "deploy/workspace.yaml").read_text())["load_from"]
    assert entry["grpc_server"]["host"] in SERVICES
    command = SERVICES[entry["grpc_server"]["host"]]["command"]
    assert command[command.index("-p") + 1] == str(entry["grpc_server"]["port"])
