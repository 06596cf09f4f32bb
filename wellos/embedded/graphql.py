"""Asks the Dagster webserver how the code location and the daemon are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

__all__ = ["DagsterHealth", "dagster_health", "runs_ended"]

_HEALTH = """
{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus
      locationOrLoadError { __typename ... on PythonError { message } } } } }
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }
"""
_RUNS = """
query($filter: RunsFilter!) { runsOrError(filter: $filter) {
  __typename ... on Runs { count } ... on PythonError { message } } }
"""


@dataclass(frozen=True, slots=True)
class DagsterHealth:
    """What the webserver knows of its companions; an empty reason means healthy."""

    location: str
    daemon: str


def dagster_health(url: str) -> DagsterHealth:
    """Return the state of the code location and of the daemon; httpx.HTTPError when the webserver does not answer."""
    data = _ask(url, _HEALTH)
    entries = data["workspaceOrError"].get("locationEntries", [])
    location = "no code location" if not entries else ""
    for entry in entries:
        loaded = entry["locationOrLoadError"]
        if loaded is None:
            location = "loading"
        elif loaded["__typename"] != "RepositoryLocation":
            location = loaded.get("message", loaded["__typename"]).strip().splitlines()[0]
    silent = [
        status["daemonType"].lower()
        for status in data["instance"]["daemonHealth"]["allDaemonStatuses"]
        if status["required"] and not status["healthy"]
    ]
    return DagsterHealth(location, f"no heartbeat of {', '.join(silent)}" if silent else "")


def runs_ended(url: str, status: str, since: float) -> int:
    """Return how many runs ended with a status since a moment (seconds since 1970); httpx.HTTPError, KeyError."""
    wanted = {"statuses": [status], "updatedAfter": since}
    return int(_ask(url, _RUNS, filter=wanted)["runsOrError"]["count"])


def _ask(url: str, query: str, **variables: object) -> dict[str, Any]:
    answer = httpx.post(f"{url}/graphql", json={"query": query, "variables": variables}, timeout=20)
    answer.raise_for_status()
    said = answer.json()
    if not said.get("data"):
        reasons = "; ".join(str(error.get("message")) for error in said.get("errors", ()))
        raise httpx.HTTPError(reasons or "an answer without data")
    data: dict[str, Any] = said["data"]
    return data
