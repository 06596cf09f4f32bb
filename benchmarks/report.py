"""What a benchmark reports: figures beside the limit measured in the same run, with the machine it ran on."""

from __future__ import annotations

import argparse
import json
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Machine", "Report", "parser"]


def parser(benchmark: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser of a benchmark's options, with `--json`, which all have."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks {benchmark}", description=description)
    made.add_argument("--json", action="store_true", help="print one line of JSON instead of a table")
    return made


@dataclass(frozen=True, slots=True)
class Machine:
    """What a figure is worth nothing without. Made before the work begins, so that the load is not the benchmark's."""

    cpu: str
    cores: int
    memory_gb: float
    kernel: str
    load: float
    """Runnable processes over the last minute."""

    @classmethod
    def read(cls) -> Machine:
        """Describe this machine as it is now."""
        return cls(
            _cpu(),
            len(os.sched_getaffinity(0)),
            round(psutil.virtual_memory().total / 1e9, 1),
            f"{platform.system()} {platform.release()}",
            round(os.getloadavg()[0], 2),
        )

    def __str__(self) -> str:
        return f"{self.cpu}, {self.cores} cores, {self.memory_gb:g} GB, {self.kernel}, load before {self.load:g}"


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one benchmark; a figure's unit is part of its name."""

    benchmark: str
    figures: Mapping[str, float]
    limit: Mapping[str, float] = field(default_factory=dict)
    """What the same machine does of this work at most, measured in the same run."""
    ratio: float | None = None
    """The main figure as a share of the limit."""
    servers: tuple[str, ...] = ()
    """Version of each server it ran against."""

    def show(self, machine: Machine, *, as_json: bool) -> None:
        """Print it as one line of JSON, or as a table for people."""
        print(self.as_json() if as_json else self.as_table(machine))

    def as_json(self) -> str:
        """Return the line that other programs read."""
        content = {
            "benchmark": self.benchmark,
            "figures": {name: _rounded(value) for name, value in self.figures.items()},
            "limit": {name: _rounded(value) for name, value in self.limit.items()},
            "ratio": None if self.ratio is None else _rounded(self.ratio),
        }
        return json.dumps(content)

    def as_table(self, machine: Machine) -> str:
        """Return the table."""
        lines = [f"{self.benchmark} on {machine}", *self.servers]
        width = max((len(name) for name in (*self.figures, *self.limit)), default=0) + 2
        lines += [f"  {name:{width}}{_shown(value):>14}" for name, value in self.figures.items()]
        lines += [f"  {name:{width}}{_shown(value):>14}  (limit)" for name, value in self.limit.items()]
        if self.ratio is not None:
            lines.append(f"  {'ratio to the limit':{width}}{self.ratio:>14.2f}")
        return "\n".join(lines)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}") if abs(value) < 1000 else round(value)


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
