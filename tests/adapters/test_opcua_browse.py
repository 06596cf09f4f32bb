from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from asyncua import ua
from asyncua.ua.object_ids import ObjectIds
from click.testing import CliRunner

from tests.adapters.test_opcua_adapter import URI, Field, field
from wellos.cli import cli
from wellos.fleet.check import check
from wellos.opcua_browse import Found
from wellos.opcua_fragment import fragment, tag_names
from wellos.protocols.opcua import OpcUaAddress

if TYPE_CHECKING:
    from pathlib import Path

DOUBLE = ua.VariantType.Double


async def build(server: Field) -> None:
    """A pump and a separator with tags of the same name, a cycle, and things that are no numbers."""
    objects, index = server.server.nodes.objects, server.index

    async def variable(parent: Any, name: str, value: Any, kind: Any = DOUBLE) -> Any:  # noqa: ANN401 - the library's
        node = ua.NodeId(ua.String(f"{parent.nodeid.Identifier}.{name}"), ua.Int16(index))
        return await parent.add_variable(node, ua.QualifiedName(name, ua.UInt16(index)), value, kind)

    pump = await objects.add_object(index, "Pump")
    separator = await objects.add_object(index, "Separator")
    pressure = await variable(pump, "pressure", 12.5)
    unit = ua.EUInformation(DisplayName=ua.LocalizedText("bar"))
    await pressure.add_property(0, "EngineeringUnits", unit)
    await pressure.add_property(0, "EURange", ua.Range(Low=0.0, High=250.0))
    odd = await variable(separator, "pressure", 3, ua.VariantType.Int32)
    await odd.add_property(0, "EngineeringUnits", ua.EUInformation(DisplayName=ua.LocalizedText("furlong")))
    await variable(separator, "running", True, ua.VariantType.Boolean)  # noqa: FBT003 - a value
    await variable(separator, "state", "idle", ua.VariantType.String)
    await variable(separator, "curve", [1.0, 2.0])
    await separator.add_reference(pump, ObjectIds.Organizes, bidirectional=False)
    await pump.add_reference(separator, ObjectIds.HasComponent, bidirectional=False)


async def run(port: int, *arguments: str) -> Any:  # noqa: ANN401 - click's result
    command = ["opcua", "browse", f"opc.tcp://127.0.0.1:{port}/", "--security-mode", "None", *arguments]
    return await asyncio.to_thread(CliRunner().invoke, cli, command)


async def test_a_fleet_file_of_what_the_server_offers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WELLOS_DATA_DIR", str(tmp_path / "data"))
    file = tmp_path / "fleet.yaml"
    async with field(["a"]) as server:
        await build(server)
        result = await run(server.port, "--tenant", "permian", "--well", "PB-001", "--output", str(file))
        shallow = await run(server.port, "--depth", "1")
        few = await run(server.port, "--most", "2")
        nobody = await run(server.port, "--node", "nsu=urn:nobody;s=x")
    assert result.exit_code == 0, result.output
    assert "left out" in result.stderr
    assert "furlong" in result.stderr
    checked = check(file.read_bytes(), "fleet.yaml")
    assert checked.warnings == ()
    (connection,) = checked.fleet.tenants[0].connections
    tags = {tag.name: tag for tag in connection.tags}
    assert set(tags) == {"a", "Pump.pressure", "Separator.pressure", "running"}
    found = tags["Pump.pressure"]
    assert (found.unit, found.low, found.high, found.well) == ("bar", 0.0, 250.0, "PB-001")
    assert found.address.startswith(f"nsu={URI};s=")
    assert tags["Separator.pressure"].unit is None
    assert [tag["name"] for tag in yaml.safe_load(shallow.stdout)["tenants"][0]["connections"][0]["tags"]] == ["a"]
    assert "there is more" in few.stderr
    assert "does not know this namespace" in str(nobody.exception)


def found(*paths: str) -> list[Found]:
    return [Found(tuple(path.split("/")), OpcUaAddress("i", at)) for at, path in enumerate(paths, start=1)]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (("a", "b"), ["a", "b"]),
        (("x/a", "y/a", "y/b"), ["x.a", "y.a", "b"]),
        (("x/z/a", "y/z/a"), ["x.z.a", "y.z.a"]),
        (("x/a", "x/a", "x/a"), ["x.a", "x.a_2", "x.a_3"]),
        (("\x00", " "), ["_", "__2"]),
    ],
)
def test_names_tell_tags_apart(paths: tuple[str, ...], names: list[str]) -> None:
    assert tag_names(found(*paths)) == names


def test_long_names_are_cut_and_stay_apart() -> None:
    names = tag_names(found("a" * 500, "a" * 500))
    assert len(set(names)) == 2
    config = {"url": "opc.tcp://plc", "anonymous": True}
    fragment(found("a" * 500, "a" * 500), config=config, tenant="t1", well="W", connection="c")
