"""Structured logs of every process: console on a terminal, JSON lines else, secrets never."""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from wellos.settings import Settings

__all__ = ["configure", "hide_secrets"]

# To the last @ of the word: a password that was not percent-encoded may hold any character.
_PASSWORD_IN_URL = re.compile(r"(\w[\w+.-]*://[^\s:/@]*):[^\s'\"]+@")
_PASSWORD_IN_PAIR = re.compile(r"(?i)\b(password|passwd|secret|token)(\s*[=:]\s*)('[^']*'|\"[^\"]*\"|[^\s,;}&]+)")
_SECRET_KEY = re.compile(r"(?i)password|passwd|secret|token|api_key|credential")
_HIDDEN = "***"
# Libraries that tell every packet, or every retry that our own supervision reports once.
_QUIET = {"asyncua": logging.WARNING, "pymodbus": logging.ERROR, "httpx": logging.WARNING, "amqtt": logging.WARNING}


def hide_secrets(text: str) -> str:
    """Return `text` with the passwords of addresses and of `password=...` pairs replaced by asterisks."""
    return _PASSWORD_IN_PAIR.sub(rf"\1\2{_HIDDEN}", _PASSWORD_IN_URL.sub(rf"\1:{_HIDDEN}@", text))


def _hide(value: object) -> object:
    if isinstance(value, str):
        return hide_secrets(value)
    if isinstance(value, dict):
        return {key: _HIDDEN if _SECRET_KEY.search(str(key)) else _hide(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_hide(item) for item in value]
    return value


def _hide_in_event(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    hidden: dict[str, Any] = {}
    for key, value in event.items():
        internal = key.startswith("_") or key == "exc_info"
        hidden[key] = value if internal else _HIDDEN if _SECRET_KEY.search(key) else _hide(value)
    return hidden


def configure(settings: Settings) -> None:
    """Send the logs of this process, ours and the libraries', to standard error in the format of the settings.

    `structlog.get_logger()` anywhere, before or after, then logs through it.
    """
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if console:
        plain = structlog.dev.plain_traceback  # a pretty one prints local variables, secrets among them
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,  # tracebacks become text, so that what they quote is filtered too
            _hide_in_event,
            renderer,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(max(level, root.level))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
