"""`parkpal lake compact` and `retain`: few files in place of many, and no day past its retention."""

import os
import signal
import sys
import time
from typing import Final

import click

from parkpal.commands.lake_options import LAKE, bar, opened, tell_waiting
from parkpal.settings import Settings
from pipeline.lake.compaction import compact
from pipeline.lake.exchange import sweep
from pipeline.lake.jobs import Job
from pipeline.lake.lake import Lake
from pipeline.lake.retention import parse_retention, retain

PAUSE_S: Final = 30.0
"""Between two looks of `--watch`."""


@click.command("compact")
@LAKE
@click.option("--watch", is_flag=True, help="Go on: merge what becomes due, drop expired days, until stopped.")
def compact_command(lake_url: str | None, watch: bool) -> None:
    """Merge the files of each day into few, sorted by place and time; exit 1 if a day could not be.

    Without --watch everything is merged that can be. Readers and `parkpal run` go on meanwhile.
    """
    with opened(lake_url) as lake:
        if watch:
            _watch(lake)
        job = compact(lake, files=1, track=bar("compacting"))
        _tell(job, "merged")
        tell_waiting(sweep(lake))
    sys.exit(bool(job.refused))


@click.command("retain")
@LAKE
@click.option("--keep", help="TABLE=DAYS,... in place of PARKPAL_RETENTION; other tables are kept for good.")
def retain_command(lake_url: str | None, keep: str | None) -> None:
    """Drop the days that are past their table's retention, by the newest receive_time in the lake."""
    with opened(lake_url) as lake:
        job = retain(lake, parse_retention(keep or Settings.read(os.environ).retention), bar("dropping"))
        _tell(job, "dropped")
        tell_waiting(sweep(lake))


def _watch(lake: Lake) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    keep = parse_retention(Settings.read(os.environ).retention)
    while True:
        _tell(compact(lake), "merged")
        _tell(retain(lake, keep), "dropped")
        sweep(lake)
        time.sleep(PAUSE_S)


def _tell(job: Job, did: str) -> None:
    for reason in job.refused:
        click.echo(f"parkpal lake: {reason}", err=True)
    if job.changed:
        click.echo(f"{job.changed} days {did}, {job.rows} rows, {(job.ended - job.started) / 1000:.1f} s")
