"""The tables of docs/fleet.md, from the models themselves: a test holds the page to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args, get_origin

from wellos.fleet.model import ConnectionEntry, TagEntry, TenantEntry, WellEntry
from wellos.fleet.units import QUANTITIES
from wellos.protocols import CONFIGS

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["tables"]


def tables() -> dict[str, str]:
    """Return each table by the name of its marker in the page."""
    models: dict[str, type[BaseModel]] = {
        "tenant": TenantEntry,
        "well": WellEntry,
        "connection": ConnectionEntry,
        "tag": TagEntry,
        **CONFIGS,
    }
    units = "\n".join(f"| {name} | {' '.join(f'`{unit}`' for unit in found)} |" for name, found in QUANTITIES.items())
    return {
        **{name: _fields(model) for name, model in models.items()},
        "units": f"| quantity | units |\n|---|---|\n{units}",
    }


def _fields(model: type[BaseModel]) -> str:
    lines = ["| field | default | meaning |", "|---|---|---|"]
    for name, info in model.model_fields.items():
        default = "required" if info.is_required() else _default(info.default)
        choices = _choices(info.annotation)
        listed = f" One of {', '.join(f'`{choice}`' for choice in choices)}." if choices else ""
        lines.append(f"| `{name}` | {default} | {info.description}{listed} |")
    return "\n".join(lines)


def _choices(annotation: object) -> tuple[object, ...]:
    """What a literal allows, or a literal that may be left out."""
    for part in (annotation, *get_args(annotation)):
        if get_origin(part) is Literal:
            return get_args(part)
    return ()


def _default(value: object) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | dict):
        return "none"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"
