"""One Apache Kafka broker, controller in the same process, run from its published jars: Java 17, no Docker.

    python -m deploy.kafka.broker start    downloads what is missing, starts, prints the log's URL
    python -m deploy.kafka.broker stop

Nothing is copied to a second broker.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from deploy.server import Server, ServerError, free_port

VERSION: Final = "4.3.1"
JARS: Final = Path("~/.cache/parkpal/kafka").expanduser() / VERSION
FOLDER: Final = Path("data/kafka")
PORT: Final = 9092

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


def can_run() -> bool:
    """Tell whether this machine has Java, and the jars or Maven to get them."""
    return shutil.which("java") is not None and (JARS.exists() or shutil.which("mvn") is not None)


def fetch_jars(folder: Path = JARS) -> Path:
    """Return the folder of the jars, downloaded with Maven if it is not there yet."""
    if folder.exists():
        return folder
    if shutil.which("mvn") is None:
        raise ServerError(f"Maven (mvn) is needed to download Kafka {VERSION} once into {folder}")
    print(f"downloading Apache Kafka {VERSION} (54 MB) into {folder}", file=sys.stderr)
    making = folder.with_name(f"{folder.name}.making-{os.getpid()}")
    pom = Path(__file__).with_name("pom.xml")
    command = ["mvn", "-B", "-q", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={making}"]
    done = subprocess.run([*command, "-DincludeScope=runtime"], capture_output=True, text=True, check=False)  # noqa: S603  our own command
    if done.returncode:
        raise ServerError(f"Maven could not download Kafka {VERSION}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    making.rename(folder)
    return folder


class Broker(Server):
    """A broker whose data, settings, process id and output lie in `folder`."""

    name = "Kafka"
    marker = b"kafka.Kafka"

    def __init__(self, folder: Path, port: int = PORT, jars: Path = JARS) -> None:
        super().__init__(folder, port)
        self._jars = jars

    @property
    def bootstrap(self) -> str:
        """Return host:port, as Kafka's clients are given it."""
        return self.address

    def prepare(self) -> Sequence[str]:
        """Write the settings; return the command."""
        return self._java("kafka.Kafka", str(self._configure()), heap=_HEAP)

    def _configure(self) -> Path:
        """Write the settings; give an empty folder its cluster id."""
        settings = self.folder / "server.properties"
        settings.write_text(
            _PROPERTIES.format(port=self.port, controller_port=free_port(), folder=self.folder), encoding="utf-8"
        )
        if not (self.folder / "data" / "meta.properties").exists():
            cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            command = self._java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(settings))
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own command
            if done.returncode:
                raise ServerError(f"Kafka could not format {self.folder}:\n{done.stdout}{done.stderr}")
        return settings

    def _java(self, *arguments: str, heap: tuple[str, ...] = ()) -> list[str]:
        jars = fetch_jars(self._jars)
        told = "-Dorg.apache.logging.log4j.level=WARN"
        return ["java", *heap, told, "-cp", f"{jars}/*", *arguments]


@contextmanager
def temporary_broker() -> Iterator[Broker]:
    """Run an empty broker on a free port, gone afterwards with all it held."""
    with tempfile.TemporaryDirectory(prefix="kafka-") as folder:
        broker = Broker(Path(folder), 0)
        broker.start()
        try:
            yield broker
        finally:
            broker.kill()


def main() -> None:
    """Start or stop the broker of a folder."""
    parser = argparse.ArgumentParser(description="One Kafka broker on this machine.")
    parser.add_argument("action", choices=["start", "stop"])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="default: %(default)s")
    parser.add_argument("--port", type=int, default=PORT, help="0: a free one; default: %(default)s")
    parser.add_argument("--jars", type=Path, default=JARS, help="default: %(default)s")
    options = parser.parse_args()
    broker = Broker(options.folder, options.port, options.jars)
    try:
        if options.action == "stop":
            broker.stop()
        else:
            broker.start()
            print(f"kafka://{broker.bootstrap}")
    except ServerError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
