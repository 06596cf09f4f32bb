"""A given address that cannot be used is one error within ten seconds: the setting named, the password hidden."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from wellos.embedded.verify import verify_dagster, verify_database, verify_given, verify_mqtt, verify_redis
from wellos.errors import UnreachableError
from wellos.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wellos.embedded.server import RunningServer
    from wellos.settings import Settings

SECRET = "s3cret-Pa55"


@contextmanager
def peer(answer: bytes | None) -> Iterator[int]:
    """A server that says `answer` to everyone and closes, or, for None, accepts and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                if answer is None:
                    kept.append(connection)
                else:
                    with connection:
                        connection.settimeout(5)
                        connection.recv(1024)
                        connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        for connection in kept:
            connection.close()
        thread.join()


def settings(folder: Path, **urls: str) -> Settings:
    return load_settings(data_dir=folder, **urls)


def refused(folder: Path, setting: str, url: str) -> str:
    with pytest.raises(UnreachableError) as caught:
        verify_given(settings(folder, **{setting: url}))
    text = str(caught.value)
    assert text.startswith(f"WELLOS_{setting.upper()}: ")
    assert SECRET not in text
    assert SECRET not in repr(caught.value)
    return text


URLS = {
    "database_url": f"postgresql://wellos:{SECRET}@127.0.0.1:%d/wellos",
    "redis_url": f"redis://:{SECRET}@127.0.0.1:%d/0",
    "mqtt_url": f"mqtt://wellos:{SECRET}@127.0.0.1:%d",
    "dagster_url": f"http://wellos:{SECRET}@127.0.0.1:%d",
}
every_setting = pytest.mark.parametrize("setting", URLS)


@every_setting
def test_a_closed_port(setting: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert "refused" in refused(tmp_path, setting, URLS[setting] % port).lower()


@every_setting
def test_a_peer_that_hangs(setting: str, tmp_path: Path) -> None:
    with peer(None) as port:
        refused(tmp_path, setting, URLS[setting] % port)


@every_setting
def test_a_peer_of_another_kind(setting: str, tmp_path: Path) -> None:
    answer = b"SSH-2.0-OpenSSH_9.2\r\n" if setting == "dagster_url" else b"HTTP/1.1 400 Bad Request\r\n\r\n"
    with peer(answer) as port:
        refused(tmp_path, setting, URLS[setting] % port)


def test_a_wrong_password_of_the_database(tmp_path: Path, own_postgres: RunningServer) -> None:
    url = f"postgresql://wellos:{SECRET}@127.0.0.1:{own_postgres.port}/wellos"
    assert "password authentication failed" in refused(tmp_path, "database_url", url)


def test_a_database_that_does_not_exist(tmp_path: Path, own_postgres: RunningServer) -> None:
    url = own_postgres.url.rpartition("/")[0] + "/nowhere"
    with pytest.raises(UnreachableError, match='database "nowhere" does not exist'):
        verify_database(settings(tmp_path, database_url=url))


def test_a_wrong_password_of_redis(tmp_path: Path, redis_server: RunningServer) -> None:
    url = f"redis://:{SECRET}@127.0.0.1:{redis_server.port}/0"
    assert "password" in refused(tmp_path, "redis_url", url).lower()


def test_servers_that_answer_are_accepted(
    own_postgres: RunningServer, redis_url: str, mqtt_url: str, tmp_path: Path
) -> None:
    verify_given(settings(tmp_path, database_url=own_postgres.url, redis_url=redis_url, mqtt_url=mqtt_url))


def test_a_web_page_is_not_a_dagster_webserver() -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
    with peer(page) as port, pytest.raises(UnreachableError, match="WELLOS_DAGSTER_URL"):
        verify_dagster(f"http://127.0.0.1:{port}")


def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(UnreachableError, match="WELLOS_REDIS_URL"):
        verify_redis("redis://nowhere.invalid:6379/0")
    with pytest.raises(UnreachableError, match="WELLOS_MQTT_URL"):
        verify_mqtt("mqtt://nowhere.invalid:1883")
