"""The dataflow makes the same tables of a log on Kafka as of the embedded one."""

from datetime import timedelta
from pathlib import Path

from pipeline.lake.digest import digest
from pipeline.lake.lake import Lake
from pipeline.lake.tables import TABLES
from pipeline.run import Run, run
from tests.flow.traffic import fill, messages, traffic, write_fences

SEED = 11


def test_both_logs_give_the_same_tables(kafka_url: str, tmp_path: Path) -> None:
    new = messages(traffic(SEED, devices=8), 4, SEED)
    fences = write_fences(tmp_path / "fences.geojson")
    found = []
    for name, url in (("embedded", f"sqlite://{tmp_path}/log.sqlite"), ("kafka", kafka_url)):
        fill(url, new, 4)
        lake = str(tmp_path / name)
        run(Run(url, lake, fences, until_end=True, epoch=timedelta(milliseconds=100), read_bytes=6_000))
        found.append({table: digest(Lake.open(lake), table) for table in TABLES})
    assert found[0]["positions"][0] > 1_000
    assert found[0] == found[1]
