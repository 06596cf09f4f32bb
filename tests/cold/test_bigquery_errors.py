"""What BigQuery's refusals are taken for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests
from google.api_core import exceptions as google
from google.auth.exceptions import RefreshError, TransportError

from wellos.storage.cold import ColdError, ColdRetryError
from wellos.storage.cold.bigquery_errors import cold_error, job_error, passes, speaking

if TYPE_CHECKING:
    from collections.abc import Callable


def made(kind: Callable[..., Any], *arguments: object) -> Exception:
    """An error of a library that has no types."""
    error: Exception = kind(*arguments)
    return error


def refusal(kind: type[google.GoogleAPICallError], reason: str | None) -> google.GoogleAPICallError:
    return kind("as told", errors=[{"reason": reason, "message": "as told"}] if reason else [])


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (refusal(google.Forbidden, "rateLimitExceeded"), True),
        (refusal(google.Forbidden, "quotaExceeded"), False),
        # The client has no class for it and makes it a server's error, which else would pass.
        (refusal(google.InternalServerError, "bytesBilledLimitExceeded"), False),
        (refusal(google.ServiceUnavailable, None), True),
        (refusal(google.BadGateway, None), True),
        (refusal(google.TooManyRequests, None), True),
        (refusal(google.BadRequest, None), False),
        (made(google.RetryError, "gave up", refusal(google.ServiceUnavailable, None)), True),
        (requests.ConnectionError("refused"), True),
        (requests.ReadTimeout("late"), True),
        (requests.exceptions.SSLError("whose certificate"), False),
        (requests.exceptions.InvalidURL("no"), False),
        (made(TransportError, "cannot be reached"), True),
        (made(RefreshError, "revoked"), False),
        (ConnectionResetError("reset"), True),
    ],
)
def test_what_passes(error: Exception, expected: bool) -> None:
    assert passes(error) is expected
    assert isinstance(cold_error("writing", error), ColdRetryError) is expected


def test_an_error_says_what_was_done_what_was_said_and_what_to_do() -> None:
    error = cold_error("preparing table p.d.t", refusal(google.Forbidden, "accessDenied"))
    assert str(error) == (
        "BigQuery: preparing table p.d.t: as told (accessDenied). "
        "Grant roles/bigquery.user on the project, and roles/bigquery.dataEditor on the tenant's dataset"
    )
    assert "auth application-default login" in str(cold_error("writing", made(RefreshError, "revoked")))
    assert "job history" in str(job_error("loading", {"reason": "unheardOf", "message": "as told"}))
    assert "WELLOS_BIGQUERY_PROJECT" in str(cold_error("writing", made(google.NotFound, "no such project")))


def test_what_gave_up_names_its_cause() -> None:
    cause = refusal(google.ServiceUnavailable, "backendError")
    assert "as told. It may pass" in str(
        cold_error("writing", made(google.RetryError, "timeout of 120 s exceeded", cause))
    )


def test_errors_of_ours_pass_through() -> None:
    ours = ColdRetryError("slow")
    with pytest.raises(ColdRetryError) as caught, speaking("writing"):
        raise ours
    assert caught.value is ours


def test_errors_of_the_readers_are_left_alone() -> None:
    with pytest.raises(ValueError, match="mine"), speaking("writing"):
        raise ValueError("mine")


def test_a_cold_error_of_ours_is_no_retry() -> None:
    with pytest.raises(ColdError) as caught, speaking("writing"):
        raise requests.exceptions.InvalidURL("no")
    assert not isinstance(caught.value, ColdRetryError)
