"""The Sparkplug B payload as protobuf messages, built at import from the field numbers of the specification (3.0, 6.4).

Templates, data sets and property lists are declared so that they can be recognised and refused by name.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["BDSEQ", "NODE_REBIRTH", "QUALITY_PROPERTY", "DataType", "Metric", "Payload"]

BDSEQ = "bdSeq"
"""Metric of NBIRTH and NDEATH that says which birth a death belongs to."""
NODE_REBIRTH = "Node Control/Rebirth"
"""Metric of NCMD that asks an edge node to send its births again."""
QUALITY_PROPERTY = "Quality"
"""Metric property: 0 BAD, 192 GOOD, 500 STALE."""


class DataType(IntEnum):
    """Metric data types, as numbered by the specification."""

    UNKNOWN = 0
    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATETIME = 13
    TEXT = 14
    UUID = 15
    DATASET = 16
    BYTES = 17
    FILE = 18
    TEMPLATE = 19


_PACKAGE = "wellos.sparkplug_b"
_ROOT = f".{_PACKAGE}.Payload"
_TYPES = {
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    "double": descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE,
    "float": descriptor_pb2.FieldDescriptorProto.TYPE_FLOAT,
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "uint32": descriptor_pb2.FieldDescriptorProto.TYPE_UINT32,
    "uint64": descriptor_pb2.FieldDescriptorProto.TYPE_UINT64,
}
_SCALARS = ("int_value uint32", "long_value uint64", "float_value float", "double_value double", "boolean_value bool")

# One line a field: number, name, type, and * for repeated. `oneof` lists the alternatives of `value`.
_FIELDS: dict[str, tuple[str, ...]] = {
    "Payload": ("1 timestamp uint64", "2 metrics Metric *", "3 seq uint64", "4 uuid string", "5 body bytes"),
    "Metric": (
        "1 name string",
        "2 alias uint64",
        "3 timestamp uint64",
        "4 datatype uint32",
        "5 is_historical bool",
        "6 is_transient bool",
        "7 is_null bool",
        "8 metadata MetaData",
        "9 properties PropertySet",
    ),
    "MetaData": (
        "1 is_multi_part bool",
        "2 content_type string",
        "3 size uint64",
        "4 seq uint64",
        "5 file_name string",
        "6 file_type string",
        "7 md5 string",
        "8 description string",
    ),
    "PropertySet": ("1 keys string *", "2 values PropertyValue *"),
    "PropertySetList": ("1 propertyset PropertySet *",),
    "PropertyValue": ("1 type uint32", "2 is_null bool"),
    "DataSet": ("1 num_of_columns uint64", "2 columns string *", "3 types uint32 *", "4 rows Row *"),
    "Row": ("1 elements DataSetValue *",),
    "DataSetValue": (),
    "Template": (
        "1 version string",
        "2 metrics Metric *",
        "3 parameters Parameter *",
        "4 template_ref string",
        "5 is_definition bool",
    ),
    "Parameter": ("1 name string", "2 type uint32"),
}
_ONEOFS: dict[str, tuple[int, tuple[str, ...]]] = {
    "Metric": (
        10,
        (*_SCALARS, "string_value string", "bytes_value bytes", "dataset_value DataSet", "template_value Template"),
    ),
    "PropertyValue": (
        3,
        (*_SCALARS, "string_value string", "propertyset_value PropertySet", "propertysets_value PropertySetList"),
    ),
    "DataSetValue": (1, (*_SCALARS, "string_value string")),
    "Parameter": (3, (*_SCALARS, "string_value string")),
}


def _add_field(message: descriptor_pb2.DescriptorProto, line: str) -> descriptor_pb2.FieldDescriptorProto:
    number, name, kind, *repeated = line.split()
    field = message.field.add(name=name, number=int(number))
    field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
    if kind in _TYPES:
        field.type = _TYPES[kind]
    else:
        field.type = field.TYPE_MESSAGE
        field.type_name = f"{_ROOT}.{kind}"
    return field


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="wellos/sparkplug_b.proto", package=_PACKAGE, syntax="proto2")
    root = file.message_type.add(name="Payload")
    for name, lines in _FIELDS.items():
        message = root if name == "Payload" else root.nested_type.add(name=name)
        for line in lines:
            _add_field(message, line)
        if name in _ONEOFS:
            message.oneof_decl.add(name="value")
            first, alternatives = _ONEOFS[name]
            for number, alternative in enumerate(alternatives, start=first):
                _add_field(message, f"{number} {alternative}").oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in ("Payload", "Payload.Metric")
    }


_CLASSES = _build()
Payload: Any = _CLASSES["Payload"]
"""The message of every Sparkplug topic but STATE."""
Metric: Any = _CLASSES["Payload.Metric"]
"""One metric of a payload."""
