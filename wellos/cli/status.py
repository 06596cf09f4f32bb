"""`wellos status`: each part of the running platform, its connections and figures, for people or as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from wellos.clock import from_micros
from wellos.embedded.figures import gather
from wellos.embedded.health import examine
from wellos.embedded.state import read_state
from wellos.embedded.view import to_text
from wellos.logs import hide_secrets
from wellos.settings import Settings, load_settings

__all__ = ["status"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def status(*, as_json: bool) -> None:
    """Show each part: up or not, where, since when; connections, readings a second, lag and spool.

    Where no `wellos up` runs on WELLOS_DATA_DIR, and WELLOS_DATABASE_URL is set, what that database says of ingest.
    Exit status 0 when every part is up and every connection has an instance that reads it, else 1.
    """
    settings = load_settings()
    state = read_state(settings.data_dir)
    if state is None and settings.database_url is not None:
        found = _without_platform(settings)
    elif state is None:
        if as_json:
            click.echo(json.dumps({"up": False, "data_dir": str(settings.data_dir), "parts": []}))
        else:
            click.echo(f"nothing runs on {settings.data_dir}; start it with `wellos up`")
        sys.exit(1)
    else:
        found = {**examine(state, settings), "figures": gather(settings)}
    if as_json:
        click.echo(json.dumps(_public(found), indent=1))
    else:
        click.echo(to_text(found), nl=False)
    sys.exit(0 if found["up"] else 1)


def _without_platform(settings: Settings) -> dict[str, Any]:
    """Return what the database says of ingest, for those who run each part by themselves."""
    figures = gather(settings)
    ingest = figures["ingest"]
    up = not figures["error"] and ingest is not None and not ingest["unclaimed"]
    return {"up": up, "parts": [], "settings": {"clock": settings.clock}, "progress": "", "figures": figures}


def _public(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return the document with passwords hidden, and `..._us` moments as RFC 3339."""
    if isinstance(value, dict):
        return {
            key.removesuffix("_us"): (
                from_micros(item).isoformat()
                if key.endswith("_us") and isinstance(item, int) and item
                else _public(item)
            )
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_public(item) for item in value]
    return hide_secrets(value) if isinstance(value, str) else value
