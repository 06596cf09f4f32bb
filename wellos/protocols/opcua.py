"""OPC UA: the configuration of a connection, and the address of a tag (a node)."""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from wellos.protocols.config import Credentials, address_problem, url_of

__all__ = ["OpcUaAddress", "OpcUaConfig", "parse_address"]

_EXAMPLE = "ns=2;s=PB-001.oil_rate"
_TEXT = re.compile(r"(?:(?P<space>ns|nsu)=(?P<name>[^;]*);)?(?P<kind>[isgb])=(?P<identifier>.+)", re.DOTALL)
_MAX_NAMESPACE = 0xFFFF
_MAX_NUMBER = 0xFFFFFFFF
_MAX_TEXT = 4096

Kind = Literal["i", "s", "g", "b"]


class OpcUaConfig(Credentials):
    """An OPC UA server. Tags are monitored items of subscriptions; times and status codes are the source's."""

    url: Annotated[str, url_of("opc.tcp", example="opc.tcp://host:4840/path")] = Field(
        description="Endpoint, `opc.tcp://host:4840/path`."
    )
    anonymous: bool = Field(
        default=False, validate_default=True, description="Log in without a user; only then may `user` be missing."
    )
    security_mode: Literal["SignAndEncrypt", "Sign", "None"] = Field(
        "SignAndEncrypt", description="Protection of every message; `None` only where the server knows no better."
    )
    security_policy: Literal["Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"] = Field(
        "Basic256Sha256", description="Algorithms of it."
    )
    allow_expired: bool = Field(default=False, description="Accept a trusted certificate outside its time of validity.")
    allow_other_host: bool = Field(default=False, description="Accept a trusted certificate made for another host.")
    publishing_interval_ms: float = Field(500, ge=10, le=3_600_000, description="How often the server sends changes.")
    sampling_interval_ms: float = Field(
        0,
        ge=-1,
        le=3_600_000,
        description="How often the server samples a node; 0: as fast as it can, -1: as published.",
    )
    sample_by_interval: bool = Field(
        default=False,
        description="Sample each polled tag's node at the tag's `interval_s` instead.",
    )
    deadband: Literal["device", "absolute", "percent"] = Field(
        "device",
        description="Who applies each tag's `deadband`: the device by itself, or the server: as an absolute change, or "
        "as percent of the range `low` to `high` (for tags that have one). Asked without where the server knows none.",
    )
    queue_size: int = Field(
        100, ge=1, le=100_000, description="Changes the server keeps for a node between two messages or while cut off."
    )
    history: bool = Field(default=True, description="Close gaps from the server's own history, where it keeps one.")
    history_margin_s: float = Field(
        5,
        ge=0,
        le=3600,
        description="How much more than the gap is read on both sides: clocks differ, and a history is written late.",
    )
    history_per_s: int = Field(
        10_000, ge=1, description="Most values read from history in a second, so that live changes are not held up."
    )
    watchdog_s: float = Field(
        30, gt=0, le=3600, description="Silence, keep-alives included, after which the connection counts as lost."
    )

    @field_validator("anonymous")
    @classmethod
    def _one_identity(cls, anonymous: bool, info: ValidationInfo) -> bool:
        user = info.data.get("user")
        if anonymous and user is not None:
            raise ValueError("must not stand beside a user | Remove one of them")
        if not anonymous and user is None and "user" in info.data:
            raise ValueError("needs to be true, or a user | Give user and password, or set anonymous: true")
        return anonymous


@dataclass(frozen=True, slots=True)
class OpcUaAddress:
    """A NodeId: identifier `kind` is i (number), s (text), g (GUID) or b (bytes, base64).

    Exactly one of `namespace` (index) and `namespace_uri` is set; a URI is looked up in the server's namespace array
    at every connect, an index may change when the server is reconfigured.
    """

    kind: Kind
    identifier: int | str | uuid.UUID | bytes
    namespace: int | None = 0
    namespace_uri: str | None = None

    def __str__(self) -> str:
        """Return the address in its usual notation."""
        value = base64.b64encode(self.identifier).decode() if isinstance(self.identifier, bytes) else self.identifier
        if self.namespace_uri is not None:
            return f"nsu={self.namespace_uri};{self.kind}={value}"
        return f"ns={self.namespace};{self.kind}={value}" if self.namespace else f"{self.kind}={value}"


def parse_address(text: str) -> OpcUaAddress:
    """Parse a NodeId text such as `ns=2;s=PB-001.oil_rate` or `nsu=urn:field;i=1001` (OPC UA part 6, 5.3.1.10)."""
    found = _TEXT.fullmatch(text)
    if found is None:
        raise address_problem(
            text, "is not an OPC UA node id", f"Write ns=INDEX;s=NAME or nsu=URI;s=NAME, e.g. {_EXAMPLE}"
        )
    namespace, uri = _namespace(text, found["space"], found["name"])
    if found["kind"] == "i":
        return OpcUaAddress("i", _number(text, found["identifier"], _MAX_NUMBER, "identifier"), namespace, uri)
    if found["kind"] == "s":
        if len(found["identifier"]) > _MAX_TEXT or any(ord(letter) < ord(" ") for letter in found["identifier"]):
            raise address_problem(
                text,
                "has a text identifier that is too long or holds control characters",
                f"At most {_MAX_TEXT} characters",
            )
        return OpcUaAddress("s", found["identifier"], namespace, uri)
    try:
        if found["kind"] == "g":
            return OpcUaAddress("g", uuid.UUID(found["identifier"]), namespace, uri)
        return OpcUaAddress("b", base64.b64decode(found["identifier"], validate=True), namespace, uri)
    except (ValueError, binascii.Error) as error:
        noun = "a GUID" if found["kind"] == "g" else "base64"
        raise address_problem(
            text, f"has an identifier that is not {noun}", f"For a text use s=, e.g. {_EXAMPLE}"
        ) from error


def _namespace(text: str, space: str | None, name: str | None) -> tuple[int | None, str | None]:
    if space == "nsu":
        if not name:
            raise address_problem(text, "has an empty namespace URI", "Write nsu=URI;s=NAME")
        return None, name
    return (_number(text, name or "", _MAX_NAMESPACE, "namespace index"), None) if space else (0, None)


def _number(text: str, digits: str, highest: int, noun: str) -> int:
    if not (digits.isascii() and digits.isdigit()) or int(digits) > highest:
        raise address_problem(text, f"has a {noun} that is not a number from 0 to {highest}", f"E.g. {_EXAMPLE}")
    return int(digits)
