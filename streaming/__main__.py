"""`python -m streaming`: the ingest process."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import structlog

from streaming.pipeline import Pipeline
from wellos.errors import WellosError
from wellos.logs import configure
from wellos.settings import load_settings

__all__ = ["main"]

_THREADS = 64
"""Adapters connect in these threads, and a silent peer holds one; Python by itself has six on two cores."""


async def _run(pipeline: Pipeline) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_THREADS, "ingest"))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await pipeline.run(stop)


def main() -> int:
    """Run until told to stop; the exit status of what went wrong."""
    log = structlog.get_logger("streaming")
    try:
        settings = load_settings()
        configure(settings)
        pipeline = Pipeline(settings)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(_run(pipeline))
    except WellosError as error:
        log.error("ingest cannot go on", reason=str(error))  # noqa: TRY400 - the message says it all
        return error.exit_status
    except Exception:  # the process's own supervisor: the last word is a line of the log like every other
        log.exception("ingest failed")
        return 1
    log.info("ingest stopped")
    return 0


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    sys.stderr.flush()
    # A thread may still wait for a silent server; everything that matters is on disk.
    os._exit(status)
