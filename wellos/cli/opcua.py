"""`wellos opcua`: which servers are trusted, and what a server offers to be read."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from asyncua.ua.uaerrors import UaError
from cryptography.hazmat.primitives import hashes

from wellos.errors import ConfigurationError, Problem, RetryableError
from wellos.files import replace_file
from wellos.opcua_browse import Walk, browse, node_of
from wellos.opcua_client import POLICIES, close_session, open_session, server_certificates
from wellos.opcua_fragment import fragment, unknown_units
from wellos.pki import TrustFolder, read_certificate, thumbprint
from wellos.pki_check import host_names
from wellos.protocols.opcua import OpcUaConfig, parse_address

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


@opcua.command(name="browse")
@click.argument("url")
@click.option("--node", default="i=85", show_default=True, help="Where to begin, as a fleet file writes a node.")
@click.option("--depth", type=click.IntRange(1, 50), default=10, show_default=True, help="Levels below it.")
@click.option("--most", type=click.IntRange(1, 100_000), default=10_000, show_default=True, help="Most nodes to visit.")
@click.option("--tenant", default="tenant", show_default=True, metavar="SLUG", help="Tenant of the fleet file.")
@click.option("--well", default="WELL-1", show_default=True, help="Well that all tags are put on.")
@click.option("--connection", default="opcua", show_default=True, help="Name of the connection.")
@click.option("--user", help="User name; without one the login is anonymous.")
@click.option(
    "--password-variable", default="OPCUA_PASSWORD", show_default=True, metavar="NAME",
    help="Environment variable with the password of --user; the fleet file refers to it.",
)  # fmt: skip
@click.option(
    "--security-mode",
    type=click.Choice(["SignAndEncrypt", "Sign", "None"]),
    default="SignAndEncrypt",
    show_default=True,
)
@click.option("--security-policy", type=click.Choice(POLICIES), default=POLICIES[0], show_default=True)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write there, whole or not at all.")
def browse_(url: str, **options: Any) -> None:  # noqa: ANN401 - click's values
    """Write a fleet file with every number that the server at URL offers, to be cut to what is wanted.

    Nodes are named by namespace URI, units and ranges taken where the server has them.
    """
    config: dict[str, Any] = {"url": url, "security_mode": options["security_mode"]}
    if options["security_mode"] != "None":
        config["security_policy"] = options["security_policy"]
    if options["user"]:
        config |= {"user": options["user"], "password": f"${{{options['password_variable']}}}"}
    else:
        config["anonymous"] = True
    walk = asyncio.run(_walk(OpcUaConfig.parse(config), options))
    names = {name: options[name] for name in ("tenant", "well", "connection")}
    text = fragment(walk.variables, config=config, **names)
    if options["output"] is None:
        click.echo(text, nl=False)
    else:
        replace_file(options["output"], text)
    click.echo(f"{len(walk.variables):,} tags of {walk.seen:,} nodes", err=True)
    if walk.cut:
        click.echo("warning: there is more: see --depth, --most and --node", err=True)
    for unit in unknown_units(walk.variables):
        click.echo(f"warning: no unit of a tag: {unit}: left out", err=True)


async def _walk(config: OpcUaConfig, options: dict[str, Any]) -> Walk:
    address = parse_address(options["node"])
    with _reaching(config.url):
        client = await open_session(config)
    try:
        start = node_of(address, [str(uri) for uri in await client.get_namespace_array()])
        if start is None:
            remedy = "Give a node that the server has."
            problem = Problem("the server does not know this namespace", remedy, field="--node", value=options["node"])
            raise ConfigurationError([problem])
        return await browse(client, start, depth=options["depth"], most=options["most"])
    except (UaError, OSError, TimeoutError, ValueError) as error:
        raise RetryableError(f"{config.url}: {str(error) or type(error).__name__}") from error
    finally:
        await close_session(client)


@contextmanager
def _reaching(url: str) -> Iterator[None]:
    """A person gave the address and waits: that nobody answers there is theirs to correct."""
    try:
        yield
    except RetryableError as error:
        remedy = "Check host, port and login, that the server runs, and that no firewall is between."
        reason = str(error).removeprefix(f"{url}: ").removeprefix("cannot connect: ")
        raise ConfigurationError([Problem(f"cannot connect: {reason}", remedy, field=url)]) from error


def _presented(source: str) -> list[x509.Certificate]:
    if source.startswith("opc.tcp://"):
        with _reaching(source):
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
