"""A real MQTT broker for tests: mosquitto, one a session, and one to break at will."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wellos.embedded.broker import running_broker
from wellos.embedded.server import find_program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wellos.embedded.server import RunningServer


def _need_mosquitto() -> None:
    if find_program("mosquitto") is None:
        pytest.skip("mosquitto is not installed (apt-get install mosquitto)")


@pytest.fixture(scope="session")
def mqtt_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The session's mosquitto: take topics and client names of your own."""
    _need_mosquitto()
    with running_broker(tmp_path_factory.mktemp("mqtt"), implementation="mosquitto") as server:
        yield server


@pytest.fixture
def mqtt_url(mqtt_broker: RunningServer) -> str:
    """Address of the session's mosquitto."""
    return mqtt_broker.url


@pytest.fixture
def own_mqtt_broker(tmp_path: Path) -> Iterator[RunningServer]:
    """A mosquitto of the test's own, to stop, kill, freeze and start again; sessions survive a clean stop."""
    _need_mosquitto()
    with running_broker(tmp_path / "mqtt", implementation="mosquitto") as server:
        yield server
