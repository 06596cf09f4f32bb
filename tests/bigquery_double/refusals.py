"""A refusal as BigQuery words it: the client decides by its reason, not by its status, whether to try again."""

from __future__ import annotations

from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]
"""A resource of the API, as it goes over the wire."""

STATUS = {
    "accessDenied": 403,
    "backendError": 503,
    "bytesBilledLimitExceeded": 400,
    "duplicate": 409,
    "internalError": 500,
    "invalid": 400,
    "invalidQuery": 400,
    "jobBackendError": 503,
    "jobRateLimitExceeded": 429,
    "notFound": 404,
    "quotaExceeded": 403,
    "rateLimitExceeded": 403,
    "responseTooLarge": 403,
}


class Refusal(Exception):  # noqa: N818 - what the service says, not a fault of the double
    """An answer that is an error; as a job's result it becomes its `errorResult`."""

    def __init__(self, reason: str, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message
        self.status = status or STATUS.get(reason, 400)

    def entry(self) -> Json:
        return {"reason": self.reason, "message": self.message}

    def body(self) -> Json:
        entry = {**self.entry(), "domain": "global"}
        return {"error": {"code": self.status, "message": self.message, "errors": [entry]}}
