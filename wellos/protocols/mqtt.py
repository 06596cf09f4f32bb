"""MQTT: the configuration of a connection, and the address of a tag (topic and JSON pointer, or Sparkplug B metric)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from wellos.protocols.config import Credentials, address_problem, url_of

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "MqttAddress",
    "MqttConfig",
    "SparkplugAddress",
    "parse_address",
    "parse_plain",
    "parse_pointer",
    "parse_sparkplug",
]

_MAX_TOPIC = 65_535
_BAD_ESCAPE = re.compile(r"~(?![01])")
_SPARKPLUG = "group/node:metric or group/node/device:metric"


def parse_pointer(text: str) -> tuple[str, ...]:
    """Return the steps of a JSON pointer (RFC 6901); the empty text is the whole document. ValueError if it is none."""
    if text and not text.startswith("/"):
        raise ValueError(f"must begin with / | Write /{text}")
    if _BAD_ESCAPE.search(text):
        raise ValueError("has a ~ that is not ~0 (for ~) or ~1 (for /) | See RFC 6901")
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:])


def _pointer(text: str) -> str:
    parse_pointer(text)
    return text


def _filter(text: str) -> str:
    levels = text.split("/")
    if not text or "\0" in text or len(text.encode()) > _MAX_TOPIC:
        raise ValueError("is not a topic filter | E.g. wells/+/readings or wells/#")
    if any(("#" in level or "+" in level) and len(level) > 1 for level in levels) or "#" in levels[:-1]:
        raise ValueError("has a wildcard out of place | + takes a whole level, # the last one")
    return text


def _share(text: str) -> str:
    if any(letter in text for letter in "/+#\0"):
        raise ValueError("holds one of / + # | Use a plain word")
    return text


class MqttConfig(Credentials):
    """A subscription to an MQTT broker. Messages are acknowledged once they are safe on disk."""

    url: Annotated[str, url_of("mqtt", "mqtts", example="mqtt://host:1883 or mqtts://host:8883")] = Field(
        description="Broker, `mqtt://host:1883` or `mqtts://host:8883` (TLS)."
    )
    version: Literal[5, 4] = Field(5, description="Protocol version: 5, or 4 for MQTT 3.1.1.")
    client_id: str | None = Field(
        None, min_length=1, max_length=128, description="Name of the session; unset: `wellos-TENANT-CONNECTION`."
    )
    payload: Literal["plain", "sparkplug"] = Field(
        "plain", description="`plain`: JSON or bare numbers by topic; `sparkplug`: Sparkplug B."
    )
    subscribe: Annotated[tuple[Annotated[str, AfterValidator(_filter)], ...], Field(strict=False)] = Field(
        (), description="Topic filters; unset: derived from the addresses of the tags."
    )
    qos: Literal[1, 0] = Field(
        1, description="Quality of service: 1, at least once, repeats dropped here; with 0 messages may be lost."
    )
    time_pointer: Annotated[str, AfterValidator(_pointer)] = Field(
        "/time", description="JSON pointer to the source time (RFC 3339 text, or epoch s, ms, us, ns by magnitude)."
    )
    quality_pointer: Annotated[str, AfterValidator(_pointer)] = Field(
        "/quality", description="JSON pointer to the quality (GOOD, UNCERTAIN, BAD or 2, 1, 0)."
    )
    group: Annotated[str, AfterValidator(_share)] | None = Field(
        None, min_length=1, max_length=128, description="Shared subscription: members of the group split the messages."
    )

    def filters(self, addresses: Iterable[MqttAddress | SparkplugAddress]) -> tuple[str, ...]:
        """Return what to subscribe to: `subscribe`, else what the addresses need, sorted; `$share/GROUP/` in front."""
        wanted = self.subscribe or sorted({address.filter for address in addresses})
        return tuple(f"$share/{self.group}/{name}" for name in wanted) if self.group else tuple(wanted)


@dataclass(frozen=True, slots=True)
class MqttAddress:
    """A topic, and the JSON pointer (RFC 6901) to the value in its payload, as unescaped steps.

    `implicit`: no pointer was written. Then `/value` of a JSON object is read, or the whole payload if it is a bare
    number.
    """

    topic: str
    pointer: tuple[str, ...] = ("value",)
    implicit: bool = field(default=False, compare=False)

    @property
    def filter(self) -> str:
        """The topic filter that delivers it."""
        return self.topic

    def __str__(self) -> str:
        """Return the address as the fleet file writes it."""
        steps = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in self.pointer)
        return self.topic if self.implicit else f"{self.topic}#{steps}"


@dataclass(frozen=True, slots=True)
class SparkplugAddress:
    """A metric of a Sparkplug B edge node, or of a device behind one."""

    group: str
    node: str
    device: str | None
    metric: str

    @property
    def filter(self) -> str:
        """The topic filter that delivers it: all messages of the edge node and of its devices."""
        return f"spBv1.0/{self.group}/+/{self.node}/#"

    def __str__(self) -> str:
        """Return the address as the fleet file writes it."""
        device = "" if self.device is None else f"/{self.device}"
        return f"{self.group}/{self.node}{device}:{self.metric}"


def parse_plain(text: str) -> MqttAddress:
    """Parse `topic#/json/pointer`; without `#` the pointer is `/value`, with nothing after it the whole payload."""
    topic, mark, pointer = text.partition("#")
    if not topic or "\0" in topic or len(topic.encode()) > _MAX_TOPIC:
        raise address_problem(text, "has no topic, or one that is too long", "E.g. wells/PB-001/oil_rate#/value")
    if "+" in topic:
        raise address_problem(
            text, "has a wildcard in its topic", "A tag has one topic; wildcards belong to config.subscribe"
        )
    try:
        steps = parse_pointer(pointer)
    except ValueError as error:
        message, _, remedy = str(error).partition(" | ")
        raise address_problem(text, f"has a JSON pointer that {message}", remedy) from error
    return MqttAddress(topic, steps) if mark else MqttAddress(topic, implicit=True)


def parse_sparkplug(text: str) -> SparkplugAddress:
    """Parse `group/node:metric` or `group/node/device:metric`; the metric is all after the first colon."""
    path, colon, metric = text.partition(":")
    levels = path.split("/")
    if not (colon and metric) or len(levels) not in (2, 3) or not all(levels):
        raise address_problem(text, "is not a Sparkplug address", f"Write {_SPARKPLUG}")
    if any(letter in path for letter in "+#\0"):
        raise address_problem(text, "has one of + # in a group, node or device", f"Write {_SPARKPLUG}")
    return SparkplugAddress(levels[0], levels[1], levels[2] if len(levels) > 2 else None, metric)  # noqa: PLR2004 - device


def parse_address(text: str, payload: Literal["plain", "sparkplug"] = "plain") -> MqttAddress | SparkplugAddress:
    """Parse the address of a tag of a connection whose payload is plain or Sparkplug B."""
    return parse_sparkplug(text) if payload == "sparkplug" else parse_plain(text)
