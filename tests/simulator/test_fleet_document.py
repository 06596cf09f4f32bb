"""The simulator's fleet file is a good fleet file, and its addresses are where the servers put the tags."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import yaml

from wellos.fleet.check import check
from wellos.protocols import CONFIGS, address_parser
from wellos.simulator.addresses import register_map
from wellos.simulator.field import Field
from wellos.simulator.fleet_document import Addresses, fleet_document

ADDRESSES = Addresses("opc.tcp://127.0.0.1:4840", "127.0.0.1", 5020, "mqtt://127.0.0.1:1883")


@pytest.mark.parametrize(("wells", "tags"), [(12, None), (1, 1), (60, 20)])
def test_it_passes_the_fleet_check_without_a_warning(wells: int, tags: int | None) -> None:
    field = Field(seed=7, wells=wells, tags=tags)
    text = yaml.safe_dump(fleet_document(field, ADDRESSES), sort_keys=False)
    checked = check(text.encode(), "fleet.yaml")
    assert checked.warnings == ()
    counts = checked.fleet.counts()
    assert counts["wells"] == wells
    assert counts["tags"] == sum(len(well.tags) for well in field.wells)
    assert counts["connections"] == len({well.connection for well in field.wells})


def test_every_address_and_configuration_parses() -> None:
    (tenant,) = fleet_document(Field(seed=7), ADDRESSES)["tenants"]
    for connection in tenant["connections"]:
        CONFIGS[connection["protocol"]].parse(connection["config"])
        parse = address_parser(connection["protocol"], connection["config"])
        assert len({str(parse(tag["address"])) for tag in connection["tags"]}) == len(connection["tags"])


def test_addresses_of_each_protocol() -> None:
    (tenant,) = fleet_document(Field(seed=7), ADDRESSES)["tenants"]
    first = {connection["name"]: connection["tags"][0]["address"] for connection in tenant["connections"]}
    assert first == {
        "opcua-1": "nsu=urn:wellos:field;s=PB-001.oil_rate",
        "modbus-1": "1:input:100:float32",
        "mqtt-1": "wellos/permian/PB-009#/values/oil_rate",
        "sparkplug-1": "permian/edge-1/PB-011:oil_rate",
    }


def test_mqtt_credentials_are_passed_on_as_written() -> None:
    addresses = Addresses("opc.tcp://h:1", "h", 1, "mqtt://h:1", {"user": "field", "password": "${FIELD_PASSWORD}"})
    (tenant,) = fleet_document(Field(seed=7), addresses)["tenants"]
    assert tenant["connections"][2]["config"]["password"] == "${FIELD_PASSWORD}"


def test_registers_do_not_overlap_and_mix_orders_and_types() -> None:
    registers = [register for laid in register_map(Field(seed=7)).values() for register in laid]
    taken: Counter[tuple[int, str, int]] = Counter()
    for register in registers:
        at = register.address
        taken.update((at.unit, at.table, at.register + word) for word in range(at.registers))
    assert max(taken.values()) == 1
    assert {register.address.order for register in registers} == {"ABCD", "CDAB", "BADC", "DCBA"}
    assert {register.address.type for register in registers} >= {
        "float32",
        "float64",
        "uint16",
        "int16",
        "uint32",
        "uint64",
    }


def test_every_value_of_an_instrument_fits_its_register() -> None:
    field = Field(seed=7, wells=60, tags=50)
    for number, laid in register_map(field).items():
        for tag, register in zip(field.wells[number].tags, laid, strict=True):
            if register.no_value is None:
                continue
            raw = [(bound - register.offset) / register.scale for bound in (tag.low, tag.high)]
            limits = np.iinfo(register.address.type)
            assert limits.min <= min(raw), tag
            assert max(raw) < limits.max, tag
            assert not min(raw) <= register.no_value <= max(raw), tag
            sentinel = register.sentinel
            assert sentinel is not None
            assert not tag.low <= sentinel <= tag.high
