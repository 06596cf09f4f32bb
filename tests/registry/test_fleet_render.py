"""The YAML that export writes reads back as the same fleet, and holds no password."""

from __future__ import annotations

import yaml
from hypothesis import given

from tests.registry.fleets import fleets
from wellos.fleet.check import check
from wellos.fleet.export import render
from wellos.fleet.model import ConnectionEntry, Fleet, FleetConnection, FleetTenant, TenantEntry, WellEntry


@given(fleets())
def test_rendered_and_read_back_it_is_the_same(fleet: Fleet) -> None:
    text = render(fleet)
    assert check(text.encode(), "f").fleet == fleet
    assert yaml.safe_load(text)["version"] == 1


def test_a_password_in_clear_becomes_a_reference() -> None:
    config = {"url": "mqtt://b", "password": "hunter2"}
    entry = ConnectionEntry(name="pad 7/b", protocol="mqtt", config=config)
    text = render(Fleet((FleetTenant(TenantEntry(slug="a", name="A"), (), (FleetConnection(entry),)),)))
    assert "hunter2" not in text
    assert text.startswith("# Set A_PAD_7_B_PASSWORD: ")
    connection = check(text.encode(), "f").fleet.tenants[0].connections[0]
    assert connection.entry.config["password"] == "${A_PAD_7_B_PASSWORD}"


def test_texts_that_look_like_something_else_are_quoted() -> None:
    names = ["on", "NO", "null", "12", "1e5", "a: b", "#x", "- a", "x\\\"'", "{a}", "é", "a\u2028b"[:1], "~", "y"]
    wells = tuple(WellEntry(name=name, lift_type="esp") for name in dict.fromkeys(names))
    fleet = Fleet((FleetTenant(TenantEntry(slug="a", name="A"), wells),))
    text = render(fleet)
    assert check(text.encode(), "f").fleet == fleet
    assert [well["name"] for well in yaml.safe_load(text)["tenants"][0]["wells"]] == [well.name for well in wells]
