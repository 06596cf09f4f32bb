"""Runs the storm, or the long run with a fixed plan of faults, and says whether every reading is where it belongs."""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tests.storm.faults import FAULTS, Chaos, soak_plan
from tests.storm.platform import Platform, until
from tests.storm.truth import Plan
from tests.storm.verify import Verdict, verify
from wellos.clock import WallClock

if TYPE_CHECKING:
    import psycopg

_DRAIN_S = 600


class _Run:
    """One run and what happened in it."""

    def __init__(self, platform: Platform, seed: int) -> None:
        self.platform = platform
        self.chaos = Chaos(platform, random.Random(seed))
        self.injected: Counter[str] = Counter()
        self.most_resident_mb = 0.0

    def do(self, name: str, started: float) -> None:
        """Inject one fault and put it right again."""
        click.echo(f"{time.monotonic() - started:7.1f} s  {name}", err=True)
        FAULTS[name](self.chaos)
        self.injected[name] += 1

    def watch(self, seconds: float) -> None:
        """Let time pass, looking at memory."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for ingest in self.platform.ingests:
                self.most_resident_mb = max(self.most_resident_mb, ingest.resident_mb())
            time.sleep(min(1.0, max(0.0, deadline - time.monotonic())))

    def storm(self, seconds: float, names: list[str]) -> None:
        """Inject faults at random until the time is up: each once first, in a random order."""
        started = time.monotonic()
        order = self.chaos.dice.sample(names, len(names))
        while time.monotonic() - started < seconds:
            self.watch(self.chaos.dice.uniform(1, 5))
            self.do(order.pop() if order else self.chaos.dice.choice(names), started)

    def soak(self, seconds: float) -> None:
        """Follow the fixed plan."""
        started = time.monotonic()
        for moment, name in soak_plan(seconds):
            self.watch(moment - (time.monotonic() - started))
            self.do(name, started)
        self.watch(seconds - (time.monotonic() - started))


@click.command()
@click.option("--seconds", type=click.IntRange(min=10), default=600, show_default=True, help="How long.")
@click.option("--seed", type=int, help="Same seed, same faults; unset: a new one, which is printed.")
@click.option("--rate", type=click.IntRange(min=300), default=5000, show_default=True, help="Readings a second.")
@click.option("--instances", type=click.IntRange(1, 5), default=1, show_default=True, help="Ingest processes.")
@click.option("--plan", type=click.Choice(["storm", "soak"]), default="storm", show_default=True)
@click.option("--only", multiple=True, type=click.Choice(list(FAULTS)), help="Storm: these faults alone.")
@click.option("--postgres-bin", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="PostgreSQL with TimescaleDB installed here; unset: the embedded one.")  # fmt: skip
@click.option("--folder", type=click.Path(path_type=Path), help="Keep everything there; unset: removed at the end.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def main(  # noqa: PLR0913 - one parameter an option
    seconds: int, seed: int | None, rate: int, instances: int, plan: str, only: tuple[str, ...],
         postgres_bin: Path | None, folder: Path | None, *, as_json: bool) -> None:  # fmt: skip
    """Break a whole platform for a while, then count every reading."""
    seed = random.SystemRandom().randrange(1 << 31) if seed is None else seed
    click.echo(f"seed {seed}", err=True)
    with ExitStack() as stack:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wellos-storm-")))
        start_us = WallClock().micros() // 1_000_000 * 1_000_000
        platform = Platform(
            stack, place.absolute(), Plan.of(rate, start_us), seed, postgres_bin=postgres_bin, instances=instances
        )
        run = _Run(platform, seed)
        for ingest in platform.ingests:
            ingest.start()
        with platform.connect() as conn:
            until(lambda: _connected(conn) == len(platform.plan.sources), 60, "every connection")
        platform.begin_mqtt()
        begun = time.monotonic()
        if plan == "storm":
            run.storm(seconds, list(only) or list(FAULTS))
        else:
            run.soak(seconds)
        told = platform.end_mqtt()
        lasted = time.monotonic() - begun
        result = _settle(platform, run, told) | {"seed": seed, "seconds": round(lasted, 1), "rate": rate}
    _print(result, as_json=as_json)
    sys.exit(0 if result["passed"] else 1)


def _settle(platform: Platform, run: _Run, told: dict[str, Any]) -> dict[str, Any]:
    """Wait until all is stored, stop ingest in order, and judge."""
    before = time.monotonic()
    with platform.connect() as conn:
        probe = WallClock().micros()
        until(lambda: _newest(conn, "modbus-0") > probe, 120, "a probe reading after the faults")
        until(lambda: _drained(platform, conn, told["ticks"]), _DRAIN_S, "the spools to drain")
        drained = time.monotonic() - before
        statuses = [ingest.stop(30) for ingest in platform.ingests]
        verdicts = verify(conn, platform.plan, told["ticks"], run.chaos.spoiled)
        row = conn.execute(
            "SELECT sum(received), sum(stored), sum(repeated), sum(replaced), sum(superseded), sum(quarantined), "
            "sum(duplicates), sum(shed) FROM ingest_ledger"
        ).fetchone()
        names = ("received", "stored", "repeated", "replaced", "superseded", "quarantined", "duplicates", "shed")
        ledger = {name: int(n or 0) for name, n in zip(names, row or (), strict=True)}
    audits = [json.loads(platform.wellos("audit", "--json", ingest=ingest))["holds"] for ingest in platform.ingests]
    passed = all(v.passed for v in verdicts) and all(audits) and not any(statuses) and sum(run.injected.values()) > 0
    return {
        "passed": passed,
        "faults": dict(run.injected),
        "troubles": told["troubles"],
        "ledger": ledger,
        "verdicts": [_told(verdict) for verdict in verdicts],
        "audit_holds": audits,
        "ingest_starts": sum(ingest.starts for ingest in platform.ingests),
        "drained_after_s": round(drained, 1),
        "most_resident_mb": round(run.most_resident_mb, 1),
    }


def _told(verdict: Verdict) -> dict[str, Any]:
    names = ("kind", "stored", "expected", "missing", "excused", "wrong", "holes", "unexplained", "notes")
    return {name: getattr(verdict, name) for name in names}


def _connected(conn: psycopg.Connection[Any]) -> int:
    row = conn.execute("SELECT count(*) FROM ingest_connections WHERE state = 'connected'").fetchone()
    return int(row[0]) if row else 0


def _newest(conn: psycopg.Connection[Any], well: str) -> int:
    row = conn.execute(
        "SELECT (extract(epoch FROM max(r.time)) * 1e6)::bigint FROM wells JOIN tags USING (tenant_id, well_id) "
        "CROSS JOIN LATERAL (SELECT time FROM readings WHERE tag_id = tags.tag_id ORDER BY time DESC LIMIT 1) AS r "
        "WHERE wells.name = %s",
        (well,),
    ).fetchone()
    return int(row[0]) if row and row[0] else 0


def _drained(platform: Platform, conn: psycopg.Connection[Any], ticks: dict[str, int]) -> bool:
    """Tell whether the last message of every MQTT source is stored, and nothing older waits in a spool."""
    moments = {
        source.name: platform.plan.start_us + (ticks[source.name] - 2) * source.period_us
        for source in platform.plan.of_kind("mqtt")
    }
    row = conn.execute("SELECT min(oldest_spooled_time) < now() - interval '5 s' FROM ingest_instances").fetchone()
    return all(_newest(conn, name) >= moment for name, moment in moments.items()) and not (row and row[0])


def _print(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(result))
        return
    click.echo(f"seed {result['seed']}, {result['seconds']} s at {result['rate']} readings/s")
    for name, count in sorted(result["faults"].items()):
        click.echo(f"  {name:<28}{count:>5}")
    click.echo("what the sources did: " + ", ".join(f"{name} {n}" for name, n in result["troubles"].items()))
    click.echo("ledger: " + ", ".join(f"{name} {n:,}" for name, n in result["ledger"].items()))
    for verdict in result["verdicts"]:
        click.echo(
            "{kind}: {stored:,} stored, {expected:,} expected, {missing} missing, {excused} excused, {wrong} wrong, "
            "{holes} holes, {unexplained} unexplained".format(**verdict)
        )
        for note in verdict["notes"]:
            click.echo(f"    {note}")
    click.echo(
        f"ingest was started {result['ingest_starts']} times, drained after {result['drained_after_s']} s, "
        f"at most {result['most_resident_mb']} MiB; audit holds: {result['audit_holds']}"
    )
    click.echo("passed" if result["passed"] else "FAILED")


if __name__ == "__main__":
    main()
