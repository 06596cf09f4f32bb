"""Connection configurations: what is accepted, what is refused and with which remedy."""

from __future__ import annotations

from typing import Any

import pytest

from wellos.errors import ConfigurationError
from wellos.protocols import CONFIGS
from wellos.protocols.modbus import ModbusConfig
from wellos.protocols.mqtt import MqttConfig, parse_plain, parse_sparkplug
from wellos.protocols.opcua import OpcUaConfig


def test_defaults() -> None:
    opcua = OpcUaConfig.parse({"anonymous": True, "url": "opc.tcp://plc:4840/a"})
    assert (opcua.publishing_interval_ms, opcua.sampling_interval_ms, opcua.user) == (500, 0, None)
    modbus = ModbusConfig.parse({"host": "10.0.0.1"})
    assert (modbus.port, modbus.timeout_s, modbus.max_registers, modbus.max_gap) == (502, 3, 120, 8)
    mqtt = MqttConfig.parse({"url": "mqtt://broker"})
    assert (mqtt.version, mqtt.payload, mqtt.qos, mqtt.time_pointer) == (5, "plain", 1, "/time")


REFUSED: list[tuple[str, dict[str, Any], str, str, str]] = [
    ("opcua", {"anonymous": True}, "url", "is required", "Add url"),
    (
        "opcua",
        {"anonymous": True, "url": "http://plc:4840"},
        "url",
        "must begin with opc.tcp://",
        "opc.tcp://host:4840/path",
    ),
    ("opcua", {"anonymous": True, "url": "opc.tcp://"}, "url", "needs a host", "opc.tcp://host"),
    ("opcua", {"anonymous": True, "url": "opc.tcp://plc:70000"}, "url", "has a port", "opc.tcp://host"),
    (
        "opcua",
        {"anonymous": True, "url": "opc.tcp://plc", "publishing_interval": 1},
        "publishing_interval",
        "no such",
        "publishing_interval_ms",
    ),
    (
        "opcua",
        {"anonymous": True, "url": "opc.tcp://plc", "publishing_interval_ms": 1},
        "publishing_interval_ms",
        "at least 10",
        "How often",
    ),
    (
        "opcua",
        {"anonymous": True, "url": "opc.tcp://plc", "queue_size": "9"},
        "queue_size",
        "must be a whole number",
        "Changes",
    ),
    ("opcua", {"anonymous": True, "url": "opc.tcp://plc", "watchdog_s": 0}, "watchdog_s", "above 0", "Silence"),
    (
        "opcua",
        {"anonymous": True, "url": "opc.tcp://plc", "watchdog_s": float("nan")},
        "watchdog_s",
        "finite",
        "Silence",
    ),
    ("opcua", {"url": "opc.tcp://plc"}, "anonymous", "needs to be true, or a user", "anonymous: true"),
    ("opcua", {"url": "opc.tcp://plc", "user": "u", "anonymous": True}, "anonymous", "beside a user", "Remove one"),
    (
        "opcua",
        {"url": "opc.tcp://plc", "user": "u", "security_mode": "none"},
        "security_mode",
        "not an",
        "Did you mean",
    ),
    ("modbus", {"host": "a", "prot": 1}, "prot", "no such field", "Did you mean port?"),
    ("modbus", {"host": "a", "port": 0}, "port", "at least 1", "TCP port"),
    ("modbus", {"host": "a", "port": "502"}, "port", "whole number", "TCP port"),
    ("modbus", {"host": "a", "port": True}, "port", "whole number", "TCP port"),
    ("modbus", {"host": "a b"}, "host", "pattern", "Host name"),
    ("modbus", {"host": "a", "max_registers": 126}, "max_registers", "at most 125", "125"),
    ("mqtt", {"url": "mqtt://b", "payload": "sparkplugb"}, "payload", "not an allowed", "Did you mean sparkplug?"),
    ("mqtt", {"url": "mqtt://b", "version": "5"}, "version", "not an allowed", "5, 4"),
    ("mqtt", {"url": "mqtt://b", "qos": 2}, "qos", "not an allowed", "1, 0"),
    ("mqtt", {"url": "mqtt://b", "time_pointer": "time"}, "time_pointer", "begin with /", "/time"),
    ("mqtt", {"url": "mqtt://b", "quality_pointer": "/a~2"}, "quality_pointer", "~0", "RFC 6901"),
    ("mqtt", {"url": "mqtt://b", "subscribe": ["a/#/b"]}, "subscribe.0", "wildcard", "last"),
    ("mqtt", {"url": "mqtt://b", "subscribe": "a"}, "subscribe", "must be a list", "Topic filters"),
    ("mqtt", {"url": "mqtt://b", "group": "a/b"}, "group", "holds one of", "plain word"),
    ("mqtt", {"url": "mqtt://b", "payload": "sparkplug", "group": "a"}, "group", "split", "own connection"),
    ("mqtt", {"url": "mqtt://b", "timezone": "Chicago"}, "timezone", "IANA", "America/Chicago"),
    ("mqtt", {"url": "mqtt://b", "rows_pointer": "$..a"}, "rows_pointer", "names and indices", "/name/list/0"),
    ("mqtt", {"url": "mqtt://u:p@b"}, "url", "must not carry a user", "under user and password"),
]


@pytest.mark.parametrize(("protocol", "config", "field", "message", "remedy"), REFUSED)
def test_refused(protocol: str, config: dict[str, Any], field: str, message: str, remedy: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        CONFIGS[protocol].parse(config)
    (problem,) = caught.value.problems
    assert problem.field == field
    assert message in problem.message
    assert remedy in problem.remedy


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"payload": "sparkplug", "time_pointer": "/t"}, "time_pointer does nothing for Sparkplug B"),
        ({"value_pointer": "/v"}, "value_pointer does nothing without topics"),
        ({"row_value_pointer": "/v"}, "row_value_pointer does nothing without rows_pointer"),
    ],
)
def test_what_would_do_nothing_is_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        MqttConfig.parse({"url": "mqtt://b", **config})


def test_all_mistakes_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        ModbusConfig.parse({"hots": "a", "port": -1, "retries": 1.5})
    assert {problem.field for problem in caught.value.problems} == {"host", "hots", "port", "retries"}


@pytest.mark.parametrize(
    "config",
    [
        {"url": "mqtt://user:hunter2@broker"},
        {"url": "mqtt://broker", "password": ["hunter2"]},
        {"url": "mqtt://broker", "password": "hunter2", "port": 1},
    ],
)
def test_a_password_is_never_shown(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        MqttConfig.parse(config)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.problems)


def test_a_password_is_hidden_in_repr() -> None:
    assert "hunter2" not in repr(MqttConfig.parse({"url": "mqtt://b", "password": "hunter2"}))


def test_credentials_come_from_the_environment() -> None:
    config = MqttConfig.parse({"url": "mqtt://b", "user": "${MQTT_USER}", "password": "${MQTT_PASS}"})
    assert config.credentials({"MQTT_USER": "ann", "MQTT_PASS": "secret"}) == ("ann", "secret")
    with pytest.raises(ConfigurationError) as caught:
        config.credentials({})
    assert [problem.field for problem in caught.value.problems] == ["user", "password"]
    assert "MQTT_PASS is not set" in str(caught.value)


def test_credentials_in_clear_are_taken_as_they_are() -> None:
    config = MqttConfig.parse({"url": "mqtt://b", "user": "ann", "password": "pa${x}"})
    assert config.credentials({"x": "y"}) == ("ann", "pa${x}")


def test_filters() -> None:
    plain = MqttConfig.parse({"url": "mqtt://b"})
    addresses = [parse_plain("w/1#/oil"), parse_plain("w/1#/gas"), parse_plain("v/1")]
    assert plain.filters(addresses) == ("v/1", "w/1")
    sparkplug = MqttConfig.parse({"url": "mqtt://b", "payload": "sparkplug"})
    assert sparkplug.filters([parse_sparkplug("g/n/d:m"), parse_sparkplug("g/n:m")]) == ("spBv1.0/g/+/n/#",)
    shared = MqttConfig.parse({"url": "mqtt://b", "group": "ingest"})
    assert shared.filters(addresses[:1]) == ("$share/ingest/w/1",)
    assert MqttConfig.parse({"url": "mqtt://b", "subscribe": ["b/#", "a"]}).filters(addresses) == ("b/#", "a")
