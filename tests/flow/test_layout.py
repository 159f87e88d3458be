"""Several hosts share a lake, processes come and go, a lake moves to a log with more partitions: no row changes."""

from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from parkpal.cli import main
from pipeline.lake.digest import digest
from pipeline.lake.lake import Lake
from pipeline.lake.tables import TABLES
from pipeline.layout import Layout, Share
from pipeline.log import POSITIONS, REJECTED
from pipeline.log.open import open_log
from pipeline.run import Run, RunRefusedError, run
from tests.flow.traffic import fill, messages, traffic, write_fences

UPLOADS = traffic(9, devices=20)
HALF = len(UPLOADS) // 2
Digests = dict[str, tuple[int, str]]


@pytest.fixture(scope="module")
def fences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fences(tmp_path_factory.mktemp("fences") / "fences.geojson")


@pytest.fixture(scope="module")
def undisturbed(fences: Path, tmp_path_factory: pytest.TempPathFactory) -> Digests:
    folder = tmp_path_factory.mktemp("undisturbed")
    fill(url(folder), messages(UPLOADS, 8, seed=1), 8)
    flow(folder, fences, until_end=True)
    return digests(folder)


def url(folder: Path, name: str = "log") -> str:
    return f"sqlite://{folder}/{name}.sqlite"


def flow(folder: Path, fences: Path, log: str = "log", **options: object) -> None:
    run(Run(url(folder, log), str(folder / "lake"), fences, epoch=timedelta(milliseconds=50), **options))  # type: ignore[arg-type]


def digests(folder: Path) -> Digests:
    return {table: digest(Lake.open(str(folder / "lake")), table) for table in TABLES}


def parkpal(*arguments: object) -> str:
    done = CliRunner().invoke(main, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_share_is_made_of_whole_sink_partitions(tmp_path: Path) -> None:
    log = open_log(url(tmp_path))
    log.create({POSITIONS: 8, REJECTED: 1})
    whole, low, high = (Layout.of(log, 4, share) for share in (None, Share(0, 3), Share(4, 7)))
    assert [str(part) for part in low.parts] == [*(f"positions-0{p}" for p in range(4)), "rejected-00"]
    assert sorted([*low.parts, *high.parts]) == sorted(whole.parts)
    assert (list(low.taken), list(high.taken), list(whole.taken)) == ([0, 1], [2, 3], [0, 1, 2, 3])
    for wrong in (Share(0, 2), Share(1, 4), Share(4, 8)):
        with pytest.raises(ValueError, match="a host runs a multiple of 2"):
            Layout.of(log, 4, wrong)
    for text in ("3", "4-1", "a-b"):
        with pytest.raises(ValueError, match="want A-B"):
            Share.parse(text)


def test_two_hosts_make_the_tables_of_one_and_neither_runs_the_others_part(
    fences: Path, undisturbed: Digests, tmp_path: Path
) -> None:
    low, high = Share(0, 3), Share(4, 7)
    fill(url(tmp_path), messages(UPLOADS[:HALF], 8, seed=1), 8)
    flow(tmp_path, fences, share=low, drain=True)
    for other in (None, Share(2, 5)):
        with pytest.raises(RunRefusedError, match="is run as partitions 0-3"):
            flow(tmp_path, fences, share=other, drain=True)
    fill(url(tmp_path), messages(UPLOADS[HALF:], 8, seed=1), 8)
    flow(tmp_path, fences, share=high, until_end=True)
    flow(tmp_path, fences, share=low, until_end=True, workers=2)
    assert digests(tmp_path) == undisturbed
    parkpal("lake", "audit", "--lake", tmp_path / "lake", "--log", url(tmp_path))


def test_a_lake_moves_to_a_log_with_more_partitions_and_no_row_changes(
    fences: Path, undisturbed: Digests, tmp_path: Path
) -> None:
    move = ("log", "move", "--from", url(tmp_path), "--to", url(tmp_path, "new"), "--lake", tmp_path / "lake")
    fill(url(tmp_path), messages(UPLOADS[: HALF // 2], 4, seed=1), 4)
    flow(tmp_path, fences, drain=True)
    fill(url(tmp_path), messages(UPLOADS[HALF // 2 : HALF], 4, seed=1), 4)
    fill(url(tmp_path, "new"), messages(UPLOADS[HALF:], 8, seed=1), 8)
    refused = CliRunner().invoke(main, [*map(str, move)])
    assert (refused.exit_code, "not in the lake yet" in refused.output) == (1, True)
    flow(tmp_path, fences, drain=True)
    with pytest.raises(RunRefusedError, match="has 8 partitions of positions, this lake was read from one with 4"):
        flow(tmp_path, fences, log="new", drain=True)
    assert "goes on with 8 partitions" in parkpal(*move)
    with pytest.raises(RunRefusedError, match="has 4 partitions of positions, this lake was read from one with 8"):
        flow(tmp_path, fences, drain=True)
    flow(tmp_path, fences, log="new", drain=True)
    flow(tmp_path, fences, log="new", until_end=True, workers=2)
    assert digests(tmp_path) == undisturbed
    parkpal("lake", "audit", "--lake", tmp_path / "lake", "--log", url(tmp_path, "new"))
    info = parkpal("log", "info", "--log", url(tmp_path, "new"), "--lake", tmp_path / "lake").splitlines()
    assert all(line.split()[-2] == "0" for line in info[1:]), "nothing is behind"


def test_processes_may_come_and_go_between_drains(fences: Path, undisturbed: Digests, tmp_path: Path) -> None:
    third = len(UPLOADS) // 3
    for turn, workers in enumerate((1, 2, 1)):
        part = UPLOADS[turn * third : (turn + 1) * third if turn < 2 else None]
        fill(url(tmp_path), messages(part, 8, seed=turn), 8)
        flow(tmp_path, fences, drain=True, workers=workers)
    flow(tmp_path, fences, until_end=True)
    assert digests(tmp_path) == undisturbed
