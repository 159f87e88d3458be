"""How far the lake is behind, as `parkpal log info` and the metric of a running flow tell it."""

import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from parkpal.flow_metrics import served
from pipeline.lag import lags
from pipeline.lake.lake import Lake
from pipeline.log import POSITIONS, REJECTED, NewMessage
from pipeline.log.open import open_log
from pipeline.run import Run, run
from tests.flow.traffic import fill, messages, traffic, write_fences

UPLOADS = traffic(3, devices=4, minutes=5)


def test_the_lag_is_told_in_rows_and_seconds_by_the_command_and_the_metric(tmp_path: Path) -> None:
    url, lake = f"sqlite://{tmp_path}/log.sqlite", str(tmp_path / "lake")
    fill(url, messages(UPLOADS, 2, seed=1), 2)
    run(Run(url, lake, write_fences(tmp_path / "fences.geojson"), drain=True))
    with closing(open_log(url)) as log:
        assert {(lag.rows, lag.seconds) for lag in lags(log, Lake.open(lake), exact=True)} == {(0, 0.0)}
        late = messages(UPLOADS, 2, seed=2)
        log.append(late)
        time.sleep(0.05)
        found = {lag.part: lag for lag in lags(log, Lake.open(lake), exact=True)}
        rows = sum(len(upload.rows) for upload in UPLOADS)
        assert sum(lag.rows for lag in found.values()) == rows
        assert all(0.05 <= found[POSITIONS, p].seconds < 60 for p in range(2))
        assert found[REJECTED, 0].seconds == 0.0
        about = sum(lag.rows for lag in lags(log, Lake.open(lake), exact=False))
        assert about == pytest.approx(rows, rel=0.5)


def test_a_flow_tells_its_lag_to_prometheus(tmp_path: Path) -> None:
    url, lake = f"sqlite://{tmp_path}/log.sqlite", str(tmp_path / "lake")
    Lake.create(lake)
    with closing(open_log(url)) as log:
        log.create({POSITIONS: 1, REJECTED: 1})
        log.append([NewMessage(POSITIONS, 0, b"not yet read")])
        with served(url, lake, 0) as port:
            for _ in range(100):
                text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
                if "parkpal_log_available 1.0" in text:
                    break
                time.sleep(0.05)
    assert 'parkpal_lag_rows{partition="0",stream="positions"} 1.0' in text
    assert 'parkpal_lag_seconds{partition="0",stream="rejected"} 0.0' in text
