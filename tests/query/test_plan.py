"""Whatever is watched, dropped or too old: a plan covers the range, each stretch from where its readings are."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.seed import at
from wellos.query.facts import Day, Facts
from wellos.query.plan import Piece, plan

START = at("2026-11-01")
LONG_AGO = at("2000-01-01")
_minutes = st.integers(0, 20 * 1440)
_days = st.sets(st.integers(-1, 21), max_size=12)


def known(day: date, *, dropped: bool) -> Day:
    return Day(day, settled=True, dropped_at=START if dropped else None, restored_at=None, changes=0, newest_change=0)


def facts(watched: set[int], dropped: set[int]) -> Facts:
    days = [START.date() + timedelta(days=number) for number in watched | dropped]
    gone = {START.date() + timedelta(days=number) for number in dropped}
    return Facts({day: known(day, dropped=day in gone) for day in days})


def test_a_range_in_one_day_is_one_piece() -> None:
    span = (at("2026-11-01 10:00"), at("2026-11-01 11:00"))
    assert plan(*span, facts({0}, set()), aggregate=False, kept_from=LONG_AGO) == (Piece("warm", *span),)
    assert plan(*span, facts(set(), {0}), aggregate=False, kept_from=LONG_AGO) == (Piece("cold", *span),)
    assert plan(*span, facts(set(), {0}), aggregate=True, kept_from=LONG_AGO) == (Piece("aggregate", *span),)


def test_a_range_over_all_tiers() -> None:
    found = plan(
        at("2026-11-01 06:00"),
        at("2026-11-05 12:00"),
        facts({2}, {0, 1}),
        aggregate=False,
        kept_from=LONG_AGO,
        hot_from=at("2026-11-04 12:00"),
    )
    assert [(piece.source, piece.start) for piece in found] == [
        ("cold", at("2026-11-01 06:00")),
        ("warm", at("2026-11-03")),
        ("hot", at("2026-11-04 12:00")),
    ]


@given(
    edges=st.tuples(_minutes, _minutes).filter(lambda pair: pair[0] != pair[1]),
    watched=_days,
    dropped=_days,
    overlaid=_days,
    aggregate=st.booleans(),
    kept=st.integers(-2, 22),
    hot=st.none() | _minutes,
)
def test_no_gap_no_overlap_and_the_right_source(
    *,
    edges: tuple[int, int],
    watched: set[int],
    dropped: set[int],
    overlaid: set[int],
    aggregate: bool,
    kept: int,
    hot: int | None,
) -> None:
    start, end = (START + timedelta(minutes=minute) for minute in sorted(edges))
    hot_from = None if hot is None else START + timedelta(minutes=hot)
    kept_from = START + timedelta(days=kept)
    late = {START.date() + timedelta(days=number) for number in overlaid & dropped}
    pieces = plan(
        start,
        end,
        facts(watched, dropped),
        aggregate=aggregate,
        kept_from=kept_from,
        overlaid=late,
        hot_from=hot_from,
    )
    assert pieces[0].start == start
    assert pieces[-1].end == end
    assert all(a.end == b.start and a.source != b.source for a, b in pairwise(pieces))

    def expected(moment: datetime) -> str:
        gone = (moment.date() - START.date()).days in dropped
        if aggregate and moment >= kept_from and moment.date() not in late:
            return "aggregate"
        if gone:
            return "cold"
        return "hot" if not aggregate and hot_from is not None and moment >= hot_from else "warm"

    step = timedelta(minutes=97)
    moments = [start + number * step for number in range((end - start) // step + 1) if start + number * step < end]
    for moment in moments:
        (piece,) = (piece for piece in pieces if piece.start <= moment < piece.end)
        assert piece.source == expected(moment)
