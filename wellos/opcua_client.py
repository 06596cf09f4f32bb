"""Opens OPC UA sessions: endpoint, trust, security and identity as a connection's configuration asks for them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from asyncua import ua
from asyncua.client.client import Client
from asyncua.client.ua_client import UASocketProtocol
from asyncua.crypto import security_policies, uacrypto
from asyncua.ua.uaerrors import UaError
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from wellos.errors import ConfigurationError, Problem, RetryableError
from wellos.pki import TrustFolder, application_uri, certificate_chain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wellos.protocols.opcua import OpcUaConfig

__all__ = [
    "MAX_MESSAGE_BYTES",
    "POLICIES",
    "SessionClient",
    "SessionLeft",
    "close_session",
    "open_session",
    "server_certificates",
]

MAX_MESSAGE_BYTES = 16 << 20
"""Most that a server may send as one message."""
_MAX_CHUNK_BYTES = 65_535
_MAX_CHUNKS = 4096
_REQUEST_TIMEOUT_S = 10.0
_GOODBYE_S = 3.0
_POLICIES: dict[str, Any] = {
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
    "Aes128_Sha256_RsaOaep": security_policies.SecurityPolicyAes128Sha256RsaOaep,
    "Aes256_Sha256_RsaPss": security_policies.SecurityPolicyAes256Sha256RsaPss,
}
_MODES = {
    "None": ua.MessageSecurityMode.None_,
    "Sign": ua.MessageSecurityMode.Sign,
    "SignAndEncrypt": ua.MessageSecurityMode.SignAndEncrypt,
}
POLICIES = tuple(_POLICIES)
"""Names of the security policies, the usual one first."""
_NONE = security_policies.SecurityPolicyNone.URI


class _BoundedProtocol(UASocketProtocol):
    """The library's transport, which lets no peer fill our memory: chunks, and messages of many chunks, are bounded.

    The library takes the peer's own limits for what may come from it, and waits for a chunk of any announced length.
    """

    def data_received(self, data: bytes) -> None:
        waiting = 0 if self.receive_buffer is None else len(self.receive_buffer)
        if waiting > _MAX_CHUNK_BYTES:
            self.disconnect_socket()
            return
        limits = self._connection._limits  # noqa: SLF001 - no public way to say it
        limits.max_recv_buffer = min(limits.max_recv_buffer, _MAX_CHUNK_BYTES)
        limits.max_message_size = min(limits.max_message_size or MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES)
        limits.max_chunk_count = min(limits.max_chunk_count or _MAX_CHUNKS, _MAX_CHUNKS)
        super().data_received(data)


@dataclass(frozen=True, slots=True)
class SessionLeft:
    """A session that lives on at the server after its link broke: what it takes to activate it over a new one."""

    token: ua.NodeId
    nonce: bytes | None
    policies: list[ua.UserTokenPolicy]
    peer_certificate: bytes | None


class SessionClient(Client):
    """The library's client, which never sends a password in clear or to a server that is not trusted."""

    resumed = False
    """The session is the one that was left."""

    def __init__(self, config: OpcUaConfig, trust: TrustFolder, left: SessionLeft | None = None) -> None:
        """Take the configuration; no I/O. ConfigurationError names a variable that is not set."""
        # The probe of the library has its interval as time-out: a loaded server must not look dead to it.
        super().__init__(config.url, timeout=_REQUEST_TIMEOUT_S, watchdog_intervall=config.watchdog_s)
        user, password = config.credentials()
        self.config, self.trust, self._left = config, trust, left
        self._checked = b""
        self.name = self.description = "WellOS"
        self.application_uri = application_uri()
        self.session_timeout = int(max(60, 3 * config.watchdog_s) * 1000)
        self.max_messagesize, self.max_chunkcount = MAX_MESSAGE_BYTES, _MAX_CHUNKS
        self.uaclient._make_protocol = self._make_protocol  # type: ignore[method-assign]  # noqa: SLF001 - its one factory
        if user is not None:
            self.set_user(user)
        if password is not None:
            self.set_password(password)

    def leave(self) -> SessionLeft:
        """Let go of the link without a word to the server, which keeps the session for a while."""
        session = self.uaclient.session
        if session._publish_task is not None:  # noqa: SLF001 - no public way to stop it
            session._publish_task.cancel()  # noqa: SLF001 - same
        left = SessionLeft(
            session.authentication_token,
            self._server_nonce,
            self._policy_ids,
            self.security_policy.peer_certificate,
        )
        self.disconnect_socket()
        return left

    def _try_load_persisted_session(self) -> bool:
        """Offer the session that was left, from memory: the library then tries to activate it."""
        left = self._left
        if left is None or self.security_policy.peer_certificate not in (None, left.peer_certificate):
            return False
        self.uaclient.session.restore_authentication_token(left.token)
        self._server_nonce = left.nonce  # type: ignore[assignment]
        self._policy_ids = left.policies
        self.security_policy.peer_certificate = left.peer_certificate
        return True

    async def _try_resume_persisted_session(self) -> bool:
        self.resumed = await super()._try_resume_persisted_session()
        if not self.resumed and self.config.security_mode == "None":
            self.security_policy.peer_certificate = None
        return self.resumed

    def _make_protocol(self) -> UASocketProtocol:
        transport = self.uaclient
        protocol = _BoundedProtocol(transport._timeout, security_policy=transport.security_policy)  # noqa: SLF001 - as the library does
        protocol.pre_request_hook = transport.pre_request_hook
        protocol.on_connection_lost = transport._on_transport_lost  # noqa: SLF001 - same
        protocol.is_session_closing = transport._is_session_closing  # noqa: SLF001 - same
        transport.protocol = protocol
        return protocol

    async def secure(self) -> None:
        """Find the endpoint that is asked for, check whose certificate it is, and set the policy.

        ConfigurationError says what the server offers instead, or why its certificate is refused.
        """
        if self.config.security_mode == "None" and not self._password:
            return
        mode = _MODES[self.config.security_mode]
        policy = _POLICIES[self.config.security_policy] if self.config.security_mode != "None" else None
        uri = _NONE if policy is None else policy.URI
        endpoints = await self.connect_and_get_server_endpoints()
        fitting = [one for one in endpoints if one.SecurityMode == mode and one.SecurityPolicyUri == uri]
        if not fitting:
            raise ConfigurationError([_not_offered(self.config, endpoints)])
        self._check(fitting[0])
        if policy is not None:
            certificate, key = self.trust.own()
            presented = fitting[0].ServerCertificate
            chosen = uacrypto.CertProperties(certificate, "der"), uacrypto.CertProperties(key, "pem")
            await self.set_security(
                policy, *chosen, server_certificate=uacrypto.CertProperties(_first(presented), "der"), mode=mode
            )

    def _check(self, endpoint: ua.EndpointDescription) -> None:
        """Refuse the server of an endpoint by its certificate: a password is encrypted for whoever presents one."""
        self.trust.check(
            endpoint.ServerCertificate or b"",
            host=urlsplit(self.config.url).hostname or "",
            uri=str(endpoint.Server.ApplicationUri),
            expired=self.config.allow_expired,
            other_host=self.config.allow_other_host,
        )
        self._checked = _first(endpoint.ServerCertificate)

    def _add_user_auth(self, params: ua.ActivateSessionParameters, username: str | None, password: str | None) -> None:
        policy = self.server_policy(ua.UserTokenType.UserName).SecurityPolicyUri
        if password and policy in (None, "", _NONE) and self.config.security_mode != "SignAndEncrypt":
            remedy = "Set security_mode: SignAndEncrypt."
            raise ConfigurationError([Problem("the server takes the password in clear only", remedy, field="password")])
        if password and self.security_policy.peer_certificate != self._checked:
            raise UaError("the server presents another certificate than before")
        super()._add_user_auth(params, username, password)


async def open_session(config: OpcUaConfig, left: SessionLeft | None = None) -> SessionClient:
    """Open channel and session, the one that was `left` if the server lets us.

    RetryableError says why not, ConfigurationError what a person must correct.
    """
    _quiet()
    client = SessionClient(config, TrustFolder.of_settings(), left)
    async with AsyncExitStack() as opening:
        opening.push_async_callback(close_session, client)
        try:
            async with asyncio.timeout(2 * _REQUEST_TIMEOUT_S):
                await client.secure()
                await client.connect()
        except (OSError, TimeoutError, UaError, InvalidSignature, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise RetryableError(f"{config.url}: cannot connect: {reason}") from error
        opening.pop_all()
    return client


async def close_session(client: Client) -> None:
    """Say goodbye if the server still answers, and leave no task or socket either way."""
    try:
        async with asyncio.timeout(_GOODBYE_S):
            await client.disconnect()
    except (OSError, TimeoutError, UaError):
        client.disconnect_socket()


async def server_certificates(url: str) -> list[x509.Certificate]:
    """Return the certificates that a server presents, each once.

    RetryableError when it does not answer, ConfigurationError when it presents none.
    """
    _quiet()
    try:
        async with asyncio.timeout(_REQUEST_TIMEOUT_S):
            endpoints = await Client(url, timeout=_REQUEST_TIMEOUT_S).connect_and_get_server_endpoints()
        presented = dict.fromkeys(_first(one.ServerCertificate) for one in endpoints if one.ServerCertificate)
        certificates = [x509.load_der_x509_certificate(der) for der in presented]
    except (OSError, TimeoutError, UaError, ValueError) as error:
        raise RetryableError(f"{url}: {str(error) or type(error).__name__}") from error
    if not certificates:
        remedy = "Give it one where it is configured; until then only security_mode: None reads it."
        raise ConfigurationError([Problem("the server presents no certificate", remedy, value=url)])
    return certificates


def _quiet() -> None:
    """Keep the library from logging, with tracebacks, what is an error of ours."""
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)


def _first(presented: bytes | None) -> bytes:
    """Return the first certificate of a chain."""
    return certificate_chain(presented)[0].public_bytes(serialization.Encoding.DER) if presented else b""


def _not_offered(config: OpcUaConfig, endpoints: Sequence[ua.EndpointDescription]) -> Problem:
    names = {policy.URI: name for name, policy in _POLICIES.items()}
    offered = sorted(
        {f"{one.SecurityMode.name.strip('_')} {names.get(one.SecurityPolicyUri, '')}".strip() for one in endpoints}
    )
    wanted = f"{config.security_mode} {config.security_policy if config.security_mode != 'None' else ''}".strip()
    remedy = f"It offers: {', '.join(offered) or 'nothing'}. Set security_mode and security_policy to one of these."
    return Problem(f"the server does not offer {wanted}", remedy, field="security_mode")
