"""What pumpers wrote down, by names: the latest revisions, from the cache until any more come."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
import redis

from tests.seed import add_tags, at
from wellos.errors import ConfigurationError
from wellos.query.cache import PART_PREFIX
from wellos.query.reader import Reader
from wellos.settings import load_settings

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from wellos.storage.warm import PgConnection

FROM = at("2026-10-01")
TO = FROM + timedelta(days=3)
_ADD = """
INSERT INTO field_entries (entry_id, revision, tenant_id, well_id, entry_type, gauged_at, entered_at, data, created_by)
SELECT %s, %s, tenant_id, well_id, 'production', %s, %s, %s::jsonb, 'pumper' FROM wells
"""


def add(db: PgConnection, entry: int, revision: int, gauged: datetime, oil: float) -> None:
    db.execute(_ADD, (UUID(int=entry), revision, gauged, gauged, f'{{"oil_volume": {oil}}}'))


def test_the_latest_revisions_and_the_cache(
    db: PgConnection, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    add_tags(db, 1)
    add(db, 1, 1, FROM + timedelta(hours=7), 10)
    add(db, 2, 1, FROM + timedelta(hours=31), 20)
    add(db, 3, 1, TO, 30)
    made = load_settings(database_url=database_url, redis_url=redis_url, data_dir=tmp_path)
    with Reader(made) as reader, redis.Redis.from_url(redis_url) as client:
        for hit in (False, True):
            found = reader.field_entries("acme", None, FROM, TO)
            assert found.frame["data"].to_list() == ['{"oil_volume": 10}', '{"oil_volume": 20}']
            assert found.frame["well"].to_list() == ["PB-001", "PB-001"]
            assert found.provenance.cache_hit == hit
            assert found.provenance.relation == "field_entries_current"
        (key,) = client.keys(PART_PREFIX + "*")
        assert 300 < client.ttl(key) <= 3600
        add(db, 1, 2, FROM + timedelta(hours=7), 11)  # corrected
        corrected = reader.field_entries("acme", "PB-001", FROM, TO)
        assert corrected.frame["data"].to_list() == ['{"oil_volume": 11}', '{"oil_volume": 20}']
        assert corrected.frame["revision"].to_list() == [2, 1]
        assert not corrected.provenance.cache_hit
        with pytest.raises(ConfigurationError, match=r"Did you mean PB-001\?"):
            reader.field_entries("acme", ["PB-01"], FROM, TO)
    with Reader(made.model_copy(update={"cache_manual_s": 0})) as reader:
        found = reader.field_entries("acme", None, FROM, TO)
        assert len(found.frame) == 2
        assert not found.provenance.parts[0].cacheable
