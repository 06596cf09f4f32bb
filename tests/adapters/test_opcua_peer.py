"""The adapter against node-opcua, a server that none of us wrote; see tests/peers/opcua_server.mjs."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from streaming.delivery import Status
from tests.adapters.test_opcua_history import filled, historical
from tests.fix_adapters import Collector, free_port, make_connection, make_tag, running
from tests.proxy import proxy_to
from wellos.clock import WallClock
from wellos.pki import TrustFolder, read_certificate
from wellos.quality import Quality

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from wellos.registry import Connection

MODULES = Path(os.environ.get("WELLOS_NODE_MODULES", ""))
HERE = Path(__file__).parents[1] / "peers" / "opcua_server.mjs"

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
    pytest.mark.skipif(
        not (MODULES / "node-opcua").is_dir() or not os.environ.get("WELLOS_NODE_MODULES"),
        reason="WELLOS_NODE_MODULES names no folder with node-opcua (npm install node-opcua)",
    ),
]
WRITTEN = ((12.5,), (12.5,), ("null", "BadSensorFailure"), (13, "UncertainSensorNotAccurate"))


class Peer:
    """The server's process."""

    def __init__(self, port: int, process: asyncio.subprocess.Process, certificate: str) -> None:
        self.port, self.certificate = port, Path(certificate)
        self.process = process

    async def tell(self, *words: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)).encode() + b"\n")
        await self.process.stdin.drain()
        await self.hear("done")

    async def hear(self, word: str) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            while line := (await self.process.stdout.readline()).decode():
                if line.startswith(word):
                    return line.removeprefix(word).strip()
        raise AssertionError("the peer ended")


@asynccontextmanager
async def peer(folder: Path, port: int) -> AsyncIterator[Peer]:
    process = await asyncio.create_subprocess_exec(
        "node", str(HERE), str(port), str(folder), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    made = Peer(port, process, "")
    try:
        made.certificate = Path(await made.hear("ready"))
        yield made
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrustFolder:
    monkeypatch.setenv("WELLOS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PEER_PASSWORD", "s3cret")
    return TrustFolder.of_settings()


def connection_to(port: int, *names: str, **config: Any) -> Connection:  # noqa: ANN401 - any setting
    settings: dict[str, Any] = {"url": f"opc.tcp://127.0.0.1:{port}/", "publishing_interval_ms": 50.0}
    if "user" not in config:
        settings |= {"anonymous": True}
    tags = [make_tag(100 + at, f"nsu=urn:wellos:peer;s=Pump.{name}") for at, name in enumerate(names)]
    return make_connection("opcua", settings | config, tags)


@pytest.mark.parametrize("secured", [{"security_mode": "None"}, {"user": "ann", "password": "${PEER_PASSWORD}"}])
async def test_values_and_status_codes(tmp_path: Path, folder: TrustFolder, secured: dict[str, Any]) -> None:
    now = WallClock().micros() // 1_000_000 * 1000
    async with peer(tmp_path / "peer", free_port()) as server:
        folder.trust(read_certificate(server.certificate))
        collector, status = Collector(), Status()
        wanted = connection_to(server.port, "pressure", "text", "nothing", allow_other_host=True, **secured)
        async with running(wanted, collector, status):
            await collector.until(lambda: status.state == "connected" and len(collector.of(102)) == 1)
            # The server looks at a node every so often: one at a time, or it shows the last alone.
            for at, written in enumerate(WRITTEN):
                await server.tell("write", "pressure", written[0], now + 1000 * at, *written[1:])
                await collector.until(lambda at=at: now * 1000 + at * 1_000_000 in collector.of(100)["time"])  # type: ignore[misc]
            await server.tell("write", "text", "running", now)
            await collector.until(lambda: any(one.original == b"running" for one in collector.rejected))
    got = collector.of(100)[-4:]
    assert got["time"].tolist() == [now * 1000 + at * 1_000_000 for at in range(4)]
    assert got["status"].tolist() == [0, 0, 0x808C0000, 0x40930000]
    assert got["quality"].tolist() == [Quality.GOOD, Quality.GOOD, Quality.BAD, Quality.UNCERTAIN]
    assert collector.of(102)["quality"].tolist() == [Quality.BAD]
    assert not collector.gaps


@pytest.mark.parametrize("policy", ["Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"])
@pytest.mark.parametrize("mode", ["Sign", "SignAndEncrypt"])
async def test_every_policy(tmp_path: Path, folder: TrustFolder, policy: str, mode: str) -> None:
    async with peer(tmp_path / "peer", free_port()) as server:
        folder.trust(read_certificate(server.certificate))
        collector = Collector()
        how = {"security_policy": policy, "security_mode": mode, "allow_other_host": True}
        async with running(connection_to(server.port, "pressure", **how), collector):
            await server.tell("write", "pressure", 7, WallClock().micros() // 1000)
            await collector.until(lambda: 7.0 in collector.values(100))


async def test_a_killed_server_is_found_again_and_its_history_is_read(tmp_path: Path) -> None:
    collector, status, port = Collector(), Status(), free_port()
    wanted = connection_to(port, "pressure", "flow", security_mode="None", history_margin_s=0.5, watchdog_s=30.0)
    async with peer(tmp_path / "peer", port), running(wanted, collector, status):
        await collector.until(lambda: status.state == "connected" and len(collector.readings) >= 2)
        heard = status.heard_us
    async with peer(tmp_path / "peer", port) as server:
        before = WallClock().micros() // 1000
        for at in range(20):
            await server.tell("write", "pressure", at, before + at)
        async with running(wanted, collector, status):
            await collector.until(lambda: bool(filled(collector)))
    gap = next(gap for gap in collector.gaps if gap.reason == "disconnected")
    assert gap.start_us >= heard
    assert filled(collector)[0].start_us == gap.start_us
    back = historical(collector)
    assert {float(at) for at in range(20)} <= set(back[back["tag_id"] == 100]["value"].tolist())


async def test_subscriptions_outlive_a_broken_link(tmp_path: Path) -> None:
    collector, status = Collector(), Status()
    now = WallClock().micros() // 1_000_000 * 1000
    async with peer(tmp_path / "peer", free_port()) as server:
        with proxy_to("127.0.0.1", server.port) as proxy:
            wanted = connection_to(proxy.port, "pressure", security_mode="None", history=False)
            async with running(wanted, collector, status) as session:
                await collector.until(lambda: status.state == "connected" and len(collector.readings) == 1)
                await server.tell("write", "pressure", 1, now)
                await collector.until(lambda: 1.0 in collector.values(100))
                proxy.cut()
                await session.lost()
            for at in range(2, 6):
                await server.tell("write", "pressure", at, now + 1000 * at)
                await asyncio.sleep(0.3)
            async with running(wanted, collector, status):
                await collector.until(lambda: 5.0 in collector.values(100))
    # The server may show its newest value first: the same reading again, dropped further on as a duplicate.
    written = {(now * 1000 + at * 1_000_000, float(at)) for at in range(2, 6)}
    assert written <= set(collector.of(100)[["time", "value"]].tolist())
    assert not collector.gaps
