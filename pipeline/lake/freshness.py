"""How far the lake's data goes, and how far its roll-ups know it: newest receive times, in ms UTC."""

from typing import Final

import msgspec

from pipeline.lake.folder import COMMITS, sync_directory, write_synced, writing
from pipeline.lake.lake import Lake

RECORD: Final = "rollups.json"


class RolledUp(msgspec.Struct, frozen=True):
    """What the last whole pass over the roll-ups knew: the newest receive_time in the lake before it began."""

    through: int


def newest_receive_time(lake: Lake) -> int | None:
    """Return the newest receive_time of all published commits, None without one; it reads a few small tails."""
    committer = lake.committer()
    newest = [committer.published(part) for part in range(lake.format.sink_partitions)]
    return max((commit.receive_time for commit in newest if commit and commit.receive_time is not None), default=None)


def rolled_up(lake: Lake) -> int | None:
    """Return how far the roll-ups know the lake, None before the first whole pass."""
    try:
        data = (lake.root / COMMITS / RECORD).read_bytes()
    except FileNotFoundError:
        return None
    return msgspec.json.decode(data, type=RolledUp).through


def write_rolled_up(lake: Lake, through: int) -> None:
    """Note how far the roll-ups know the lake, after a whole pass."""
    path = lake.root / COMMITS / RECORD
    with writing(lake.root):
        draft = path.with_suffix(".making")
        write_synced(draft, msgspec.json.encode(RolledUp(through)))
        draft.replace(path)
        sync_directory(path.parent)
