"""The table of parts, connections and figures that `wellos up` keeps on the screen and `wellos status` prints."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from wellos.clock import WallClock, from_micros, parse_clock

__all__ = ["render", "to_text"]

_BOX = box.SIMPLE_HEAD
_COLOURS = {"up": "green", "external": "green", "connected": "green", "starting": "yellow", "connecting": "yellow"}


def render(snapshot: dict[str, Any], *, in_full: bool = True) -> Group:
    """Return the picture of one snapshot; `in_full` says for each connection what can be lost."""
    pieces: list[Any] = [_parts(snapshot["parts"])] if snapshot["parts"] else []
    figures = snapshot["figures"]
    if figures["connections"]:
        pieces.append(_connections(figures["connections"], in_full=in_full))
    lines = _summary(snapshot)
    if lines:  # an empty piece would still be a line, of which the live display loses count
        pieces.append(Text("\n".join(lines)))
    return Group(*pieces)


def to_text(snapshot: dict[str, Any], *, in_full: bool = True, width: int = 140) -> str:
    """Return the picture as plain text."""
    console = Console(width=width, no_color=True, highlight=False)
    with console.capture() as capture:
        console.print(render(snapshot, in_full=in_full))
    return capture.get()


def _parts(parts: list[dict[str, Any]]) -> Table:
    table = Table("part", "state", "address", "since", "note", box=_BOX)
    for part in parts:
        up = part.get("up", part["state"] in {"up", "external"})
        wrong = "" if up else part.get("reason") or part["error"]
        note = "; ".join(item for item in (wrong, part["note"]) if item)
        if part["restarts"]:
            note = f"restarted {part['restarts']}x{'; ' if note else ''}{note}"
        state = part["state"] if up or part["state"] != "up" else "down"
        table.add_row(part["name"], _state(state), part["address"], _moment(part["since_us"]), note)
    return table


def _connections(connections: list[dict[str, Any]], *, in_full: bool) -> Table:
    last_column = "can be lost" if in_full else "error"
    table = Table(
        "connection", "protocol", "state", "tags", "readings/s", "last reading", "owner", last_column, box=_BOX
    )
    for one in connections:
        state = one["state"] if one["enabled"] else "disabled"
        rate = "" if one["readings_per_s"] is None else f"{one['readings_per_s']:,.1f}"
        error = one["error"] if state != "connected" else ""
        lost = error or (one["loss_window"] if in_full else "")
        name = f"{one['tenant']}/{one['name']}"
        last = _moment(one["last_reading_us"])
        owner = one["owner"]
        held = "" if owner is None else f"{owner['hostname']}:{owner['pid'] or '?'} term {owner['term']}"
        table.add_row(name, one["protocol"], _state(state), str(one["tags"]), rate, last, held, lost)
    return table


def _summary(snapshot: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    figures = snapshot["figures"]
    if figures["error"]:
        lines.append(f"no figures: {figures['error']}")
    if figures["ingest"]:
        ingest = figures["ingest"]
        left = ingest["spool_seconds_left"]
        full = "" if left is None else f", full in {_span(left)}"
        lines.append(
            f"readings/s {ingest['readings_per_s']:,.1f}   lag {ingest['lag_s']:.1f} s   "
            f"spool {ingest['spool_rows']:,} readings, {ingest['spool_bytes'] / 1e6:,.1f} MB{full}"
        )
        if ingest["unclaimed"]:
            lines.append(f"connections that no instance reads: {ingest['unclaimed']}")
    if snapshot["progress"]:
        lines.append(snapshot["progress"])
    clock = str(snapshot["settings"].get("clock", "wall"))
    if clock != "wall":
        lines.append(f"platform time {parse_clock(clock).now():%Y-%m-%d %H:%M:%S} UTC ({clock.rpartition('*')[2]}x)")
    up = {part["name"]: part["address"] for part in snapshot["parts"] if part["state"] in {"up", "external"}}
    if "dagster" in up:
        lines.append(f"Dagster UI: {up['dagster']}")
    if "ingest" in up:
        lines.append(f"ingest metrics: {up['ingest']}/metrics")
    return lines


def _state(state: str) -> Text:
    return Text(state, style=_COLOURS.get(state, "red"))


def _moment(micros: int | None) -> str:
    if not micros:
        return ""
    moment = from_micros(micros)
    today = WallClock().now().date()
    return f"{moment:%H:%M:%S}" if moment.date() == today else f"{moment:%Y-%m-%d %H:%M:%S}"


def _span(seconds: float) -> str:
    """Return a length of time in the unit a person would take."""
    for name, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {name}"
    return f"{seconds:,.0f} s"
