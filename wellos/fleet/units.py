"""The units a tag may have, by the quantity they measure."""

from __future__ import annotations

from wellos.validation import did_you_mean, nearest

__all__ = ["QUANTITIES", "UNITS", "unit_problem"]

QUANTITIES: dict[str, tuple[str, ...]] = {
    "pressure": ("psi", "psia", "psig", "Pa", "kPa", "MPa", "bar", "barg", "mbar", "atm", "kgf/cm2", "inH2O"),
    "temperature": ("F", "C", "K", "degF", "degC", "°F", "°C"),
    "rate": (
        *("bbl/d", "bbl/h", "m3/d", "m3/h", "m3/s", "e3m3/d", "L/min", "L/s", "gal/min", "gal/d", "ft3/d"),
        *(
            "scf/d",
            "mcf/d",
            "mmcf/d",
            "Mscf/d",
            "MMscf/d",
            "mscf/d",
            "mmscf/d",
            "MCF/d",
            "MMCF/d",
            "kg/h",
            "kg/s",
            "t/d",
        ),
    ),
    "total": (
        "bbl",
        "m3",
        "e3m3",
        "L",
        "gal",
        "ft3",
        "scf",
        "mcf",
        "mmcf",
        "Mscf",
        "MMscf",
        "mscf",
        "MCF",
        "kg",
        "t",
        "kWh",
    ),
    "volume": ("bbl", "m3", "L", "gal", "ft3", "scf", "mcf"),
    "level": ("ft", "in", "m", "cm", "mm", "%", "fraction"),
    "length": ("ft", "in", "m", "cm", "mm", "um"),
    "fraction": ("%", "fraction", "ppm", "1"),
    "current": ("A", "mA"),
    "voltage": ("V", "mV", "kV"),
    "power": ("W", "kW", "MW", "hp", "kVA", "kvar"),
    "energy": ("kWh", "MWh", "J", "MJ"),
    "frequency": ("Hz", "kHz"),
    "speed": ("rpm", "spm", "1/min", "ft/min", "m/s", "in/s"),
    "vibration": ("g", "mm/s", "in/s", "um"),
    "force": ("lbf", "klbf", "N", "kN"),
    "torque": ("lbf.ft", "in.lbf", "N.m"),
    "density": ("kg/m3", "g/cm3", "lb/ft3", "lb/gal", "API"),
    "viscosity": ("cP", "Pa.s", "cSt"),
    "ratio": ("scf/bbl", "mcf/bbl", "bbl/mmcf", "m3/m3", "1"),
    "time": ("us", "ms", "s", "min", "h", "d"),
    "count": ("count", "1"),
    "state": ("state", "1"),
    "angle": ("deg", "rad"),
}
"""Quantity -> its units. A quantity without a fixed unit (`state`, `count`) may leave the unit out."""

UNITS: frozenset[str] = frozenset(unit for units in QUANTITIES.values() for unit in units)


def unit_problem(unit: str | None, quantity: str | None) -> tuple[str, str, str] | None:
    """Return the field at fault (`unit` or `quantity`), what is wrong and the remedy; None when they agree."""
    if quantity is not None and quantity not in QUANTITIES:
        return "quantity", "is not a known quantity", did_you_mean(quantity, QUANTITIES)
    if unit is None:
        return None
    if unit not in UNITS:
        known = QUANTITIES[quantity] if quantity is not None else sorted(UNITS)
        return "unit", "is not a known unit", did_you_mean(unit, known)
    if quantity is not None and unit not in QUANTITIES[quantity]:
        measures = [name for name, units in QUANTITIES.items() if unit in units]
        near = nearest(unit, QUANTITIES[quantity])
        remedy = f"Did you mean {near}? " if near else ""
        return (
            "unit",
            f"is a unit of {' or '.join(measures)}, not of {quantity}",
            f"{remedy}Units of {quantity}: {', '.join(QUANTITIES[quantity])}.",
        )
    return None
