"""MQTT: the configuration of a connection, and the address of a tag (topic and JSON pointer, or Sparkplug B metric)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal, Self
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, field_validator, model_validator

from wellos.protocols.config import Credentials, address_problem, url_of
from wellos.protocols.mqtt_topics import MAX_TOPIC_BYTES, TopicTemplate, check_filter, covers, parse_template
from wellos.protocols.pointer import parse_pointer, written_pointer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pydantic import ValidationInfo

__all__ = [
    "MqttAddress",
    "MqttConfig",
    "SparkplugAddress",
    "address_parser",
    "parse_plain",
    "parse_sparkplug",
]

_PLAIN_ONLY = frozenset(
    {"topics", "value_pointer", "time_pointer", "date_pointer", "timezone", "quality_pointer", "rows_pointer"}
)
_SPARKPLUG = "group/node:metric or group/node/device:metric"


def _pointer(text: str) -> str:
    parse_pointer(text)
    return text


def _value_pointer(text: str) -> str:
    parse_pointer(text.replace("{tag}", "x"))
    return text


def _template(text: str) -> str:
    parse_template(text)
    return text


def _zone(text: str) -> str:
    if text not in available_timezones():
        raise ValueError("is not an IANA time zone | E.g. UTC or America/Chicago")
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
    ca_file: str | None = Field(
        None, min_length=1, description="TLS: PEM file of the authorities to trust instead of the system's."
    )
    certificate_file: str | None = Field(
        None, min_length=1, description="TLS: PEM file of our own certificate, where the broker asks for one."
    )
    key_file: str | None = Field(
        None, min_length=1, description="TLS: PEM file of its key, not encrypted; unset: in `certificate_file`."
    )
    version: Literal[5, 4] = Field(5, description="Protocol version: 5, or 4 for MQTT 3.1.1.")
    client_id: str | None = Field(
        None, min_length=1, max_length=128, description="Name of the session; unset: `wellos-TENANT-CONNECTION`."
    )
    payload: Literal["plain", "sparkplug"] = Field(
        "plain", description="`plain`: JSON or bare numbers by topic; `sparkplug`: Sparkplug B."
    )
    subscribe: Annotated[tuple[Annotated[str, AfterValidator(check_filter)], ...], Field(strict=False)] = Field(
        (), description="Topic filters; unset: derived from `topics` and the addresses of the tags."
    )
    topics: Annotated[tuple[Annotated[str, AfterValidator(_template)], ...], Field(strict=False)] = Field(
        (),
        description="Plain: forms of topics, `{tenant}/{well}/{tag}` or `field/{well}/data`, by which tags without a "
        "topic in their address are found. Of several that fit the most literal counts.",
    )
    qos: Literal[1, 0] = Field(
        1, description="Quality of service: 1, at least once, repeats dropped here; with 0 messages may be lost."
    )
    value_pointer: Annotated[str, AfterValidator(_value_pointer)] | None = Field(
        None,
        description="With `topics`: pointer to the value of a tag whose address has none; `{tag}` in it is the tag's "
        "name. Unset: `/value` (or a bare number), and `/values/{tag}` where the topic does not name the tag.",
    )
    time_pointer: Annotated[str, AfterValidator(_pointer)] = Field(
        "/time",
        description="JSON pointer or JSONPath to the source time (RFC 3339 text, or epoch s, ms, us, ns by magnitude).",
    )
    date_pointer: Annotated[str, AfterValidator(_pointer)] | None = Field(
        None, description="Pointer to the date, where `time_pointer` leads to a time of day alone."
    )
    timezone: Annotated[str, AfterValidator(_zone)] | None = Field(
        None, description="IANA zone of times written without one; unset: such times are refused."
    )
    quality_pointer: Annotated[str, AfterValidator(_pointer)] = Field(
        "/quality", description="Pointer to the quality (GOOD, UNCERTAIN, BAD, STALE, or 2, 1, 0, or true, false)."
    )
    rows_pointer: Annotated[str, AfterValidator(_pointer)] | None = Field(
        None,
        description="Pointer to an array of readings, one object each, where gateways send such. Time and quality are "
        "looked for in the row, then in the message; a tag's pointer is its name in the rows, by default its own.",
    )
    row_name_pointer: Annotated[str, AfterValidator(_pointer)] = Field(
        "/name", description="With `rows_pointer`: pointer within a row to the name."
    )
    row_value_pointer: Annotated[str, AfterValidator(_pointer)] = Field(
        "/value", description="With `rows_pointer`: pointer within a row to the value."
    )
    group: Annotated[str, AfterValidator(_share)] | None = Field(
        None, min_length=1, max_length=128, description="Shared subscription: members of the group split the messages."
    )

    @field_validator("ca_file", "certificate_file", "key_file")
    @classmethod
    def _with_tls(cls, path: str | None, info: ValidationInfo) -> str | None:
        if path is not None and not info.data.get("url", "mqtts:").startswith("mqtts:"):
            raise ValueError("does nothing without TLS | Write the url as mqtts://host:8883")
        if path is not None and info.field_name == "key_file" and info.data.get("certificate_file") is None:
            raise ValueError("is the key of no certificate | Give certificate_file too")
        return path

    @field_validator("group")
    @classmethod
    def _not_for_sequences(cls, group: str | None, info: ValidationInfo) -> str | None:
        if group is not None and info.data.get("payload") == "sparkplug":
            raise ValueError(
                "would split each edge node's sequence, so that every member saw gaps | Give each group of nodes its "
                "own connection instead"
            )
        return group

    @model_validator(mode="after")
    def _nothing_idle(self) -> Self:
        """Refuse what was written and would do nothing."""
        idle = {"topics": ("value_pointer",), "rows_pointer": ("row_name_pointer", "row_value_pointer")}
        for needed, names in idle.items():
            if not self.model_fields_set & {needed} and (found := self.model_fields_set.intersection(names)):
                raise ValueError(f"{min(found)} does nothing without {needed} | Add {needed}, or remove it")
        if self.payload == "sparkplug" and (found := self.model_fields_set.intersection(_PLAIN_ONLY)):
            raise ValueError(f"{min(found)} does nothing for Sparkplug B | Remove it")
        return self

    def templates(self) -> tuple[TopicTemplate, ...]:
        """Return `topics`, parsed, those that say most first."""
        return tuple(sorted((parse_template(text) for text in self.topics), key=lambda one: one.openness))

    def filters(self, addresses: Iterable[MqttAddress | SparkplugAddress]) -> tuple[str, ...]:
        """Return what to subscribe to: `subscribe`, else what topics and addresses need; `$share/GROUP/` in front."""
        wanted = self.subscribe or self._derived(addresses)
        return tuple(f"$share/{self.group}/{name}" for name in wanted) if self.group else wanted

    def _derived(self, addresses: Iterable[MqttAddress | SparkplugAddress]) -> tuple[str, ...]:
        wide = {template.filter for template in self.templates()}
        # Overlapping subscriptions would have some brokers send a message twice.
        wide = {name for name in wide if not any(covers(other, name) for other in wide if other != name)}
        own = {address.filter for address in addresses} - {""}
        return tuple(sorted(wide | {name for name in own if not any(covers(other, name) for other in wide)}))


@dataclass(frozen=True, slots=True)
class MqttAddress:
    """A topic, and the JSON pointer to the value in its payload, as unescaped steps.

    Without a `topic` the tag is found by its well and name, as the connection's `topics` capture them. `implicit`: no
    pointer was written. Then `/value` of a JSON object is read, or the whole payload if it is a bare number.
    """

    topic: str
    pointer: tuple[str, ...] = ("value",)
    implicit: bool = field(default=False, compare=False)

    @property
    def filter(self) -> str:
        """The topic filter that delivers it; empty without a topic."""
        return self.topic

    def __str__(self) -> str:
        """Return the address as the fleet file writes it."""
        return self.topic if self.implicit else f"{self.topic}#{written_pointer(self.pointer)}"


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


def parse_plain(text: str, *, topics: bool = False) -> MqttAddress:
    """Parse `topic#/json/pointer`; without `#` the pointer is `/value`, with nothing after it the whole payload.

    `topics`: the connection has some, so that an address may be a pointer alone, or nothing.
    """
    topic, mark, pointer = text.partition("#")
    if not topic and not topics:
        raise address_problem(text, "has no topic", "E.g. wells/PB-001/oil_rate#/value, or give config.topics")
    if "\0" in topic or len(topic.encode()) > MAX_TOPIC_BYTES:
        raise address_problem(text, "has a topic that is too long, or a NUL in it", "E.g. wells/PB-001/oil_rate#/value")
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


def address_parser(config: Mapping[str, object]) -> Callable[[str], MqttAddress | SparkplugAddress]:
    """Return the parser of the addresses of a connection with this configuration."""
    if config.get("payload") == "sparkplug":
        return parse_sparkplug
    return partial(parse_plain, topics=bool(config.get("topics")))
