"""What is wrong with a trusted certificate for the use it is put to (OPC UA part 4, 6.1.3): pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from wellos.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["HostNames", "faults", "host_names"]

_LEAST_BITS, _MOST_BITS = 2048, 4096
_WEAK = (hashes.MD5, hashes.SHA1)


@dataclass(frozen=True, slots=True)
class HostNames:
    """Whom a certificate is for."""

    uris: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    """DNS names and addresses, lower case."""


def host_names(certificate: x509.Certificate) -> HostNames:
    """Return the alternative names of a certificate; none where it has none or they cannot be read."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return HostNames()
    names = [name.lower() for name in found.get_values_for_type(x509.DNSName)]
    addresses = [str(address) for address in found.get_values_for_type(x509.IPAddress)]
    return HostNames(tuple(found.get_values_for_type(x509.UniformResourceIdentifier)), (*names, *addresses))


def faults(
    chain: Sequence[x509.Certificate],
    *,
    host: str,
    uri: str,
    expired: bool,
    other_host: bool,
    now: datetime | None = None,
) -> list[Problem]:
    """Return what forbids to use a server's certificate; `expired` and `other_host` are allowed where true."""
    certificate, at = chain[0], now or datetime.now(UTC)
    found = list(_unfit(certificate))
    late = [one for one in chain if not one.not_valid_before_utc <= at <= one.not_valid_after_utc]
    if late and not expired:
        first, last = late[0].not_valid_before_utc, late[0].not_valid_after_utc
        message = f"the server's certificate is valid from {first:%Y-%m-%d} to {last:%Y-%m-%d} only"
        found.append(Problem(message, "Have it renewed, or set allow_expired: true.", field="allow_expired"))
    names = host_names(certificate)
    if not other_host and _plain(host) not in names.hosts:
        message = f"the server's certificate is for {', '.join(names.hosts) or 'no host'}, not for {host}"
        remedy = "Use one of these names in url, or set allow_other_host: true."
        found.append(Problem(message, remedy, field="allow_other_host"))
    if uri not in names.uris:
        message = f"the server calls itself {uri}, its certificate says {', '.join(names.uris) or 'nothing'}"
        found.append(Problem(message, "Have the certificate made anew by the server."))
    return found


def _unfit(certificate: x509.Certificate) -> Iterator[Problem]:
    remedy = "Have it made anew: RSA of 2048 to 4096 bits, signed with SHA-256, for a server's use."
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or not _LEAST_BITS <= key.key_size <= _MOST_BITS:
        yield Problem("the key of the server's certificate does not suit the security policy", remedy)
    if isinstance(certificate.signature_hash_algorithm, _WEAK):
        yield Problem("the server's certificate is signed with a broken hash", remedy)
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        if not (usage.digital_signature and usage.key_encipherment):
            yield Problem("the server's certificate is not for signatures and key exchange", remedy)
    except x509.ExtensionNotFound:
        pass
    try:
        extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if ExtendedKeyUsageOID.SERVER_AUTH not in extended:
            yield Problem("the server's certificate is not a server's", remedy)
    except x509.ExtensionNotFound:
        pass


def _plain(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower()
