"""Checks a fleet file: every mistake at once, each with its line, its field, its value and the nearest allowed one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from wellos.errors import ConfigurationError, Problem
from wellos.fleet.model import (
    ConnectionEntry,
    Fleet,
    FleetConnection,
    FleetTenant,
    TagEntry,
    TenantEntry,
    WellEntry,
    api_number_remark,
)
from wellos.fleet.source import Items, Table, line_of, read
from wellos.fleet.units import unit_problem
from wellos.protocols import CONFIGS, Address, address_parser
from wellos.protocols.config import environment_name
from wellos.protocols.modbus import ModbusAddress, classic_register
from wellos.protocols.mqtt import MqttAddress
from wellos.telemetry import metric_of
from wellos.validation import did_you_mean, problems_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["Checked", "check", "check_file"]

_VERSION = 1
_MOST_PROBLEMS = 1000
_LONGEST_SHOWN = 100
_Model = TypeVar("_Model", bound=BaseModel)
_Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """A fleet without mistakes, and remarks on what is allowed but looks wrong."""

    fleet: Fleet
    warnings: tuple[Problem, ...]


def check_file(path: Path) -> Checked:
    """Read and check the file at `path`; ConfigurationError lists every mistake."""
    try:
        content = path.read_bytes()
    except OSError as error:
        problem = Problem(f"cannot be read: {error.strerror}", "Give the path of a fleet file.", file=str(path))
        raise ConfigurationError([problem]) from error
    return check(content, str(path))


def check(content: bytes, file: str) -> Checked:
    """Check a fleet file's content; `file` is the name shown. ConfigurationError lists every mistake."""
    root, problems = read(content, file)
    checker = _Checker(file, root, problems)
    try:
        fleet = checker.fleet()
    except _TooManyError:
        more = Problem(f"has more than {_MOST_PROBLEMS} mistakes", "Correct these first.", file=file)
        raise ConfigurationError([*checker.problems, more]) from None
    if checker.problems:
        raise ConfigurationError(sorted(checker.problems, key=lambda problem: problem.line or 0))
    return Checked(fleet, tuple(checker.warnings))


class _TooManyError(Exception):
    """So many mistakes that the rest would not be read."""


def _name(path: _Path) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).removeprefix(".")


@dataclass(slots=True)
class _Names:
    """What a tenant's tags refer to, and what must be unique in it."""

    wells: dict[str, int] = field(default_factory=dict)
    connections: dict[str, int] = field(default_factory=dict)
    tags: dict[tuple[str, str], int] = field(default_factory=dict)
    metrics: dict[tuple[str, str], int] = field(default_factory=dict)


class _Checker:
    """Walks the values from the top; each entry is checked alone, so that one mistake hides no other."""

    def __init__(self, file: str, root: Any, problems: list[Problem]) -> None:  # noqa: ANN401 - any YAML value
        self.file = file
        self.root = root
        self.problems = problems
        self.warnings: list[Problem] = []

    def refuse(self, path: _Path, problem: Problem) -> None:
        if len(self.problems) >= _MOST_PROBLEMS:
            raise _TooManyError
        self.problems.append(self._placed(path, problem))

    def warn(self, path: _Path, problem: Problem) -> None:
        self.warnings.append(self._placed(path, problem))

    def _placed(self, path: _Path, problem: Problem) -> Problem:
        value = problem.value
        if isinstance(value, str) and len(value) > _LONGEST_SHOWN:
            value = f"{value[:_LONGEST_SHOWN]}..."
        place = line_of(self.root, path)
        return replace(problem, file=self.file, line=place, field=_name(path) or None, value=value)

    def fleet(self) -> Fleet:
        if not isinstance(self.root, Table):
            self.refuse((), Problem("must be a mapping", "Begin with version: 1 and tenants:"))
            return Fleet()
        self._keys(self.root, (), ("version", "tenants"))
        if "version" not in self.root:
            self.refuse((), Problem("version is required", f"Add version: {_VERSION}"))
        elif self.root["version"] is True or self.root["version"] != _VERSION:
            value = str(self.root["version"])
            self.refuse(("version",), Problem("is not a known version", f"Write version: {_VERSION}", value=value))
        if "tenants" not in self.root:
            self.refuse((), Problem("tenants is required", "Add tenants:"))
        slugs: dict[str, int] = {}
        tenants = [self._tenant(table, path, slugs) for table, path in self._tables(self.root, (), "tenants")]
        return Fleet(tuple(tenant for tenant in tenants if tenant is not None))

    def _tenant(self, table: Table, path: _Path, slugs: dict[str, int]) -> FleetTenant | None:
        entry = self._entry(TenantEntry, table, path, ("wells", "connections"))
        self._once(table, path, "slug", slugs)
        names = _Names()
        wells = [self._well(item, where, names) for item, where in self._tables(table, path, "wells")]
        connections = [self._connection(item, where, names) for item, where in self._tables(table, path, "connections")]
        if entry is None:
            return None
        return FleetTenant(
            entry,
            tuple(well for well in wells if well is not None),
            tuple(connection for connection in connections if connection is not None),
        )

    def _well(self, table: Table, path: _Path, names: _Names) -> WellEntry | None:
        well = self._entry(WellEntry, table, path)
        self._once(table, path, "name", names.wells)
        if well is not None and well.api_number is not None and (remark := api_number_remark(well.api_number)):
            self.warn((*path, "api_number"), Problem(remark, "Check it.", value=well.api_number))
        return well

    def _connection(self, table: Table, path: _Path, names: _Names) -> FleetConnection | None:
        entry = self._entry(ConnectionEntry, table, path, ("tags",))
        self._once(table, path, "name", names.connections)
        parse = self._config(table, path)
        seen: dict[Address, int] = {}
        tags = []
        for item, where in self._tables(table, path, "tags"):
            tags.append(self._tag(item, where, names))
            self._mode(table, item, where)
            if parse is not None:
                self._address(table, item, where, parse, seen)
        return None if entry is None else FleetConnection(entry, tuple(tag for tag in tags if tag is not None))

    def _config(self, table: Table, path: _Path) -> Callable[[str], Address] | None:
        protocol, config = table.get("protocol"), table.get("config")
        if not (isinstance(protocol, str) and protocol in CONFIGS and isinstance(config, Table)):
            return None
        where = (*path, "config")
        password = config.get("password")
        if isinstance(password, str) and environment_name(password) is None:
            self.warn(
                (*where, "password"),
                Problem("is in clear text", "Write ${NAME} and set the environment variable NAME for ingest."),
            )
        self._entry(CONFIGS[protocol], config, where)
        return address_parser(protocol, config)

    def _tag(self, table: Table, path: _Path, names: _Names) -> TagEntry | None:
        tag = self._entry(TagEntry, table, path)
        name, well = table.get("name"), table.get("well")
        if isinstance(well, str) and well not in names.wells:
            remedy = did_you_mean(well, names.wells) if names.wells else "The tenant has no wells: add it under wells."
            self.refuse((*path, "well"), Problem("is not a well of this tenant", remedy, value=well))
        if isinstance(name, str) and isinstance(well, str):
            if first := names.tags.get((well, name)):
                message = f"is the second tag of this name of {well}, the first is on line {first}"
                self.refuse((*path, "name"), Problem(message, "Rename or remove one.", value=name))
            else:
                names.tags[well, name] = line_of(table, ("name",))
        self._metric(table, path, names)
        self._range(table, path)
        if found := unit_problem(_text(table.get("unit")), _text(table.get("quantity"))):
            where, message, remedy = found
            self.refuse((*path, where), Problem(message, remedy, value=table[where]))
        return tag

    def _metric(self, table: Table, path: _Path, names: _Names) -> None:
        """A metric is measured once in a well."""
        name, well = table.get("name"), table.get("well")
        if not (isinstance(name, str) and isinstance(well, str)):
            return
        metric = metric_of(name, _text(table.get("metric")))
        if metric is None:
            return
        where = "metric" if "metric" in table else "name"
        if first := names.metrics.get((well, metric)):
            message = f"is the second tag of {well} that measures {metric}, the first is on line {first}"
            remedy = "Write metric: none for the one that shall not count."
            self.refuse((*path, where), Problem(message, remedy, value=table[where]))
        else:
            names.metrics[well, metric] = line_of(table, (where,))

    def _range(self, table: Table, path: _Path) -> None:
        low, high = table.get("low"), table.get("high")
        if isinstance(low, int | float) and isinstance(high, int | float) and low >= high:
            self.refuse((*path, "low"), Problem(f"must be below high ({high})", "Swap or correct them.", value=low))

    def _mode(self, connection: Table, table: Table, path: _Path) -> None:
        if connection.get("protocol") == "modbus" and table.get("mode") == "rbe":
            problem = Problem("a Modbus device is polled and never reports by itself", "Write poll.", value="rbe")
            self.refuse((*path, "mode"), problem)

    def _address(
        self,
        connection: Table,
        table: Table,
        path: _Path,
        parse: Callable[[str], Address],
        seen: dict[Address, int],
    ) -> None:
        text, where = table.get("address", ""), (*path, "address")
        if not isinstance(text, str):
            return
        try:
            address = parse(text)
        except ConfigurationError as error:
            missing = Problem("is required", "Add address: where the connection finds it.")
            for problem in error.problems if "address" in table else (missing,):
                self.refuse(where, problem)
            return
        if isinstance(address, MqttAddress) and not address.topic:
            self._levels(connection, table, path)
            return
        if first := seen.get(address):
            message = f"is read twice over this connection, first on line {first}"
            self.refuse(where, Problem(message, "Remove one of the two tags.", value=text))
        else:
            seen[address] = line_of(table, ("address",))
        if isinstance(address, ModbusAddress) and (meant := classic_register(address)) is not None:
            remedy = f"If the device's manual counts from 1, write {meant}."
            self.warn(where, Problem("looks like the 1-based notation; registers count from 0", remedy, value=text))

    def _levels(self, connection: Table, table: Table, path: _Path) -> None:
        """A tag found by its topic: what is captured stands in one level."""
        in_topic = "{tag}" in str(connection["config"].get("topics"))
        for key in ("well", "name") if in_topic else ("well",):
            text = table.get(key)
            if isinstance(text, str) and any(letter in text for letter in "/+#"):
                problem = Problem("holds one of / + #, so that no topic names it", "Give its address.", value=text)
                self.refuse((*path, key), problem)

    def _entry(self, model: type[_Model], table: Table, path: _Path, children: tuple[str, ...] = ()) -> _Model | None:
        own = {key: value for key, value in table.items() if key not in children} if children else table
        try:
            return model.model_validate(own)
        except ValidationError as error:
            for place, problem in problems_of(error, model, children):
                self.refuse((*path, *place), problem)
            return None

    def _keys(self, table: Table, path: _Path, known: tuple[str, ...]) -> None:
        for key in table:
            if key not in known:
                self.refuse((*path, key), Problem("no such field", did_you_mean(key, known)))

    def _once(self, table: Table, path: _Path, key: str, seen: dict[str, int]) -> None:
        name = table.get(key)
        if not isinstance(name, str):
            return
        if first := seen.get(name):
            problem = Problem(f"is given twice, first on line {first}", "Rename or remove one.", value=name)
            self.refuse((*path, key), problem)
        else:
            seen[name] = line_of(table, (key,))

    def _tables(self, table: Table, path: _Path, key: str) -> Iterator[tuple[Table, _Path]]:
        value, where = table.get(key), (*path, key)
        if value is None:
            return
        if not isinstance(value, Items):
            self.refuse(where, Problem("must be a list", f"Write each of the {key} after a dash: - name: ..."))
            return
        for index, item in enumerate(value):
            if isinstance(item, Table):
                yield item, (*where, index)
            else:
                self.refuse((*where, index), Problem("must be a mapping", "Write its fields as key: value", value=item))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
