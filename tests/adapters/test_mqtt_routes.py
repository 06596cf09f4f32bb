from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.adapters import mqtt_routes
from streaming.adapters.mqtt_routes import Routes
from streaming.adapters.rows import PayloadError
from tests.fix_adapters import make_tag
from wellos.protocols.mqtt import MqttConfig
from wellos.protocols.mqtt_topics import check_filter, covers, parse_template
from wellos.protocols.pointer import parse_pointer

TAGS = [
    replace(make_tag(1, ""), well="W1", name="oil"),
    replace(make_tag(2, "#/v/gas"), well="W1", name="gas"),
    replace(make_tag(3, ""), well="W 2", name="oil"),
    replace(make_tag(4, "x/y"), well="W1", name="own"),
]


def routes(*topics: str, **config: Any) -> Routes:  # noqa: ANN401 - any setting
    return Routes(MqttConfig.parse({"url": "mqtt://b", "topics": topics, **config}), "permian", TAGS)


def test_a_topic_names_well_and_tag() -> None:
    found = routes("{tenant}/{well}/{tag}")
    assert (found.find("permian/W 2/oil").positions, found.find("permian/W 2/oil").bare) == ([2], True)
    gas = found.find("permian/W1/gas")
    assert (gas.positions, gas.pointers, gas.bare) == ([1], [("v", "gas")], False)
    assert found.find("x/y").positions == [3]


def test_a_topic_names_the_well_and_the_payload_the_tags() -> None:
    both = routes("{tenant}/{well}/{tag}", "field/well-{well}/data").find("field/well-W1/data")
    assert (both.positions, both.pointers) == ([0, 1], [("values", "oil"), ("v", "gas")])
    pointed = routes("f/{well}", value_pointer="/m/{tag}/val").find("f/W1")
    assert pointed.pointers == [("m", "oil", "val"), ("v", "gas")]
    assert routes("f/{well}", rows_pointer="").find("f/W 2").of_name == {"oil": 2}


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("delaware/W1/oil", "wrong_tenant"),
        ("permian/W9/oil", "unknown_tag"),
        ("permian/W1/own", "unknown_tag"),
        ("permian/W1", "unknown_tag"),
        ("permian//oil", "unknown_tag"),
        ("permian/W1/oil/more", "unknown_tag"),
        ("permian/W1\n/oil", "unknown_tag"),
        ("", "unknown_tag"),
    ],
)
def test_topics_of_nobody(topic: str, reason: str) -> None:
    with pytest.raises(PayloadError) as caught:
        routes("{tenant}/{well}/{tag}").find(topic)
    assert caught.value.reason == reason


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_routes, "_REMEMBERED", 5)
    found = routes("{well}/{tag}/#")
    for number in range(100):
        assert found.find(f"W1/oil/{number}").positions == [0]
        with pytest.raises(PayloadError):
            found.find(f"nobody/{number}")
    assert len(found._found) <= 5


def test_filters_are_derived_without_overlap() -> None:
    config = MqttConfig.parse({"url": "mqtt://b", "topics": ["{tenant}/{well}/{tag}", "a/{well}/data", "q/{well}/#"]})
    addresses = Routes(config, "permian", [*TAGS, make_tag(9, "one/two/three"), make_tag(10, "one")]).addresses
    assert config.filters(addresses) == ("+/+/+", "one", "q/+/#", "x/y")


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("{tenant}/{wel}/{tag}", "captures {wel}", "{well}"),
        ("{tenant}/{tag}", "does not capture the well", "{tenant}/{well}/{tag}"),
        ("{well}/{well}", "twice", "+"),
        ("{well}{tag}", "one level", "/"),
        ("{well/x}/{well}", "captures {well/x}", "{well}"),
        ("{well}/{tag", "brace", "{tag}"),
        ("#/{well}", "wildcard", "last"),
        ("{well}/a+", "wildcard", "whole level"),
    ],
)
def test_templates_that_are_none(text: str, message: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parse_template(text)
    assert remedy in str(caught.value).partition(" | ")[2]


def test_templates_and_wildcards() -> None:
    assert parse_template("+/{well}/#").filter == "+/+/#"
    assert parse_template("+/{well}/#").match("/W") == {"well": "W"}
    assert parse_template("+/{well}/#").match("a/W/b/c") == {"well": "W"}
    assert parse_template("a.b/{well}").match("aXb/W") is None


@pytest.mark.parametrize(
    ("name", "topic", "delivers"),
    [("a/+", "a/b", True), ("a/+", "a", False), ("a/#", "a", True), ("a/#", "a/b/c", True), ("+/+", "a/#", False),
     ("#", "a/+", True), ("+", "$SYS", False), ("#", "$SYS/x", False), ("a/+", "a/+", True), ("a/b", "a/+", False)],
)  # fmt: skip
def test_what_a_subscription_covers(name: str, topic: str, delivers: bool) -> None:
    assert covers(name, topic) == delivers


@given(st.text("ab/{}+#welltagn$", max_size=20), st.text("ab/wel$", max_size=12))
def test_any_template_is_refused_or_its_filter_delivers_what_it_matches(text: str, topic: str) -> None:
    try:
        template = parse_template(text)
    except ValueError:
        return
    check_filter(template.filter)
    if template.match(topic) is not None and not topic.startswith("$"):
        assert covers(template.filter, topic)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("$", ()),
        ("$.a.b[0]", ("a", "b", "0")),
        ("$['a b'][\"c\"].d", ("a b", "c", "d")),
        ("/a~1b/0", ("a/b", "0")),
        ("", ()),
    ],
)
def test_pointers_and_paths(text: str, steps: tuple[str, ...]) -> None:
    assert parse_pointer(text) == steps


@pytest.mark.parametrize("text", ["$..a", "$.*", "$[*]", "$[?(@.a)]", "$[-1]", "$x", "$.", "a", "/~2"])
def test_pointers_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r" \| "):
        parse_pointer(text)
