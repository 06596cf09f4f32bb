"""What BigQuery's refusals mean: which pass by themselves, and what a person has to do about the others."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import requests
from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError, NotFound, RetryError, ServerError
from google.api_core.exceptions import TooManyRequests as TooMany
from google.auth.exceptions import GoogleAuthError, TransportError
from google.resumable_media import DataCorruption

from wellos.errors import RetryableError
from wellos.storage.cold import ColdError, ColdRetryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["SPOKEN", "RefusedError", "cold_error", "job_error", "passes", "passing_reason", "reason_of", "speaking"]

_PASSING = frozenset(
    {
        "backendError",
        "badGateway",
        "conditionNotMet",
        "internalError",
        "jobBackendError",
        "jobInternalError",
        "jobRateLimitExceeded",
        "rateLimitExceeded",
        "tableUnavailable",
    }
)
_REMEDIES = {
    "accessDenied": "Grant roles/bigquery.user on the project, and roles/bigquery.dataEditor on the tenant's dataset",
    "billingNotEnabled": "Enable billing for the project",
    "billingTierLimitExceeded": "Ask for fewer days or tags",
    "bytesBilledLimitExceeded": "Ask for fewer days or tags, or raise WELLOS_BIGQUERY_MAX_BYTES_BILLED",
    "notFound": "Check WELLOS_BIGQUERY_PROJECT, WELLOS_BIGQUERY_DATASET_PREFIX and WELLOS_BIGQUERY_LOCATION",
    "quotaExceeded": "A quota of the project is used up: wait until it is renewed, or ask Google for more",
    "responseTooLarge": "Ask for fewer days or tags",
}
_LINK = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError, ConnectionError)
SPOKEN = (GoogleAPIError, GoogleAuthError, requests.RequestException, DataCorruption, ConnectionError)


class RefusedError(ColdError):
    """BigQuery refuses for good; `reason` is its own word for why, None when it gave none."""

    def __init__(self, doing: str, said: str, reason: str | None) -> None:
        """Name what was being done, what was said, and what to do about it."""
        self.reason = reason
        remedy = _REMEDIES.get(reason or "", "See the job in the project's job history")
        super().__init__(f"BigQuery: {doing}: {said} ({reason or 'no reason given'}). {remedy}")


def reason_of(error: BaseException) -> str | None:
    """Return the reason BigQuery gave, None when it gave none."""
    if isinstance(error, GoogleAPICallError) and error.errors:
        first = error.errors[0]
        return str(first["reason"]) if isinstance(first, dict) and "reason" in first else None
    return None


def passing_reason(reason: str | None) -> bool:
    """Tell whether what failed for this reason may succeed later."""
    return reason in _PASSING


def passes(error: BaseException) -> bool:
    """Tell whether the same call may succeed later: by its reason, and where there is none by its kind."""
    if isinstance(error, requests.exceptions.SSLError):
        return False
    reason = reason_of(error)
    if reason is not None:
        return passing_reason(reason)
    return isinstance(error, (RetryError, TooMany, ServerError, TransportError, DataCorruption, *_LINK))


def cold_error(doing: str, error: BaseException) -> ColdError:
    """Return our error for one of Google's, with its reason and, where there is one, the remedy."""
    cause = error.cause if isinstance(error, RetryError) and error.cause else error
    # The message alone: the text of the exception repeats the address of the call.
    said = cause.message if isinstance(cause, GoogleAPICallError) else f"{type(cause).__name__}: {cause}"
    if passes(error):
        return ColdRetryError(f"BigQuery: {doing}: {said}. It may pass; the same work can be tried again")
    reason = reason_of(error) or ("notFound" if isinstance(error, NotFound) else None)
    if isinstance(error, GoogleAuthError):
        return ColdError(f"BigQuery: {doing}: {said}. Renew the credentials: gcloud auth application-default login")
    return RefusedError(doing, said, reason)


def job_error(doing: str, result: Mapping[str, str]) -> ColdError:
    """Return our error for a job's `errorResult`."""
    reason, said = result.get("reason"), result.get("message", "no message")
    if passing_reason(reason):
        return ColdRetryError(f"BigQuery: {doing}: {said} ({reason}). It may pass; the same work can be tried again")
    return RefusedError(doing, said, reason)


@contextmanager
def speaking(doing: str) -> Iterator[None]:
    """Turn what Google's libraries raise inside the block into ColdError or ColdRetryError."""
    try:
        yield
    except SPOKEN as error:
        if isinstance(error, RetryableError):
            raise
        raise cold_error(doing, error) from error
