"""Each class of SQLSTATE and each code of TimescaleDB means what the sink takes it for."""

from __future__ import annotations

import psycopg
import pytest

from streaming.sinks.sqlstate import Kind, kind_of

RETRY, POISON, REFUSED = Kind.RETRY, Kind.POISON, Kind.REFUSED
CLASSES = {
    "08000": RETRY,
    "08006": RETRY,
    "08P01": RETRY,
    "09000": REFUSED,
    "0A000": REFUSED,
    "0B000": REFUSED,
    "0L000": REFUSED,
    "0P000": REFUSED,
    "0Z000": REFUSED,
    "20000": REFUSED,
    "21000": REFUSED,
    "22000": POISON,
    "22003": POISON,
    "22008": POISON,
    "22021": POISON,
    "22P02": POISON,
    "22P05": POISON,
    "23000": POISON,
    "23001": POISON,
    "23502": POISON,
    "23503": POISON,
    "23514": POISON,
    "23P01": POISON,
    "24000": REFUSED,
    "25006": RETRY,
    "25P02": RETRY,
    "25P03": RETRY,
    "26000": REFUSED,
    "27000": REFUSED,
    "28000": REFUSED,
    "28P01": REFUSED,
    "2B000": REFUSED,
    "2F000": REFUSED,
    "34000": REFUSED,
    "38000": REFUSED,
    "39000": REFUSED,
    "3B000": REFUSED,
    "3D000": REFUSED,
    "3F000": REFUSED,
    "40001": RETRY,
    "40003": RETRY,
    "40P01": RETRY,
    "42501": REFUSED,
    "42703": REFUSED,
    "42P01": REFUSED,
    "44000": POISON,
    "53000": RETRY,
    "53100": RETRY,
    "53200": RETRY,
    "53300": RETRY,
    "53400": REFUSED,
    "54000": REFUSED,
    "55000": REFUSED,
    "55006": RETRY,
    "55P02": REFUSED,
    "55P03": RETRY,
    "57014": RETRY,
    "57P01": RETRY,
    "57P02": RETRY,
    "57P03": RETRY,
    "57P04": REFUSED,
    "57P05": RETRY,
    "58000": REFUSED,
    "58030": REFUSED,
    "72000": RETRY,
    "F0000": REFUSED,
    "HV000": REFUSED,
    "P0001": REFUSED,
    "XX000": REFUSED,
    "XX001": REFUSED,
    "TS000": REFUSED,
    "TS001": REFUSED,
    "TS002": REFUSED,
    "TS003": RETRY,
    "TS101": REFUSED,
    "TS102": REFUSED,
    "TS500": REFUSED,
    "TS501": REFUSED,
    "TS502": RETRY,
    "TS503": RETRY,
    "ZZ999": REFUSED,
}


def error_of(state: str) -> psycopg.Error:
    made = type("Planted", (psycopg.DatabaseError,), {})()
    made.sqlstate = state
    assert isinstance(made, psycopg.Error)
    return made


@pytest.mark.parametrize("state", CLASSES)
def test_a_code_means(state: str) -> None:
    assert kind_of(error_of(state)) is CLASSES[state]


def test_without_a_code_it_came_from_this_side() -> None:
    assert kind_of(psycopg.OperationalError("server closed the connection unexpectedly")) is RETRY
    assert kind_of(psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")) is POISON


def test_a_key_is_a_conflict_and_in_the_ledger_already_done() -> None:
    assert kind_of(psycopg.errors.UniqueViolation()) is Kind.CONFLICT
