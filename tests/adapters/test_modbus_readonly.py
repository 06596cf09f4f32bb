"""There is no way to write to a device: not in the code, not on the wire."""

from __future__ import annotations

import ast
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from streaming.adapters.modbus_decode import plan
from tests.adapters.test_modbus_adapter import connection_to, device
from tests.fix_adapters import Collector, running
from tests.fix_modbus import RawPeer, raw_peer, registers_tcp
from wellos.protocols.modbus import ModbusAddress

ROOT = Path(__file__).parents[2]


def imported(module: Path) -> set[str]:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


def test_ingest_imports_no_library_that_can_write() -> None:
    modules = list((ROOT / "streaming").rglob("*.py"))
    assert len(modules) > 20
    for module in modules:
        assert not any(name.split(".")[0] == "pymodbus" for name in imported(module)), module


def test_bytes_for_a_device_are_made_in_one_place_only() -> None:
    """Only the link writes to the connection, and only what a `Request` makes of itself."""
    for module in (ROOT / "streaming" / "adapters").glob("modbus*.py"):
        tree = ast.parse(module.read_text(encoding="utf-8"))
        writes = [
            ast.unparse(node)
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("write", "writelines", "send", "sendall", "sendto")
        ]
        assert writes == (["self._transport.write(sent)"] if module.name == "modbus_link.py" else []), module
        asked = [
            ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call) and ".ask(" in ast.unparse(node)
        ]
        assert all("request.tcp(" in call or "request.rtu()" in call for call in asked), module


@given(
    st.integers(0, 255),
    st.sampled_from(["coil", "discrete", "input", "holding"]),
    st.integers(0, 0xFFFF),
)
def test_every_request_that_can_be_planned_reads(unit: int, table: str, register: int) -> None:
    kind = "bool" if table in ("coil", "discrete") else "uint16"
    (block,) = plan([(0, ModbusAddress(unit, table, register, kind))], 120, 8)  # type: ignore[arg-type]
    assert block.request.tcp(1)[7] in (1, 2, 3, 4)
    assert block.request.rtu()[1] in (1, 2, 3, 4)


async def test_a_server_is_asked_for_reads_only() -> None:
    """Through normal polls, refusals, splits, silence and a change of tags; the device's own write raises."""
    async with device() as one:
        one.illegal, one.mute = {3, 30}, {3}
        addresses = [
            f"{unit}:{table}:{place}:{kind}" for unit in (1, 3) for table, kind in TABLES for place in (2, 3, 30)
        ]
        units = {3: {"timeout_s": 0.05, "retries": 0}}
        connection = connection_to(one.port, *addresses, units=units, interval_s=0.05)
        collector = Collector()
        async with running(connection, collector) as session:
            await collector.until(lambda: len(collector.deliveries) >= 4)
            assert await session.adapter.change(connection_to(one.port, *addresses[:3], units=units))
            await collector.until(lambda: len(collector.deliveries) >= 8)
        assert {function for _, function, _, _ in one.requests} == {1, 2, 3, 4}


async def test_every_byte_that_is_sent_is_a_read() -> None:
    def answer(_peer: RawPeer, transport: object, request: bytes) -> None:
        transport.write(registers_tcp(request, 1))  # type: ignore[attr-defined]

    collector = Collector()
    async with raw_peer(answer) as peer, running(connection_to(peer.port, "1:holding:0:uint16"), collector):
        await collector.until(lambda: len(collector.readings) >= 3)
    assert {(len(request), request[7]) for request in peer.requests} == {(12, 3)}


TABLES = [("coil", "bool"), ("discrete", "bool"), ("input", "uint16"), ("holding", "uint16")]
