"""Small PNG plots for metadata in Dagster: matplotlib's object interface, imported when the first is drawn."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np

from wellos.clock import to_micros

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["lags", "markdown_image", "readings_by_hour", "tier_costs"]

_COLOURS = {"GOOD": "#2a7f4f", "UNCERTAIN": "#d9a21b", "BAD": "#b3372e"}
_TIERS = {"hot": "#c8452f", "warm": "#e0a03a", "aggregates": "#8a8f98", "cold": "#3b74a8"}


def readings_by_hour(
    hours: Sequence[datetime], good: Sequence[int], uncertain: Sequence[int], bad: Sequence[int], *, title: str
) -> bytes:
    """Draw the readings of each hour as one bar stacked by quality; a PNG of about 10 kB."""
    # pyplot would cost two seconds and keep figures alive; the object interface does neither.
    import matplotlib as mpl  # noqa: PLC0415 - half a second, only where drawn
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - same
    from matplotlib.figure import Figure  # noqa: PLC0415 - same

    figure = Figure(figsize=(6.4, 2.2), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    at = np.array([to_micros(hour) for hour in hours], dtype="datetime64[us]")
    base = np.zeros(len(at), dtype=np.int64)
    with mpl.rc_context({"date.converter": "concise", "timezone": "UTC"}):
        for (name, colour), counts in zip(_COLOURS.items(), (good, uncertain, bad), strict=True):
            width = np.timedelta64(48, "m")
            axes.bar(at, np.asarray(counts), bottom=base, width=width, align="edge", color=colour, label=name)
            base = base + np.asarray(counts, dtype=np.int64)
        return _finish(figure, axes, title, "readings per hour")


def lags(moments: Mapping[str, Sequence[datetime]], seconds: Mapping[str, Sequence[float]], *, title: str) -> bytes:
    """Draw how far each aggregate was behind at some moments, a line for each, in minutes; a PNG."""
    import matplotlib as mpl  # noqa: PLC0415 - half a second, only where drawn
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - same
    from matplotlib.figure import Figure  # noqa: PLC0415 - same

    figure = Figure(figsize=(7.2, 2.4), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    with mpl.rc_context({"date.converter": "concise", "timezone": "UTC"}):
        for name, values in seconds.items():
            at = np.array([to_micros(moment) for moment in moments[name]], dtype="datetime64[us]")
            axes.plot(at, np.asarray(values) / 60, marker=".", markersize=4, linewidth=1, label=name)
        return _finish(figure, axes, title, "minutes behind", columns=3)


def tier_costs(
    days: Sequence[date], costs: Mapping[str, Sequence[float]], unarchived: Sequence[float], *, title: str, unit: str
) -> bytes:
    """Draw the monthly cost of each tier over time, stacked, and what it would be with nothing archived; a PNG."""
    import matplotlib as mpl  # noqa: PLC0415 - half a second, only where drawn
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - same
    from matplotlib.figure import Figure  # noqa: PLC0415 - same

    figure = Figure(figsize=(8.0, 3.0), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    at = np.array(days, dtype="datetime64[D]")
    with mpl.rc_context({"date.converter": "concise", "timezone": "UTC"}):
        shown = {tier: np.asarray(values) for tier, values in costs.items()}
        axes.stackplot(at, *shown.values(), labels=list(shown), colors=[_TIERS[tier] for tier in shown], alpha=0.85)
        axes.plot(at, unarchived, color="#222222", linestyle="--", linewidth=1.2, label="nothing archived")
        axes.margins(x=0)
        return _finish(figure, axes, title, unit)


def _finish(figure: Figure, axes: Axes, title: str, unit: str, *, columns: int = 5) -> bytes:
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_ylabel(unit, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.get_offset_text().set_visible(False)  # the title names the day
    axes.legend(fontsize=7, ncols=columns, loc="lower right", bbox_to_anchor=(1, 1), frameon=False, borderaxespad=0)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def markdown_image(png: bytes, *, alt: str) -> str:
    """Return the PNG as a Markdown image that carries its data, as metadata of an asset shows it."""
    return f"![{alt}](data:image/png;base64,{base64.b64encode(png).decode('ascii')})"
