"""What an event costs from the log to committed Parquet, beside the same work without engine and the plain twin.

    python -m benchmarks.flow [--events 400000] [EVENTS FENCES]

All three run in this process, in turn, over the same events, `--rounds` times, each time into a new lake that stands
already; the figure is the least CPU time of all threads. The flow and the bare loop read our messages (30 rows each)
from the embedded log; the plain twin takes one JSON text an event; all write the same tables and columns. Without
EVENTS and FENCES it takes those of $PARKPAL_DATA/sim, or simulates a city.
"""

import argparse
import os
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from parkpal.kernels import cache_by_source

cache_by_source(os.environ)

import polars as pl  # noqa: E402 - Numba reads where its cache lies when it is imported

from benchmarks import plain_twin  # noqa: E402
from geo.fences import versions_from_geojson  # noqa: E402
from parkpal.simulate.simulation import simulate  # noqa: E402
from pipeline.connectors import LakeSink, LogSource, sink_key  # noqa: E402
from pipeline.events_file import read_events  # noqa: E402
from pipeline.fences import FileFences  # noqa: E402
from pipeline.lake.lake import Lake  # noqa: E402
from pipeline.layout import Layout  # noqa: E402
from pipeline.log.open import open_log, open_or_create_log  # noqa: E402
from pipeline.operators import Split, is_for_sink  # noqa: E402
from pipeline.replay import Sizes, append, arrange  # noqa: E402
from pipeline.run import Run, run  # noqa: E402
from pipeline.shard import Shard  # noqa: E402

ROWS_PER_MESSAGE = 30


class Scene:
    """The events as a file, as a log and as lines, and a folder of its own for each thing written."""

    def __init__(self, folder: Path, events: Path, fences: Path, count: int) -> None:
        self.folder, self.fences, self.lakes = folder, fences, 0
        cut = pl.read_parquet(events).sort("receive_time", "seq", maintain_order=True).head(count)
        self.events = len(cut)
        cut.write_parquet(folder / "events.parquet")
        self.lines = plain_twin.read_lines(folder / "events.parquet")
        self.log_url = f"sqlite://{folder}/log.sqlite"
        recording = arrange(read_events(folder / "events.parquet"), time.time_ns() // 1_000_000)
        log = open_or_create_log(self.log_url)
        append(log, recording, Sizes(ROWS_PER_MESSAGE, ROWS_PER_MESSAGE), speed=None, told=lambda _: None)
        log.close()

    def cost_us(self, work: Callable[[Path], None]) -> float:
        """Return CPU microseconds an event, of all threads, of work that fills a new lake."""
        self.lakes += 1
        lake = self.folder / f"lake-{self.lakes}"
        Lake.create(str(lake))
        start = time.process_time()
        work(lake)
        return (time.process_time() - start) / self.events * 1e6

    def flow(self, lake: Path) -> None:
        """Run the dataflow as `parkpal run --until-end` does."""
        run(Run(self.log_url, str(lake), self.fences, until_end=True))

    def bare(self, lake: Path) -> None:
        """Do the same work in a loop: the same chunks, shards and sink partitions, no engine and no recovery store."""
        log, fences = open_log(self.log_url), FileFences(self.fences)
        opened = Lake.open(str(lake))
        layout = Layout.of(log, opened.format.sink_partitions)
        ends = {part: log.bounds(*part)[1] for part in layout.parts}
        source = LogSource(log, threading.Event(), layout.parts, ends, closes=True)
        sink = LakeSink(opened, layout.taken)
        sinks = {key: sink.build_part("lake", key, None) for key in sink.list_parts()}
        split, shards = Split(layout), defaultdict[str, Shard](lambda: Shard(fences))
        for part in layout.parts:
            reader = source.build_part("log", str(part), None)
            try:
                while True:
                    for keyed in (keyed for chunk in reader.next_batch() for keyed in split(chunk)):
                        if is_for_sink(keyed):
                            sinks[keyed[0]].write_batch([keyed[1]])
                        else:
                            sinks[sink_key(layout.sink(part))].write_batch(shards[keyed[0]].advance(keyed[1]))
            except StopIteration:
                pass
        for _ in range(2):  # a snapshot stages, the next one publishes
            for one in sinks.values():
                one.snapshot()
        for one in sinks.values():
            one.close()
        log.close()

    def plain(self, lake: Path) -> None:
        """Run the plain twin."""
        plain_twin.run(self.lines, versions_from_geojson(self.fences.read_bytes()), lake)


def find_events(folder: Path) -> tuple[Path, Path]:
    """Return events and fences: the labelled data's, or a simulated city's."""
    data = os.environ.get("PARKPAL_DATA")
    if data:
        return Path(data) / "sim" / "events.parquet", Path(data) / "sim" / "fences.geojson"
    simulate(1, 1_000, 1.0, 1_772_600_000_000).write(folder)
    return folder / "events.parquet", folder / "fences.geojson"


def main() -> None:
    """Print microseconds an event, events a second and core, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = arguments.files or find_events(Path(folder))
        scene = Scene(Path(folder), *files, arguments.events)
        scene.cost_us(scene.flow)  # loads the kernels
        works = {"flow": scene.flow, "the same without engine": scene.bare, "plain twin": scene.plain}
        rounds = [{name: scene.cost_us(work) for name, work in works.items()} for _ in range(arguments.rounds)]
    print(f"{scene.events} events, {ROWS_PER_MESSAGE} a message, least of {arguments.rounds} rounds")
    least = {name: min(costs[name] for costs in rounds) for name in works}
    for name, cost in least.items():
        print(f"{name:24s} {cost:8.2f} CPU us/event {1e6 / cost:12,.0f} events/s and core")
    print(f"plain twin / flow        {least['plain twin'] / least['flow']:8.1f} x")
    print(f"flow / without engine    {least['flow'] / least['the same without engine']:8.2f} x")


if __name__ == "__main__":
    main()
