"""YAML with lines: what values are read as, and what is refused with which line."""

from __future__ import annotations

import math

import pytest

from wellos.errors import ConfigurationError
from wellos.fleet import source
from wellos.fleet.source import line_of, read


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NO", "NO"),
        ("on", "on"),
        ("yes", "yes"),
        ("1:30", "1:30"),
        ("2026-11-01", "2026-11-01"),
        ("42-329-40001", "42-329-40001"),
        ("06", 6),
        ("-9999", -9999),
        ("1e-05", 1e-5),
        ("1.5", 1.5),
        (".5", 0.5),
        ("'5'", "5"),
        ('"true"', "true"),
        ("!!str 5", "5"),
        ("true", True),
        ("~", None),
        ("", None),
        (".inf", math.inf),
        ("1_000", "1_000"),
        ("1e5000", math.inf),
    ],
)
def test_values(text: str, expected: object) -> None:
    root, problems = read(f"a: {text}".encode(), "f")
    assert root == {"a": expected}
    assert type(root["a"]) is type(expected)
    assert problems == []


def test_lines() -> None:
    root, _ = read(b"a:\n  - b: 1\n\n    c: 2\n  - {d: 3}\n", "f")
    assert [line_of(root, path) for path in (("a",), ("a", 0, "b"), ("a", 0, "c"), ("a", 1, "d"))] == [1, 2, 4, 5]
    assert line_of(root, ("a", 0, "missing")) == 2
    assert line_of(root, ("z", 7)) == 1


def test_an_alias_stands_for_its_value() -> None:
    root, _ = read(b"a: &x {k: 1}\nb: *x\nc: &y 5\nd: *y\n", "f")
    assert root == {"a": {"k": 1}, "b": {"k": 1}, "c": 5, "d": 5}


def test_every_duplicate_key_is_told_with_both_lines() -> None:
    _, problems = read(b"a: 1\nb: {c: 1, c: 2}\na: 3\n", "f")
    assert [(item.line, item.field, item.message) for item in problems] == [
        (2, "c", "the key is given twice, first on line 2"),
        (3, "a", "the key is given twice, first on line 1"),
    ]


REFUSED = [
    (b"a: 1\nb: [1, 2\n", 3, "is not valid YAML"),
    (b"a:\n\t- b\n", 2, "is not valid YAML"),
    (b"a: 1\n  b: 2\n", 2, "is not valid YAML"),
    (b"a: 1\nb: c: d\n", 2, "is not valid YAML"),
    (b"a: 'x\n", 2, "is not valid YAML"),
    (b"a: %x\n", 1, "is not valid YAML"),
    (b"ok: 1\nb: \x07\n", 2, "is not valid YAML"),
    (b"a: 1\nb: \xff\n", 2, "is not UTF-8"),
    (b'a: 1\nb: "x\\0"\n', 2, "holds a character that is none"),
    (b"", 1, "holds 0 YAML documents"),
    (b"a: 1\n---\nb: 1\n", 1, "holds 2 YAML documents"),
    (b"a: 1\nb: *x\n", 2, "uses *x"),
    (b"a: &x [*x]\n", 1, "uses *x"),
    (b"a: 1\n? [b]\n: 1\n", 2, "has a key that is not a plain text"),
    (b"a: !!python/object:os.system x\n", 1, "has the YAML tag"),
    (b"[" * 50 + b"]" * 50, 1, "is nested more than"),
]


@pytest.mark.parametrize(("content", "line", "message"), REFUSED)
def test_refused(content: bytes, line: int, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(content, "fleet.yaml")
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == ("fleet.yaml", line)
    assert message in problem.message
    assert problem.remedy


def test_a_duplicate_before_a_syntax_error_is_told_too() -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(b"a: 1\na: 2\nb: [\n", "f")
    assert [problem.line for problem in caught.value.problems] == [2, 4]


def test_nested_aliases_do_not_explode() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(ConfigurationError, match="values"):
        read("\n".join(lines).encode(), "f")


def test_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_BYTES", 1 << 20)
    with pytest.raises(ConfigurationError, match="larger than 1 MiB"):
        read(b"#" * ((1 << 20) + 1), "f")
