"""Tag addresses: every form of each protocol, and the remedy for what is not one."""

from __future__ import annotations

import uuid
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellos.errors import ConfigurationError
from wellos.protocols import address_parser, modbus, mqtt, opcua
from wellos.protocols.modbus import ModbusAddress
from wellos.protocols.mqtt import MqttAddress, SparkplugAddress
from wellos.protocols.opcua import OpcUaAddress

GUID = "09087e75-8e5e-499b-954f-f2a9603db28a"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ns=2;s=PB-001.oil_rate", OpcUaAddress("s", "PB-001.oil_rate", 2)),
        ("nsu=urn:wellos:field;s=a;b=c", OpcUaAddress("s", "a;b=c", None, "urn:wellos:field")),
        ("i=85", OpcUaAddress("i", 85, 0)),
        ("ns=65535;i=4294967295", OpcUaAddress("i", 4294967295, 65535)),
        (f"ns=1;g={GUID}", OpcUaAddress("g", uuid.UUID(GUID), 1)),
        ("ns=1;b=M/RbKBsRVkePCePcx24oRA==", OpcUaAddress("b", bytes.fromhex("33f45b281b1156478f09e3dcc76e2844"), 1)),
    ],
)
def test_opcua(text: str, expected: OpcUaAddress) -> None:
    assert opcua.parse_address(text) == expected
    assert opcua.parse_address(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1:holding:100:float32:CDAB", ModbusAddress(1, "holding", 100, "float32", "CDAB")),
        ("255:input:65535:uint16", ModbusAddress(255, "input", 65535, "uint16", "ABCD")),
        ("0:input:65532:float64:DCBA", ModbusAddress(0, "input", 65532, "float64", "DCBA")),
        ("7:coil:3:bool", ModbusAddress(7, "coil", 3, "bool")),
        ("7:discrete:0:bool", ModbusAddress(7, "discrete", 0, "bool")),
        ("7:holding:9.15:bool", ModbusAddress(7, "holding", 9, "bool", bit=15)),
        ("7:input:9.0:bool", ModbusAddress(7, "input", 9, "bool", bit=0)),
        ("7:input:9:int8:BADC", ModbusAddress(7, "input", 9, "int8", "BADC")),
        ("7:holding:9:string17", ModbusAddress(7, "holding", 9, "string", length=17)),
        ("7:holding:65416:string240:BADC", ModbusAddress(7, "holding", 65416, "string", "BADC", length=240)),
    ],
)
def test_modbus(text: str, expected: ModbusAddress) -> None:
    assert modbus.parse_address(text) == expected
    assert modbus.parse_address(str(expected)) == expected


def test_modbus_widths() -> None:
    widths = {kind: ModbusAddress(1, "holding", 0, kind).registers for kind in get_args(modbus.RegisterType)}
    assert [name for name, count in widths.items() if count == 1] == [
        *("bool", "int8", "uint8", "int16", "uint16"),
    ]
    assert [name for name, count in widths.items() if count == 2] == ["int32", "uint32", "float32"]
    assert [name for name, count in widths.items() if count == 4] == ["int64", "uint64", "float64"]
    assert [ModbusAddress(1, "holding", 0, "string", length=n).registers for n in (1, 2, 3, 240)] == [1, 1, 2, 120]


def test_a_modbus_tag_wider_than_a_read_of_its_connection() -> None:
    parse = address_parser("modbus", {"host": "plc", "max_registers": 4})
    assert parse("1:holding:0:float64").registers == 4  # type: ignore[union-attr]
    with pytest.raises(ConfigurationError, match="5 registers, more than max_registers 4"):
        parse("1:holding:0:string10")


@pytest.mark.parametrize(("register", "expected"), [(40101, 100), (40000, None), (30101, None), (100, None)])
def test_classic_numbering_is_noticed(register: int, expected: int | None) -> None:
    assert modbus.classic_register(ModbusAddress(1, "holding", register, "int16")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("w/1", MqttAddress("w/1", ("value",), implicit=True)),
        ("w/1#/value", MqttAddress("w/1", ("value",))),
        ("w/1#", MqttAddress("w/1", ())),
        ("w/1#/a~1b/m~0n/0", MqttAddress("w/1", ("a/b", "m~n", "0"))),
        ("w/1#/", MqttAddress("w/1", ("",))),
    ],
)
def test_plain(text: str, expected: MqttAddress) -> None:
    found = mqtt.parse_plain(text)
    assert found == expected
    assert found.implicit == expected.implicit
    assert str(found) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("g/n/d:Rates/oil", SparkplugAddress("g", "n", "d", "Rates/oil")),
        ("g/n:a:b", SparkplugAddress("g", "n", None, "a:b")),
    ],
)
def test_sparkplug(text: str, expected: SparkplugAddress) -> None:
    assert mqtt.parse_sparkplug(text) == expected
    assert str(expected) == text


REFUSED: list[tuple[Any, str, str, str]] = [
    (opcua.parse_address, "PB-001.oil_rate", "not an OPC UA node id", "ns=2;s=PB-001.oil_rate"),
    (opcua.parse_address, "ns=2;oil", "not an OPC UA node id", "ns=INDEX"),
    (opcua.parse_address, "ns=x;s=oil", "namespace index", "e.g. ns=2"),
    (opcua.parse_address, "ns=65536;s=oil", "65535", "e.g. ns=2"),
    (opcua.parse_address, "ns=2;i=oil", "identifier", "e.g. ns=2"),
    (opcua.parse_address, "ns=2;i=²", "identifier", "e.g. ns=2"),
    (opcua.parse_address, "ns=2;g=oil", "not a GUID", "s="),
    (opcua.parse_address, "ns=2;b=%", "not base64", "s="),
    (opcua.parse_address, "nsu=;s=oil", "empty namespace URI", "nsu=URI"),
    (opcua.parse_address, "ns=2;s=a\nb", "control characters", "4096"),
    (opcua.parse_address, "", "not an OPC UA node id", "ns=INDEX"),
    (modbus.parse_address, "", "not a Modbus address", "1:holding"),
    (modbus.parse_address, "40101", "not a Modbus address", "1:holding"),
    (modbus.parse_address, "1:holding:100", "not a Modbus address", "1:holding"),
    (modbus.parse_address, "1:holdng:100:int16", "no such table 'holdng'", "Did you mean holding?"),
    (modbus.parse_address, "1:holding:100:float", "no such type 'float'", "Did you mean float"),
    (modbus.parse_address, "1:holding:100:float32:cdab", "no such order", "Did you mean CDAB?"),
    (modbus.parse_address, "1:holding:100:bool", "which bit", "Write 100.0 to 100.15"),
    (modbus.parse_address, "1:holding:100.16:bool", "bit", "15"),
    (modbus.parse_address, "1:holding:100.:bool", "bit", "15"),
    (modbus.parse_address, "1:holding:100.3:uint16", "asks for a bit as uint16", "Write bool"),
    (modbus.parse_address, "1:coil:100.3:bool", "asks for a bit", "100 without the bit"),
    (modbus.parse_address, "1:holding:100.3:bool:BADC", "byte order to a single bit", "1:holding:100.3:bool"),
    (modbus.parse_address, "1:holding:100:string", "without a proper length", "string240"),
    (modbus.parse_address, "1:holding:100:string0", "without a proper length", "string240"),
    (modbus.parse_address, "1:holding:100:string08", "without a proper length", "string240"),
    (modbus.parse_address, "1:holding:100:string241", "without a proper length", "string240"),
    (modbus.parse_address, "1:holding:100:string8:CDAB", "order CDAB to a string", "BADC"),
    (modbus.parse_address, "1:coil:100:string8", "table of bits", "type bool"),
    (modbus.parse_address, "1:coil:1:int16", "table of bits", "type bool"),
    (modbus.parse_address, "1:coil:1:bool:ABCD", "byte order to a single bit", "1:coil:1:bool"),
    (modbus.parse_address, "256:holding:1:int16", "unit", "255"),
    (modbus.parse_address, "-1:holding:1:int16", "unit", "255"),
    (modbus.parse_address, "1:holding:70000:int16", "register", "65535"),
    (modbus.parse_address, "1:holding:65535:int32", "past the last register", "from 0"),
    (modbus.parse_address, "1:holding:400101:int16", "1-based", "Write 100"),
    (modbus.parse_address, "1:holding: 100:int16", "register", "65535"),
    (mqtt.parse_plain, "#/value", "no topic", "/value"),
    (mqtt.parse_plain, "w/+#/value", "wildcard", "config.subscribe"),
    (mqtt.parse_plain, "w/1#value", "begin with /", "Write /value"),
    (mqtt.parse_plain, "w/1#/a~b", "~0", "RFC 6901"),
    (mqtt.parse_sparkplug, "g/n/d", "not a Sparkplug address", "group/node:metric"),
    (mqtt.parse_sparkplug, "g:m", "not a Sparkplug address", "group/node:metric"),
    (mqtt.parse_sparkplug, "g//d:m", "not a Sparkplug address", "group/node:metric"),
    (mqtt.parse_sparkplug, "g/n/d/e:m", "not a Sparkplug address", "group/node:metric"),
    (mqtt.parse_sparkplug, "g/n:", "not a Sparkplug address", "group/node:metric"),
    (mqtt.parse_sparkplug, "g/+/d:m", "+ #", "group/node:metric"),
]


@pytest.mark.parametrize(("parse", "text", "message", "remedy"), REFUSED)
def test_refused(parse: Any, text: str, message: str, remedy: str) -> None:  # noqa: ANN401 - one of three parsers
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    (problem,) = caught.value.problems
    assert problem.field == "address"
    assert problem.value == text
    assert message in problem.message
    assert remedy.casefold() in f"{problem.message} {problem.remedy}".casefold()


@given(st.text())
def test_any_text_is_an_address_or_a_clear_refusal(text: str) -> None:
    for parse in (opcua.parse_address, modbus.parse_address, mqtt.parse_plain, mqtt.parse_sparkplug):
        try:
            found = parse(text)
        except ConfigurationError:
            continue
        assert parse(str(found)) == found


@given(
    st.integers(0, 255),
    st.sampled_from(["input", "holding"]),
    st.integers(0, 65532),
    st.sampled_from([name for name in get_args(modbus.RegisterType) if name not in ("bool", "string")]),
    st.sampled_from(get_args(modbus.Order)),
)
def test_modbus_text_returns(unit: int, table: Any, register: int, kind: Any, order: Any) -> None:  # noqa: ANN401
    address = ModbusAddress(unit, table, register, kind, order)
    assert modbus.parse_address(str(address)) == address


@given(st.lists(st.text(), min_size=0, max_size=4))
def test_pointer_text_returns(steps: list[str]) -> None:
    address = MqttAddress("t", tuple(steps))
    assert mqtt.parse_plain(str(address)) == address
