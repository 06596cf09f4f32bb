"""Certificates of the OPC UA client as files: our own, the servers' that are trusted, and those that were refused.

```
<data_dir>/pki/opcua/own/wellos.der, wellos.key.pem   the client's certificate, and its key (mode 0600)
<data_dir>/pki/opcua/trusted/*.der                    servers, or authorities that issue their certificates
<data_dir>/pki/opcua/rejected/*.der                   what was presented and is not trusted, to be looked at and moved
```
"""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wellos.errors import ConfigurationError, Problem
from wellos.pki_check import faults, host_names
from wellos.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Entry", "TrustFolder", "application_uri", "certificate_chain", "read_certificate", "thumbprint"]

_LIFETIME_DAYS = 5 * 365
_RENEW_DAYS = 1
_KEY_BITS = 2048
_MOST_REJECTED = 100
_PATIENCE = "Look at it with `wellos opcua trust list`, then run `wellos opcua trust add {file}`."


def application_uri() -> str:
    """Return the name under which servers know this client; the certificate carries the same."""
    return f"urn:{socket.gethostname()}:wellos"


def thumbprint(certificate: x509.Certificate) -> str:
    """Return the SHA-1 of a certificate in hexadecimal: its name in OPC UA, not a measure of trust."""
    return certificate.fingerprint(hashes.SHA1()).hex()  # noqa: S303 - the standard's name of a certificate


def read_certificate(file: Path) -> x509.Certificate:
    """Read a DER or PEM file; ConfigurationError says what is wrong with it."""
    try:
        content = file.read_bytes()
        load = x509.load_pem_x509_certificate if b"-----BEGIN" in content else x509.load_der_x509_certificate
        return load(content)
    except OSError as error:
        raise ConfigurationError(
            [Problem(f"cannot be read: {error.strerror}", "Give a file.", file=str(file))]
        ) from error
    except ValueError as error:
        remedy = "Give a DER or PEM file."
        raise ConfigurationError([Problem("is not a certificate", remedy, file=str(file))]) from error


@dataclass(frozen=True, slots=True)
class Entry:
    """One certificate of the folder."""

    kind: str
    """own, trusted or rejected"""
    file: Path
    certificate: x509.Certificate

    @property
    def subject(self) -> str:
        """The common name, or whatever the subject says."""
        names = self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(names[0].value) if names else self.certificate.subject.rfc4514_string()


class TrustFolder:
    """The folder of one data directory."""

    def __init__(self, root: Path) -> None:
        """No I/O yet."""
        self.root = root

    @classmethod
    def of_settings(cls) -> TrustFolder:
        """Return the folder of `WELLOS_DATA_DIR`."""
        return cls(load_settings().data_dir / "pki" / "opcua")

    def own(self) -> tuple[Path, Path]:
        """Return certificate and key of this client, made now if there are none or they have expired."""
        folder = self._folder("own")
        certificate, key = folder / "wellos.der", folder / "wellos.key.pem"
        if not key.exists():
            _write(key, _new_key())
            certificate.unlink(missing_ok=True)
        if not certificate.exists() or _outworn(read_certificate(certificate)):
            _write(certificate, _self_signed(key.read_bytes()))
        return certificate, key

    def check(self, der: bytes, *, host: str, uri: str, expired: bool = False, other_host: bool = False) -> None:
        """Refuse a server's certificate (its chain may follow) unless the standard lets us use it.

        `expired` and `other_host` are the two faults that an operator may allow. ConfigurationError names the file that
        was kept of a certificate that nobody trusts, and the command that trusts it.
        """
        try:
            chain = certificate_chain(der)
        except ValueError as error:
            remedy = "Have the server's certificate replaced."
            raise ConfigurationError([Problem("the server's certificate cannot be read", remedy)]) from error
        if not self._trusts(chain):
            file = self._reject(chain[0])
            remedy = _PATIENCE.format(file=file)
            raise ConfigurationError([Problem("the server's certificate is not trusted", remedy, file=str(file))])
        found = faults(chain, host=host, uri=uri, expired=expired, other_host=other_host)
        if found:
            raise ConfigurationError(found)

    def entries(self) -> Iterator[Entry]:
        """Return every certificate of the folder; files that are none are passed over."""
        for kind in ("own", "trusted", "rejected"):
            for file in sorted((self.root / kind).glob("*.der")):
                try:
                    yield Entry(kind, file, read_certificate(file))
                except ConfigurationError:
                    continue

    def trust(self, certificate: x509.Certificate) -> Path:
        """Trust a server, or an authority; what was rejected of it is forgotten."""
        file = self._folder("trusted") / _file_name(certificate)
        _write(file, certificate.public_bytes(serialization.Encoding.DER))
        (self.root / "rejected" / file.name).unlink(missing_ok=True)
        return file

    def distrust(self, wanted: str) -> Entry:
        """Trust a certificate no longer, named by file or the beginning of its thumbprint; it is kept as rejected."""
        plain = wanted.lower().replace(":", "")
        found = [
            item
            for item in self.entries()
            if item.kind == "trusted" and (thumbprint(item.certificate).startswith(plain) or item.file.name == wanted)
        ]
        if len(found) != 1:
            message = "names no trusted certificate" if not found else f"names {len(found)} trusted certificates"
            remedy = "Give a thumbprint, or enough of it, of `wellos opcua trust list`."
            raise ConfigurationError([Problem(message, remedy, field="NAME", value=wanted)])
        self._reject(found[0].certificate)
        found[0].file.unlink()
        return found[0]

    def _trusts(self, chain: list[x509.Certificate]) -> bool:
        trusted = [item.certificate for item in self.entries() if item.kind == "trusted"]
        if chain[0] in trusted:
            return True
        # The chain's own intermediates carry trust on from an authority that is trusted, never beyond.
        current = chain[0]
        for _ in range(len(chain) + 1):
            if any(_issued(current, authority) for authority in trusted):
                return True
            following = next((one for one in chain if one != current and _issued(current, one)), None)
            if following is None:
                return False
            current = following
        return False

    def _reject(self, certificate: x509.Certificate) -> Path:
        folder = self._folder("rejected")
        file = folder / _file_name(certificate)
        if not file.exists():
            # A peer that shows a new one every time must not fill the disk.
            kept = sorted(folder.glob("*.der"), key=lambda path: path.stat().st_mtime)
            for old in kept[: max(0, len(kept) - _MOST_REJECTED + 1)]:
                old.unlink(missing_ok=True)
            _write(file, certificate.public_bytes(serialization.Encoding.DER))
        return file

    def _folder(self, name: str) -> Path:
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder


def certificate_chain(der: bytes) -> list[x509.Certificate]:
    """Cut a certificate and the issuers that follow it; ValueError when there is none."""
    chain = []
    while der:
        header = 2 + (der[1] & 0x7F if len(der) > 1 and der[1] & 0x80 else 0)
        length = int.from_bytes(der[2:header], "big") if header > 2 else der[1] if len(der) > 1 else 0  # noqa: PLR2004 - DER's short form
        chain.append(x509.load_der_x509_certificate(der[: header + length]))
        der = der[header + length :]
    if not chain:
        raise ValueError("no certificate")
    return chain


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
        certificate.verify_directly_issued_by(authority)
    except (x509.ExtensionNotFound, ValueError, TypeError, InvalidSignature):
        return False
    # A server that signed its own certificate is no authority over others, though its certificate may say so.
    return constraints.ca and not host_names(authority).uris


def _outworn(certificate: x509.Certificate) -> bool:
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    return left.days < _RENEW_DAYS or application_uri() not in host_names(certificate).uris


def _new_key() -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _self_signed(key_pem: bytes) -> bytes:
    from asyncua.crypto.cert_gen import generate_self_signed_app_certificate  # noqa: PLC0415 - slow to import

    key = serialization.load_pem_private_key(key_pem, None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ConfigurationError([Problem("the client's key is not an RSA key", "Remove own/wellos.key.pem.")])
    host = socket.gethostname()
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(application_uri()), x509.DNSName(host)]
    names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    made = generate_self_signed_app_certificate(
        key, "WellOS", {"organizationName": "WellOS"}, names, [ExtendedKeyUsageOID.CLIENT_AUTH], _LIFETIME_DAYS
    )
    return made.public_bytes(serialization.Encoding.DER)


def _file_name(certificate: x509.Certificate) -> str:
    return f"{thumbprint(certificate)}.der"


def _write(file: Path, content: bytes) -> None:
    draft = file.with_name(file.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(descriptor)
    draft.replace(file)
