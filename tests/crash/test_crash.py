"""Short runs of the crash harnesses; by hand `tests.crash.fixed_log` and `tests.crash.live` run as long as asked."""

import os
from pathlib import Path

from tests.crash import fixed_log, live


def _seed() -> int:
    """Return the seed asked for, else a new one; a failure prints it."""
    return int(os.environ.get("PARKPAL_TEST_SEED") or int.from_bytes(os.urandom(3), "big"))


def test_tables_after_kills_over_a_fixed_log_are_those_of_a_calm_run(tmp_path: Path) -> None:
    assert fixed_log.attack(tmp_path, _seed(), kills=8, devices=30).total() >= 8


def test_what_was_answered_is_in_the_lake_once_whatever_is_killed(tmp_path: Path) -> None:
    assert live.attack(tmp_path, _seed(), kills=5, phones=6).total() >= 5
