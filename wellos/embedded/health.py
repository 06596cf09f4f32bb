"""Looks at each part of a running platform from outside, as its clients would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from wellos.embedded.graphql import dagster_health
from wellos.embedded.verify import verify_dagster, verify_database, verify_mqtt, verify_redis
from wellos.errors import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from wellos.settings import Settings

__all__ = ["examine"]


def examine(snapshot: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Return the snapshot of `state.json` with `up` and `reason` on each part, and `up` for the whole.

    A part is up when its supervisor has it up and it answers now.
    """
    parts = [_examined(part, settings) for part in snapshot["parts"]]
    return {**snapshot, "parts": parts, "up": snapshot["phase"] == "ready" and all(part["up"] for part in parts)}


def _examined(part: dict[str, Any], settings: Settings) -> dict[str, Any]:
    if part["state"] not in {"up", "external"}:
        return {**part, "up": False, "reason": part["error"] or part["state"]}
    probe = _PROBES.get(part["name"])
    reason = probe(settings, part) if probe is not None else ""
    return {**part, "up": not reason, "reason": reason}


def _reason(check: Callable[[], None]) -> str:
    try:
        check()
    except UnreachableError as error:
        return error.reason
    return ""


def _ready(part: dict[str, Any]) -> str:
    try:
        answer = httpx.get(f"{part['address']}/readyz", timeout=5)
    except httpx.TransportError as error:
        return str(error) or type(error).__name__
    return "" if answer.is_success else f"not ready: {' '.join(answer.text.split())[:200]}"


def _companion(settings: Settings, which: str) -> str:
    try:
        reason: str = getattr(dagster_health(str(settings.dagster_url)), which)
    except (httpx.HTTPError, ValueError, KeyError) as error:
        return f"the webserver cannot say: {error}"
    return reason


_PROBES: dict[str, Callable[[Settings, dict[str, Any]], str]] = {
    "postgres": lambda settings, _: _reason(lambda: verify_database(settings)),
    "redis": lambda settings, _: _reason(lambda: verify_redis(_secret(settings.redis_url))),
    "broker": lambda settings, _: _reason(lambda: verify_mqtt(_secret(settings.mqtt_url))),
    "dagster": lambda settings, _: _reason(lambda: verify_dagster(str(settings.dagster_url))),
    "code-server": lambda settings, _: _companion(settings, "location"),
    "daemon": lambda settings, _: _companion(settings, "daemon"),
    "ingest": lambda _, part: _ready(part),
}


def _secret(value: object) -> str:
    return str(value.get_secret_value()) if hasattr(value, "get_secret_value") else ""
