"""A connection to the database in which Dagster keeps its runs and events, as `dagster.yaml` names it."""

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import make_conninfo

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["dagster_database"]

_VARIABLES = {
    "host": "DAGSTER_PG_HOST",
    "port": "DAGSTER_PG_PORT",
    "user": "DAGSTER_PG_USER",
    "password": "DAGSTER_PG_PASSWORD",
    "dbname": "DAGSTER_PG_DB",
}


@contextmanager
def dagster_database() -> "Iterator[psycopg.Connection[tuple[Any, ...]] | None]":
    """Connect in autocommit mode; None where this instance is not the one of `dagster.yaml`."""
    given = {name: os.environ.get(variable) for name, variable in _VARIABLES.items()}
    if not given["host"] or not given["dbname"]:
        yield None
        return
    address = make_conninfo(**{name: value for name, value in given.items() if value}, connect_timeout=4)
    with psycopg.connect(address, autocommit=True) as conn:
        yield conn
