"""Asks each server that a setting names whether it can be used, within ten seconds, with passwords hidden."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import httpx
import paho.mqtt.client as mqtt
import redis
from paho.mqtt.enums import CallbackAPIVersion
from redis.backoff import NoBackoff
from redis.retry import Retry

from wellos.clock import WallClock
from wellos.errors import UnreachableError
from wellos.logs import hide_secrets
from wellos.storage import warm

if TYPE_CHECKING:
    from wellos.settings import Settings

__all__ = ["verify_dagster", "verify_database", "verify_given", "verify_mqtt", "verify_redis"]

_TIMEOUT_S = 4
_ANSWER_S = 8


def verify_given(settings: Settings) -> None:
    """Check every server that a setting names; UnreachableError for the first that cannot be used."""
    if settings.database_url is not None:
        verify_database(settings)
    if settings.dagster_database_url is not None:
        verify_dagster_database(settings)
    if settings.redis_url is not None:
        verify_redis(settings.redis_url.get_secret_value())
    if settings.mqtt_url is not None:
        verify_mqtt(settings.mqtt_url.get_secret_value())
    if settings.dagster_url is not None:
        verify_dagster(settings.dagster_url)


def verify_database(settings: Settings) -> None:
    """Connect to the database and log in."""
    warm.connect(settings).close()


def verify_dagster_database(settings: Settings) -> None:
    """Connect to Dagster's own database and log in."""
    try:
        warm.connect(settings.model_copy(update={"database_url": settings.dagster_database_url})).close()
    except UnreachableError as error:
        raise UnreachableError("WELLOS_DAGSTER_DATABASE_URL", error.address, error.reason) from None


def verify_redis(url: str) -> None:
    """Ping Redis."""
    setting = "WELLOS_REDIS_URL"
    try:
        client = redis.Redis.from_url(
            url, socket_connect_timeout=_TIMEOUT_S, socket_timeout=_TIMEOUT_S, retry=Retry(NoBackoff(), 0)
        )
        with client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        raise UnreachableError(setting, hide_secrets(url), _reason(error, url)) from None


def verify_mqtt(url: str) -> None:
    """Connect to the broker and log in."""
    setting, parts = "WELLOS_MQTT_URL", urlsplit(url)
    refused: list[str] = []
    accepted: list[bool] = []

    def answered(_client: object, _data: object, _flags: object, reason: object, _properties: object) -> None:
        if getattr(reason, "is_failure", False):
            refused.append(str(reason))
        else:
            accepted.append(True)

    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"wellos-check-{secrets.token_hex(4)}")
    client.on_connect = answered
    client.connect_timeout = _TIMEOUT_S
    if parts.username:
        client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
    try:
        if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname:
            raise ValueError("not an address of the form mqtt://user:password@host:port")
        if parts.scheme == "mqtts":
            client.tls_set()
        client.connect(parts.hostname, parts.port or (8883 if parts.scheme == "mqtts" else 1883))
        clock = WallClock()
        deadline = clock.monotonic() + _ANSWER_S - _TIMEOUT_S
        while not (accepted or refused) and clock.monotonic() < deadline:
            if client.loop(0.2) is not mqtt.MQTT_ERR_SUCCESS and not (accepted or refused):
                refused.append("it closed the connection: not an MQTT broker?")
        client.disconnect()
    except (OSError, ValueError) as error:
        raise UnreachableError(setting, hide_secrets(url), _reason(error, url)) from None
    if not accepted:
        reason = refused[0] if refused else f"no answer within {_ANSWER_S} s: not an MQTT broker?"
        raise UnreachableError(setting, hide_secrets(url), reason)


def verify_dagster(url: str) -> None:
    """Ask a Dagster webserver for its version."""
    try:
        answer = httpx.get(f"{url.rstrip('/')}/server_info", timeout=_TIMEOUT_S)
        answer.raise_for_status()
        answer.json()["dagster_webserver_version"]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError) as error:
        raise UnreachableError("WELLOS_DAGSTER_URL", hide_secrets(url), _reason(error, url)) from None


def _reason(error: Exception, url: str) -> str:
    """Return what was heard, in one line and without the password, however the library quotes it."""
    reason = " ".join(str(error).split()) or type(error).__name__
    try:
        password = urlsplit(url).password
    except ValueError:
        password = None
    for secret in {password, unquote(password)} if password else ():
        reason = reason.replace(str(secret), "***")
    return hide_secrets(reason.rstrip("."))
