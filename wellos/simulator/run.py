"""The simulator process: a live field or a replay, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog

from wellos.clock import ScaledClock, WallClock
from wellos.errors import ConfigurationError, Problem, WellosError
from wellos.simulator.endpoints import broker_of
from wellos.simulator.playing import replay
from wellos.simulator.ready import ReadyFile
from wellos.simulator.serving import serve_live

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from wellos.clock import Clock
    from wellos.settings import Settings
    from wellos.simulator.endpoints import Options

__all__ = ["simulate"]

_log = structlog.get_logger(__name__)


async def simulate(options: Options, settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM. Raises ConfigurationError and UnreachableError before anything is announced."""
    broker = broker_of(settings)
    clock = settings.make_clock()
    ready = ReadyFile(options.ready_file)
    work: Coroutine[Any, Any, None]
    if options.replay is not None:
        work = replay(options, settings, broker, clock, ready)
    else:
        _check_speed(options.speed, clock)
        work = serve_live(options, settings, broker, clock, ready)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    main, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait({main, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    main.cancel()
    try:
        await _outcome(main)
    except* WellosError as group:
        # One that the user can mend is enough to say; a task group wraps even a single one.
        raise group.exceptions[0] from None


async def _outcome(main: asyncio.Task[None]) -> None:
    try:
        await main
    except asyncio.CancelledError:
        _log.info("simulator stopped")


def _check_speed(speed: float | None, clock: Clock) -> None:
    running = clock.speed if isinstance(clock, ScaledClock) else 1.0
    if speed is None or speed == running:
        return
    start = WallClock().now() - timedelta(hours=12) * speed
    example = f"{start:%Y-%m-%dT%H:%M:%SZ}@{WallClock().now():%Y-%m-%dT%H:%M:%SZ}*{speed:g}"
    remedy = (
        "A live field runs on the clock it shares with ingest and Dagster: leave --speed out and set WELLOS_CLOCK for "
        f"all of them, e.g. {example}, or use `wellos up --speed`."
    )
    message = f"the platform's clock runs at {running:g}"
    raise ConfigurationError([Problem(message, remedy, field="--speed", value=speed)])
