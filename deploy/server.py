"""A server process of this machine whose data, process id and output lie in one folder; what is there stays.

A second start finds what the first one left. For one machine only: anybody on it may connect.
"""

import os
import random
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Final

_START_S: Final = 180  # on a machine with nothing else to do it takes seconds
_STOP_S: Final = 30


class ServerError(Exception):
    """The server cannot be had; the message says what is missing or what it printed last."""


class Server(ABC):
    """A server at `port` of 127.0.0.1; it answers when something takes connections there."""

    name: ClassVar[str]
    marker: ClassVar[bytes]
    """Stands in the command line of such a process and of no other."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder.absolute(), port or free_port()
        self._process: subprocess.Popen[bytes] | None = None  # where it is our own child

    @abstractmethod
    def prepare(self) -> Sequence[str]:
        """Make what the server needs in its folder, which exists; return its command."""

    def environment(self) -> Mapping[str, str]:
        """Return what the server's environment holds beside ours."""
        return {}

    @property
    def address(self) -> str:
        """Return host:port."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Return the id of the running process, None if there is none."""
        if self._process is not None:
            return self._process.pid if self._process.poll() is None else None
        try:
            pid = int((self.folder / "pid").read_text())
        except (OSError, ValueError):
            return None
        command = ["ps", "-ww", "-o", "args=", "-p", str(pid)]
        told = subprocess.run(command, capture_output=True, check=False).stdout  # noqa: S603  a fixed command
        return pid if self.marker in told else None  # the number may have gone to another process

    def start(self) -> None:
        """Start the server and wait until it answers; nothing happens if it runs already."""
        if self.pid is not None:
            return
        if _answers(self.port):
            raise ServerError(f"port {self.port} is taken by another program")
        self.folder.mkdir(parents=True, exist_ok=True)
        command = self.prepare()
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  our own command
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                env={**os.environ, **self.environment()},
                start_new_session=True,
            )
        (self.folder / "pid").write_text(str(self._process.pid))
        self._wait(self._process)

    def stop(self) -> None:
        """End the server in order and wait until it is gone."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        self._end(signal.SIGKILL)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and process.poll() is None:
            if _answers(self.port):
                return
            time.sleep(0.05)
        process.kill()
        process.wait()
        output = self.folder / "output"
        said = output.read_text(errors="replace")[-2000:]
        raise ServerError(f"{self.name} did not start within {_START_S} s; {output} ends with:\n{said}")

    def _end(self, number: int) -> None:
        pid = self.pid
        if pid is None:
            return
        os.kill(pid, number)
        deadline = time.monotonic() + _STOP_S
        while _exists(pid) if self._process is None else self._process.poll() is None:
            if time.monotonic() > deadline:
                raise ServerError(f"{self.name}, process {pid}, did not end within {_STOP_S} s")
            time.sleep(0.05)
        (self.folder / "pid").unlink(missing_ok=True)


def free_port() -> int:
    """Return a free port below those that connections get, so that a killed server finds its own free again."""
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port
    raise ServerError("no free port from 20000 to 30000")


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
