"""Two instances with the same settings on one machine: share, maximum and ports; what nobody reads is seen."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from tests.device import device, fleet
from tests.fix_adapters import free_port
from tests.ingesting import ingests, register
from tests.waiting import eventually
from wellos.cli.status import status

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.storage.warm import PgConnection

pytestmark = pytest.mark.fault


def test_at_the_maximum_and_joined_by_another(
    tmp_path: Path, database_url: str, db: PgConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WELLOS_DATABASE_URL", database_url)
    monkeypatch.setenv("WELLOS_DATA_DIR", str(tmp_path))
    settings: dict[str, object] = {
        "database_url": database_url,
        "max_connections": 1,
        "metrics_port": free_port(),
        "lease_s": 2,
    }
    with device() as one, device() as other, ingests(tmp_path, **settings) as make:
        register(db, fleet(one.port, other.port))
        first, second = make("first"), make("second")
        first.start()
        eventually(lambda: first.metric("scada_connections_unclaimed") == 1)
        (warning,) = first.logged("every instance is at its maximum: some connections are read by nobody")
        assert (warning["unclaimed"], warning["instances"]) == (1, 1)
        eventually(lambda: states()["ingest"] is not None and states()["ingest"]["unclaimed"] == 1)
        assert sorted(item["state"] == "unclaimed" for item in states()["connections"]) == [False, True]
        assert not other.requests
        second.start()
        assert first.address != second.address
        eventually(lambda: second.metric("scada_leases_held") == 1)
        eventually(lambda: len(other.requests) > 3)
        eventually(lambda: states()["ingest"]["unclaimed"] == 0)
        owners = {item["owner"]["spool_id"] for item in states()["connections"]}
        assert owners == {first.spool_id, second.spool_id}
        eventually(lambda: bool(first.logged("leases are in order again")))
        assert [first.stop(), second.stop()] == [0, 0]


def states() -> dict[str, Any]:
    """Return what `wellos status` says of ingest."""
    document: dict[str, Any] = json.loads(CliRunner().invoke(status, ["--json"]).output)
    figures: dict[str, Any] = document["figures"]
    return figures
