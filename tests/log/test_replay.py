"""Recorded events come into the log in one order, whatever the file's kind and however the messages are cut."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result

from parkpal.commands.log import log as log_command
from parkpal.commands.replay import replay
from pipeline.batch import Decoded, decode, decode_refused
from pipeline.events_file import read_events
from pipeline.lake import Lake
from pipeline.lake.commit import Extent
from pipeline.lake.writer import PartitionWriter, publish_pending
from pipeline.log.open import open_log
from pipeline.partition import hash_ids
from pipeline.replay import arrange

NOW = 1_772_881_200_000
N = 400
EVENT = {"device_id": "anna", "event_time": NOW, "receive_time": NOW + 1, "seq": 1, "lat": 1.5, "lon": 2.5}


def build_frame() -> pl.DataFrame:
    """Build events of 20 phones in no order at all, with ties of receive_time, nulls and a seq twice."""
    rng = np.random.default_rng(5)
    fix = rng.random(N) < 0.8
    return pl.DataFrame(
        {
            "device_id": [f"phone{i}" for i in rng.integers(0, 20, N)],
            "event_time": NOW - rng.integers(0, 60_000, N),
            "receive_time": NOW + rng.integers(0, 30, N) * 1_000,
            "seq": rng.integers(0, 50, N).astype(np.int32),
            "lat": np.where(fix, rng.uniform(14.5, 14.6, N), np.nan),
            "lon": np.where(fix, rng.uniform(121.0, 121.1, N), np.nan),
            "accuracy_m": rng.uniform(3, 30, N).astype(np.float32),
            "activity": np.where(fix, "", "IN_VEHICLE"),
            "mood": rng.integers(0, 3, N),
        }
    ).with_columns(pl.col("lat", "lon").fill_nan(None), pl.col("activity").replace("", None))


def write(frame: pl.DataFrame, path: Path) -> Path:
    {".parquet": frame.write_parquet, ".csv": frame.write_csv, ".ndjson": frame.write_ndjson}[path.suffix](path)
    return path


def run(command: Any, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def replayed(events: Path, url: str, *options: object) -> list[Decoded]:
    """Replay a file; return the rows of each partition."""
    result = run(replay, events, "--log", url, *options)
    assert result.exit_code == 0, result.output
    log = open_log(url)
    partitions = [decode(log.read("positions", p, 0, 1 << 30)) for p in range(8)]
    log.close()
    return partitions


def texts(partition: Decoded) -> list[tuple[Any, ...]]:
    """Name each row by what the file calls it."""
    rows = partition.rows[["receive_time", "seq", "event_time", "lat", "lon", "accuracy_m", "activity"]].tolist()
    return [(partition.device_ids[i], *row) for i, row in zip(partition.device, rows, strict=True)]


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".ndjson"])
def test_each_kind_of_file_gives_the_same_rows_in_the_total_order(ending: str, tmp_path: Path) -> None:
    frame = build_frame()
    partitions = replayed(write(frame, tmp_path / f"events{ending}"), f"sqlite:///{tmp_path}/log.sqlite")
    ordered = frame.with_row_index().sort("receive_time", "seq", "index")
    ids = [name.encode() for name in ordered["device_id"]]
    expected: list[list[tuple[Any, ...]]] = [[] for _ in partitions]
    for device_id, h, row in zip(ids, hash_ids(ids).tolist(), ordered.iter_rows(named=True), strict=True):
        lat, lon = (-(2**31) if row[x] is None else round(row[x] * 1e6) for x in ("lat", "lon"))
        code = 0 if row["activity"] else -1
        times = (row["receive_time"], row["seq"], row["event_time"])
        expected[h % 8].append((device_id, *times, lat, lon, row["accuracy_m"], code))
    assert [texts(partition) for partition in partitions] == expected
    assert not any(partition.malformed for partition in partitions)


def test_how_messages_are_cut_changes_no_row(tmp_path: Path) -> None:
    events = write(build_frame(), tmp_path / "events.parquet")
    cuts: Sequence[Sequence[object]] = ([], ["--batch-rows", 7], ["--batch-rows", "1-9", "--seed", 3], ["--speed", 1e6])
    logs = [replayed(events, f"sqlite:///{tmp_path}/{i}.sqlite", *options) for i, options in enumerate(cuts)]
    assert all([texts(p) for p in log] == [texts(p) for p in logs[0]] for log in logs)
    assert max(int(p.row.max()) for p in logs[1]) == 6
    assert len({tuple(np.concatenate([p.row for p in log])) for log in logs[:3]}) == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2026-03-07T11:00:00Z", NOW), ("2026-03-07T19:00:00.5+08:00", NOW + 500), (f" {NOW} ", NOW)],
)
def test_csv_times_are_rfc_3339_or_milliseconds(text: str, expected: int, tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text(f"device_id,event_time,receive_time,activity\nanna,{text},{NOW},still\n")
    assert read_events(tmp_path / "e.csv").rows["event_time"].tolist() == [expected]


def test_what_cannot_be_a_record_goes_to_the_rejected_stream_with_its_reason(tmp_path: Path) -> None:
    lines = [
        json.dumps(EVENT | change)
        for change in (
            {},
            {"lat": "north"},
            {"lat": 91},
            {"device_id": None},
            {"device_id": "x" * 65},
            {"receive_time": None},
        )
    ]
    (tmp_path / "e.ndjson").write_text("\n".join([*lines, "no json", ""]))
    url = f"sqlite:///{tmp_path}/log.sqlite"
    assert sum(len(partition.rows) for partition in replayed(tmp_path / "e.ndjson", url)) == 1
    log = open_log(url)
    rejected = decode_refused(log.read("rejected", 0, 0, 1 << 20))
    log.close()
    assert [(row.reason, row.device_id, row.payload.decode()) for row in rejected] == [
        ("malformed", None, lines[1]),
        ("out_of_range", "anna", lines[2]),
        ("missing", None, lines[3]),
        ("out_of_range", None, lines[4]),
        ("missing", "anna", lines[5]),
        ("malformed", None, "no json"),
    ]
    assert rejected[0].receive_time != NOW + 1  # nothing of a broken line is believed


def test_a_csv_value_of_the_wrong_type_is_told_by_its_column(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text(
        f"device_id,event_time,receive_time,seq,lat,lon\nanna,yesterday,{NOW},1.5,1,2\nanna,2026-03-07T11:00:00,{NOW},2,x,2\n"
    )
    recording = arrange(read_events(tmp_path / "e.csv"), NOW)
    assert [event.detail for event in recording.refused] == [
        "event_time is no RFC 3339 time or whole number of ms",
        "event_time is no RFC 3339 time or whole number of ms",
    ]
    assert json.loads(recording.refused[0].payload)["event_time"] == "yesterday"


@pytest.mark.parametrize(
    ("name", "content"),
    [("e.txt", b""), ("e.parquet", b"no parquet"), ("e.csv", b"a,b\n1,2\n"), ("e.csv", b"device_id\n\xff\n")],
)
def test_a_file_that_cannot_be_read_ends_with_status_1(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    result = run(replay, tmp_path / name, "--log", f"sqlite:///{tmp_path}/log.sqlite")
    assert (result.exit_code, str(tmp_path / name) in result.output) == (1, True)


@pytest.mark.parametrize("rows", ["0", "9-3", "many", "1-200000"])
def test_a_wrong_number_of_rows_is_wrong_usage(rows: str, tmp_path: Path) -> None:
    events = write(build_frame(), tmp_path / "events.csv")
    assert run(replay, events, "--batch-rows", rows).exit_code == 2


def test_log_create_and_info_show_the_lag_of_a_lake(tmp_path: Path) -> None:
    url, lake_url = f"sqlite:///{tmp_path}/log.sqlite", f"file://{tmp_path}/lake"
    assert run(log_command, "info", "--log", url).exit_code == 1
    assert "positions: 2 partitions" in run(log_command, "create", "--log", url, "--partitions", 2).output
    assert run(log_command, "create", "--log", url, "--partitions", 4).exit_code == 1
    assert run(log_command, "create", "--log", url, "--partitions", 3).exit_code == 2
    assert run(replay, write(build_frame(), tmp_path / "e.csv"), "--log", url, "--batch-rows", 10).exit_code == 0
    lake = Lake.create(lake_url)
    writer = PartitionWriter.open(lake, 0, None)
    writer.extend(Extent("positions", 0, 0, 3, 0))
    writer.snapshot()
    writer.close()
    publish_pending(lake)
    result = run(log_command, "info", "--log", url, "--lake", lake_url)
    assert result.exit_code == 0, result.output
    log = open_log(url)
    lag = sum(len(decode([m]).rows) for m in log.read("positions", 0, 3, 1 << 30))
    log.close()
    cells = result.output.splitlines()[1].split()
    assert cells[:3] == ["positions", "0", "0"]
    assert cells[6:8] == ["3", str(lag)]
