"""The port of the metrics: the one that is set, the next when several instances share a machine, or a clear error."""

from __future__ import annotations

import pytest

from streaming.health import listen
from wellos.errors import ConfigurationError


def test_a_port_in_use_gives_way_to_the_next() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with listen("127.0.0.1", port) as second:
            assert port < second.getsockname()[1] < port + 20


def test_an_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="WELLOS_METRICS_PORT"):
        listen("192.0.2.1", 9000)
