"""`wellos audit` says when there was no spool to look at: the identity then holds for the database alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from streaming.spool import Journal
from tests.seed import add_tags
from wellos.audit import audit
from wellos.cli.audit import audit_command
from wellos.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.storage.warm import PgConnection


def test_an_audit_without_a_spool_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database_url: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WELLOS_DATABASE_URL", database_url)
    monkeypatch.setenv("WELLOS_DATA_DIR", str(tmp_path))
    without = CliRunner().invoke(audit_command, [])
    assert without.exit_code == 0
    assert "there is no spool" in without.output
    assert json.loads(CliRunner().invoke(audit_command, ["--json"]).output)["spool_id"] is None
    journal = Journal(tmp_path / "spool", quota_bytes=1 << 20, segment_bytes=1 << 16, now_us=lambda: 0)
    journal.close()
    assert "there is no spool" not in CliRunner().invoke(audit_command, []).output


def test_a_database_that_was_never_migrated_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty_database_url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WELLOS_DATABASE_URL", empty_database_url)
    monkeypatch.setenv("WELLOS_DATA_DIR", str(tmp_path))
    result = CliRunner().invoke(audit_command, [])
    assert isinstance(result.exception, ConfigurationError)
    assert "wellos migrate" in str(result.exception)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"tenant": "acne"}, "--tenant: no such tenant .* Did you mean acme"),
        ({"connection": "pcl"}, "--connection: no such connection .* Did you mean plc"),
        ({"tenant": "other", "connection": "plc"}, "no such connection"),
    ],
)
def test_an_unknown_name_is_refused(db: PgConnection, names: dict[str, str], said: str) -> None:
    add_tags(db)
    db.execute("INSERT INTO tenants (slug, name) VALUES ('other', 'Other')")
    with pytest.raises(ConfigurationError, match=said):
        audit(db, None, **names)
    assert audit(db, None, tenant="other").holds, "it has no connection yet"
    assert len(audit(db, None, tenant="acme", connection="plc").rows) == 1
