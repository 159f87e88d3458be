"""What befalls a running system beside death: its disks are full, its recovery store is broken, or comes from a backup.

Each is enacted while phones push and the dataflow is down, which is then started and must say what the operator is to
do; that is done, and it goes on. What each returns is the outcome for the table. Whether the record still holds is
counted at the round's end, with everything else.
"""

import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from pipeline.lake.adoption import RECOVERY
from tests.crash.phones import Phone

PROGRAM: Final = (sys.executable, "-m", "parkpal")
PATIENCE_S: Final = 90.0
DISK_BYTES: Final = 512 * 2**20
BALLAST: Final = "ballast"


@dataclass(frozen=True)
class Scene:
    """Where it happens: the command of the dataflow, and the folders, each on a disk of its own if `disks`."""

    run: Sequence[str]
    environ: Mapping[str, str]
    lake: Path
    log: Path | None
    backups: Path
    crowd: Sequence[Phone]
    dice: random.Random
    disks: bool

    def refuses(self, *expected: str) -> None:
        """See the dataflow end with status 1, the words expected in its reason and no traceback."""
        done = subprocess.run(
            [*PROGRAM, *self.run],
            env=dict(self.environ),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 1, f"status {done.returncode}: {done.stderr[-2000:]}"
        assert all(words in done.stderr for words in expected), done.stderr[-2000:]
        assert "Traceback" not in done.stderr, done.stderr[-4000:]

    def adopt(self) -> None:
        """Take the lake over without its recovery store."""
        command = [*PROGRAM, "lake", "adopt", "--lake", str(self.lake)]
        done = subprocess.run(command, env=dict(self.environ), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    @property
    def stores(self) -> list[Path]:
        """The files of the recovery store."""
        return sorted((self.lake / RECOVERY).glob("part-*.sqlite3"))


def cut_short(scene: Scene) -> str:
    """Cut a file of the recovery store."""
    store = scene.dice.choice(scene.stores)
    os.truncate(store, scene.dice.randrange(1, store.stat().st_size))
    scene.refuses("parkpal lake adopt")
    scene.adopt()
    return "run exits 1 and names the file; adopted, it goes on"


def garbled(scene: Scene) -> str:
    """Overwrite the recovery store from some place on with noise."""
    store = scene.dice.choice(scene.stores)
    start = scene.dice.randrange(store.stat().st_size // 2)
    with store.open("r+b") as file:
        file.seek(start)
        file.write(scene.dice.randbytes(store.stat().st_size - start))
    for log in store.parent.glob(f"{store.name}-*"):  # else what stands there heals the file
        log.unlink()
    scene.refuses("parkpal lake adopt")
    scene.adopt()
    return "run exits 1 and names the file; adopted, it goes on"


def lost(scene: Scene) -> str:
    """Delete the recovery store."""
    shutil.rmtree(scene.lake / RECOVERY)
    scene.refuses("that one is lost or older", "parkpal lake adopt")
    scene.adopt()
    return "run exits 1: lost or older; adopted, it goes on"


def older_store(scene: Scene) -> str:
    """Put an older recovery store beside the lake as it is."""
    if not _went_on(scene):
        return ""
    shutil.rmtree(scene.lake / RECOVERY)
    shutil.copytree(scene.backups / RECOVERY, scene.lake / RECOVERY)
    scene.refuses("that one is lost or older", "parkpal lake adopt")
    scene.adopt()
    return "run exits 1: lost or older; adopted, it goes on"


def older_both(scene: Scene) -> str:
    """Put lake and recovery store back to one earlier moment."""
    if not _went_on(scene):
        return ""
    for each in scene.lake.iterdir():
        shutil.rmtree(each) if each.is_dir() else each.unlink()
    shutil.copytree(scene.backups, scene.lake, dirs_exist_ok=True)
    return "run reads the log again from there"


def lake_full(scene: Scene) -> str:
    """Fill the lake's disk."""
    with full(scene.lake.parent):
        scene.refuses("takes no writes", "No space left on device")
    return "run exits 1: takes no writes; with room again it goes on"


def log_full(scene: Scene) -> str:
    """Fill the disk of the embedded log until phones are turned away."""
    assert scene.log is not None
    before = _turned_away(scene)
    with full(scene.log):
        deadline = time.monotonic() + PATIENCE_S
        while _turned_away(scene) == before:
            assert time.monotonic() < deadline, "no phone was turned away"
            time.sleep(0.1)
    return "phones are answered 503, Retry-After; with room again 202"


CALAMITIES: Final[dict[str, Callable[[Scene], str]]] = {
    "recovery store cut short": cut_short,
    "recovery store garbled": garbled,
    "recovery store lost": lost,
    "recovery store of a backup": older_store,
    "lake and recovery store of a backup": older_both,
    "lake's disk full": lake_full,
    "log's disk full": log_full,
}


class Calamities:
    """Lets so many happen, each time the one that happened least; `before` are those of earlier rounds."""

    def __init__(self, scene: Scene, most: int, before: Counter[str]) -> None:
        self._scene, self._most, self._before = scene, most, before
        self.happened = Counter[str]()

    def befall(self) -> None:
        """Let one happen, unless its time has not come."""
        if self.happened.total() >= self._most or not self._scene.stores:
            return
        counts = Counter(told.partition(": ")[0] for told in (self._before + self.happened).elements())
        name = min(self._possible(), key=lambda name: (counts[name], self._scene.dice.random()))
        try:
            if outcome := CALAMITIES[name](self._scene):
                self.happened[f"{name}: {outcome}"] += 1
        except BaseException as error:
            error.add_note(name)
            raise
        self._back_up(name)

    def _back_up(self, last: str) -> None:
        """Keep lake and recovery store as they are now, unless that is what waits to be put back."""
        backups = self._scene.backups
        if not backups.exists() or CALAMITIES[last] not in (older_store, older_both):
            shutil.rmtree(backups, ignore_errors=True)
            if self._scene.stores:
                shutil.copytree(self._scene.lake, backups)

    def _possible(self) -> list[str]:
        on_disks = {"lake's disk full": self._scene.disks, "log's disk full": self._scene.disks and self._scene.log}
        return [name for name in CALAMITIES if on_disks.get(name, True)]


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Mount a small disk in memory at a new folder; yield whether this process may."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "parkpal-crash", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)  # noqa: S607


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Leave no byte on the disk of a folder meanwhile."""
    ballast, size = folder / BALLAST, 2**20
    with ballast.open("wb", buffering=0) as file:
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
    try:
        yield
    finally:
        ballast.unlink()


def clear(arena: Path) -> None:
    """Leave nothing of a round that was ended in its midst, and make its folder anew."""
    for disk in filter(os.path.ismount, arena.glob("*")):
        subprocess.run(["umount", str(disk)], check=True)  # noqa: S607
    shutil.rmtree(arena, ignore_errors=True)
    arena.mkdir()


def _went_on(scene: Scene) -> bool:
    """Tell whether each sink partition has commits that the backup does not know."""
    records = [path for path in (scene.lake / "_commits").glob("k*") if path.is_file()]
    kept = scene.backups / "_commits"
    return scene.backups.exists() and all(
        (kept / path.name).exists() and (kept / path.name).stat().st_size < path.stat().st_size for path in records
    )


def _turned_away(scene: Scene) -> int:
    return sum(
        times
        for phone in scene.crowd
        for (status, retry_after), times in list(phone.turned_away.items())
        if status == httpx.codes.SERVICE_UNAVAILABLE and retry_after
    )
