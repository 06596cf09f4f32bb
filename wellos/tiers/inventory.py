"""What each tier holds of each tenant, and what it costs: rows, bytes, oldest, newest, how small, a month's price."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from wellos.aggregates import day_window
from wellos.readings import READING
from wellos.storage import hot
from wellos.storage.sql import query
from wellos.storage.warm import engine
from wellos.tiers.warm import warm_days

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import redis

    from wellos.settings import Settings
    from wellos.storage.cold import StoreName
    from wellos.storage.warm import PgConnection
    from wellos.tiers.hot import HotTier, Tags
    from wellos.tiers.warm import WarmDay

__all__ = ["GIB", "SHARED", "DayRows", "Holding", "Stock", "TierName", "prices", "store_name", "take_stock"]

TierName: TypeAlias = Literal["hot", "warm", "aggregates", "cold"]
GIB = 1 << 30
SHARED = "(all)"
"""Tenant of what belongs to all of them together."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What one tier holds of one tenant."""

    tier: TierName
    tenant: str
    rows: int
    bytes: int
    """Of what tenants share, by their part of the rows (warm) or of the tags (hot)."""
    oldest: datetime | None
    """Start of the oldest hour (hot) or day."""
    newest: datetime | None
    """End of the newest hour or day."""
    ratio: float | None
    """How many times smaller than the 26 bytes that a reading takes unpacked; below 1: larger."""
    monthly_cost: float


class DayRows(NamedTuple):
    """Readings of one tenant and UTC day in one tier; bytes where the tier knows them by tenant."""

    tenant: str
    day: date
    rows: int
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Stock:
    """Everything that was counted, at one moment."""

    holdings: tuple[Holding, ...]
    warm: tuple[DayRows, ...]
    cold: tuple[DayRows, ...]
    days: tuple[WarmDay, ...]
    remarks: tuple[str, ...]
    """What could not be counted, and why."""

    def total(self, tier: TierName) -> tuple[int, int]:
        """Return (rows, bytes) of a tier."""
        found = [item for item in self.holdings if item.tier == tier]
        return sum(item.rows for item in found), sum(item.bytes for item in found)


def store_name(settings: Settings) -> StoreName:
    """Return the cold store that the settings choose."""
    return "bigquery" if settings.bigquery_project else "parquet"


def prices(settings: Settings) -> Mapping[TierName, float]:
    """Return the price of a GiB-month of each tier."""
    warm = settings.price_warm_gib_month
    return {
        "hot": settings.price_hot_gib_month,
        "warm": warm,
        "aggregates": warm,
        "cold": settings.price_cold_gib_month,
    }


def take_stock(conn: PgConnection, settings: Settings, client: redis.Redis | None = None) -> Stock:
    """Count what all tiers hold: Redis itself, the database's sizes and aggregates, and the receipts of the archive.

    Without `client` the hot tier is left out, with a remark.
    """
    remarks = []
    price = prices(settings)
    days = tuple(warm_days(conn))
    warm = tuple(DayRows(*row) for row in conn.execute(query("inventory_warm")))
    cold = tuple(DayRows(*row) for row in conn.execute(query("inventory_cold"), {"store": store_name(settings)}))
    holdings = []
    if client is None:
        remarks.append("the hot tier was not counted: Redis is not available")
    else:
        from wellos.tiers.hot import load_tags, look  # noqa: PLC0415 - NumPy, only with Redis

        holdings += _hot(look(client), load_tags(conn), price["hot"])
    holdings += _by_tenant("warm", _with_bytes(warm, days), price["warm"])
    size = int(conn.execute(query(f"inventory_aggregates_{engine(conn)}")).fetchall()[0][0])
    holdings.append(_holding("aggregates", SHARED, 0, size, (None, None), price["aggregates"]))
    holdings += _by_tenant("cold", cold, price["cold"])
    return Stock(tuple(holdings), warm, cold, days, tuple(remarks))


def _with_bytes(rows: Sequence[DayRows], days: Sequence[WarmDay]) -> list[DayRows]:
    """Divide each day's bytes among the tenants by their readings; what no reading accounts for belongs to all."""
    of_day: dict[date | None, int] = defaultdict(int)
    for item in rows:
        of_day[item.day] += item.rows
    size = {day.day: day.bytes for day in days}
    found = [item._replace(bytes=size.get(item.day, 0) * item.rows // of_day[item.day]) for item in rows]
    left = sum(size.values()) - sum(item.bytes for item in found)
    known = [day for day in size if day is not None]
    return [*found, DayRows(SHARED, max(known), 0, left)] if left > 0 and known else found


def _by_tenant(tier: TierName, rows: Iterable[DayRows], price: float) -> list[Holding]:
    of_tenant: dict[str, list[DayRows]] = defaultdict(list)
    for item in rows:
        of_tenant[item.tenant].append(item)
    return [
        _holding(
            tier,
            tenant,
            sum(item.rows for item in items),
            sum(item.bytes for item in items),
            _span(item.day for item in items if item.rows),
            price,
        )
        for tenant, items in sorted(of_tenant.items())
    ]


def _span(days: Iterable[date]) -> tuple[datetime | None, datetime | None]:
    known = list(days)
    return (day_window(min(known))[0], day_window(max(known))[1]) if known else (None, None)


def _hot(held: HotTier, tags: Tags, price: float) -> list[Holding]:
    rows: dict[str, float] = defaultdict(float)
    size: dict[str, float] = defaultdict(float, held.latest)
    hours: dict[str, list[int]] = defaultdict(list)
    shares = {group: tags.shares(group) or {SHARED: 1.0} for group in {item.group for item in held.hours}}
    for item in held.hours:
        for tenant, share in shares[item.group].items():
            rows[tenant] += item.rows * share
            size[tenant] += item.bytes * share
            hours[tenant].append(item.hour)
    return [
        _holding(
            "hot",
            tenant,
            round(rows[tenant]),
            round(size[tenant]),
            (_hour(min(hours[tenant])), _hour(max(hours[tenant]) + 1)) if hours[tenant] else (None, None),
            price,
        )
        for tenant in sorted(size)
    ]


def _hour(number: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=number * hot.HOUR_US)


def _holding(
    tier: TierName, tenant: str, rows: int, size: int, span: tuple[datetime | None, datetime | None], price: float
) -> Holding:
    ratio = rows * READING.itemsize / size if rows and size else None
    return Holding(tier, tenant, rows, size, *span, ratio, size / GIB * price)
