"""A stand-in for the engine in one killable process: two sink partitions, epochs, and a durable store of states.

It keeps the engine's promise and no more: a snapshot of an epoch begins only when the one before is durable. What is
durable of the newest is left open, and the crash test draws it.
"""

import json
import random
from pathlib import Path

from pipeline import fault
from pipeline.lake.writer import PartitionWriter, publish_pending
from tests.lake.build import write_messages
from tests.lake.stores import open_lake

PARTS = 2
MESSAGES = 80
"""Messages of each of the two log partitions."""


def resume(store: Path, choice: random.Random) -> int | None:
    """Draw which epoch's states survived the last crash, the newest or, if it may be, the one before; forget later."""
    epochs = sorted(int(path.name) for path in store.glob("[0-9]*"))
    if not epochs:
        return None
    sure = int((store / "sure").read_text()) if (store / "sure").exists() else 0
    newest = epochs[-1]
    if newest > sure and choice.random() < 0.5:
        (store / str(newest)).unlink()
        newest -= 1
    return newest or None


def write(home: Path, store: Path, epoch: int | None, seed: int, spec: str) -> None:
    """Write the rest of the log in epochs of random length and end cleanly, unless a fault or a signal kills it."""
    fault.arm(spec)
    choice = random.Random(seed)
    lake = open_lake(home)
    at: list[int] = [0] * PARTS
    states: list[str | None] = [None] * PARTS
    if epoch:
        at, states = json.loads((store / str(epoch)).read_text())
    epoch = epoch or 0
    writers = [
        PartitionWriter.open(lake, part, None if state is None else state.encode()) for part, state in enumerate(states)
    ]
    while min(at) < MESSAGES:
        for part, writer in enumerate(writers):
            following = min(MESSAGES, at[part] + choice.randrange(7))
            write_messages(writer, part, at[part], following)
            at[part] = following
        if epoch:
            _write(store / "sure", str(epoch))
        states = [writer.snapshot().decode() for writer in writers]
        epoch += 1
        _write(store / str(epoch), json.dumps([at, states]))
    _write(store / "sure", str(epoch))
    for writer in writers:
        writer.close()
    publish_pending(lake)


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}")
    draft.write_text(text)
    draft.replace(path)
