"""What the columns of a file mean: the mapping file, strictly checked, and what is taken for granted without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal
from zoneinfo import available_timezones

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from wellos.errors import ConfigurationError, Problem
from wellos.validation import did_you_mean, problems_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Mapping", "TagName", "read_mapping"]

_MISSING = ("", "nan", "null", "none", "no data", "bad", "bad input", "i/o timeout", "pt created", "shutdown", "-")


def _zone(text: str) -> str:
    if text not in available_timezones():
        raise ValueError(f"is not an IANA time zone | {did_you_mean(text, sorted(available_timezones()))}")
    return text


Zone = Annotated[str, AfterValidator(_zone)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TimeColumn(_Entry):
    """Where a reading's time stands and how it is written."""

    column: str | None = Field(None, description="Header of the column; unset: time, timestamp, datetime or date_time.")
    format: str | None = Field(
        None, description="`epoch_s`, `epoch_ms`, `epoch_us`, or as strftime, e.g. %d/%m/%Y %H:%M; unset: ISO 8601."
    )
    zone: Zone | None = Field(None, description="IANA zone of times that say none.")
    ambiguous: Literal["refuse", "earliest", "latest"] = Field(
        "refuse", description="What a local time means that the clocks went through twice."
    )


class ValueColumn(_Entry):
    """Where the value stands."""

    column: str | None = Field(None, description="Header of the column; unset: value.")
    decimal: Literal[".", ","] = Field(".", description="Decimal point of the numbers.")
    missing: tuple[str, ...] = Field(
        _MISSING, strict=False, description="Words for no value, in any case: a BAD reading without value."
    )


class QualityColumn(_Entry):
    """Where the quality stands; its words in any case."""

    column: str | None = Field(None, description="Header of the column; unset: quality, where there is one.")
    good: tuple[str, ...] = Field(("good", "192", "2", "ok", "true"), strict=False, description="Words for GOOD.")
    uncertain: tuple[str, ...] = Field(
        ("uncertain", "64", "1", "questionable", "substituted"), strict=False, description="Words for UNCERTAIN."
    )
    bad: tuple[str, ...] = Field(("bad", "0", "false"), strict=False, description="Words for BAD.")


class TagName(_Entry):
    """What a name in the file is called in the registry, and in which unit its values are."""

    well: str | None = Field(None, description="Well; unset: as everywhere in the file.")
    tag: str = Field(description="Tag of that well.")
    unit: str | None = Field(None, description="Unit of the values in the file; unset: the tag's own.")


class Mapping(_Entry):
    """A mapping file; everything has a default."""

    time: TimeColumn = TimeColumn()
    value: ValueColumn = ValueColumn()
    quality: QualityColumn = QualityColumn()
    layout: Literal["auto", "long", "wide"] = Field(
        "auto", description="long: a row a reading; wide: a column a tag; auto: long where there is a value column."
    )
    well: str | None = Field(None, description="The one well of the file.")
    well_column: str | None = Field(None, description="Column with the well; unset: well or well_name, if there.")
    tag_column: str | None = Field(None, description="Column with the tag; unset: tag or tag_name.")
    delimiter: str = Field(",", min_length=1, max_length=1, description="What separates the fields of CSV.")
    encoding: str = Field("utf8", description="Text encoding of CSV, e.g. latin-1.")
    tags: dict[str, TagName] = Field({}, description="Name in the file (or WELL.NAME) -> what it is.")


def read_mapping(path: Path | None) -> Mapping:
    """Read a mapping file; ConfigurationError names every mistake in it. None: the defaults."""
    if path is None:
        return Mapping()
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError([Problem(f"cannot be read: {reason}", "Name a YAML file.", file=str(path))]) from None
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        problem = Problem(
            "is not YAML", "Correct the line.", file=str(path), line=None if line is None else int(line) + 1
        )
        raise ConfigurationError([problem]) from None
    if document is None:
        return Mapping()
    if not isinstance(document, dict):
        raise ConfigurationError([Problem("is no mapping", "Write fields such as `time:`.", file=str(path))])
    try:
        return Mapping.model_validate(document)
    except ValidationError as error:
        found = [problem for _, problem in problems_of(error, Mapping)]
    raise ConfigurationError(
        [Problem(p.message, p.remedy, file=str(path), field=p.field, value=p.value) for p in found]
    )
