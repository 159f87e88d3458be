"""What --until-end noted in a lake: where the log ended, and whether all that was open is closed."""

from pathlib import Path

import msgspec

from pipeline.lake.folder import COMMITS, sync_directory, write_synced
from pipeline.lake.lake import Lake


class Ending(msgspec.Struct, frozen=True):
    """The end of the log by the name of each of its partitions; `complete` once everything is closed."""

    complete: bool
    ends: dict[str, int]


def read_ending(lake: Lake, share: str = "") -> Ending | None:
    """Return what an --until-end noted, None if there was none."""
    try:
        return msgspec.json.decode(_marker(lake, share).read_bytes(), type=Ending)
    except FileNotFoundError:
        return None


def ended_parts(lake: Lake) -> set[str]:
    """Return the names of the log's partitions of which everything is closed, whichever share of them was run."""
    markers = (lake.root / COMMITS).glob("ended*.json")
    endings = [msgspec.json.decode(marker.read_bytes(), type=Ending) for marker in markers]
    return {name for ending in endings if ending.complete for name in ending.ends}


def write_ending(lake: Lake, ending: Ending, share: str = "") -> None:
    """Note it durably."""
    marker = _marker(lake, share)
    making = marker.with_suffix(".making")
    write_synced(making, msgspec.json.encode(ending))
    making.replace(marker)
    sync_directory(marker.parent)


def _marker(lake: Lake, share: str) -> Path:
    return lake.root / COMMITS / f"ended{share}.json"
