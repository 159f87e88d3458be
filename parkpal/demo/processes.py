"""The demo's child processes: started with the real commands, watched, and ended in order whatever happens.

A lock on the folder's process list is inherited by every child, so it is held as long as one of them lives: what a
killed demo left behind is found, ended, and only then replaced.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

STOP_S: Final = 30.0
TAIL_LINES: Final = 15
LAUNCH: Final = "import sys; from parkpal.cli import main; sys.exit(main())"


class DiedError(Exception):
    """A child process ended by itself; the message names it and shows the end of its log."""


class BusyError(Exception):
    """Another demo runs in this folder."""


class Processes:
    """Children by name, in the order of their start; as a context it ends them, the last first."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        """Keep logs and the process list in `folder`; children get `environ`. BusyError if a demo runs there."""
        self._folder = folder
        self._environ = dict(environ)
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._list = _lock(folder / "processes")
        self._note()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        self._list.close()

    def run(self, name: str, *arguments: str) -> None:
        """Run one command to its end; DiedError unless it succeeds."""
        self.start(name, *arguments)
        if self._children[name].wait() != 0:
            raise DiedError(self._obituary(name))
        del self._children[name]

    def start(self, name: str, *arguments: str) -> None:
        """Start `parkpal ARGUMENTS`, its output in NAME.log."""
        with self.log(name).open("ab") as log:
            self._children[name] = subprocess.Popen(  # noqa: S603  our own command line, no shell
                [sys.executable, "-c", LAUNCH, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environ,
                start_new_session=True,  # Ctrl-C is for the demo, which ends its children in order
                pass_fds=[self._list.fileno()],
            )
        self._note()

    def check(self) -> None:
        """DiedError if a child has ended."""
        for name, child in self._children.items():
            if child.poll() is not None:
                raise DiedError(self._obituary(name))

    def stop(self) -> None:
        """End all children, the last started first: SIGTERM, and SIGKILL for who does not listen."""
        for name, child in reversed(self._children.items()):
            child.terminate()
            try:
                child.wait(STOP_S)
            except subprocess.TimeoutExpired:
                sys.stderr.write(f"{name} did not end within {STOP_S:.0f} s and was killed\n")
                child.kill()
                child.wait()
        self._children.clear()

    def log(self, name: str) -> Path:
        """Return where a child's output goes."""
        return self._folder / f"{name}.log"

    def _note(self) -> None:
        pids = [os.getpid(), *(child.pid for child in self._children.values())]
        self._list.seek(0)
        self._list.truncate()
        self._list.write(" ".join(map(str, pids)))
        self._list.flush()

    def _obituary(self, name: str) -> str:
        lines = self.log(name).read_text("utf-8", "replace").splitlines()[-TAIL_LINES:]
        return "\n".join([f"{name} ended with status {self._children[name].returncode}. The end of its log:", *lines])


def _lock(path: Path) -> IO[str]:
    """Lock the process list; end what is left of a demo that was killed. BusyError if the demo itself lives."""
    file = path.open("a+")
    try:
        _end_leftovers(file, path.parent)
    except BaseException:
        file.close()
        raise
    return file


def _end_leftovers(file: IO[str], folder: Path) -> None:
    file.seek(0)
    pids = [int(word) for word in file.read().split()]
    deadline = time.monotonic() + STOP_S
    while not _locked(file):
        if not pids or _alive(pids[0]):
            raise BusyError(f"a demo (processes {pids}) already runs in {folder}")
        for pid in pids[1:]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        if time.monotonic() > deadline:
            raise BusyError(f"processes {pids[1:]} of an earlier demo in {folder} do not end")
        time.sleep(0.2)


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
