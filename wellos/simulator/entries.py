"""What pumpers send in: gauge-offs twice a day, inspections and repairs, with people's omissions and mistakes.

Some visits are skipped, and the next entry then covers both periods. Some entries come late, some are wrong, some are
put right by a second revision; each of these is an `EntryFault`. Identifiers are made from seed, well and visit: the
same entry has the same identifier in every run.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args
from uuid import UUID, uuid5

from wellos.clock import from_micros
from wellos.simulator.behaviour import DAY_US, EPOCH_US
from wellos.simulator.gauging import Gauger
from wellos.simulator.mistakes import CUBIC_METRES_A_BARREL, slipped_decimal, swapped_digits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wellos.simulator.field import Field

__all__ = ["Entry", "EntryFault", "EntryFaultKind", "FieldEntries"]

EntryFaultKind: TypeAlias = Literal[
    "entry_missing", "entry_late", "entry_revised", "entry_typo", "entry_swapped", "entry_unit_slip", "entry_copied"
]
EntryType: TypeAlias = Literal["production", "inspection", "maintenance"]
_SHARES = (0.03, 0.04, 0.03, 0.012, 0.008, 0.008, 0.012)  # of visits, in the order of the kinds

_NAMESPACE = UUID("6c9a1f0e-3f0b-5d0e-9c0a-77656c6c6f73")
_MINUTE_US, _HOUR_US = 60_000_000, 3_600_000_000
_LONGEST_DELAY_US = 3 * DAY_US
_VOLUMES = ("oil_volume", "water_volume", "gas_volume")
_PUMPERS = {"Midland North": "m.ortiz", "Reeves South": "j.tatum", "Lea West": "r.begay"}
_REPAIRS = {
    "rod_pump": ("Pulled rods, replaced worn pump", "Changed belts and packed stuffing box", "Repaired electric panel"),
    "esp": ("Drive tripped on underload, restarted", "Megger test of cable, restarted", "Swapped drive transformer"),
    "gas_lift": ("Compressor down, injection lost", "Changed gas lift valve by slickline", "Thawed injection line"),
    "flowing": ("Shut in for offset frac", "Changed choke bean", "Separator dump valve replaced"),
}
_LONG_STOP_DAYS = 4 / 24


@dataclass(frozen=True, slots=True)
class Entry:
    """One revision of one field entry, as the table `field_entries` keeps it."""

    entry_id: UUID
    revision: int
    well: int
    entry_type: EntryType
    gauged_us: int
    entered_us: int
    received_us: int
    data: dict[str, Any]
    created_by: str
    device_id: str
    notes: str | None = None


@dataclass(frozen=True, slots=True)
class EntryFault:
    """What is wrong with an entry, or the visit of which there is none."""

    kind: EntryFaultKind
    well: int
    gauged_us: int
    entry_id: UUID | None
    """None: the entry is missing."""
    parameters: dict[str, Any] = field(default_factory=dict)


class FieldEntries:
    """All entries of a field; pure functions of time, as its readings are."""

    def __init__(self, field: Field) -> None:
        """`field` holds the truth that is gauged."""
        self._field = field
        self._gaugers = tuple(Gauger(field, well) for well in range(len(field.wells)))

    def entries(self, start_us: int, end_us: int) -> list[Entry]:
        """Return entries received in [start, end), in the order of receipt."""
        found = [
            entry
            for gauger in self._gaugers
            for visit in gauger.visits(max(start_us - _LONGEST_DELAY_US, self._field.start_us), end_us)
            if any(start_us <= received < end_us for _, received in self._receipts(gauger, visit))
            for entry in self._of_visit(gauger, visit)
            if start_us <= entry.received_us < end_us
        ]
        return sorted(found, key=lambda entry: (entry.received_us, entry.well, entry.revision))

    def faults(self, start_us: int, end_us: int) -> list[EntryFault]:
        """Return the faults of visits gauged in [start, end): the ground truth."""
        found = [
            fault
            for gauger in self._gaugers
            for visit in gauger.visits(max(start_us, self._field.start_us), end_us)
            if (fault := self._fault(gauger, visit)) is not None
        ]
        return sorted(found, key=lambda fault: (fault.gauged_us, fault.well))

    def _kind(self, gauger: Gauger, visit: int) -> EntryFaultKind | None:
        drawn = gauger.draw("fault", visit)
        for kind, share in zip(get_args(EntryFaultKind), _SHARES, strict=True):
            if drawn < share:
                kept: EntryFaultKind = kind
                return kept
            drawn -= share
        return None

    def _previous(self, gauger: Gauger, visit: int) -> int:
        before = visit - 1
        while self._kind(gauger, before) == "entry_missing":
            before -= 1
        return before

    def _identifier(self, gauger: Gauger, visit: int, entry_type: str) -> UUID:
        well = self._field.wells[gauger.well]
        return uuid5(_NAMESPACE, f"{self._field.seed}/{well.tenant}/{well.name}/{visit}/{entry_type}")

    def _right(self, gauger: Gauger, visit: int) -> dict[str, Any]:
        """Return what an honest pumper writes down."""
        before = self._previous(gauger, visit)
        return {
            "oil_volume": gauger.barrels("oil", before, visit),
            "gas_volume": gauger.gas(before, visit),
            "water_volume": gauger.barrels("water", before, visit),
            "run_time": gauger.run_hours(before, visit),
            **gauger.dials(visit),
        }

    def _wrong(self, gauger: Gauger, visit: int, kind: EntryFaultKind, right: dict[str, Any]) -> dict[str, Any]:
        """Return what is written down instead."""
        name = _VOLUMES[int(3 * gauger.draw("field", visit))]
        up = gauger.draw("direction", visit) < 0.5
        if kind == "entry_copied":
            return right | {volume: self._right(gauger, self._previous(gauger, visit))[volume] for volume in _VOLUMES}
        if kind == "entry_unit_slip":
            return right | {
                volume: round(right[volume] * CUBIC_METRES_A_BARREL, 2) for volume in ("oil_volume", "water_volume")
            }
        swapped = swapped_digits(right[name]) if kind == "entry_swapped" else None
        return right | {name: slipped_decimal(right[name], up=up) if swapped is None else swapped}

    def _receipts(self, gauger: Gauger, visit: int) -> list[tuple[int, int]]:
        """Return when each revision is entered and received; none for a visit that is skipped."""
        kind = self._kind(gauger, visit)
        if kind == "entry_missing":
            return []
        entered = gauger.gauged_us(visit) + int((3 + 17 * gauger.draw("entered", visit)) * _MINUTE_US)
        waits = gauger.draw("received", visit)
        if kind == "entry_late":
            return [(entered, entered + int((13 + 27 * waits) * _HOUR_US))]
        # A phone on the lease is often out of reach until the truck is back on the road.
        offline = gauger.draw("offline", visit) < 0.25
        first = entered, entered + int((20 + 100 * waits if offline else 0.1 + 2 * waits) * _MINUTE_US)
        if kind != "entry_revised":
            return [first]
        again = entered + int((4 + 16 * gauger.draw("revised", visit)) * _HOUR_US)
        return [first, (again, again + _MINUTE_US)]

    def _of_visit(self, gauger: Gauger, visit: int) -> Iterator[Entry]:
        kind, receipts = self._kind(gauger, visit), self._receipts(gauger, visit)
        if not receipts:
            return
        right = self._right(gauger, visit)
        written = right if kind is None or kind == "entry_late" else self._wrong(gauger, visit, kind, right)
        first = self._entry(gauger, visit, "production", written)
        yield first
        if kind == "entry_revised":
            entered, received = receipts[1]
            yield replace(first, revision=2, data=right, entered_us=entered, received_us=received, notes="Corrected")
        yield from self._extras(gauger, visit)

    def _entry(self, gauger: Gauger, visit: int, entry_type: EntryType, data: dict[str, Any]) -> Entry:
        entered, received = self._receipts(gauger, visit)[0]
        identifier = self._identifier(gauger, visit, entry_type)
        pumper = _PUMPERS[self._field.wells[gauger.well].route]
        return Entry(
            entry_id=identifier,
            revision=1,
            well=gauger.well,
            entry_type=entry_type,
            gauged_us=gauger.gauged_us(visit),
            entered_us=entered,
            received_us=received,
            data=data,
            created_by=pumper,
            device_id=f"phone-{pumper}",
        )

    def _extras(self, gauger: Gauger, visit: int) -> Iterator[Entry]:
        """Yield a weekly inspection, and the repair that ended a long stop since the last visit."""
        if visit % 14 == 2 * (gauger.well % 7):
            weeping = gauger.draw("weeping", visit) < 0.1
            data: dict[str, Any] = {
                "leaks": "weeping" if weeping else "none",
                "h2s_ppm": 0,
                "guards": "in place",
                "site": "clean",
            }
            yield self._entry(gauger, visit, "inspection", data)
        gauged, before = gauger.gauged_us(visit), gauger.gauged_us(self._previous(gauger, visit))
        behaviour = self._field.behaviours[gauger.well]
        for stop, start in behaviour.stops((before - EPOCH_US) / DAY_US, (gauged - EPOCH_US) / DAY_US):
            if start - stop >= _LONG_STOP_DAYS:
                works = _REPAIRS[self._field.wells[gauger.well].lift_type]
                data = {
                    "work": works[int(len(works) * gauger.draw("work", visit))],
                    "stopped_at": from_micros(EPOCH_US + round(stop * DAY_US)).isoformat(timespec="minutes"),
                    "restarted_at": from_micros(EPOCH_US + round(start * DAY_US)).isoformat(timespec="minutes"),
                    "down_hours": round(24 * (start - stop), 1),
                }
                yield self._entry(gauger, visit, "maintenance", data)

    def _fault(self, gauger: Gauger, visit: int) -> EntryFault | None:
        kind = self._kind(gauger, visit)
        if kind is None:
            return None
        gauged = gauger.gauged_us(visit)
        if kind == "entry_missing":
            return EntryFault(kind, gauger.well, gauged, None)
        identifier = self._identifier(gauger, visit, "production")
        if kind == "entry_late":
            ((_, received),) = self._receipts(gauger, visit)
            hours = round((received - gauged) / _HOUR_US, 2)
            return EntryFault(kind, gauger.well, gauged, identifier, {"received_after_h": hours})
        right = self._right(gauger, visit)
        wrong = self._wrong(gauger, visit, kind, right)
        differs = [name for name in right if right[name] != wrong[name]]
        if not differs:  # nothing to slip in a zero: a mistake that cannot be seen is none
            return None
        parameters = {name: {"written": wrong[name], "right": right[name]} for name in differs}
        return EntryFault(kind, gauger.well, gauged, identifier, parameters)
