"""Short runs of the crash harnesses; by hand each module of `tests.crash` runs as long as asked."""

import os
from pathlib import Path

import pytest

from tests.crash import fixed_log, lake_jobs, lake_reads, live

FORKS = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def _seed() -> int:
    """Return the seed asked for, else a new one; a failure prints it."""
    return int(os.environ.get("PARKPAL_TEST_SEED") or int.from_bytes(os.urandom(3), "big"))


def test_tables_after_kills_over_a_fixed_log_are_those_of_a_calm_run(tmp_path: Path) -> None:
    assert fixed_log.attack(tmp_path, _seed(), kills=8, devices=30).total() >= 8


def test_what_was_answered_is_in_the_lake_once_whatever_is_killed(tmp_path: Path) -> None:
    fought = live.attack(tmp_path, live.Attack(_seed(), phones=6, apis=2), kills=5)
    assert sum(fought.killed.values()) >= 5


@FORKS
def test_every_read_of_the_bare_glob_is_right_while_days_are_replaced(tmp_path: Path) -> None:
    counts = lake_reads.watch(tmp_path, 60, _seed())
    assert counts["reads"] >= 60
    assert counts["wrong"] == counts["backward"] == 0


@FORKS
def test_lake_and_reads_are_right_whatever_is_killed_of_writers_and_upkeep(tmp_path: Path) -> None:
    seed = _seed()
    total = lake_jobs.attack(12, seed, tmp_path)
    assert lake_jobs.killed(total) >= 12
    assert lake_jobs.wrong(total) == 0, f"seed {seed}: {total}"
