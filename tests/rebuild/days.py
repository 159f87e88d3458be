"""Several days of phones whose drives cross midnight UTC: what the flow makes of them, and what is made anew."""

from pathlib import Path

from pipeline.lake.digest import digest
from pipeline.lake.lake import Lake
from pipeline.run import Run, run
from tests.flow.traffic import Upload, fill, messages, traffic, write_fences

HOUR = 3_600_000
SHIFTS = (19 * HOUR, 43 * HOUR, 62 * HOUR)
"""From the traffic's start, 04:53 UTC: half an hour about midnight, the same a day later, and 19 hours after that."""


def uploads(seed: int, devices: int = 30) -> list[Upload]:
    """Return what the same phones send on three occasions, numbered on and on."""
    once = traffic(seed, devices)
    counts: dict[bytes, int] = {}
    for upload in once:
        counts[upload.device_id] = max(counts.get(upload.device_id, 0), int(upload.rows["seq"].max()) + 1)
    out = []
    for occasion, shift in enumerate(SHIFTS):
        for upload in once:
            rows = upload.rows.copy()
            rows["event_time"] += shift
            rows["receive_time"] += shift
            rows["seq"][rows["seq"] >= 0] += occasion * counts[upload.device_id]
            out.append(Upload(upload.receive_time + shift, upload.device_id, rows))
    return sorted(out, key=lambda upload: (upload.receive_time, upload.device_id))


def make_lake(folder: Path, seed: int = 5, devices: int = 30, **options: bool) -> tuple[Lake, Path]:
    """Let the flow write a lake; return it and its fences."""
    log, fences = f"sqlite://{folder}/log.sqlite", write_fences(folder / "fences.geojson")
    fill(log, messages(uploads(seed, devices), 4, seed), 4)
    run(Run(log, str(folder / "lake"), fences, **options))
    return Lake.open(str(folder / "lake")), fences


def digests(lake: Lake, tables: tuple[str, ...]) -> dict[str, tuple[int, str]]:
    """Return the digest of each table."""
    return {table: digest(lake, table) for table in tables}
