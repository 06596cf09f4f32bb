"""`wellos tiers`: what each tier holds of each tenant, what it costs a month, and what it will in a year."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import redis

from wellos.errors import ConfigurationError, Problem, WellosError
from wellos.fleet.apply import needs_registry
from wellos.settings import load_settings
from wellos.storage import hot, warm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wellos.settings import Settings
    from wellos.tiers.forecast import Forecast
    from wellos.tiers.inventory import Stock

__all__ = ["tiers"]

_HEAD = ("tier", "tenant", "readings", "MiB", "bytes each", "ratio", "oldest", "newest", "a month")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.png", help="Draw the forecast into a PNG."
)
def tiers(*, as_json: bool, plot: Path | None) -> None:
    """Show what is hot (Redis), warm (database) and cold (archive), and what it costs.

    Prices are the settings WELLOS_PRICE_..., a GiB-month each. The forecast is for a year, if readings go on coming as
    in the last seven complete days. Readings of the warm tier are counted by the daily aggregate, of the cold one by
    receipts. The ratio is to the 26 bytes that a reading takes unpacked.

    Exit status 2 when the database cannot be used. Without Redis the hot tier is left out, and a remark says so.
    """
    from wellos.tiers.forecast import forecast  # noqa: PLC0415 - only when it runs
    from wellos.tiers.plot import draw  # noqa: PLC0415 - same

    settings = load_settings()
    stock = _stock(settings)
    ahead = forecast(stock, settings, settings.make_clock().now().date())
    if plot is not None:
        try:
            plot.write_bytes(draw(ahead, settings.price_currency))
        except OSError as error:
            remedy = "Name a file in a folder that this account may write."
            problem = Problem(f"cannot be written: {error.strerror}", remedy, field="--plot", value=str(plot))
            raise ConfigurationError([problem]) from None
    click.echo(json.dumps(_document(stock, ahead, settings), indent=1) if as_json else _text(stock, ahead, settings))


def _stock(settings: Settings) -> Stock:
    from wellos.tiers.inventory import take_stock  # noqa: PLC0415 - only when it runs

    with ExitStack() as stack:
        conn = stack.enter_context(warm.connect(settings, autocommit=True))
        client = None
        if settings.redis_url is not None:
            try:
                client = stack.enter_context(hot.connect(settings))
            except (WellosError, redis.RedisError) as error:
                click.echo(f"the hot tier is not counted: {error}", err=True)
        with needs_registry():
            return take_stock(conn, settings, client)


def _document(stock: Stock, ahead: Forecast, settings: Settings) -> dict[str, object]:
    return {
        "currency": settings.price_currency,
        "holdings": [{name: _plain(value) for name, value in asdict(holding).items()} for holding in stock.holdings],
        "remarks": list(stock.remarks),
        "growth": asdict(ahead.growth),
        "assumed": list(ahead.assumed),
        "year_cost": ahead.year_cost,
        "months": [
            {"month": one.month, "day": one.day.isoformat(), "bytes": dict(one.bytes), "cost": dict(one.cost)}
            | {"total": one.total, "unarchived": one.cost_unarchived}
            for one in ahead.months
        ],
    }


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, date) else value


def _text(stock: Stock, ahead: Forecast, settings: Settings) -> str:
    unit = settings.price_currency
    rows: list[Sequence[str]] = [
        (
            item.tier,
            item.tenant,
            f"{item.rows:,}" if item.tier != "aggregates" else "",
            f"{item.bytes / (1 << 20):,.2f}",
            f"{item.bytes / item.rows:,.2f}" if item.rows else "",
            f"{item.ratio:,.1f}" if item.ratio is not None else "",
            _moment(item.oldest),
            _moment(item.newest),
            f"{item.monthly_cost:,.4f} {unit}",
        )
        for item in stock.holdings
    ]
    lines = _table([_HEAD, *rows])
    now, then = ahead.months[0], ahead.months[-1]
    lines.append(f"a month costs {now.total:,.4f} {unit} now; {now.cost_unarchived:,.4f} with nothing archived")
    lines.append(
        f"readings a day: {ahead.growth.rows_per_day:,.0f} (mean of {ahead.growth.days} days); in a year a month costs "
        f"{then.total:,.4f} {unit} ({then.cost_unarchived:,.4f} with nothing archived), the year {ahead.year_cost:,.4f}"
    )
    if ahead.assumed:
        lines.append(f"nothing yet in {', '.join(ahead.assumed)}: bytes a reading there are assumed in the forecast")
    return "\n".join([*lines, *stock.remarks])


def _moment(value: datetime | None) -> str:
    return f"{value:%Y-%m-%d %H:%M}" if value is not None else ""


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    return [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)  # noqa: PLR2004 - names to the left, numbers right
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
