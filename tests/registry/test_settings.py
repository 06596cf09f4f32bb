"""Settings: every mistake at once with its place and remedy, and no password ever shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from wellos.cli.settings import markdown, settings
from wellos.errors import ConfigurationError, Problem
from wellos.settings import load_settings, origins

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems(monkeypatch: pytest.MonkeyPatch, **environment: str) -> list[Problem]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return list(caught.value.problems)


WRONG = [
    ("WELLOS_REDIS_PROT", "1", "no such setting", "Did you mean WELLOS_REDIS_PORT?"),
    ("WELLOS_DATABASE", "x", "no such setting", "Did you mean WELLOS_DATABASE_URL?"),
    ("WELLOS_REDIS_PORT", "abc", "must be a whole number", "Port of the embedded Redis"),
    ("WELLOS_REDIS_PORT", "70000", "must be at most 65535", "Port of the embedded Redis"),
    ("WELLOS_LOG_LEVEL", "inof", "is not an allowed value", "Did you mean info?"),
    ("WELLOS_CLOCK", "walll", "expected START@ANCHOR*SPEED", "Use 'wall'"),
    ("WELLOS_DATABASE_URL", "mysql://h/d", "must begin with postgresql:// or postgres://", "postgresql://user"),
    ("WELLOS_DAGSTER_DATABASE_URL", "dagster", "must begin with postgresql://", "postgresql://user"),
    ("WELLOS_REDIS_URL", "http://h", "must begin with redis:// or rediss://", "redis://:password"),
    ("WELLOS_REDIS_URL", "redis://", "needs a host", "redis://:password"),
    ("WELLOS_REDIS_URL", "redis://h:0", "needs a host, and a port above 0", "redis://:password"),
    ("WELLOS_MQTT_URL", "mqtt://h:99999", "has a port that is not a number", "percent-encoded"),
    ("WELLOS_MQTT_URL", "mqtt://[h", "is not an address", "mqtt://user"),
    ("WELLOS_DAGSTER_URL", "localhost:3000", "must begin with http://", "http://host:3000"),
]


@pytest.mark.parametrize(("name", "value", "message", "remedy"), WRONG)
def test_one_mistake(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str, remedy: str) -> None:
    (problem,) = problems(monkeypatch, **{name: value})
    assert (problem.field, problem.file) == (name, None)
    assert message in problem.message
    assert remedy in problem.remedy


def test_all_mistakes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = problems(monkeypatch, WELLOS_REDIS_PORT="x", WELLOS_CLOCK="y", WELLOS_MQTT_URL="z", WELLOS_NO_SUCH="1")
    assert {item.field for item in found} == {"WELLOS_REDIS_PORT", "WELLOS_CLOCK", "WELLOS_MQTT_URL", "WELLOS_NO_SUCH"}


def test_mistakes_in_the_file_are_told_with_their_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "# ours",
        "",
        "WELLOS_REDIS_PROT=1",
        "export WELLOS_REDIS_PORT='x'",
        "OTHER=1",
        "what is this",
        "",
        "PLC=a",
    ]
    Path(".env").write_text("\n".join(lines))
    found = problems(monkeypatch)
    assert [(item.file, item.line, item.field) for item in found] == [
        (".env", 6, None),
        (".env", 3, "WELLOS_REDIS_PROT"),
        (".env", 4, "WELLOS_REDIS_PORT"),
    ]


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("WELLOS_REDIS_PORT=7001\nWELLOS_MQTT_PORT=7002\n")
    monkeypatch.setenv("WELLOS_REDIS_PORT", "7003")
    monkeypatch.setenv("WELLOS_MODBUS_PORT", "")
    found = load_settings()
    assert (found.redis_port, found.mqtt_port, found.modbus_port) == (7003, 7002, 0)
    where = origins(found)
    assert (where["redis_port"], where["mqtt_port"], where["modbus_port"]) == ("environment", ".env:2", "default")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WELLOS_DATABASE_URL", "mysql://ann:hunter2@h/d"),
        ("WELLOS_REDIS_URL", "redis://:hunter2@h:x"),
        ("WELLOS_MQTT_URL", "mqtt://[ann:hunter2@h"),
        ("WELLOS_DAGSTER_URL", "ftp://ann:hunter2@h"),
        ("WELLOS_NO_SUCH", "hunter2"),
    ],
)
def test_a_password_is_never_told(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    found = problems(monkeypatch, **{name: value})
    assert "hunter2" not in " ".join(map(str, found))


def test_shown_values_hide_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WELLOS_DATABASE_URL", "postgresql://ann:hunter2@h/d")
    monkeypatch.setenv("COLUMNS", "200")
    for form in ("table", "json"):
        result = CliRunner().invoke(settings, ["--format", form], catch_exceptions=False)
        assert "hunter2" not in result.output
        assert "postgresql://***@h/d" in result.output
    row = next(item for item in json.loads(result.output) if item["name"] == "WELLOS_DATABASE_URL")
    assert row["source"] == "environment"
    assert (row["value"], row["default"]) == ("postgresql://***@h/d", None)


def test_the_page_is_what_the_class_says() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == markdown(), "run `wellos settings --format markdown > docs/configuration.md`"
