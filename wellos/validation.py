"""Turns pydantic's refusals into problems a person can act on: the field, the value, and the nearest allowed one."""

from __future__ import annotations

import difflib
import re
import types
import typing
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

from wellos.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

__all__ = ["did_you_mean", "masked", "nearest", "problems_of"]

_CLOSE = 0.6
_LIMITS = {"ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}"}


def masked(text: str) -> str:
    """Return an address with its user and password replaced by stars; any other text as it is."""
    return re.sub(r"://.*@", "://***@", text, flags=re.DOTALL)


def nearest(word: object, known: Iterable[object]) -> str | None:
    """Return the known word most like `word`, upper and lower case alike, the first of equals; None: none is close."""
    matcher = difflib.SequenceMatcher()
    matcher.set_seq2(str(word).casefold())
    best, score = None, _CLOSE
    for item in map(str, known):
        matcher.set_seq1(item.casefold())
        if matcher.real_quick_ratio() > score and matcher.quick_ratio() > score and matcher.ratio() > score:
            best, score = item, matcher.ratio()
    return best


def did_you_mean(word: object, known: Iterable[object]) -> str:
    """Return a remedy: the nearest known word, else all of them (the first twenty)."""
    words = [str(item) for item in known]
    near = nearest(word, words)
    if near is not None:
        return f"Did you mean {near}?"
    if not words:
        return "Remove it."
    return f"Known: {', '.join(words[:20])}{', ...' if len(words) > 20 else ''}."  # noqa: PLR2004 - a line's worth


def problems_of(
    error: ValidationError, model: type[BaseModel], also: Sequence[str] = ()
) -> list[tuple[tuple[str | int, ...], Problem]]:
    """Return each refusal with its place in the model; values of secrets are never shown.

    `also`: keys that are allowed beside the model's fields, named when an unknown key is like them.
    """
    return [(item["loc"], _problem(item, model, also)) for item in error.errors(include_url=False)]


def _problem(item: ErrorDetails, model: type[BaseModel], also: Sequence[str]) -> Problem:
    name = str(item["loc"][0]) if item["loc"] else ""
    field = ".".join(str(part) for part in item["loc"]) or None
    info = model.model_fields.get(name)
    value = item["input"]
    if item["type"] == "extra_forbidden":
        return Problem("no such field", did_you_mean(name, [*model.model_fields, *also]), field=field)
    if item["type"] == "missing":
        return Problem("is required", f"Add {name}: {info.description or name}" if info else f"Add {name}", field=field)
    shown = None if info is None or _is_secret(info.annotation) or isinstance(value, dict | list) else value
    if shown is None and value is None:
        shown = "null"
    if isinstance(shown, str):
        shown = masked(shown)
    if item["type"] in ("literal_error", "enum") and info is not None:
        choices = _choices(info.annotation)
        listed = ", ".join(str(choice) for choice in choices)
        near = nearest(value, choices)
        remedy = f"Did you mean {near}? Allowed: {listed}." if near else f"Allowed: {listed}."
        return Problem("is not an allowed value", remedy, field=field, value=shown)
    message, remedy = _wording(item)
    if info is not None and info.description and not remedy:
        remedy = info.description
    return Problem(message, remedy or "Correct it.", field=field, value=shown)


def _wording(item: ErrorDetails) -> tuple[str, str]:
    """Return the message and the remedy (empty: the field's description) of the other kinds of refusal."""
    kind, context = item["type"], item.get("ctx", {})
    if kind == "value_error" and isinstance(context.get("error"), ValueError):
        message, _, remedy = str(context["error"]).partition(" | ")
        return message, remedy
    for key, words in _LIMITS.items():
        if key in context:
            return f"must be {words.format(_number(context[key]))}", ""
    for prefix, noun in _NOUNS.items():
        if kind.startswith(prefix):
            return f"must be {noun}", ""
    return item["msg"][:1].lower() + item["msg"][1:], ""


_NOUNS = {
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a finite number",
    "bool": "true or false",
    "string_type": "a text (quote it)",
    "tuple": "a list",
    "list": "a list",
    "dict": "a mapping",
    "model": "a mapping",
}


def _number(limit: float) -> str:
    return str(int(limit)) if float(limit).is_integer() else f"{limit:g}"


def _choices(annotation: Any) -> list[object]:  # noqa: ANN401 - a type annotation is any object
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [choice for part in get_args(annotation) for choice in _choices(part)]


def _is_secret(annotation: Any) -> bool:  # noqa: ANN401 - a type annotation is any object
    if get_origin(annotation) in (Union, types.UnionType, typing.Annotated):
        return any(_is_secret(part) for part in get_args(annotation))
    return isinstance(annotation, type) and issubclass(annotation, SecretStr)
