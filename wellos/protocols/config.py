"""What the configurations of all protocols share: strict parsing, credentials by reference, server addresses."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from wellos.errors import ConfigurationError, Problem
from wellos.validation import problems_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Credentials", "ProtocolConfig", "address_problem", "environment_name", "url_of"]

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def environment_name(text: str) -> str | None:
    """Return the variable that `${NAME}` refers to; None for any other text."""
    found = _REFERENCE.fullmatch(text)
    return found[1] if found else None


def address_problem(text: object, message: str, remedy: str) -> ConfigurationError:
    """Return the error that says what is wrong with a tag's address."""
    return ConfigurationError([Problem(message, remedy, field="address", value=text)])


class ProtocolConfig(BaseModel):
    """The `config` of a connection in the fleet file: a frozen value, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        """Return the validated configuration; ConfigurationError lists every mistake, nearest known key included."""
        try:
            return cls.model_validate(dict(config))
        except ValidationError as error:
            # The cause is not chained: pydantic's own text repeats what was written, passwords included.
            problems = [problem for _, problem in problems_of(error, cls)]
        raise ConfigurationError(problems)


class Credentials(ProtocolConfig):
    """User and password; each may be `${NAME}`, read from the environment when connecting."""

    user: str | None = Field(None, min_length=1, description="User name, or `${NAME}` of an environment variable.")
    password: SecretStr | None = Field(
        None, description="`${NAME}` of an environment variable. In clear it works, with a warning."
    )

    def credentials(self, environ: Mapping[str, str] | None = None) -> tuple[str | None, str | None]:
        """Return user and password with references resolved; ConfigurationError names a variable that is not set."""
        secret = None if self.password is None else self.password.get_secret_value()
        source = os.environ if environ is None else environ
        problems: list[Problem] = []
        resolved = [
            _resolve(name, text, source, problems) for name, text in (("user", self.user), ("password", secret))
        ]
        if problems:
            raise ConfigurationError(problems)
        return resolved[0], resolved[1]


def _resolve(field: str, text: str | None, environ: Mapping[str, str], problems: list[Problem]) -> str | None:
    name = None if text is None else environment_name(text)
    if name is None:
        return text
    if name not in environ:
        problems.append(Problem(f"the environment variable {name} is not set", f"Export {name}.", field=field))
        return None
    return environ[name]


def url_of(*schemes: str, example: str) -> AfterValidator:
    """Return the check of an address: one of the schemes, a host, a port in range, and no user or password in it."""
    return AfterValidator(_url_check(schemes, example))


def _url_check(schemes: tuple[str, ...], example: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        parts = urlsplit(text)
        if parts.scheme not in schemes:
            raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)} | Write {example}")
        if "@" in parts.netloc:
            raise ValueError("must not carry a user or password | Put them under user and password")
        try:
            port = parts.port
        except ValueError:
            raise ValueError(f"has a port that is not a number up to 65535 | Write {example}") from None
        if not parts.hostname or port == 0:
            raise ValueError(f"needs a host{' and a port above 0' if port == 0 else ''} | Write {example}")
        return text

    return check


PositiveSeconds = Annotated[float, Field(gt=0)]
