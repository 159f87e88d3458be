"""`parkpal lake`: prove what the lake holds, and ask it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from parkpal.commands.lake_adopt import adopt_command
from parkpal.commands.lake_erase import erase_command
from parkpal.commands.lake_options import FENCES, LAKE, NETWORK, opened, read_fences
from parkpal.commands.lake_rebuild import rebuild_command
from parkpal.commands.lake_rollup import rollup_command
from parkpal.commands.lake_upkeep import compact_command, retain_command
from pipeline.batch import count_rows
from pipeline.lake.audit import LogPartition, Problem, Report, audit
from pipeline.lake.erasure import remains
from pipeline.lake.lake import Lake
from pipeline.lake.reader import connect
from pipeline.lake.source import Source, read_source
from pipeline.log import POSITIONS, REJECTED, EventLog
from pipeline.log.open import open_log
from pipeline.network import read_roads
from pipeline.proof import prove

_READ_BYTES = 8 * 2**20


@click.group()
def lake() -> None:
    """Look after the lake."""


lake.add_command(adopt_command)
lake.add_command(compact_command)
lake.add_command(erase_command)
lake.add_command(rebuild_command)
lake.add_command(retain_command)
lake.add_command(rollup_command)


@lake.command("audit")
@LAKE
@click.option(
    "--log", "log_url", help="Event log whose rows are counted and compared, sqlite:///PATH or kafka://HOST:PORT."
)
@click.option("--deep", is_flag=True, help="Also decide every row of the derived tables again, with the fences given.")
@FENCES
@NETWORK
def audit_command(
    lake_url: str | None, log_url: str | None, deep: bool, fences: Path | None, network: Path | None
) -> None:
    """Prove that every row of the log is in the lake exactly once; exit 1 if it does not hold."""
    with opened(lake_url) as found:
        log = open_log(log_url) if log_url else None
        report = audit(found, _partitions(log, read_source(found)) if log else None)
        if deep:
            proof = prove(found, read_fences(fences), read_roads(network))
            report.problems += [*proof.problems, *_of_erased(found)]
            report.notes += [*proof.notes, f"{proof.rows} rows of derived tables compared with what the facts give"]
    _print(report, compared=log is not None)
    sys.exit(bool(report.problems))


@lake.command()
@LAKE
@click.argument("query", required=False)
def sql(lake_url: str | None, query: str | None) -> None:
    """Run QUERY (or standard input) in DuckDB over the lake's views and print the result."""
    with opened(lake_url) as found, connect(found) as connection:
        answer = connection.sql(query or sys.stdin.read())
        if answer is not None:
            click.echo(str(answer).rstrip())


def _of_erased(found: Lake) -> Iterator[Problem]:
    for table, rows in sorted(remains(found).items()):
        yield Problem(
            f"{rows} rows of {table} are of erased devices", "parkpal lake erase, which takes out what is left"
        )


def _partitions(log: EventLog, source: Source | None) -> Iterator[LogPartition]:
    base = source.base if source else 0
    for stream in (POSITIONS, REJECTED):
        for partition in range(log.partitions(stream)):
            first, following = log.bounds(stream, partition)
            rows = _rows(log, stream, partition, first, base)
            yield LogPartition(stream, partition, first + base, following + base, rows)


def _rows(log: EventLog, stream: str, partition: int, offset: int, base: int) -> Iterator[tuple[int, int]]:
    while messages := log.read(stream, partition, offset, _READ_BYTES):
        for message in messages:
            yield message.offset + base, count_rows(message.content_type, message.payload)
        offset = messages[-1].offset + 1


def _print(report: Report, *, compared: bool) -> None:
    console = Console()
    columns = ("stream", "partition", "committed to", "rows", *(("compared", "backlog") if compared else ()))
    table = Table(*columns)
    for (stream, partition), count in sorted(report.sources.items()):
        counted = (str(count.compared_rows), str(count.backlog_rows)) if compared else ()
        table.add_row(stream, str(partition), str(count.next), str(count.rows), *counted)
    console.print(table)
    for note in report.notes:
        click.echo(f"note: {note}")
    for problem in report.problems:
        click.echo(f"PROBLEM: {problem.what}. To mend: {problem.mend}.")
    decoded = sum(count.rows for count in report.sources.values())
    held = ", ".join(f"{rows} in {name}" for name, rows in sorted(report.tables.items()))
    for (job, name), rows in sorted(report.dropped.items()):
        click.echo(f"{rows} rows of {name} are gone by {job}, as its records say")
    outcome = f"{len(report.problems)} problems" if report.problems else "exactly once holds"
    click.echo(f"{outcome}: {report.commits} commits, {decoded} rows decoded, {held or 'no rows'}")
