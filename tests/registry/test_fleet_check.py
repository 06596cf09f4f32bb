"""Every mistake in a fleet file: its line, its field and its remedy."""

from __future__ import annotations

from textwrap import dedent, indent
from typing import TYPE_CHECKING

import pytest

from wellos.errors import ConfigurationError, Problem
from wellos.fleet.check import check, check_file

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """\
version: 1
tenants:
  - slug: permian
    name: Permian Operating
    wells:
      - {name: PB-001, lift_type: esp, timezone: America/Chicago}
      - {name: PB-002, lift_type: rod_pump}
    connections:
"""
OPCUA = HEAD + (
    "      - name: plc\n        protocol: opcua\n"
    "        config: {url: 'opc.tcp://plc:4840', anonymous: true}\n        tags:\n"
)
"""Ends on line 12: the first tag is on line 13."""
MODBUS = HEAD + "      - name: rtu\n        protocol: modbus\n        config: {host: rtu}\n        tags:\n"
MQTT = HEAD + "      - name: broker\n        protocol: mqtt\n        config: {url: 'mqtt://b'}\n        tags:\n"


def problems_of(text: str) -> list[Problem]:
    with pytest.raises(ConfigurationError) as caught:
        check(text.encode(), "fleet.yaml")
    return list(caught.value.problems)


def tags(text: str, *lines: str) -> str:
    return text + "".join(f"          - {line}\n" for line in lines)


def wells(*lines: str) -> str:
    return "version: 1\ntenants:\n  - slug: a\n    name: A\n    wells:\n" + "".join(f"      - {x}\n" for x in lines)


def connection(text: str) -> str:
    return HEAD + indent(dedent(text), "      ")


OIL = "{name: oil, well: PB-001, address: 'ns=2;s=oil'"
REG = "{name: oil, well: PB-001, address: '1:holding:0:int16'"
TAG = "tenants[0].connections[0].tags"

CASES: list[tuple[str, int, str, str, str]] = [
    # the top
    ("[]", 1, "", "must be a mapping", "version: 1"),
    ("tenants: []", 1, "", "version is required", "version: 1"),
    ("version: 1", 1, "", "tenants is required", "tenants:"),
    ("version: 2\ntenants: []", 1, "version", "not a known version", "version: 1"),
    ("version: true\ntenants: []", 1, "version", "not a known version", "version: 1"),
    ("version: 1\ntennants: []\ntenants: []", 2, "tennants", "no such field", "Did you mean tenants?"),
    ("version: 1\ntenants: {}", 2, "tenants", "must be a list", "after a dash"),
    ("version: 1\ntenants:\n  - permian", 3, "tenants[0]", "must be a mapping", "key: value"),
    # tenants
    ("version: 1\ntenants:\n  - {name: A}", 3, "tenants[0].slug", "is required", "Add slug"),
    ("version: 1\ntenants:\n  - {slug: A b, name: A}", 3, "tenants[0].slug", "begin with a letter", "permian_west"),
    ("version: 1\ntenants:\n  - {slug: a, name: 5}", 3, "tenants[0].name", "must be a text", "Full name"),
    ("version: 1\ntenants:\n  - {slug: a, name: ''}", 3, "tenants[0].name", "at least 1", "Full name"),
    ("version: 1\ntenants:\n  - {slug: a, name: ' A'}", 3, "tenants[0].name", "spaces around", "Remove"),
    ("version: 1\ntenants:\n  - {slug: a, name: A, well: []}", 3, "tenants[0].well", "no such field", "wells?"),
    (
        "version: 1\ntenants:\n  - {slug: a, name: A}\n  - {slug: a, name: B}",
        *(4, "tenants[1].slug", "given twice, first on line 3", "Rename"),
    ),
    ("version: 1\ntenants:\n  - {slug: a, name: A, wells: PB-001}", 3, "tenants[0].wells", "must be a list", "dash"),
    # wells
    (wells("{lift_type: esp}"), 6, "tenants[0].wells[0].name", "is required", "Add name"),
    (wells("{name: A, lift_type: rod pump}"), 6, "tenants[0].wells[0].lift_type", "not an allowed", "rod_pump?"),
    (
        wells("{name: A, lift_type: esp, timezone: America/Chicgo}"),
        6,
        "tenants[0].wells[0].timezone",
        "IANA",
        "Chicago?",
    ),
    (wells("{name: A, lift_type: esp, timezone: ../etc/passwd}"), 6, "tenants[0].wells[0].timezone", "IANA", "Known"),
    (wells("{name: A, lift_type: esp, timezone: America}"), 6, "tenants[0].wells[0].timezone", "IANA", ""),
    (
        wells("{name: A, lift_type: esp, contract_hour: 24}"),
        6,
        "tenants[0].wells[0].contract_hour",
        "at most 23",
        "hour",
    ),
    (wells("{name: A, lift_type: esp, contract_hour: 6.5}"), 6, "tenants[0].wells[0].contract_hour", "whole", "hour"),
    (wells("{name: A, lift_type: esp, api_number: 4232940001}"), 6, "tenants[0].wells[0].api_number", "a text", "API"),
    (wells("{name: A, lift_type: esp, time_zone: UTC}"), 6, "tenants[0].wells[0].time_zone", "no such", "timezone?"),
    (wells("{name: 12, lift_type: esp}"), 6, "tenants[0].wells[0].name", "must be a text (quote it)", "Name"),
    (
        wells("{name: A, lift_type: esp}", "name: B\n        lift_type: esp", "name: A\n        lift_type: esp"),
        *(9, "tenants[0].wells[2].name", "given twice, first on line 6", "Rename"),
    ),
    (wells("{name: A, lift_type: esp, <<: {route: x}}"), 6, "tenants[0].wells[0].<<", "no such field", "Known"),
    # connections
    (
        connection("- {protocol: opcua, config: {url: 'opc.tcp://a', anonymous: true}}"),
        9,
        "tenants[0].connections[0].name",
        "required",
        "",
    ),
    (connection("- {name: a, config: {}}"), 9, "tenants[0].connections[0].protocol", "is required", "Add protocol"),
    (
        connection("- name: a\n  protocol: modbus_tcp\n  config: {host: b}"),
        *(10, "tenants[0].connections[0].protocol", "not an allowed value", "Did you mean modbus?"),
    ),
    (connection("- name: a\n  protocol: modbus"), 9, "tenants[0].connections[0].config", "is required", "Add config"),
    (
        connection("- name: a\n  protocol: modbus\n  config: x"),
        *(11, "tenants[0].connections[0].config", "must be a mapping", "Settings of the protocol"),
    ),
    (
        connection("- name: a\n  protocol: modbus\n  enabled: 'yes'\n  config: {host: a}"),
        *(11, "tenants[0].connections[0].enabled", "true or false", "Whether"),
    ),
    (
        connection("- name: a\n  protocol: modbus\n  config:\n    host: b\n    prot: 502"),
        *(13, "tenants[0].connections[0].config.prot", "no such field", "Did you mean port?"),
    ),
    (
        connection(
            "- name: a\n  protocol: mqtt\n  config:\n    url: mqtt://b\n    subscribe:\n      - a\n      - '#/b'"
        ),
        *(15, "tenants[0].connections[0].config.subscribe[1]", "wildcard", "last"),
    ),
    (
        connection(
            "- {name: a, protocol: modbus, config: {host: b}}\n- {name: a, protocol: modbus, config: {host: c}}"
        ),
        *(10, "tenants[0].connections[1].name", "given twice, first on line 9", "Rename"),
    ),
    (
        connection("- {name: a, protocol: modbus, config: {host: b}, tag: []}"),
        *(9, "tenants[0].connections[0].tag", "no such field", "Did you mean tags?"),
    ),
    # tags
    (tags(OPCUA, "{well: PB-001, address: i=1}"), 13, f"{TAG}[0].name", "is required", "Add name"),
    (tags(OPCUA, "{name: oil, address: i=1}"), 13, f"{TAG}[0].well", "is required", "Add well"),
    (tags(OPCUA, "{name: oil, well: PB-001}"), 13, f"{TAG}[0].address", "is required", "Add address"),
    (tags(OPCUA, "{name: oil, well: PB-01, address: i=1}"), 13, f"{TAG}[0].well", "not a well", "Did you mean PB-001?"),
    (tags(OPCUA, f"{OIL}, unit: psii}}"), 13, f"{TAG}[0].unit", "not a known unit", "Did you mean psi?"),
    (tags(OPCUA, f"{OIL}, unit: PSI}}"), 13, f"{TAG}[0].unit", "not a known unit", "Did you mean psi?"),
    (
        tags(OPCUA, f"{OIL}, unit: bbl/day, quantity: rate}}"),
        13,
        f"{TAG}[0].unit",
        "not a known",
        "Did you mean bbl/d?",
    ),
    (
        tags(OPCUA, f"{OIL}, unit: psi, quantity: temperature}}"),
        13,
        f"{TAG}[0].unit",
        "unit of pressure, not of",
        "degF",
    ),
    (tags(OPCUA, f"{OIL}, unit: bbl, quantity: rate}}"), 13, f"{TAG}[0].unit", "not of rate", "Did you mean bbl/d?"),
    (tags(OPCUA, f"{OIL}, quantity: presure}}"), 13, f"{TAG}[0].quantity", "not a known", "Did you mean pressure?"),
    (tags(OPCUA, f"{OIL}, low: 5, high: 5}}"), 13, f"{TAG}[0].low", "must be below high (5)", "Swap"),
    (tags(OPCUA, f"{OIL}, low: .nan}}"), 13, f"{TAG}[0].low", "finite", "range"),
    (tags(OPCUA, f"{OIL}, interval_s: 0}}"), 13, f"{TAG}[0].interval_s", "above 0", "Seconds"),
    (tags(OPCUA, f"{OIL}, interval_s: -1}}"), 13, f"{TAG}[0].interval_s", "above 0", "Seconds"),
    (tags(OPCUA, f"{OIL}, interval_s: 15s}}"), 13, f"{TAG}[0].interval_s", "must be a number", "Seconds"),
    (tags(OPCUA, f"{OIL}, interval_s: null}}"), 13, f"{TAG}[0].interval_s", "must be a number", "Seconds"),
    (tags(OPCUA, f"{OIL}, interval: 1}}"), 13, f"{TAG}[0].interval", "no such field", "Did you mean interval_s?"),
    (tags(OPCUA, f"{OIL}, scale: 0}}"), 13, f"{TAG}[0].scale", "must not be 0", "Leave it out"),
    (tags(OPCUA, f"{OIL}, scale: true}}"), 13, f"{TAG}[0].scale", "must be a number", "Factor"),
    (tags(OPCUA, f"{OIL}, deadband: -1}}"), 13, f"{TAG}[0].deadband", "at least 0", "change"),
    (tags(OPCUA, f"{OIL}, resolution: 0}}"), 13, f"{TAG}[0].resolution", "above 0", "step"),
    (tags(OPCUA, f"{OIL}, mode: rb}}"), 13, f"{TAG}[0].mode", "not an allowed", "Did you mean rbe?"),
    (tags(OPCUA, f"{OIL}, sentinels: -9999}}"), 13, f"{TAG}[0].sentinels", "must be a list", "-9999"),
    (tags(OPCUA, f"{OIL}, sentinels: [bad]}}"), 13, f"{TAG}[0].sentinels[0]", "must be a number", "Values"),
    (tags(OPCUA, f"{OIL}}}", "{name: oil, well: PB-001, address: i=2}"), 14, f"{TAG}[1].name", "second tag", "Rename"),
    (
        tags(OPCUA, f"{OIL}}}", "{name: gas, well: PB-001, address: 'ns=2;s=oil'}"),
        14,
        f"{TAG}[1].address",
        "twice",
        "one",
    ),
    (tags(OPCUA, "{name: a, well: PB-001, address: oil}"), 13, f"{TAG}[0].address", "node id", "ns=2;s=PB"),
    (tags(MODBUS, f"{REG}, mode: rbe}}"), 13, f"{TAG}[0].mode", "polled", "Write poll"),
    (
        tags(MODBUS, "{name: a, well: PB-001, address: '1:holdng:0:int16'}"),
        13,
        f"{TAG}[0].address",
        "table",
        "holding?",
    ),
    (tags(MODBUS, "{name: a, well: PB-001, address: '1:holding:0:bool'}"), 13, f"{TAG}[0].address", "bit", "0.15"),
    (
        tags(MODBUS, f"{REG}}}", "{name: gas, well: PB-002, address: '1:holding:0:int16:ABCD'}"),
        *(14, f"{TAG}[1].address", "read twice over this connection, first on line 13", "Remove"),
    ),
    (tags(MQTT, "{name: a, well: PB-001, address: 'w/+'}"), 13, f"{TAG}[0].address", "wildcard", "subscribe"),
    (
        tags(MQTT, "{name: a, well: PB-001, address: w/1}", "{name: b, well: PB-001, address: 'w/1#/value'}"),
        *(14, f"{TAG}[1].address", "twice", "Remove"),
    ),
    (tags(OPCUA, f"{OIL}, low: 1, low: 2}}"), 13, "low", "the key is given twice", "Keep one"),
]


@pytest.mark.parametrize(("text", "line", "field", "message", "remedy"), CASES)
def test_one_mistake(text: str, line: int, field: str, message: str, remedy: str) -> None:
    (problem,) = problems_of(text)
    assert problem.file == "fleet.yaml"
    assert problem.line == line
    assert problem.field == (field or None)
    assert message in problem.message
    assert remedy in problem.remedy


def test_all_mistakes_at_once_by_line() -> None:
    text = tags(MODBUS, "{name: a, well: PB-1, address: 40001, unit: pssi}", "{nam: b}").replace("esp", "epsilon")
    found = problems_of(text.replace("host: rtu", "hots: rtu"))
    assert [(item.line, (item.field or "").rpartition("].")[2]) for item in found] == [
        (6, "lift_type"),
        (11, "config.host"),
        (11, "config.hots"),
        (13, "address"),
        (13, "well"),
        (13, "unit"),
        (14, "name"),
        (14, "well"),
        (14, "nam"),
        (14, "address"),
    ]


def test_addresses_are_checked_even_if_the_configuration_is_wrong() -> None:
    text = tags(MODBUS, "{name: a, well: PB-001, address: '1:holdng:0:int16'}").replace("host: rtu", "host: 5")
    assert [item.line for item in problems_of(text)] == [11, 13]


def test_the_address_of_a_sparkplug_tag() -> None:
    text = MQTT.replace("'mqtt://b'", "'mqtt://b', payload: sparkplug")
    assert check(tags(text, "{name: a, well: PB-001, address: 'g/n/d:oil'}").encode(), "f").fleet.counts()["tags"] == 1
    (problem,) = problems_of(tags(text, "{name: a, well: PB-001, address: 'w/1#/value'}"))
    assert "Sparkplug" in problem.message


def test_tags_found_by_their_topic_need_no_address() -> None:
    text = MQTT.replace("'mqtt://b'", "'mqtt://b', topics: ['{tenant}/{well}/{tag}']")
    both = ("{name: a, well: PB-001}", "{name: b, well: PB-001, address: '#/v'}", "{name: c, well: PB-002, address: x}")
    assert check(tags(text, *both).encode(), "f").fleet.counts()["tags"] == 3
    (problem,) = problems_of(tags(text, "{name: a/b, well: PB-001}"))
    assert (problem.field, problem.value) == (f"{TAG}[0].name", "a/b")
    whole = text.replace("{tenant}/{well}/{tag}", "f/{well}")
    assert check(tags(whole, "{name: a/b, well: PB-001}").encode(), "f").fleet.counts()["tags"] == 1
    (problem,) = problems_of(tags(MQTT, "{name: a, well: PB-001}"))
    assert (problem.field, problem.message) == (f"{TAG}[0].address", "is required")
    (problem,) = problems_of(tags(text.replace("{well}", "{wel}"), "{name: a, well: PB-001}"))
    assert "captures {wel}" in problem.message
    (problem,) = problems_of(
        tags(text.replace("topics", "payload: sparkplug, topics"), "{name: a, well: PB-001, address: 'g/n:m'}")
    )
    assert (problem.field, problem.message) == (
        "tenants[0].connections[0].config",
        "topics does nothing for Sparkplug B",
    )


def test_overlapping_registers_of_other_types_are_allowed() -> None:
    text = tags(MODBUS, f"{REG}}}", "{name: gas, well: PB-001, address: '1:holding:0:uint32'}")
    assert check(text.encode(), "f").warnings == ()


def test_a_thousand_mistakes_are_enough() -> None:
    text = tags(MODBUS, *(f"{{name: t{n}, well: PB-9, address: '1:holding:{n}:int16'}}" for n in range(1200)))
    found = problems_of(text)
    assert len(found) == 1001
    assert "more than 1000" in found[-1].message


def test_a_password_is_never_shown() -> None:
    text = MQTT.replace("'mqtt://b'", "'mqtt://ann:hunter2@b', password: [hunter2], pasword: hunter2")
    found = problems_of(text + "          []\n")
    assert "hunter2" not in " ".join(map(str, found))
    assert len(found) == 3


WARNED = [
    (MQTT.replace("'mqtt://b'", "'mqtt://b', password: hunter2") + "          []\n", 11, "in clear text", "${NAME}"),
    (tags(MODBUS, "{name: a, well: PB-001, address: '1:holding:40101:int16'}"), 13, "1-based", "write 100"),
    (wells("{name: A, lift_type: esp, api_number: 42-329-4001}"), 6, "9 digits", "Check"),
]


@pytest.mark.parametrize(("text", "line", "message", "remedy"), WARNED)
def test_what_is_allowed_but_looks_wrong(text: str, line: int, message: str, remedy: str) -> None:
    (warning,) = check(text.encode(), "fleet.yaml").warnings
    assert warning.line == line
    assert message in warning.message
    assert remedy in warning.remedy
    assert "hunter2" not in str(warning)


def test_a_reference_is_kept_and_not_warned_of() -> None:
    text = MQTT.replace("'mqtt://b'", "'mqtt://b', password: '${MQTT_PASSWORD}'") + "          []\n"
    checked = check(text.encode(), "f")
    assert checked.warnings == ()
    assert checked.fleet.tenants[0].connections[0].entry.config["password"] == "${MQTT_PASSWORD}"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            check_file(path)


def test_an_empty_fleet() -> None:
    assert check(b"version: 1\ntenants: []\n", "f").fleet.counts() == {
        "tenants": 0,
        "wells": 0,
        "connections": 0,
        "tags": 0,
    }
