"""Walks the address space of an OPC UA server and finds what can be read as tags: bounded, safe against cycles."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes

from wellos.errors import ConfigurationError
from wellos.protocols.opcua import OpcUaAddress, parse_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asyncua.client.client import Client

__all__ = ["Found", "Walk", "browse", "node_of"]

_NODES_A_REQUEST = 100
_REFERENCES = 500
_CLASSES = ua.NodeClass.Object | ua.NodeClass.Variable
_NUMERIC = frozenset(range(1, 12))
"""Built-in types from Boolean to Double."""
_KINDS: dict[Any, Any] = {
    ua.NodeIdType.TwoByte: "i",
    ua.NodeIdType.FourByte: "i",
    ua.NodeIdType.Numeric: "i",
    ua.NodeIdType.String: "s",
    ua.NodeIdType.Guid: "g",
    ua.NodeIdType.ByteString: "b",
}
_TYPES: dict[str, Any] = {
    "i": ua.NodeIdType.Numeric,
    "s": ua.NodeIdType.String,
    "g": ua.NodeIdType.Guid,
    "b": ua.NodeIdType.ByteString,
}


@dataclass(slots=True)
class Found:
    """A variable that holds a number."""

    path: tuple[str, ...]
    """Browse names from below the start to it."""
    address: OpcUaAddress
    unit: str | None = None
    low: float | None = None
    high: float | None = None


@dataclass(slots=True)
class Walk:
    """What a walk found, and where it stopped."""

    variables: list[Found] = field(default_factory=list)
    seen: int = 0
    cut: bool = False
    """There is more than was asked for."""


@dataclass(slots=True)
class _Visit:
    node: ua.NodeId
    path: tuple[str, ...]
    variable: bool = False
    properties: dict[str, ua.NodeId] = field(default_factory=dict)


def node_of(address: OpcUaAddress, spaces: Sequence[str]) -> ua.NodeId | None:
    """Return the node of an address; None where the server does not know its namespace."""
    index = address.namespace
    if address.namespace_uri is not None:
        index = spaces.index(address.namespace_uri) if address.namespace_uri in spaces else None
    identifier: Any = address.identifier
    return None if index is None else ua.NodeId(identifier, ua.Int16(index), _TYPES[address.kind])


async def browse(client: Client, start: ua.NodeId, *, depth: int, most: int) -> Walk:
    """Walk `depth` levels below `start`, `most` nodes in all. Raises what the session raises."""
    spaces = [str(uri) for uri in await client.get_namespace_array()]
    walk = Walk()
    visited = {start}
    level = [_Visit(start, ())]
    variables: list[_Visit] = []
    # One level more than asked for: the properties of the last variables.
    for step in range(depth + 1):
        following: list[_Visit] = []
        for at in range(0, len(level), _NODES_A_REQUEST):
            chunk = level[at : at + _NODES_A_REQUEST]
            for visit, references in zip(chunk, await _children(client, chunk), strict=True):
                for child in _new(visit, references, visited):
                    if step == depth or len(visited) > most:
                        walk.cut = True
                        continue
                    visited.add(child.node)
                    following.append(child)
        variables += [visit for visit in following if visit.variable]
        level = following
    walk.seen = len(visited)
    for at in range(0, len(variables), _NODES_A_REQUEST):
        walk.variables += await _numbers(client, variables[at : at + _NODES_A_REQUEST], spaces)
    return walk


async def _children(client: Client, visits: Sequence[_Visit]) -> list[list[ua.ReferenceDescription]]:
    wanted = [
        ua.BrowseDescription(
            NodeId=visit.node,
            ReferenceTypeId=ua.NodeId(ua.Int32(ObjectIds.HierarchicalReferences)),
            NodeClassMask=ua.UInt32(_CLASSES),
            ResultMask=ua.UInt32(ua.BrowseResultMask.All),
        )
        for visit in visits
    ]
    parameters = ua.BrowseParameters(
        View=ua.ViewDescription(), RequestedMaxReferencesPerNode=ua.UInt32(_REFERENCES), NodesToBrowse=wanted
    )
    results = await client.uaclient.session.browse(parameters)
    found = [list(result.References or ()) for result in results]
    points = {at: result.ContinuationPoint for at, result in enumerate(results) if result.ContinuationPoint}
    while points:
        more = ua.BrowseNextParameters(ReleaseContinuationPoints=False, ContinuationPoints=list(points.values()))
        answers = dict(zip(points, await client.uaclient.session.browse_next(more), strict=True))
        points = {}
        for at, answer in answers.items():
            found[at] += answer.References or ()
            # A server that hands out empty pages for ever is not followed.
            if answer.ContinuationPoint and answer.References:
                points[at] = answer.ContinuationPoint
    return found


def _new(visit: _Visit, references: Iterable[ua.ReferenceDescription], visited: set[ua.NodeId]) -> list[_Visit]:
    """Return the children not seen yet but for the server's own object; properties are kept with their variable."""
    children = []
    for reference in references:
        node = ua.NodeId(reference.NodeId.Identifier, reference.NodeId.NamespaceIndex, reference.NodeId.NodeIdType)
        name = str(reference.BrowseName.Name or "")
        if (
            reference.TypeDefinition.Identifier == ObjectIds.PropertyType
            and not reference.TypeDefinition.NamespaceIndex
        ):
            visit.properties[name] = node
        elif node not in visited and not (node.NamespaceIndex == 0 and node.Identifier == ObjectIds.Server):
            children.append(_Visit(node, (*visit.path, name), reference.NodeClass == ua.NodeClass.Variable))
    return children


async def _numbers(client: Client, visits: Sequence[_Visit], spaces: Sequence[str]) -> list[Found]:
    found = []
    values = await _read(client, [visit.node for visit in visits], AttributeIds.Value)
    types = await _read(client, [visit.node for visit in visits], AttributeIds.DataType)
    for visit, value, kind in zip(visits, values, types, strict=True):
        address = _address(visit.node, spaces)
        if address is not None and _is_number(value, kind):
            found.append((visit, Found(visit.path, address)))
    asked = [
        (one, name, visit.properties[name])
        for visit, one in found
        for name in ("EngineeringUnits", "EURange")
        if name in visit.properties
    ]
    for at in range(0, len(asked), _NODES_A_REQUEST):
        chunk = asked[at : at + _NODES_A_REQUEST]
        answers = await _read(client, [node for *_, node in chunk], AttributeIds.Value)
        for (one, _, _), answer in zip(chunk, answers, strict=True):
            _describe(one, None if answer.Value is None else answer.Value.Value)
    return [one for _, one in found]


async def _read(client: Client, nodes: list[ua.NodeId], attribute: AttributeIds) -> list[ua.DataValue]:
    return await client.uaclient.session.read_attributes(nodes, attribute) if nodes else []


def _is_number(value: ua.DataValue, kind: ua.DataValue) -> bool:
    variant = value.Value
    if variant is not None and variant.Value is not None:
        return not isinstance(variant.Value, list) and int(variant.VariantType.value) in _NUMERIC
    if value.StatusCode is not None and value.StatusCode.value == StatusCodes.BadUserAccessDenied:
        return False
    node = None if kind.Value is None else kind.Value.Value
    return isinstance(node, ua.NodeId) and node.NamespaceIndex == 0 and node.Identifier in _NUMERIC


def _describe(one: Found, known: object) -> None:
    if isinstance(known, ua.EUInformation):
        one.unit = known.DisplayName.Text or None
    elif isinstance(known, ua.Range) and known.High > known.Low:
        one.low, one.high = float(known.Low), float(known.High)


def _address(node: ua.NodeId, spaces: Sequence[str]) -> OpcUaAddress | None:
    """Return the address by namespace URI; None for one that a fleet file cannot hold."""
    identifier: Any = node.Identifier
    kind, index = _KINDS[node.NodeIdType], int(node.NamespaceIndex)
    uri = spaces[index] if 0 < index < len(spaces) and ";" not in spaces[index] and spaces[index] else None
    address = OpcUaAddress(kind, identifier, None if uri else index, uri)
    try:
        return address if parse_address(str(address)) == address else None
    except ConfigurationError:
        return None
