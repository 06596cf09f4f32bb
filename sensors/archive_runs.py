"""Which runs archive what: tenants' days as ranges of consecutive days, one tenant a run."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import dagster as dg

__all__ = ["MOST_DAYS", "Stretch", "request", "stretches"]

MOST_DAYS = 31
"""Days of one run."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive days of one tenant."""

    tenant: str
    first: date
    last: date

    @property
    def days(self) -> int:
        """How many they are."""
        return (self.last - self.first).days + 1


def stretches(wanted: Iterable[tuple[str, date]], *, most: int = MOST_DAYS) -> Iterator[Stretch]:
    """Yield what covers exactly these tenants' days, `most` days each at the most, by tenant and day."""
    current: Stretch | None = None
    for tenant, day in sorted(set(wanted)):
        if current and current.tenant == tenant and day == current.last + timedelta(days=1) and current.days < most:
            current = Stretch(tenant, current.first, day)
            continue
        if current:
            yield current
        current = Stretch(tenant, day, day)
    if current:
        yield current


def request(stretch: Stretch, *, run_key: str, trigger: str) -> dg.RunRequest:
    """Return the request for a run of one stretch: a range of partitions day|tenant."""
    return dg.RunRequest(
        run_key=run_key,
        tags={
            "dagster/asset_partition_range_start": f"{stretch.first}|{stretch.tenant}",
            "dagster/asset_partition_range_end": f"{stretch.last}|{stretch.tenant}",
            "trigger": trigger,
        },
    )
