"""The one error tree: what may be retried, what is poison, what is fatal, what the user must correct."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ConfigurationError",
    "FatalError",
    "PoisonError",
    "Problem",
    "RetryableError",
    "UnreachableError",
    "WellosError",
]


class WellosError(Exception):
    """Anything this library raises on purpose; `exit_status` is what the command line leaves with."""

    exit_status = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in what a person wrote: where it is, what it is, and how to mend it."""

    message: str
    remedy: str
    file: str | None = None
    line: int | None = None
    field: str | None = None
    value: object = None

    def __str__(self) -> str:
        """One line with file, line, field, message, value and remedy."""
        where = f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        field = f"{self.field}: " if self.field else ""
        value = f" (value {self.value!r})" if self.value is not None else ""
        return f"{where}{field}{self.message}{value}. {self.remedy}"


class ConfigurationError(WellosError):
    """Input that a person must correct: every problem found, at once. Exit status 2."""

    exit_status = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Keep the problems as data; the message is one line for each."""
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UnreachableError(WellosError):
    """A server named by a setting did not answer, or refused us. The address shown carries no password."""

    exit_status = 2

    def __init__(self, setting: str, address: str, reason: str) -> None:
        """Name the setting to correct, the address tried, and what was heard."""
        self.setting, self.address, self.reason = setting, address, reason
        heard = reason if reason.endswith((".", "?", "!")) else f"{reason}."
        super().__init__(
            f"{setting}: cannot use {address}: {heard} Correct {setting}, or unset it to use the embedded one."
        )


class RetryableError(WellosError):
    """A passing fault of a peer: the same work may succeed later."""


class PoisonError(WellosError):
    """One item that can never be stored as it is; it goes to quarantine with this reason."""


class FatalError(WellosError):
    """Going on would lose or alter data: the process must stop."""
