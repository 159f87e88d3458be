"""A lake whose recovery store is lost is gone on with: its tables become those of a run that never lost it."""

import os
import shutil
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from parkpal.commands.lake import lake as command
from pipeline.lake.adoption import adopt, read_adoption
from pipeline.lake.audit import audit
from pipeline.lake.commit import LakeLockedError, LakeRefusedError
from pipeline.lake.lake import Lake
from pipeline.lake.tables import TABLES
from pipeline.log.open import open_log
from pipeline.run import Run, run
from tests.flow.traffic import Upload, fill, messages, write_fences
from tests.rebuild.days import digests, uploads

SEED = 11
PARTITIONS = 4
FROM_LOG = tuple(name for name in TABLES if not name.startswith(("cell_metrics", "zone_metrics")))


@pytest.fixture(scope="module")
def sent() -> list[Upload]:
    return uploads(SEED, devices=12)


@pytest.fixture(scope="module")
def undisturbed(sent: list[Upload], tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    log_and_fences(folder, sent)
    go_on(folder, until_end=True)
    return digests(Lake.open(str(folder / "lake")), FROM_LOG)


def log_and_fences(folder: Path, sent: list[Upload]) -> None:
    """Append to the folder's log, made with its fences where it is not there."""
    write_fences(folder / "fences.geojson")
    fill(f"sqlite://{folder}/log.sqlite", messages(sent, PARTITIONS, SEED), PARTITIONS)


def go_on(folder: Path, *, until_end: bool = False) -> None:
    """Run to the log's end in many epochs."""
    run(
        Run(
            f"sqlite://{folder}/log.sqlite",
            str(folder / "lake"),
            folder / "fences.geojson",
            epoch=timedelta(milliseconds=50),
            read_bytes=40_000,
            drain=not until_end,
            until_end=until_end,
        )
    )


def lose_and_adopt(folder: Path) -> str:
    shutil.rmtree(folder / "lake" / "_recovery")
    ended = CliRunner().invoke(command, ["adopt", "--lake", str(folder / "lake")])
    assert ended.exit_code == 0, ended.output
    return ended.output


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_lake_that_lost_its_store_between_two_runs_ends_as_if_it_had_not(
    sent: list[Upload], undisturbed: dict[str, tuple[int, str]], tmp_path: Path, share: float
) -> None:
    cut = int(len(sent) * share)
    log_and_fences(tmp_path, sent[:cut])
    go_on(tmp_path)
    shutil.move(tmp_path / "lake" / "_recovery", tmp_path / "kept")
    with pytest.raises(LakeRefusedError, match="parkpal lake adopt"):
        go_on(tmp_path)
    told = lose_and_adopt(tmp_path)
    assert "of 4 sink partitions" in told
    log_and_fences(tmp_path, sent[cut:])
    go_on(tmp_path, until_end=True)
    lake = Lake.open(str(tmp_path / "lake"))
    assert digests(lake, FROM_LOG) == undisturbed
    assert audit(lake).problems == []


@pytest.mark.parametrize("point", ["lake.staged:5", "lake.renamed:9"])
def test_a_flow_killed_anywhere_that_also_lost_its_store_ends_the_same(
    sent: list[Upload], undisturbed: dict[str, tuple[int, str]], tmp_path: Path, point: str
) -> None:
    log_and_fences(tmp_path, sent)
    program = [sys.executable, "-m", "parkpal", "run", "--log", f"sqlite://{tmp_path}/log.sqlite"]
    options = ["--lake", tmp_path / "lake", "--fences", tmp_path / "fences.geojson", "--epoch", "0.02", "--drain"]
    for _ in range(2):  # once more while the log is read again
        killed = subprocess.run([*program, *options, "--fault", point], check=False, capture_output=True)
        assert killed.returncode in (-signal.SIGKILL, 0), killed.stderr
        lose_and_adopt(tmp_path)
    go_on(tmp_path, until_end=True)
    lake = Lake.open(str(tmp_path / "lake"))
    assert digests(lake, FROM_LOG) == undisturbed
    assert audit(lake).problems == []


def test_only_the_log_s_last_26_hours_are_read_again(sent: list[Upload], tmp_path: Path) -> None:
    third = len(sent) // 3
    for occasion in (sent[:third], sent[third : 2 * third], sent[2 * third :]):
        log_and_fences(tmp_path, occasion)
        go_on(tmp_path)  # so that no commit holds rows of two of them
    lake = Lake.open(str(tmp_path / "lake"))
    adoption = adopt(lake)
    assert adoption == read_adoption(lake)
    read_again = {s.partition: (s.first, s.next) for s in adoption.sources if s.stream == "positions"}
    log = open_log(f"sqlite://{tmp_path}/log.sqlite")
    assert {partition: end for partition, (_, end) in read_again.items()} == {
        partition: log.bounds("positions", partition)[1] for partition in range(PARTITIONS)
    }
    assert all(first > 0 for first, _ in read_again.values()), "the first occasion lies 43 hours back"
    assert not (lake.root / "_recovery").exists()


def test_a_lake_that_is_being_run_is_not_adopted(tmp_path: Path) -> None:
    lake = Lake.create(str(tmp_path / "lake"))
    lock = lake.lock_run()
    with pytest.raises(LakeLockedError):
        adopt(lake)
    os.close(lock)
    assert adopt(lake).sources == ()
