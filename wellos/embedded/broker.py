"""The embedded MQTT broker: mosquitto where it is installed, else amqtt, which is a convenience only."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from wellos.embedded.account import unprivileged
from wellos.embedded.child import Spec
from wellos.embedded.server import Server, find_program, free_port, private_folder, reach, running, tcp_ready

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wellos.embedded.server import RunningServer

__all__ = ["AMQTT_NOTE", "Implementation", "prepare", "running_broker"]

Implementation = Literal["mosquitto", "amqtt"]

AMQTT_NOTE = (
    "amqtt, a convenience only: MQTT 3.1.1, no shared subscriptions, nothing kept for anonymous clients, "
    "unacknowledged messages are never sent again. Install mosquitto, or set WELLOS_MQTT_URL"
)
_OPEN_NOTE = "anyone who reaches it may publish: it listens beyond loopback without passwords; set WELLOS_MQTT_URL"

_MOSQUITTO = """\
# written by wellos at every start
listener {port} {host}
allow_anonymous true
persistence true
persistence_location {folder}/
# Sessions outlive a stop; what a kill -9 of the broker can lose is bounded by this.
autosave_interval 5
# Nothing is dropped for a persistent session that is away or slow: no limit on what waits or is under way.
max_inflight_messages 0
max_queued_messages 0
max_queued_bytes 0
max_inflight_bytes 0
set_tcp_nodelay true
log_dest stdout
log_type error
log_type warning
log_type notice
{user}"""


def prepare(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    logs: Path | None = None,
    implementation: Implementation | None = None,
) -> Server:
    """Return a broker ready to be started; `implementation` None takes mosquitto if it is there."""
    folder = private_folder(folder)
    account = unprivileged()
    port = port or free_port(host)
    program = find_program("mosquitto")
    notes = [account.note]
    if not _is_loopback(host):
        notes.append(_OPEN_NOTE)
    if implementation == "mosquitto" or (implementation is None and program is not None):
        configuration = folder / "mosquitto.conf"
        # Started as root outside a user namespace it would turn into the account `mosquitto`, which cannot write here.
        user = "" if os.geteuid() else "user root\n"
        configuration.write_text(_MOSQUITTO.format(host=host, port=port, folder=folder, user=user))
        account.own(folder)
        command: tuple[str, ...] = (*account.prefix, program or "mosquitto", "-c", str(configuration))
    else:
        command = (sys.executable, "-P", str(Path(__file__).with_name("amqtt_broker.py")), host, str(port))
        notes.append(AMQTT_NOTE)
    spec = Spec("broker", command, (logs or folder) / "broker.log", cwd=folder)
    url = f"mqtt://{reach(host)}:{port}"
    note = "; ".join(note for note in notes if note)
    return Server(spec, host, port, url, lambda: tcp_ready(host, port), note)


@contextmanager
def running_broker(
    folder: Path, *, host: str = "127.0.0.1", port: int = 0, implementation: Implementation | None = None
) -> Iterator[RunningServer]:
    """Run a broker until the block ends; `.url` is its address."""
    with running(prepare(folder, host=host, port=port, implementation=implementation)) as server:
        yield server


def _is_loopback(host: str) -> bool:
    return host in {"localhost", "::1"} or host.startswith("127.")
