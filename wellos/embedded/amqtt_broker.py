"""The stand-in MQTT broker for machines without mosquitto: `python amqtt_broker.py HOST PORT`."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from amqtt.broker import Broker

__all__ = ["main"]


async def serve(host: str, port: int) -> None:
    """Run the broker until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"{host}:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()
    await stop.wait()
    await broker.shutdown()


def main() -> None:
    """Read host and port from the command line and serve."""
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))


if __name__ == "__main__":
    main()
