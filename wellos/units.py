"""Conversion between units of one dimension: linear, by the definitions of the units."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wellos.validation import did_you_mean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["conversion", "convert", "convertible"]

_BBL_M3 = 0.158987294928  # 42 US gallons of 231 cubic inches
_FT3_M3 = 0.028316846592
_GAL_M3 = 0.003785411784
_PSI_PA = 6894.757293168
_DAY_S, _HOUR_S, _MINUTE_S = 86400.0, 3600.0, 60.0

_VOLUMES = {"m3": 1.0, "bbl": _BBL_M3, "L": 0.001, "gal": _GAL_M3, "ft3": _FT3_M3, "e3m3": 1000.0}
_GAS = {
    **dict.fromkeys(("scf",), 1.0),
    **dict.fromkeys(("mcf", "Mscf", "mscf", "MCF"), 1e3),
    **dict.fromkeys(("mmcf", "MMscf", "mmscf", "MMCF"), 1e6),
}
_PER = {"s": 1.0, "min": _MINUTE_S, "h": _HOUR_S, "d": _DAY_S}


def _rates(volumes: dict[str, float]) -> dict[str, tuple[float, float]]:
    return {f"{unit}/{per}": (size / time, 0.0) for unit, size in volumes.items() for per, time in _PER.items()}


def _plain(factors: dict[str, float]) -> dict[str, tuple[float, float]]:
    return {unit: (factor, 0.0) for unit, factor in factors.items()}


_FAHRENHEIT, _CELSIUS = (5 / 9, 459.67 * 5 / 9), (1.0, 273.15)
_DIMENSIONS: dict[str, dict[str, tuple[float, float]]] = {
    "pressure": _plain(
        {
            "Pa": 1.0,
            "kPa": 1e3,
            "MPa": 1e6,
            "bar": 1e5,
            "mbar": 100.0,
            "psi": _PSI_PA,
            "atm": 101_325.0,
            "kgf/cm2": 98_066.5,
            "inH2O": 249.08891,
        }
    ),
    "gauge pressure": _plain({"psig": _PSI_PA, "barg": 1e5}),
    "temperature": {
        **dict.fromkeys(("F", "degF", "°F"), _FAHRENHEIT),
        **dict.fromkeys(("C", "degC", "°C"), _CELSIUS),
        "K": (1.0, 0.0),
    },
    "volume": _plain(_VOLUMES),
    "volume rate": _rates(_VOLUMES),
    "gas at standard conditions": _plain(_GAS),
    "gas rate at standard conditions": _rates(_GAS),
    "mass": _plain({"kg": 1.0, "t": 1e3}),
    "mass rate": _rates({"kg": 1.0, "t": 1e3}),
    "length": _plain({"m": 1.0, "cm": 0.01, "mm": 0.001, "um": 1e-6, "ft": 0.3048, "in": 0.0254}),
    "fraction": _plain({"fraction": 1.0, "1": 1.0, "%": 0.01, "ppm": 1e-6}),
    "current": _plain({"A": 1.0, "mA": 1e-3}),
    "voltage": _plain({"V": 1.0, "mV": 1e-3, "kV": 1e3}),
    "power": _plain({"W": 1.0, "kW": 1e3, "MW": 1e6, "hp": 745.69987158227022}),
    "energy": _plain({"J": 1.0, "MJ": 1e6, "kWh": 3.6e6, "MWh": 3.6e9}),
    "frequency": _plain({"Hz": 1.0, "kHz": 1e3}),
    "speed of rotation": _plain({"rpm": 1.0, "spm": 1.0, "1/min": 1.0}),
    "speed": _plain({"m/s": 1.0, "ft/min": 0.00508, "in/s": 0.0254, "mm/s": 0.001}),
    "force": _plain({"N": 1.0, "kN": 1e3, "lbf": 4.4482216152605, "klbf": 4448.2216152605}),
    "time": _plain({"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": _MINUTE_S, "h": _HOUR_S, "d": _DAY_S}),
}
"""Dimension -> unit -> (factor, offset): in the dimension's base unit, value x factor + offset.

Gas counted at standard conditions is a dimension of its own: to cubic metres leads no factor without a pressure base.
So is gauge pressure, which a plain `psi` may or may not be.
"""


def conversion(given: str, wanted: str) -> tuple[float, float]:
    """Return (scale, offset) with value in `wanted` = value in `given` x scale + offset; ValueError says why not."""
    if given == wanted:
        return 1.0, 0.0
    for units in _DIMENSIONS.values():
        if given in units and wanted in units:
            (factor, offset), (base, shift) = units[given], units[wanted]
            return factor / base, (offset - shift) / base
    known = convertible(wanted)
    if not known:
        raise ValueError(f"there is no conversion to {wanted} | Give the values in {wanted}")
    raise ValueError(f"{given} cannot be converted to {wanted} | {did_you_mean(given, known)}")


def convertible(wanted: str) -> list[str]:
    """Return the units that can be converted to this one, itself among them; none for a unit without a dimension."""
    return sorted({unit for units in _DIMENSIONS.values() if wanted in units for unit in units})


def convert(values: NDArray[np.float64], given: str, wanted: str) -> NDArray[np.float64]:
    """Return values in another unit of the same dimension; ValueError as `conversion`."""
    scale, offset = conversion(given, wanted)
    return values * scale + offset
