"""TLS, certificates and passwords against mosquitto, with certificates made on the fly."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from streaming.adapters.mqtt_tls import tls_context
from streaming.delivery import Status
from tests.adapters.test_mqtt_adapter import VERSIONS, connection_to
from tests.fix_adapters import Collector, running
from tests.fix_mqtt import Authority, configured_broker
from wellos.embedded.server import find_program
from wellos.errors import ConfigurationError
from wellos.protocols.mqtt import MqttConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wellos.embedded.server import RunningServer


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "authority")


@pytest.fixture(scope="module")
def secure(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A mosquitto that asks for a certificate."""
    certificate, key = authority.issue("127.0.0.1")
    lines = (f"cafile {authority.file}", f"certfile {certificate}", f"keyfile {key}", "require_certificate true")
    with configured_broker(tmp_path_factory.mktemp("secure"), *lines, "allow_anonymous true") as server:
        yield server


def url_of(server: RunningServer) -> str:
    return server.url.replace("mqtt:", "mqtts:")


async def why_not(server: RunningServer, **config: Any) -> str:  # noqa: ANN401 - any setting
    connection = connection_to(server.port, "t", url=url_of(server), **config)
    async with running(connection, Collector()) as session:
        return str(await session.lost())


@VERSIONS
async def test_both_sides_show_their_certificates(secure: RunningServer, authority: Authority, version: int) -> None:
    certificate, key = authority.issue("gateway")
    files = {"ca_file": authority.file, "certificate_file": certificate, "key_file": key}
    connection = connection_to(secure.port, f"tls/{version}", url=url_of(secure), version=version, **files)
    collector, status = Collector(), Status()
    async with running(connection, collector, status):
        await collector.until(lambda: status.state == "connected")
        source = paho.Client(CallbackAPIVersion.VERSION2)
        source.tls_set(authority.file, certificate, key)
        await asyncio.to_thread(source.connect, "127.0.0.1", secure.port)
        source.loop_start()
        for number in range(500):
            source.publish(f"tls/{version}", f'{{"value": {number}, "time": {1_793_534_400 + number}}}', 1)
        await collector.until(lambda: len(collector.readings) == 500)
        source.disconnect()
        source.loop_stop()
    assert collector.values(100) == [float(number) for number in range(500)]


async def test_an_authority_that_is_not_ours(secure: RunningServer, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    reason = await why_not(secure, ca_file=other.file)
    assert "cannot connect: the broker's certificate is not accepted: " in reason
    assert "is not accepted" in await why_not(secure), "the system's authorities do not know it either"


async def test_no_certificate_of_ours(secure: RunningServer, authority: Authority) -> None:
    assert "TLS failed: tlsv13 alert certificate required" in await why_not(secure, ca_file=authority.file)


@pytest.mark.parametrize(
    ("name", "days", "words"),
    [
        ("broker.example", 1, "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        ("127.0.0.1", -1, "expired"),
    ],
)
async def test_a_certificate_of_another_host_or_past_its_time(
    authority: Authority, tmp_path: Path, name: str, days: int, words: str
) -> None:
    certificate, key = authority.issue(name, days=days)
    with configured_broker(tmp_path, f"certfile {certificate}", f"keyfile {key}", "allow_anonymous true") as server:
        reason = await why_not(server, ca_file=authority.file)
    assert words in reason
    assert reason.count("certificate is not accepted") == 1


async def test_a_broker_without_tls(mqtt_broker: RunningServer) -> None:
    assert "cannot connect" in await why_not(mqtt_broker)


@VERSIONS
async def test_user_and_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    tool = find_program("mosquitto_passwd")
    if tool is None:
        pytest.skip("mosquitto_passwd is not installed")
    file = tmp_path / "passwords"
    file.touch(mode=0o600)
    await asyncio.to_thread(subprocess.run, [tool, "-b", str(file), "ann", "right"], check=True)
    monkeypatch.setenv("TEST_BROKER_PASSWORD", "right")
    with configured_broker(tmp_path / "b", "allow_anonymous false", f"password_file {file}") as server:
        good = {"user": "ann", "password": "${TEST_BROKER_PASSWORD}", "version": version}
        collector, status = Collector(), Status()
        async with running(connection_to(server.port, "t", **good), collector, status):
            await collector.until(lambda: status.state == "connected")
        for wrong in ({"user": "ann", "password": "hunter2"}, {}):
            async with running(connection_to(server.port, "t", version=version, **wrong), Collector()) as session:
                reason = str(await session.lost())
            assert "refused us: " in reason
            assert "authori" in reason.lower()
            assert "hunter2" not in reason


def test_files_that_cannot_be_used(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue("one")
    _, other_key = authority.issue("two")
    (tmp_path / "text").write_text("no certificate")
    cases: list[tuple[dict[str, str], str, str]] = [
        ({"ca_file": "/nowhere.pem"}, "ca_file", "cannot be read: No such file"),
        ({"ca_file": str(tmp_path / "text")}, "ca_file", "no certificate"),
        ({"certificate_file": "/nowhere.pem"}, "certificate_file", "cannot be read"),
        ({"certificate_file": certificate}, "certificate_file", "PEM"),
        ({"certificate_file": certificate, "key_file": other_key}, "key_file", "does not go with"),
    ]
    for config, field, words in cases:
        with pytest.raises(ConfigurationError) as caught:
            tls_context(MqttConfig.parse({"url": "mqtts://b", **config}))
        (problem,) = caught.value.problems
        assert problem.field == field
        assert words in problem.message
        assert problem.value == config[field]
    context = tls_context(MqttConfig.parse({"url": "mqtts://b", "certificate_file": certificate, "key_file": key}))
    assert context is not None
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"url": "mqtt://b", "ca_file": "a"}, "ca_file"),
        ({"url": "mqtts://b", "key_file": "a"}, "key_file"),
    ],
)
def test_files_that_would_do_nothing_are_refused(config: dict[str, str], field: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        MqttConfig.parse(config)
    assert [problem.field for problem in caught.value.problems] == [field]
