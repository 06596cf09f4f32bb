"""Leases: fair shares, terms, claims of instances that come, die and pause, and what a stale owner may still store."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.lease_table import LeaseTable, Member, fair_share, frame_term
from streaming.sinks.fence import fenced
from streaming.sinks.warm import WarmSink
from tests.seed import add_tags
from wellos.audit import audit
from wellos.clock import WallClock
from wellos.quality import Quality
from wellos.readings import pack
from wellos.settings import load_settings
from wellos.spool_format import Frame, Header
from wellos.storage.warm import PgConnection, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wellos.settings import Settings

MEMBERS = st.lists(st.tuples(st.one_of(st.none(), st.integers(1, 20)), st.integers(0, 9)), min_size=1, max_size=6)


@given(st.integers(0, 200), MEMBERS)
def test_fair_shares_come_to_all_that_can_be_held(total: int, drawn: list[tuple[int | None, int]]) -> None:
    members = [Member(UUID(int=n), limit, held) for n, (limit, held) in enumerate(drawn)]
    shares = [fair_share(total, members, member.spool_id) for member in members]
    capacity = total if any(limit is None for limit, _ in drawn) else sum(limit or 0 for limit, _ in drawn)
    assert sum(shares) == min(total, capacity)
    assert all(limit is None or share <= limit for share, (limit, _) in zip(shares, drawn, strict=True))
    free = [share for share, (limit, _) in zip(shares, drawn, strict=True) if limit is None or share < limit]
    assert not free or max(shares) - min(free) <= 1


@given(st.integers(0, 60), MEMBERS)
def test_once_each_has_its_share_nothing_moves(total: int, drawn: list[tuple[int | None, int]]) -> None:
    members = [Member(UUID(int=n), limit, held) for n, (limit, held) in enumerate(drawn)]
    settled = [Member(m.spool_id, m.limit, fair_share(total, members, m.spool_id)) for m in members]
    assert [fair_share(total, settled, member.spool_id) for member in settled] == [member.held for member in settled]


def test_frame_terms_wrap_without_zero() -> None:
    assert [frame_term(term) for term in (1, 2, 65_535, 65_536, 131_070, 131_071)] == [1, 2, 65_535, 1, 65_535, 1]


class Instance:
    """One instance's view of the table."""

    def __init__(self, settings: Settings, **changed: object) -> None:
        self.spool_id = uuid4()
        self.settings = settings.model_copy(update=changed)
        self.table = LeaseTable(self.settings, self.spool_id, WallClock())
        self.held: dict[int, int] = {}

    def tick(self, most: int = 100) -> set[int]:
        """Renew and claim; return what was claimed."""
        kept = self.table.renew(self.held, {})
        self.held = {key: term for key, term in self.held.items() if key in kept}
        claimed = self.table.claim(list(self.held), most)
        self.held |= {key: lease.term for key, lease in claimed.items()}
        return set(claimed)

    def restart(self) -> None:
        self.table.close()
        self.table, self.held = LeaseTable(self.settings, self.spool_id, WallClock()), {}


class Instances:
    """Makes instances, and closes them at the end."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.made, self.sinks = settings, list[Instance](), list[WarmSink]()

    def __call__(self, **changed: object) -> Instance:
        self.made.append(Instance(self.settings, **changed))
        return self.made[-1]

    def old(self, **changed: object) -> Instance:
        """One that does not have to think that the server came up a moment ago."""
        made = self(**changed)
        made.table._connect()
        made.table._leave_alone_until = 0.0
        return made

    def sink(self, spool_id: UUID) -> WarmSink:
        self.sinks.append(WarmSink(self.settings, spool_id, WallClock()))
        return self.sinks[-1]


@pytest.fixture
def instances(database_url: str) -> Iterator[Instances]:
    made = Instances(load_settings(database_url=database_url))
    yield made
    for item in made.made:
        item.table.close()
    for sink in made.sinks:
        sink.close()


def connections(db: PgConnection, count: int = 1) -> list[int]:
    for n in range(count):
        add_tags(db, slug=f"t{n}")
    return [row[0] for row in db.execute("SELECT connection_id FROM scada_connections ORDER BY 1")]


def expire(db: PgConnection) -> None:
    db.execute("UPDATE ingest_leases SET expires_at = clock_timestamp()")
    db.execute("UPDATE ingest_members SET expires_at = clock_timestamp()")


def test_each_connection_has_one_owner(db: PgConnection, instances: Instances) -> None:
    ids = connections(db, 5)
    first, second = instances(), instances()
    assert first.tick(3) | second.tick() == set(ids)
    assert not first.held.keys() & second.held.keys()
    assert first.tick() == second.tick() == set()
    assert set(first.held.values()) == {1}


def test_an_expired_lease_goes_to_another_under_the_next_term(db: PgConnection, instances: Instances) -> None:
    (one,) = connections(db)
    first, second = instances(), instances.old()
    first.tick()
    assert second.tick() == set()
    expire(db)
    assert second.tick() == {one}
    assert second.held == {one: 2}
    first.tick()
    assert first.held == {}


def test_an_owner_that_nobody_replaced_keeps_its_term(db: PgConnection, instances: Instances) -> None:
    (one,) = connections(db)
    first = instances()
    first.tick()
    expire(db)
    first.tick()
    assert first.held == {one: 1}
    first.restart()
    assert first.tick() == {one}
    assert first.held == {one: 1}


def test_a_released_connection_is_taken_at_once(db: PgConnection, instances: Instances) -> None:
    (one,) = connections(db)
    first, second = instances(), instances()
    first.tick()
    first.table.release(first.held, {one: 77}, leave=True)
    second.table.renew({}, {})
    (lease,) = second.table.claim([], 5).values()
    assert (lease.term, lease.heard_us) == (2, 77)
    assert [member.limit for member in second.table.census().members] == [None]


def test_after_an_outage_owners_renew_before_anybody_takes_over(db: PgConnection, instances: Instances) -> None:
    (one,) = connections(db)
    first, second = instances(), instances.old(lease_s=3.0)
    first.tick()
    second.tick()
    expire(db)
    second.table._answered_at = WallClock().monotonic() - 60
    assert second.tick() == set()
    assert first.tick() == set()
    assert first.held == {one: 1}


def test_the_census_counts_what_nobody_reads(db: PgConnection, instances: Instances) -> None:
    ids = connections(db, 4)
    db.execute("UPDATE scada_connections SET enabled = false WHERE connection_id = %s", (ids[0],))
    first, second = instances(max_connections=2), instances()
    first.tick(2)
    second.table.renew({}, {})
    census = second.table.census()
    assert (census.connections, census.free) == (3, 1)
    assert sorted([(member.limit, member.held) for member in census.members], key=str) == [(2, 2), (None, 0)]
    assert 0 < (census.next_expiry_s or 0) <= instances.settings.lease_s


def frame(connection_id: int, tags: list[int], seq: int, term: int, received_us: int) -> Frame:
    readings = pack(received_us - np.arange(len(tags)), 1.0, tags, Quality.GOOD, 0)
    rows = len(readings)
    header = Header(1, 0, term, seq, connection_id, received_us, received_us - rows, rows, 0, 0, 0, rows, rows * 26)
    return Frame(header, readings, b"")


def reasons(db: PgConnection) -> dict[str, int]:
    return dict(db.execute("SELECT reason, count(*) FROM quarantine GROUP BY 1").fetchall())


def test_a_stale_owner_stores_its_backlog_and_nothing_newer(db: PgConnection, instances: Instances) -> None:
    tags = add_tags(db, 4)
    (one,) = [row[0] for row in db.execute("SELECT connection_id FROM scada_connections")]
    first, second = instances(), instances.old()
    sink = instances.sink(first.spool_id)
    first.tick()
    now = WallClock().micros()
    far = now + 3_600_000_000
    # Nobody has taken over: an owner that could not reach the database may store all it read.
    assert sink.commit([frame(one, tags, 1, 1, far)]).stored == 4
    expire(db)
    second.tick()
    done = sink.commit(
        [frame(one, tags, 2, 1, now), frame(one, tags, 3, 1, far + 10), frame(one, tags, 4, 0, far + 20)]
    )
    assert (done.stored, done.poisoned) == (8, 4)
    assert reasons(db) == {"fenced": 4}
    # It comes back: its new term is current, its old one stays fenced.
    expire(db)
    first.table._leave_alone_until = 0.0
    first.tick()
    assert first.held == {one: 3}
    done = sink.commit([frame(one, tags, 5, 3, far + 30), frame(one, tags, 6, 1, far + 40)])
    assert (done.stored, done.poisoned) == (4, 4)
    assert audit(db, None).problems == []


def test_a_term_that_only_another_had_is_fenced(db: PgConnection, instances: Instances) -> None:
    tags = add_tags(db, 2)
    (one,) = [row[0] for row in db.execute("SELECT connection_id FROM scada_connections")]
    instances().tick()
    sink = instances.sink(uuid4())
    assert sink.commit([frame(one, tags, 1, 1, 1_763_000_000_000_000)]).poisoned == 2


def test_what_a_broker_handed_out_is_always_stored(db: PgConnection, instances: Instances) -> None:
    tags = add_tags(db, 2)
    db.execute("UPDATE scada_connections SET protocol = 'mqtt'")
    (one,) = [row[0] for row in db.execute("SELECT connection_id FROM scada_connections")]
    first, second = instances(), instances.old()
    first.tick()
    expire(db)
    second.tick()
    sink = instances.sink(first.spool_id)
    assert sink.commit([frame(one, tags, 1, 1, WallClock().micros() + 3_600_000_000)]).stored == 2


def test_no_takeover_slips_into_a_commit(db: PgConnection, instances: Instances) -> None:
    (one,) = connections(db)
    first, second = instances(), instances.old()
    first.tick()
    expire(db)
    with connect(instances.settings) as other:
        with other.transaction(), other.cursor() as cursor:
            assert fenced(cursor, first.spool_id, [frame(one, [1], 1, 1, 5)]) == set()
            assert second.tick() == set()
            assert first.table.renew(first.held, {}) == {one}, "a renewal need not wait for a commit"
            expire(db)
        assert second.tick() == {one}


def test_terms_are_found_after_they_wrapped(db: PgConnection, instances: Instances) -> None:
    tags = add_tags(db, 2)
    (one,) = [row[0] for row in db.execute("SELECT connection_id FROM scada_connections")]
    first, second = instances(), instances.old()
    first.tick()
    db.execute("UPDATE ingest_leases SET term = 65535")
    db.execute("UPDATE ingest_lease_terms SET term = 65535")
    expire(db)
    second.tick()
    assert second.held == {one: 65_536}
    now = WallClock().micros()
    own, stale = instances.sink(second.spool_id), instances.sink(first.spool_id)
    assert own.commit([frame(one, tags, 1, frame_term(65_536), now + 10**10)]).stored == 2
    assert stale.commit([frame(one, tags, 1, 65_535, now + 10**11)]).poisoned == 2
    assert stale.commit([frame(one, tags, 2, 65_535, now)]).stored == 2
