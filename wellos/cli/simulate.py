"""`wellos simulate`: a simulated field, or recordings of a real one, behind real servers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from wellos import logs
from wellos.cli.duration import Duration
from wellos.cli.field_options import refuse_idle, zone_option
from wellos.settings import load_settings
from wellos.simulator.endpoints import Options
from wellos.simulator.run import simulate as run

__all__ = ["simulate"]

_LIVE_ONLY = {"wells", "tags", "seed", "history", "truth"}
_REPLAY_ONLY = {"zone", "instances", "limit_rows"}
_PATH = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.option("--wells", type=click.IntRange(1, 500), default=12, show_default=True, help="Wells of the field.")
@click.option("--tags", type=click.IntRange(1, 50), help="Tags of each well; unset: what its lift type has.")
@click.option("--seed", type=int, default=1, show_default=True, help="Same seed, same field and same readings.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    help="Replay: this many times as fast as recorded. Live field: the speed of WELLOS_CLOCK, which sets it.",
)
@click.option("--history", type=Duration(), metavar="30d", help="Store this much of the past in the warm tier first.")
@click.option("--replay", type=_FOLDER, help="Serve recordings of the Petrobras 3W layout instead.")
@zone_option
@click.option("--instances", default="*", show_default=True, metavar="GLOB", help="Recordings to replay, by name.")
@click.option("--limit-rows", type=click.IntRange(min=1), help="Replay at most so many rows of each well.")
@click.option("--fleet-out", type=_PATH, help="Write the fleet file that reads all this.")
@click.option("--truth", type=_PATH, help="Keep the ground truth (every planted fault) in this file, JSON lines.")
@click.option("--ready-file", type=_PATH, help="Write addresses and progress there, as JSON, once all servers answer.")
@click.pass_context
def simulate(context: click.Context, /, **options: Any) -> None:  # noqa: ANN401 - click's values, typed by Options
    """Serve an oil field over OPC UA, Modbus TCP and MQTT (plain JSON and Sparkplug B).

    Its wells behave: they decline, slug, stop and fail in known ways, the same for the same seed. Readings come live,
    at the pace of the platform's clock. The broker is that of WELLOS_MQTT_URL; ports are WELLOS_OPCUA_PORT and
    WELLOS_MODBUS_PORT. SIGINT or SIGTERM stops it.
    """
    if options["replay"] is not None:
        refuse_idle(context, _LIVE_ONLY, "has no meaning for a replay")
    else:
        refuse_idle(context, _REPLAY_ONLY, "has no meaning without --replay")
    settings = load_settings()
    logs.configure(settings)
    asyncio.run(run(Options(**options), settings))
