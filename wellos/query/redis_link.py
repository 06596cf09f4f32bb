"""The Redis of the settings as a reader uses it: when it is not there, there is no answer from it, and no error."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

import redis
import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from wellos.clock import Clock
    from wellos.settings import Settings

__all__ = ["RedisLink"]

_TIMEOUT_S = 1.0
_PAUSE_S = 5.0
"""Without a try after a failure: a server that does not answer must not cost every query its time-out."""
_Result = TypeVar("_Result")

log = structlog.get_logger(__name__)


class RedisLink:
    """One client, connected when it is needed. Threads may share it."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._lock = threading.Lock()
        self._client: redis.Redis | None = None
        self._not_before = 0.0

    def ask(self, work: Callable[[redis.Redis], _Result]) -> _Result | None:
        """Do some work with Redis; None when it is not set, away, or has failed a moment ago."""
        if self._settings.redis_url is None or self._clock.monotonic() < self._not_before:
            return None
        try:
            return work(self._made())
        except redis.RedisError as error:
            self._not_before = self._clock.monotonic() + _PAUSE_S
            log.warning("Redis is not available; queries do without it", reason=str(error))
            return None

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _made(self) -> redis.Redis:
        with self._lock:
            if self._client is None:
                url = self._settings.redis_url
                assert url is not None  # noqa: S101 - `ask` has looked
                self._client = redis.Redis.from_url(
                    url.get_secret_value(), socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
                )
            return self._client
