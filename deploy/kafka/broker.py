"""One Apache Kafka broker, controller in the same process, run from its published jars: Java 17, no Docker.

    python -m deploy.kafka.broker start    downloads what is missing, starts, prints the log's URL
    python -m deploy.kafka.broker stop

Rule: whatever is in the folder stays; a second start finds the topics of the first. For one machine only: nothing is
copied to a second broker, and anybody on this machine may connect.
"""

import argparse
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

VERSION: Final = "4.3.1"
JARS: Final = Path("~/.cache/parkpal/kafka").expanduser() / VERSION
FOLDER: Final = Path("data/kafka")
PORT: Final = 9092

_START_S: Final = 60
_STOP_S: Final = 30
_HEAP: Final = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC")
_PROPERTIES: Final = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
"""
"""One broker, so one copy of everything. A killed broker may start again once its session is over."""


class BrokerError(Exception):
    """The broker cannot be had; the message says what is missing or what it printed last."""


def can_run() -> bool:
    """Tell whether this machine has Java, and the jars or Maven to get them."""
    return shutil.which("java") is not None and (JARS.exists() or shutil.which("mvn") is not None)


def fetch_jars(folder: Path = JARS) -> Path:
    """Return the folder of the jars, downloaded with Maven if it is not there yet."""
    if folder.exists():
        return folder
    if shutil.which("mvn") is None:
        raise BrokerError(f"Maven (mvn) is needed to download Kafka {VERSION} once into {folder}")
    print(f"downloading Apache Kafka {VERSION} (54 MB) into {folder}", file=sys.stderr)
    making = folder.with_name(f"{folder.name}.making-{os.getpid()}")
    pom = Path(__file__).with_name("pom.xml")
    command = ["mvn", "-B", "-q", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={making}"]
    done = subprocess.run([*command, "-DincludeScope=runtime"], capture_output=True, text=True, check=False)  # noqa: S603  our own command
    if done.returncode:
        raise BrokerError(f"Maven could not download Kafka {VERSION}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    making.rename(folder)
    return folder


class Broker:
    """A broker whose data, settings, process id and output lie in `folder`."""

    def __init__(self, folder: Path, port: int = PORT, jars: Path = JARS) -> None:
        self.folder, self.port, self._jars = folder.absolute(), port, jars
        self._process: subprocess.Popen[bytes] | None = None  # where it is our own child

    @property
    def bootstrap(self) -> str:
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
        return pid if b"kafka.Kafka" in told else None  # the number may have gone to another process

    def start(self) -> None:
        """Start the broker and wait until it answers; nothing happens if it runs already."""
        if self.pid is not None:
            return
        if _answers(self.port):
            raise BrokerError(f"port {self.port} is taken by another program")
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = self._configure()
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  our own command
                self._java("kafka.Kafka", str(settings), heap=_HEAP),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                start_new_session=True,
            )
        (self.folder / "pid").write_text(str(self._process.pid))
        self._wait(self._process)

    def stop(self) -> None:
        """End the broker in order and wait until it is gone."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the broker at once, as a crash would."""
        self._end(signal.SIGKILL)

    def _configure(self) -> Path:
        """Write the settings; give an empty folder its cluster id."""
        settings = self.folder / "server.properties"
        settings.write_text(
            _PROPERTIES.format(port=self.port, controller_port=_free_port(), folder=self.folder), encoding="utf-8"
        )
        if not (self.folder / "data" / "meta.properties").exists():
            cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            command = self._java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(settings))
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own command
            if done.returncode:
                raise BrokerError(f"Kafka could not format {self.folder}:\n{done.stdout}{done.stderr}")
        return settings

    def _java(self, *arguments: str, heap: tuple[str, ...] = ()) -> list[str]:
        jars = fetch_jars(self._jars)
        told = "-Dorg.apache.logging.log4j.level=WARN"
        return ["java", *heap, told, "-cp", f"{jars}/*", *arguments]

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and process.poll() is None:
            if _answers(self.port):
                return
            time.sleep(0.05)
        process.kill()
        process.wait()
        said = (self.folder / "output").read_text(errors="replace")[-2000:]
        raise BrokerError(f"Kafka did not start within {_START_S} s; {self.folder / 'output'} ends with:\n{said}")

    def _end(self, number: int) -> None:
        pid = self.pid
        if pid is None:
            return
        os.kill(pid, number)
        deadline = time.monotonic() + _STOP_S
        while _exists(pid) if self._process is None else self._process.poll() is None:
            if time.monotonic() > deadline:
                raise BrokerError(f"Kafka, process {pid}, did not end within {_STOP_S} s")
            time.sleep(0.05)
        (self.folder / "pid").unlink(missing_ok=True)


@contextmanager
def temporary_broker() -> Iterator[Broker]:
    """Run an empty broker on a free port, gone afterwards with all it held."""
    with tempfile.TemporaryDirectory(prefix="kafka-") as folder:
        broker = Broker(Path(folder), _free_port())
        broker.start()
        try:
            yield broker
        finally:
            broker.kill()


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


def _free_port() -> int:
    """Return a free port below those that connections get, so that a killed broker finds its own free again."""
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port
    raise BrokerError("no free port from 20000 to 30000")


def main() -> None:
    """Start or stop the broker of a folder."""
    parser = argparse.ArgumentParser(description="One Kafka broker on this machine.")
    parser.add_argument("action", choices=["start", "stop"])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="default: %(default)s")
    parser.add_argument("--port", type=int, default=PORT, help="0: a free one; default: %(default)s")
    parser.add_argument("--jars", type=Path, default=JARS, help="default: %(default)s")
    options = parser.parse_args()
    broker = Broker(options.folder, options.port or _free_port(), options.jars)
    try:
        if options.action == "stop":
            broker.stop()
        else:
            broker.start()
            print(f"kafka://{broker.bootstrap}")
    except BrokerError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
