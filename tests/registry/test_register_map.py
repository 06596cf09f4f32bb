"""`wellos modbus import`: register maps in both vocabularies and three file formats, and every mistake in them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from wellos.cli import main
from wellos.fleet.check import check

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.fleet.model import TagEntry

Run = Callable[..., tuple[int, str, str]]
PLACE = ("--host", "plc", "--tenant", "permian", "--well", "PB-1", "--lift-type", "esp")

OURS = """\
name,table,register,type,order,scale,offset,unit,quantity,low,high,interval_s
pressure,holding,100,float32,CDAB,,,psi,pressure,0,5000,
temperature,input,7,int16,,0.1,-40,degC,temperature,,,60
pump_on,holding,9.3,bool,,,,,state,,,
level,input,20,string8,,,,ft,level,,,
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["wellos", "modbus", "import", *arguments])
        status = 0
        try:
            main()
        except SystemExit as stopped:
            status = int(stopped.code or 0)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def tags_of(text: str) -> dict[str, TagEntry]:
    (connection,) = check(text.encode(), "fragment").fleet.tenants[0].connections
    return {tag.name: tag for tag in connection.tags}


def gateway_row(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - a row of any map
    row = {"name": "A", "address": 4, "fnCode": "F3_HOLDING_REGS", "format": "16BIT_INT_HI_FIRST", "multiplier": 0.1}
    return row | {"size": 1, "uom": "POWER_ACTIVE_P", "scale": "KILO"} | fields


def test_our_own_words_as_csv(run: Run, tmp_path: Path) -> None:
    (tmp_path / "plc.csv").write_text(OURS)
    status, out, _ = run("plc.csv", *PLACE, "--strings", "--unit", "3", "--port", "5020", "--framing", "rtu")
    assert status == 0
    tags = tags_of(out)
    assert {name: tag.address for name, tag in tags.items()} == {
        "pressure": "3:holding:100:float32:CDAB",
        "temperature": "3:input:7:int16",
        "pump_on": "3:holding:9.3:bool",
        "level": "3:input:20:string8",
    }
    temperature = tags["temperature"]
    assert (temperature.scale, temperature.offset, temperature.interval_s, temperature.unit) == (0.1, -40, 60, "degC")
    assert (tags["pressure"].high, tags["pressure"].interval_s) == (5000, 15)
    (tenant,) = check(out.encode(), "fragment").fleet.tenants
    entry = tenant.connections[0].entry
    assert (entry.name, entry.config) == ("plc", {"host": "plc", "port": 5020, "framing": "rtu"})
    assert (tenant.entry.slug, tenant.wells[0].name, tenant.wells[0].lift_type) == ("permian", "PB-1", "esp")


def test_text_is_left_out_unless_asked_for(run: Run, tmp_path: Path) -> None:
    (tmp_path / "plc.csv").write_text(OURS)
    assert "level" not in tags_of(run("plc.csv", *PLACE)[1])


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
@pytest.mark.parametrize(
    ("row", "address"),
    [
        ({}, "1:holding:4:int16"),
        ({"format": "16BIT_UINT_LO_FIRST"}, "1:holding:4:uint16:DCBA"),
        ({"format": "32BIT_FLOAT_3412"}, "1:holding:4:float32:CDAB"),
        ({"format": "32BIT_INT_2143"}, "1:holding:4:int32:BADC"),
        ({"format": "64BIT_UINT_87654321"}, "1:holding:4:uint64:DCBA"),
        ({"format": "64BIT_FLOAT_12345678", "fnCode": "F4"}, "1:input:4:float64"),
        ({"format": "8BIT_UINT"}, "1:holding:4:uint8"),
        ({"format": "1BIT", "fnCode": "F1_COILS"}, "1:coil:4:bool"),
        ({"format": "1BIT", "fnCode": "F2"}, "1:discrete:4:bool"),
        ({"format": "ASCII", "size": 10}, "1:holding:4:string20"),
    ],
)
def test_the_words_of_gateways(run: Run, tmp_path: Path, kind: str, row: dict[str, Any], address: str) -> None:
    frame = pl.DataFrame([gateway_row(**row)])
    file = tmp_path / f"meter.{kind}"
    getattr(frame, f"write_{kind}")(file)
    (tag,) = tags_of(run(str(file), *PLACE, "--strings")[1]).values()
    assert (tag.address, tag.scale, tag.unit) == (address, 0.1, "kW")


def test_sizes_in_bytes_are_noticed(run: Run, tmp_path: Path) -> None:
    rows = [gateway_row(size=2), gateway_row(name="B", address=9, format="ASCII", size=16)]
    (tmp_path / "m.json").write_text(json.dumps(rows))
    assert tags_of(run("m.json", *PLACE, "--strings")[1])["B"].address == "1:holding:9:string16"


def test_names_used_twice_carry_their_register(run: Run, tmp_path: Path) -> None:
    rows = [gateway_row(), gateway_row(address=9), gateway_row(name="B", address=11, uom="NONE", multiplier=None)]
    (tmp_path / "m.json").write_text(json.dumps(rows))
    tags = tags_of(run("m.json", *PLACE)[1])
    assert set(tags) == {"A_4", "A_9", "B"}
    assert (tags["B"].unit, tags["B"].scale) == (None, 1.0)


REFUSED: list[tuple[str, str, list[str]]] = [
    ("m.txt", "", ["m.txt: is no register map by its name", ".csv, .json, .parquet"]),
    ("m.csv", "name,table\na,holding\n", ["m.csv: has no column register and no type", "It has: name, table"]),
    ("m.csv", "", ["m.csv: is not a table"]),
    ("m.json", "{", ["m.json: is not a table"]),
    ("m.parquet", "PAR1", ["m.parquet: is not a table"]),
    ("m.csv", "name,table,register,type\n", ["m.csv: has no registers"]),
    (
        "m.csv",
        OURS.replace("float32", "float"),
        ["m.csv:2: pressure.address: has no such type 'float'", "Did you mean"],
    ),
    ("m.csv", OURS.replace(",0.1,", ",x,"), ["m.csv:3: temperature: scale is not a number (value 'x')"]),
    ("m.csv", OURS.replace(",0.1,", ",0,"), ["m.csv:3: temperature.scale: must not be 0"]),
    ("m.json", json.dumps([gateway_row(fnCode="F6")]), ["m.json:2: A: is no function code of a read (value 'F6')"]),
    ("m.json", json.dumps([gateway_row(format="BCD")]), ["m.json:2: A: is not a known format (value 'BCD')"]),
    ("m.json", json.dumps([gateway_row(format="16BIT_INT_9")]), ["is not a known format"]),
    ("m.json", json.dumps([gateway_row(address="x")]), ["m.json:2: A.address: has a register"]),
    ("m.json", json.dumps([gateway_row(multiplier="nan")]), ["multiplier is not a number"]),
    ("m.json", json.dumps([gateway_row(device="a"), gateway_row(device="b")]), ["has 2 devices", "--device: a, b"]),
]


@pytest.mark.parametrize(("name", "text", "said"), REFUSED)
def test_what_is_wrong_is_said_in_full(run: Run, tmp_path: Path, name: str, text: str, said: list[str]) -> None:
    (tmp_path / name).write_text(text)
    status, out, err = run(name, *PLACE)
    assert (status, out) == (2, "")
    assert all(words in err for words in said), err


def test_a_file_that_is_not_there_and_a_device_that_is_not_in_it(run: Run, tmp_path: Path) -> None:
    assert run("none.csv", *PLACE)[::2] == (
        2,
        "wellos: none.csv: cannot be read: No such file or directory. Give the path of a register map.\n",
    )
    (tmp_path / "m.json").write_text(json.dumps([gateway_row(device="abb-m4m")]))
    assert "Did you mean abb-m4m?" in run("m.json", *PLACE, "--device", "abb-m4")[2]


@pytest.mark.parametrize(("option", "value", "said"), [("--tenant", "No!", "slug"), ("--host", "a b", "host")])
def test_a_wrong_option_is_told_as_in_the_fleet_file(
    run: Run, tmp_path: Path, option: str, value: str, said: str
) -> None:
    (tmp_path / "plc.csv").write_text(OURS)
    status, out, err = run("plc.csv", *PLACE, option, value)
    assert (status, out) == (2, "")
    assert said in err
