"""A real MQTT broker for tests: mosquitto, one a session, and one to break at will."""

from __future__ import annotations

import os
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from wellos.embedded.broker import running_broker
from wellos.embedded.child import Spec
from wellos.embedded.server import Server, find_program, free_port, running, tcp_ready

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


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.file = self._write(f"{name}.pem", self._sign(self._name, self._key, {}, 1, authority=True))

    def issue(self, name: str, *, days: int = 1) -> tuple[str, str]:
        """Return certificate and key files for a host name or address; negative days: expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        alternative: x509.GeneralName
        try:
            alternative = x509.IPAddress(ip_address(name))
        except ValueError:
            alternative = x509.DNSName(name)
        certificate = self._sign(subject, key, {"names": [alternative]}, days, authority=False)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return self._write(f"{name}{days}.pem", certificate), self._write(f"{name}{days}.key", private)

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        extra: dict[str, list[x509.GeneralName]],
        days: int,
        *,
        authority: bool,
    ) -> bytes:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if "names" in extra:
            builder = builder.add_extension(x509.SubjectAlternativeName(extra["names"]), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _write(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)


@contextmanager
def configured_broker(folder: Path, *lines: str) -> Iterator[RunningServer]:
    """Run a mosquitto with these lines after its listener."""
    _need_mosquitto()
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port("127.0.0.1")
    user = () if os.geteuid() else ("user root",)
    text = "\n".join([f"listener {port} 127.0.0.1", *lines, *user, "log_type none", ""])
    (folder / "mosquitto.conf").write_text(text)
    command = (find_program("mosquitto") or "", "-c", str(folder / "mosquitto.conf"))
    spec = Spec("broker", command, folder / "broker.log", cwd=folder)
    address = f"mqtt://127.0.0.1:{port}"
    with running(Server(spec, "127.0.0.1", port, address, lambda: tcp_ready("127.0.0.1", port))) as server:
        yield server
