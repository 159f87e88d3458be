"""`parkpal rejected`: what was rejected, taken again once the rule or the program is mended."""

import os
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from parkpal.commands.lake_options import LAKE, LOG, opened
from parkpal.settings import Settings
from pipeline.lake.tables import REASONS
from pipeline.log.open import open_log
from pipeline.mend import FINAL
from pipeline.retry import APPENDED, Asked
from pipeline.retry import retry as retry_rejects

MENDABLE: Final = tuple(reason for reason in REASONS if reason not in FINAL)
_TIMES: Final = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"])


def _reasons(_context: click.Context, _parameter: click.Parameter, reasons: tuple[str, ...]) -> tuple[str, ...]:
    for reason in reasons:
        if reason in FINAL:
            raise click.BadParameter(f"{reason} cannot be mended: {FINAL[reason]}")
        if reason not in MENDABLE:
            raise click.BadParameter(f"{reason!r} is none of {', '.join(MENDABLE)}")
    return reasons or MENDABLE


@click.group()
def rejected() -> None:
    """Take up again what was rejected."""


@rejected.command()
@LAKE
@LOG
@click.option(
    "--reason", "reasons", multiple=True, callback=_reasons, help=f"{', '.join(MENDABLE)}; may be repeated, else all."
)
@click.option("--since", type=_TIMES, help="Received from this time on, UTC.")
@click.option("--until", type=_TIMES, help="Received before this time, UTC.")
def retry(
    lake_url: str | None,
    log_url: str | None,
    reasons: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
) -> None:
    """Append rejects that keep the rules of this version to the log again, as new rows.

    Events that the lake or the log has already stay out, so a second call appends nothing. `parkpal run` goes on
    meanwhile.
    """
    asked = Asked(reasons, _instant(since, "-infinity"), _instant(until, "infinity"))
    url = log_url or Settings.read(os.environ).log_url
    with opened(lake_url, "rejected") as lake, closing(open_log(url)) as log:
        _print(retry_rejects(lake, log, asked))


def _instant(time: datetime | None, default: str) -> str:
    return default if time is None else time.replace(tzinfo=UTC).isoformat()


def _print(counts: Counter[tuple[str, str]]) -> None:
    table = Table("rejected as", "now", "rows")
    for (was, now), rows in sorted(counts.items()):
        table.add_row(was, now, str(rows))
    Console().print(table)
    appended = sum(rows for (_, now), rows in counts.items() if now == APPENDED)
    click.echo(f"{appended} rows appended, {counts.total() - appended} left")
