"""`wellos opcua`: which servers are trusted, and what a server offers to be read."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click
from cryptography.hazmat.primitives import hashes

from wellos.opcua_client import server_certificates
from wellos.pki import TrustFolder, read_certificate, thumbprint
from wellos.pki_check import host_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography import x509

__all__ = ["opcua"]


@click.group()
def opcua() -> None:
    """OPC UA servers: trust their certificates, list what they offer."""


@opcua.group()
def trust() -> None:
    """Certificates in <data_dir>/pki/opcua: own, trusted and rejected.

    A server whose certificate is not trusted is refused, and its certificate kept under rejected.
    """


@trust.command(name="list")
def list_() -> None:
    """Show every certificate: where it is, its thumbprint, subject, hosts and last day."""
    entries = list(TrustFolder.of_settings().entries())
    for item in entries:
        names = host_names(item.certificate)
        last = f"{item.certificate.not_valid_after_utc:%Y-%m-%d}"
        hosts = ",".join(names.hosts) or "-"
        click.echo(f"{item.kind:9} {thumbprint(item.certificate)}  {last}  {item.subject}  {hosts}")
    if not entries:
        click.echo("no certificates")


@trust.command()
@click.argument("source", metavar="FILE|URL")
@click.option("--yes", is_flag=True, help="Do not ask.")
def add(source: str, *, yes: bool) -> None:
    """Trust the certificate in FILE, or the one that the server at URL (opc.tcp://...) presents.

    Compare the fingerprint with the one that the server's own tools show: only that tells the server from an impostor.
    """
    folder = TrustFolder.of_settings()
    for certificate in _presented(source):
        for line in _described(certificate):
            click.echo(line)
        if yes or click.confirm("Trust it?"):
            click.echo(f"trusted: {folder.trust(certificate)}")


@trust.command()
@click.argument("name")
def remove(name: str) -> None:
    """Trust a certificate no longer: NAME is its thumbprint, or enough of it."""
    entry = TrustFolder.of_settings().distrust(name)
    click.echo(f"no longer trusted: {entry.subject} ({thumbprint(entry.certificate)})")


@opcua.command()
def certificate() -> None:
    """Show our own certificate, which servers must trust; it is made now if there is none."""
    file, _ = TrustFolder.of_settings().own()
    for line in _described(read_certificate(file)):
        click.echo(line)
    click.echo(f"file          {file}")


def _presented(source: str) -> list[x509.Certificate]:
    if source.startswith("opc.tcp://"):
        return asyncio.run(server_certificates(source))
    return [read_certificate(Path(source))]


def _described(certificate: x509.Certificate) -> Iterator[str]:
    names = host_names(certificate)
    yield f"subject       {certificate.subject.rfc4514_string()}"
    yield f"application   {', '.join(names.uris) or '-'}"
    yield f"hosts         {', '.join(names.hosts) or '-'}"
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    yield f"valid         {first:%Y-%m-%d} to {last:%Y-%m-%d}"
    yield f"thumbprint    {thumbprint(certificate)}"
    yield f"SHA-256       {certificate.fingerprint(hashes.SHA256()).hex(':')}"
