"""A stored configuration that can no longer be read fails its own connection, and no other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from streaming.counters import Counters
from streaming.supervise import Supervisor
from streaming.watch import RegistryWatch
from tests.seed import add_tags
from wellos.clock import WallClock
from wellos.errors import ConfigurationError
from wellos.registry import load_connections
from wellos.settings import load_settings

if TYPE_CHECKING:
    from streaming.delivery import Delivery
    from wellos.storage.warm import PgConnection


async def test_one_unreadable_configuration_fails_alone(database_url: str, db: PgConnection) -> None:
    add_tags(db, slug="good")
    add_tags(db, slug="bad")
    update = (
        "UPDATE scada_connections SET config = %s WHERE tenant_id = (SELECT tenant_id FROM tenants WHERE slug = %s)"
    )
    db.execute(update, ('{"host": "127.0.0.1", "port": 1}', "good"))
    db.execute(update, ('{"host": "127.0.0.1", "prot": 1}', "bad"))
    with pytest.raises(ConfigurationError, match="prot"):
        load_connections(db)
    watch = RegistryWatch(load_settings(database_url=database_url))
    connections = watch.read()
    watch.close()
    assert {item.tenant for item in connections} == {"good", "bad"}

    async def emit(_: Delivery) -> None:
        await asyncio.sleep(0)

    supervisor = Supervisor(emit, WallClock(), Counters(), {})
    await supervisor.apply(connections)
    async with asyncio.timeout(90):
        while not all(status.error for status in supervisor.status.values()):  # noqa: ASYNC110 - a state, not an event
            await asyncio.sleep(0.01)
    errors = {item.tenant: supervisor.status[item.connection_id].error for item in connections}
    await supervisor.stop()
    assert "Did you mean port?" in errors["bad"]
    assert "prot:" not in errors["good"]
