"""A real Redis for tests: one a session, emptied before each test that asks, and one to break at will."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from wellos.embedded.redis import running_redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wellos.embedded.server import RunningServer


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The session's Redis."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RunningServer) -> str:
    """Address, with password, of the session's Redis, emptied."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RunningServer]:
    """A Redis of the test's own, to stop, kill, freeze and start again."""
    with running_redis(tmp_path / "redis") as server:
        yield server
