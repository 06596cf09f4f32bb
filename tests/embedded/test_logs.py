"""Logs carry no secret, in either format, from us or from libraries."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from wellos import logs
from wellos.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "s3cret"


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in logs._QUIET}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://wellos:s3cret@host:5432/db", "postgresql://wellos:***@host:5432/db"),
        ("redis://:s3cret@host/0 refused", "redis://:***@host/0 refused"),
        ("mqtts://user:s3c/ret@host", "mqtts://user:***@host"),
        ("mqtts://user:s3c@ret@host", "mqtts://user:***@host"),
        ("user=me password=s3cret host=x", "user=me password=*** host=x"),
        ("password='two s3cret words' host=x", "password=*** host=x"),
        ("http://127.0.0.1:3000/server_info", "http://127.0.0.1:3000/server_info"),
        ("opc.tcp://127.0.0.1:4840/, 127.0.0.1:502", "opc.tcp://127.0.0.1:4840/, 127.0.0.1:502"),
    ],
)
def test_passwords_in_text_are_hidden(text: str, shown: str) -> None:
    assert logs.hide_secrets(text) == shown


def said(folder: Path, log_format: str, capsys: pytest.CaptureFixture[str]) -> str:
    logs.configure(load_settings(data_dir=folder, log_format=log_format))
    log = structlog.get_logger("wellos.test")
    log.info("using redis://:s3cret@host/0", url=f"mqtt://u:{SECRET}@host", password=SECRET, count=3)
    log.info("nested", config={"host": "h", "token": SECRET}, urls=[f"mqtt://u:{SECRET}@host"])
    logging.getLogger("library").warning("dsn: password=%s", SECRET)
    try:
        raise ValueError(f"cannot use postgresql://u:{SECRET}@host/db")
    except ValueError:
        log.exception("failed")
    return capsys.readouterr().err


@pytest.mark.parametrize("log_format", ["json", "console", "auto"])
def test_no_secret_is_logged(log_format: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(tmp_path, log_format, capsys)
    assert SECRET not in text
    assert "cannot use postgresql://u:***@host/db" in text


def test_json_is_one_object_a_line_with_level_logger_and_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines: list[dict[str, Any]] = [json.loads(line) for line in said(tmp_path, "auto", capsys).splitlines()]
    assert [line["level"] for line in lines] == ["info", "info", "warning", "error"]
    assert lines[0]["logger"] == "wellos.test"
    assert lines[0]["count"] == 3
    assert lines[0]["timestamp"].endswith("Z")


def test_the_level_of_the_settings_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(load_settings(data_dir=tmp_path, log_level="warning", log_format="json"))
    structlog.get_logger("wellos.test").info("quiet")
    structlog.get_logger("wellos.test").warning("loud")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["loud"]
