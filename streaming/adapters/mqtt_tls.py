"""TLS to an MQTT broker: which certificates are trusted, which is ours, and what went wrong in plain words."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from wellos.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from wellos.protocols.mqtt import MqttConfig

__all__ = ["tls_context", "tls_reason"]

_READABLE = "Give a PEM file that ingest may read."


def tls_context(config: MqttConfig) -> ssl.SSLContext | None:
    """Return what to check the broker by, None without TLS; ConfigurationError names a file that cannot be used.

    The broker's certificate and name are always checked; TLS 1.2 at least.
    """
    if not config.url.startswith("mqtts:"):
        return None
    ca = None if config.ca_file is None else _readable("ca_file", config.ca_file)
    try:
        context = ssl.create_default_context(cafile=ca)
    except ssl.SSLError as error:
        raise _unusable("ca_file", config.ca_file, "holds no certificate in PEM form") from error
    if config.certificate_file is not None:
        certificate = _readable("certificate_file", config.certificate_file)
        key = None if config.key_file is None else _readable("key_file", config.key_file)
        try:
            # Without a password given the library would ask for one on the terminal.
            context.load_cert_chain(certificate, key, password="")
        except (ssl.SSLError, ValueError) as error:
            field = "certificate_file" if key is None else "key_file"
            message = "does not go with the certificate, is encrypted, or is not PEM"
            raise _unusable(field, key or certificate, message) from error
    return context


def tls_reason(error: BaseException | None) -> str:
    """Return what an error of TLS means to the person who set it up; empty for any other error."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate is not accepted: {error.verify_message.rstrip('.')}"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        return f"TLS failed: {reason}"
    return ""


def _readable(field: str, path: str) -> str:
    try:
        with Path(path).open("rb"):
            return path
    except OSError as error:
        raise _unusable(field, path, f"cannot be read: {error.strerror}") from error


def _unusable(field: str, path: str | None, message: str) -> ConfigurationError:
    return ConfigurationError([Problem(message, _READABLE, field=field, value=path)])
