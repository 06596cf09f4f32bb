"""The embedded PostgreSQL, Redis and broker: real ones, in one folder, with a password, and gone when stopped."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import paho.mqtt.client as mqtt
import psycopg
import pytest
import redis
from paho.mqtt.enums import CallbackAPIVersion

from tests.waiting import eventually
from wellos.embedded import postgres
from wellos.embedded.account import unprivileged_account
from wellos.embedded.broker import AMQTT_NOTE, running_broker
from wellos.embedded.postgres import running_postgres
from wellos.embedded.server import free_port, port_is_free, private_folder, reach, running, secret_file
from wellos.errors import ConfigurationError

if TYPE_CHECKING:
    from wellos.embedded.server import RunningServer

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="taking on another account needs root")


def modes(folder: Path) -> dict[Path, tuple[int, int, int]]:
    """Owner, group and mode of a folder and everything above it."""
    found = {path: path.stat() for path in (folder, *folder.parents)}
    return {path: (item.st_uid, item.st_gid, stat.S_IMODE(item.st_mode)) for path, item in found.items()}


def test_postgres_keeps_to_its_folder_and_its_data(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    before = modes(home)
    with running_postgres(home / "data" / "postgres") as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
            row = connection.execute(
                "SELECT current_setting('synchronous_commit'), current_setting('unix_socket_directories'),"
                " current_setting('listen_addresses'), current_setting('max_connections')"
            ).fetchone()
        assert row == ("on", "", "127.0.0.1", "200")
    assert modes(home) == before
    assert list(home.iterdir()) == [home / "data"]
    with running_postgres(home / "data" / "postgres") as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_postgres_asks_for_its_password_and_keeps_it_private(tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    with running_postgres(folder) as server:
        password = (folder / "password").read_text().strip()
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(server.url.replace(password, "wrong"))
        assert password not in " ".join(server.server.spec.command)
        assert password not in repr(server.server)
    assert stat.S_IMODE((folder / "password").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_postgres_comes_back_after_kill_9_with_what_it_acknowledged(tmp_path: Path) -> None:
    with running_postgres(tmp_path / "postgres") as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
        server.kill()
        assert port_is_free(server.host, server.port)
        server.start()
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1000,)


def test_an_interrupted_initdb_is_not_taken_for_a_cluster(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "postgres")
    (folder / "data.new").mkdir()
    (folder / "data.new" / "PG_VERSION").write_text("18\n")
    with running_postgres(folder) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_stale_pid_file_whose_number_is_another_process_is_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    with running_postgres(folder):
        lines = (folder / "data" / "postmaster.pid").read_text().splitlines()
    (folder / "data" / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    with running_postgres(folder) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@needs_root
def test_a_folder_out_of_the_other_accounts_reach_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    with pytest.raises(ConfigurationError, match="cannot reach") as caught:
        postgres.prepare(tmp_path / "home" / "postgres", account=unprivileged_account())
    assert "WELLOS_DATA_DIR" in str(caught.value)


@needs_root
def test_root_without_user_namespaces_runs_it_as_another_account() -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:  # where any account can enter
        home = Path(name)
        home.chmod(0o755)
        try:
            server = postgres.prepare(home / "postgres", account=unprivileged_account())
        except ConfigurationError as error:
            pytest.skip(f"this installation is closed to other accounts: {error}")
        assert "user namespaces" in server.note
        with running(server) as one, psycopg.connect(one.url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
            assert (home / "postgres" / "data").stat().st_uid != 0


def test_redis_asks_for_its_password_and_keeps_nothing(own_redis: RunningServer, tmp_path: Path) -> None:
    with redis.Redis(host=own_redis.host, port=own_redis.port) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    with redis.Redis.from_url(own_redis.url) as client:
        client.set("key", "value")
    own_redis.stop()
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client:
        assert client.get("key") is None
    assert not list((tmp_path / "redis").glob("*.rdb"))


def client_of(server: RunningServer, name: str) -> mqtt.Client:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
    client.connect(server.host, server.port)
    return client


def test_mosquitto_keeps_a_session_over_a_restart(own_mqtt_broker: RunningServer) -> None:
    subscribed: list[bool] = []
    subscriber = client_of(own_mqtt_broker, "subscriber")
    subscriber.on_subscribe = lambda *_: subscribed.append(True)
    subscriber.loop_start()
    subscriber.subscribe("a/#", qos=1)
    eventually(lambda: bool(subscribed))
    subscriber.disconnect()
    subscriber.loop_stop()
    publisher = client_of(own_mqtt_broker, "publisher")
    publisher.loop_start()
    for number in range(2000):
        publisher.publish("a/b", str(number), qos=1).wait_for_publish(90)
    publisher.disconnect()
    publisher.loop_stop()
    own_mqtt_broker.stop()
    own_mqtt_broker.start()
    heard: list[int] = []
    subscriber = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="subscriber", clean_session=False)
    subscriber.on_message = lambda _client, _data, message: heard.append(int(message.payload))
    subscriber.connect(own_mqtt_broker.host, own_mqtt_broker.port)
    subscriber.loop_start()
    eventually(lambda: len(heard) >= 2000)
    subscriber.disconnect()
    subscriber.loop_stop()
    assert heard == list(range(2000))


def test_amqtt_stands_in_and_says_what_it_lacks(tmp_path: Path) -> None:
    with running_broker(tmp_path / "mqtt", implementation="amqtt") as server:
        assert AMQTT_NOTE in server.server.note


def test_a_broker_beyond_loopback_says_that_it_is_open(tmp_path: Path) -> None:
    with running_broker(tmp_path / "mqtt", host="0.0.0.0") as server:  # noqa: S104
        assert "without passwords" in server.server.note
        assert server.url == f"mqtt://127.0.0.1:{server.port}"


def test_secret_files_are_made_once(tmp_path: Path) -> None:
    first = secret_file(tmp_path / "password")
    assert secret_file(tmp_path / "password") == first
    assert len(first) >= 32


@pytest.mark.parametrize(
    ("host", "client"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]")],  # noqa: S104
)
def test_clients_use_an_address_they_can_reach(host: str, client: str) -> None:
    assert reach(host) == client


def test_a_free_port_is_free_until_it_is_taken() -> None:
    port = free_port("127.0.0.1")
    assert port_is_free("127.0.0.1", port)
    with socket.create_server(("127.0.0.1", port)):
        assert not port_is_free("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid", "::2"])
def test_a_host_that_is_not_this_machine_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match=f"WELLOS_HOST: nothing can listen there.*{host}"):
        free_port(host)
