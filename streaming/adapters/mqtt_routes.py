"""Which tags the messages of a topic carry, and where in the payload: by the topics of addresses, then by templates."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, cast

from streaming.adapters.rows import PayloadError
from wellos.protocols.mqtt import address_parser
from wellos.protocols.pointer import parse_pointer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wellos.protocols.mqtt import MqttAddress, MqttConfig
    from wellos.protocols.mqtt_topics import TopicTemplate
    from wellos.registry import Tag

__all__ = ["Route", "Routes"]

_REMEMBERED = 20_000
"""Topics whose route is kept: a publisher may invent any number that a wildcard delivers."""

_Pointer = tuple[str, ...]


@dataclass(slots=True)
class Route:
    """The tags of one topic, as parallel lists."""

    positions: list[int]
    pointers: list[_Pointer]
    bare: bool
    """One tag, whose value may be the whole payload."""
    parent: _Pointer | None = field(init=False)
    """Where the object stands that holds all of the values; None if it is not one object."""
    names: list[str] = field(init=False)
    """The last steps: names in `parent`, and of rows."""
    take: Callable[[dict[str, object]], Sequence[object]] = field(init=False)
    """Returns the values of all names; KeyError if one is not there."""
    of_name: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.names = [pointer[-1] if pointer else "" for pointer in self.pointers]
        parents = {pointer[:-1] for pointer in self.pointers if pointer}
        self.parent = parents.pop() if len(parents) == 1 and all(self.pointers) else None
        first = self.names[0]
        # Given one name, itemgetter would return no tuple.
        self.take = itemgetter(*self.names) if len(self.names) > 1 else lambda holder: (holder[first],)
        self.of_name = dict(zip(self.names, self.positions, strict=True))


class Routes:
    """Routes of one connection; positions are those of its tags."""

    def __init__(self, config: MqttConfig, tenant: str, tags: Sequence[Tag]) -> None:
        """Index the tags; ConfigurationError for an address that is none."""
        self._config, self._tenant = config, tenant
        self._templates = config.templates()
        self._found: dict[str, Route] = {}
        self._by_topic: dict[str, list[tuple[int, _Pointer, bool]]] = {}
        self._by_well: dict[str, dict[str, tuple[int, MqttAddress]]] = {}
        parse = address_parser(config.model_dump(include={"payload", "topics"}))
        self.addresses = [cast("MqttAddress", parse(tag.address)) for tag in tags]
        for position, (tag, address) in enumerate(zip(tags, self.addresses, strict=True)):
            if address.topic:
                entry = (position, self._named(address, tag.name), address.implicit)
                self._by_topic.setdefault(address.topic, []).append(entry)
            else:
                self._by_well.setdefault(tag.well, {})[tag.name] = (position, address)

    def find(self, topic: str) -> Route:
        """Return the route of a topic; PayloadError for one that is not ours."""
        route = self._found.get(topic)
        if route is None:
            route = self._make(topic)
            if len(self._found) >= _REMEMBERED:
                self._found.clear()
            self._found[topic] = route
        return route

    def _named(self, address: MqttAddress, name: str) -> _Pointer:
        return (name,) if address.implicit and self._config.rows_pointer is not None else address.pointer

    def _make(self, topic: str) -> Route:
        entries = self._by_topic.get(topic)
        if entries is not None:
            return Route([e[0] for e in entries], [e[1] for e in entries], len(entries) == 1 and entries[0][2])
        for template in self._templates:
            captured = template.match(topic)
            if captured is not None:
                return self._captured(template, captured)
        raise PayloadError("unknown_tag", "no tag of this connection reads this topic")

    def _captured(self, template: TopicTemplate, captured: dict[str, str]) -> Route:
        tenant = captured.get("tenant", self._tenant)
        if tenant != self._tenant:
            raise PayloadError(
                "wrong_tenant", f"tenant {tenant!r:.60} in the topic, the connection is {self._tenant}'s"
            )
        tags = self._by_well.get(captured["well"])
        if tags is None:
            raise PayloadError("unknown_tag", f"no tag of this connection is of well {captured['well']!r:.60}")
        if "tag" not in template.captures:
            pointers = [self._pointer(name, address, alone=False) for name, (_, address) in tags.items()]
            return Route([position for position, _ in tags.values()], pointers, bare=False)
        name = captured["tag"]
        if name not in tags:
            raise PayloadError("unknown_tag", f"well {captured['well']!r:.60} has no tag {name!r:.60} here")
        position, address = tags[name]
        bare = address.implicit and self._config.value_pointer is None
        return Route([position], [self._pointer(name, address, alone=True)], bare)

    def _pointer(self, name: str, address: MqttAddress, *, alone: bool) -> _Pointer:
        if not address.implicit:
            return address.pointer
        if self._config.rows_pointer is not None:
            return (name,)
        if self._config.value_pointer is None:
            return ("value",) if alone else ("values", name)
        return tuple(step.replace("{tag}", name) for step in parse_pointer(self._config.value_pointer))
