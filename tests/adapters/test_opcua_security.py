from __future__ import annotations

import asyncio
import stat
import sys
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from asyncua import ua
from asyncua.crypto import cert_gen
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.server import Server
from asyncua.server.user_managers import UserManager
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from streaming.delivery import Status
from tests.adapters.test_opcua_adapter import Field, connection_to, field
from tests.fix_adapters import Collector, free_port, running
from wellos.cli import cli
from wellos.errors import ConfigurationError
from wellos.pki import TrustFolder, application_uri, read_certificate, thumbprint
from wellos.pki_check import faults

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

KEY = cert_gen.generate_private_key()
SERVER_URI = "urn:wellos:secured"
Policy = ua.SecurityPolicyType
SECURED = {
    ("Basic256Sha256", "Sign"): Policy.Basic256Sha256_Sign,
    ("Basic256Sha256", "SignAndEncrypt"): Policy.Basic256Sha256_SignAndEncrypt,
    ("Aes128_Sha256_RsaOaep", "SignAndEncrypt"): Policy.Aes128Sha256RsaOaep_SignAndEncrypt,
    ("Aes256_Sha256_RsaPss", "SignAndEncrypt"): Policy.Aes256Sha256RsaPss_SignAndEncrypt,
    ("Aes256_Sha256_RsaPss", "Sign"): Policy.Aes256Sha256RsaPss_Sign,
}


def certificate(*, host: str = "127.0.0.1", uri: str = SERVER_URI, days: int = 30) -> x509.Certificate:
    import ipaddress  # noqa: PLC0415 - beside its one use

    names: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(uri),
        x509.IPAddress(ipaddress.ip_address(host)),
    ]
    usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    made: x509.Certificate = cert_gen.generate_self_signed_app_certificate(KEY, "Field", {}, names, usage, days)
    return made


class Users(UserManager):
    """Knows one operator, and counts the passwords it was shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[str | None, str | None]] = []

    def get_user(
        self,
        iserver: Any,  # noqa: ANN401, ARG002 - the library's signature
        username: str | None = None,
        password: Any = None,  # noqa: ANN401 - same
        certificate: Any = None,  # noqa: ANN401, ARG002 - same
    ) -> User | None:
        text = password.decode() if isinstance(password, bytes) else password
        self.shown.append((username, text))
        if username is not None and (username, text) != ("ann", "s3cret"):
            return None
        return User(role=UserRole.User)


class SecuredField(Field):
    def __init__(self, port: int, presented: x509.Certificate) -> None:
        super().__init__(port)
        self.users = Users()
        self.presented = presented

    async def start(self, names: list[str], others: Sequence[str] = ()) -> None:  # noqa: ARG002 - not used here
        self.server = Server(user_manager=self.users)
        await self.server.init()
        await self.server.set_application_uri(SERVER_URI)
        self.server.set_endpoint(f"opc.tcp://127.0.0.1:{self.port}/")
        self.server.set_security_policy([Policy.NoSecurity, *SECURED.values()])
        await self.server.load_certificate(self.presented.public_bytes(Encoding.DER), "der")
        await self.server.load_private_key(cert_gen.dump_private_key_as_pem(KEY), None, "pem")
        self.index = await self.server.register_namespace("urn:wellos:test")
        for name in names:
            await self.add(name)
        await self.server.start()


@asynccontextmanager
async def secured(presented: x509.Certificate | None = None) -> AsyncIterator[SecuredField]:
    server = SecuredField(free_port(), presented or certificate())
    await server.start(["a"])
    try:
        yield server
    finally:
        await server.server.stop()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrustFolder:
    monkeypatch.setenv("WELLOS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FIELD_PASSWORD", "s3cret")
    return TrustFolder.of_settings()


async def read(server: SecuredField, **config: Any) -> Collector:  # noqa: ANN401 - any setting
    collector, status = Collector(), Status()
    async with running(connection_to(server.port, "a", **config), collector, status) as session:
        await server.write("a", 2.5)
        reads = asyncio.create_task(collector.until(lambda: 2.5 in collector.values(100)))
        await asyncio.wait([reads, session.task], return_when=asyncio.FIRST_COMPLETED)
        reads.cancel()
        if session.task.done():
            session.task.result()
    return collector


@pytest.mark.parametrize(("policy", "mode"), SECURED)
async def test_values_come_over_every_policy(folder: TrustFolder, policy: str, mode: str) -> None:
    async with secured() as server:
        folder.trust(server.presented)
        collector = await read(server, security_policy=policy, security_mode=mode)
    assert 2.5 in collector.values(100)


async def test_a_server_that_is_not_trusted_is_refused_until_it_is(folder: TrustFolder) -> None:
    async with secured() as server:
        with pytest.raises(ConfigurationError) as caught:
            await read(server, security_mode="SignAndEncrypt")
        (problem,) = caught.value.problems
        file = folder.root / "rejected" / f"{thumbprint(server.presented)}.der"
        assert problem.file == str(file)
        assert f"wellos opcua trust add {file}" in problem.remedy
        assert not server.users.shown, "it was not even asked to let us in"
        result = await asyncio.to_thread(CliRunner().invoke, cli, ["opcua", "trust", "add", str(file), "--yes"])
        assert result.exit_code == 0
        assert not file.exists()
        assert 2.5 in (await read(server, security_mode="SignAndEncrypt")).values(100)


async def test_an_expired_certificate_and_one_for_another_host(folder: TrustFolder) -> None:
    wrong = certificate(host="10.9.8.7")
    async with secured(wrong) as server:
        folder.trust(wrong)
        with pytest.raises(ConfigurationError, match=r"is for 10\.9\.8\.7, not for 127\.0\.0\.1"):
            await read(server, security_mode="Sign")
        collector = await read(server, security_mode="Sign", allow_other_host=True)
    assert 2.5 in collector.values(100)


def test_what_the_standard_forbids() -> None:
    def found(presented: x509.Certificate, **how: Any) -> list[str]:  # noqa: ANN401 - any argument
        asked: dict[str, Any] = {"host": "127.0.0.1", "uri": SERVER_URI, "expired": False, "other_host": False} | how
        return [problem.message for problem in faults([presented], **asked)]

    good, late = certificate(), datetime.now(UTC) + timedelta(days=31)
    assert found(good) == []
    assert "is valid from" in found(good, now=late)[0]
    assert found(good, now=late, expired=True) == []
    assert "calls itself urn:other" in found(good, uri="urn:other")[0]
    assert "not for plc" in found(good, host="PLC".lower())[0]
    client = cert_gen.generate_self_signed_app_certificate(
        KEY, "C", {}, [x509.UniformResourceIdentifier(SERVER_URI)], [ExtendedKeyUsageOID.CLIENT_AUTH]
    )
    assert "the server's certificate is not a server's" in found(client, other_host=True)


async def test_user_and_password_are_encrypted_on_every_endpoint(folder: TrustFolder) -> None:
    login = {"anonymous": False, "user": "ann", "password": "${FIELD_PASSWORD}"}
    async with secured() as server:
        folder.trust(server.presented)
        for mode in ("SignAndEncrypt", "None"):
            collector = await read(server, security_mode=mode, **login)
            assert 2.5 in collector.values(100)
    assert set(server.users.shown) == {("ann", "s3cret")}


async def test_a_password_never_goes_to_a_server_that_is_not_trusted() -> None:
    async with secured() as server:
        with pytest.raises(ConfigurationError, match="not trusted"):
            await read(server, security_mode="None", anonymous=False, user="ann", password="s3cret")
    assert not server.users.shown


async def test_what_the_server_offers_is_said(folder: TrustFolder) -> None:
    async with secured() as server:
        folder.trust(server.presented)
        with pytest.raises(ConfigurationError, match=r"does not offer Sign Aes128.*It offers: .*SignAndEncrypt Aes128"):
            await read(server, security_mode="Sign", security_policy="Aes128_Sha256_RsaOaep")


def test_our_own_certificate_says_who_we_are_and_its_key_is_ours_alone(folder: TrustFolder) -> None:
    file, key = folder.own()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    own = read_certificate(file)
    names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [application_uri()]
    assert own.not_valid_after_utc - datetime.now(UTC) > timedelta(days=1800)
    assert folder.own() == (file, key)
    assert read_certificate(file) == own, "the second time it is the same"


def test_a_trusted_server_is_no_authority(folder: TrustFolder) -> None:
    """Certificates that servers sign themselves say that they are authorities."""
    folder.trust(certificate())
    other = certificate(uri="urn:other")
    with pytest.raises(ConfigurationError, match="not trusted"):
        folder.check(other.public_bytes(Encoding.DER), host="127.0.0.1", uri="urn:other")


def test_an_authority_vouches_for_its_servers(folder: TrustFolder) -> None:
    authority = cert_gen.generate_self_signed_app_certificate(KEY, "CA", {}, [], [])
    request = cert_gen.generate_app_certificate_signing_request(
        KEY,
        "Field",
        {},
        [x509.UniformResourceIdentifier(SERVER_URI), x509.DNSName("plc")],
        [ExtendedKeyUsageOID.SERVER_AUTH],
    )
    issued = cert_gen.sign_certificate_request(request, authority, KEY)
    der = issued.public_bytes(Encoding.DER)
    with pytest.raises(ConfigurationError, match="not trusted"):
        folder.check(der, host="plc", uri=SERVER_URI)
    folder.trust(authority)
    folder.check(der, host="plc", uri=SERVER_URI)
    folder.check(der + authority.public_bytes(Encoding.DER), host="PLC", uri=SERVER_URI)


@pytest.mark.parametrize("junk", [b"", b"\x30", b"\x30\x82\xff\xff", b"\x30\x03abc", b"no certificate at all"])
def test_what_is_no_certificate_is_refused(folder: TrustFolder, junk: bytes) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        folder.check(junk, host="plc", uri=SERVER_URI)


def test_the_commands(folder: TrustFolder, tmp_path: Path) -> None:
    run = CliRunner().invoke
    assert run(cli, ["opcua", "trust", "list"]).output == "no certificates\n"
    presented = certificate()
    file = tmp_path / "server.pem"
    file.write_bytes(presented.public_bytes(Encoding.PEM))
    assert "Trust it?" in run(cli, ["opcua", "trust", "add", str(file)], input="n\n").output
    assert not list((folder.root / "trusted").glob("*")) if (folder.root / "trusted").exists() else True
    assert run(cli, ["opcua", "trust", "add", str(file), "--yes"]).exit_code == 0
    listed = run(cli, ["opcua", "trust", "list"]).output
    assert listed.startswith("trusted")
    assert thumbprint(presented) in listed
    assert "urn:" in run(cli, ["opcua", "certificate"]).output
    assert run(cli, ["opcua", "trust", "remove", thumbprint(presented)[:8]]).exit_code == 0
    assert "rejected" in run(cli, ["opcua", "trust", "list"]).output
    with pytest.raises(ConfigurationError, match="names no trusted certificate"):
        folder.distrust("abc")


def test_rejected_certificates_do_not_fill_the_disk(folder: TrustFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wellos.pki._MOST_REJECTED", 3)
    for number in range(5):
        with pytest.raises(ConfigurationError):
            folder.check(certificate(uri=f"urn:{number}").public_bytes(Encoding.DER), host="a", uri="b")
    assert len(list((folder.root / "rejected").iterdir())) == 3


async def test_a_server_without_a_certificate_cannot_be_trusted() -> None:
    """And that is all that is said: nothing of what the client library logs."""
    async with field(["a"]) as server:
        url = f"opc.tcp://127.0.0.1:{server.port}/"
        command = [sys.executable, "-m", "wellos", "opcua", "trust", "add", url]
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
        output, errors = await process.communicate()
    assert (process.returncode, output) == (2, b"")
    (line,) = errors.decode().splitlines()
    assert line.startswith("wellos: the server presents no certificate")


@pytest.mark.parametrize("words", [["browse"], ["trust", "add"]])
async def test_a_server_that_is_not_there_is_one_line(words: list[str]) -> None:
    url = f"opc.tcp://127.0.0.1:{free_port()}/"
    command = [sys.executable, "-m", "wellos", "opcua", *words, url]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    _, errors = await process.communicate()
    (line,) = errors.decode().splitlines()
    assert line.startswith(f"wellos: {url}: cannot connect: ")
    assert "Check host, port and login" in line
    assert process.returncode == 2
