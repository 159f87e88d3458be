"""The demo from start to page: real commands as child processes, phones over HTTP, one log, one lake."""

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from parkpal.demo.bodies import PhoneLoad, read_loads
from parkpal.demo.city import ensure_city
from parkpal.demo.day import Step, spend_day
from parkpal.demo.journal import Journal
from parkpal.demo.page import Lake, print_day, print_page
from parkpal.demo.processes import Processes
from parkpal.demo.push import Phones
from parkpal.settings import PREFIX, Settings
from pipeline.batch import count_rows
from pipeline.log import POSITIONS, REJECTED, EventLog
from pipeline.log.open import open_log

EPOCH_S: Final = 2
READY_S: Final = 120.0
READ_BYTES: Final = 8 << 20
REGISTRATIONS_PER_MINUTE: Final = 1_000_000
"""All phones of the demo call from one address, which a stranger may not do."""


def run_demo(folder: Path, console: Console, *, stay: bool) -> None:
    """Run the demo in `folder`; with `stay` serve until KeyboardInterrupt. DiedError if a child ends by itself."""
    folder.mkdir(parents=True, exist_ok=True)
    environ = _environ(folder)
    settings = Settings.read(environ)
    with console.status("simulating a city hour"):
        ensure_city(folder / "city", time.time_ns() // 1_000_000)
        loads = read_loads(folder / "city")
    with Processes(folder, environ) as processes:
        base_url = f"http://{settings.host}:{settings.port}"
        with console.status("starting the database, the API and the flow"):
            processes.run("seed", "seed", "--fences", str(folder / "city" / "fences.geojson"))
            processes.run("log", "log", "create", "--log", settings.log_url)
            processes.start("payments", "payments-simulator", "--port", str(urlsplit(settings.paymongo_url).port))
            processes.start("api", "api")
            run = ("run", "--log", settings.log_url, "--lake", settings.lake_url, "--epoch", str(EPOCH_S))
            processes.start("run", *run)
            _await_ready(base_url, processes)
        lake = Lake(folder / "lake")
        with _progress(console) as progress:
            pushing = _push(base_url, loads, folder / "journal.ndjson", progress, processes)
            steps = asyncio.run(_meanwhile(pushing, _day(base_url, folder)))
            _await_lake(settings.log_url, lake, progress, processes)
        with console.status("rolling up"):
            processes.run("rollup", "lake", "rollup", "--lake", settings.lake_url)
        print_day(console, steps)
        with httpx.Client(base_url=base_url, timeout=30) as client:
            print_page(console, lake, client, settings.keys_dir / "first-api-key", folder)
        if stay:
            console.print("Serving. Ctrl-C ends it; a second run goes on from here.")
            while True:
                processes.check()
                time.sleep(0.5)


async def _meanwhile(pushing: Awaitable[None], day: Awaitable[list[Step]]) -> list[Step]:
    """Do both at once; return what happened on the day."""
    return (await asyncio.gather(pushing, day))[1]


async def _day(base_url: str, folder: Path) -> list[Step]:
    """Live the driver's day, once in the life of the folder."""
    kept = folder / "day.json"
    if kept.exists():
        return msgspec.json.decode(kept.read_bytes(), type=list[Step])
    async with httpx.AsyncClient(base_url=base_url, timeout=60) as client:
        steps = await spend_day(client, folder / "outbox")
    kept.write_bytes(msgspec.json.encode(steps))
    return steps


def _environ(folder: Path) -> dict[str, str]:
    """Return the children's environment: the demo's own settings and nobody else's, on a free port."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    wanted = Settings.read(os.environ)
    payments = f"http://127.0.0.1:{_free_port('127.0.0.1', urlsplit(wanted.paymongo_url).port or 0)}"
    return environ | {
        f"{PREFIX}DATA_DIR": str(folder),
        f"{PREFIX}PORT": str(_free_port(wanted.host, wanted.port)),
        f"{PREFIX}PAYMONGO_URL": f"{payments}/paymongo",
        f"{PREFIX}STRIPE_URL": f"{payments}/stripe",
        f"{PREFIX}REGISTRATIONS_PER_MINUTE": str(REGISTRATIONS_PER_MINUTE),
    }


def _free_port(host: str, wanted: int) -> int:
    for port in (wanted, 0):
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError(f"no free port on {host}")


def _await_ready(base_url: str, processes: Processes) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        processes.check()
        try:
            if httpx.get(f"{base_url}/health/ready", timeout=5).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise TimeoutError(f"{base_url}/health/ready did not say yes within {READY_S:.0f} s; see {processes.log('api')}")


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


async def _push(
    base_url: str, loads: list[PhoneLoad], journal_path: Path, progress: Progress, processes: Processes
) -> None:
    """Push what is missing, watching the children."""
    with closing(Journal(journal_path)) as journal:
        done, total = sum(journal.done.values()), sum(len(load.bodies) for load in loads)
        bar = progress.add_task(f"uploads of {len(loads)} phones", total=total, completed=done)
        async with httpx.AsyncClient(base_url=base_url, timeout=60) as client:
            phones = Phones(client, journal, lambda: progress.advance(bar))
            pushing = asyncio.create_task(phones.push(loads))
            try:
                while not pushing.done():
                    await asyncio.wait([pushing], timeout=0.5)
                    processes.check()
            finally:
                pushing.cancel()
                await asyncio.wait([pushing])
            await pushing
    if phones.tally:
        answers = ", ".join(f"{count:,} {what}" for what, count in phones.tally.most_common())
        progress.console.print(f"The server answered: {answers}")


def _await_lake(log_url: str, lake: Lake, progress: Progress, processes: Processes) -> None:
    """Wait until the lake shows every row of the log, counted apart from the flow."""
    with closing(open_log(log_url)) as log:
        total = sum(count_rows(content_type, payload) for content_type, payload in _messages(log))
    bar = progress.add_task("rows of the log in the lake", total=total)
    while (rows := lake.rows()) < total:
        progress.update(bar, completed=rows)
        processes.check()
        time.sleep(0.3)
    progress.update(bar, completed=rows)


def _messages(log: EventLog) -> Iterator[tuple[str, bytes]]:
    for stream in (POSITIONS, REJECTED):
        for partition in range(log.partitions(stream)):
            offset, end = log.bounds(stream, partition)
            while offset < end:
                for message in log.read(stream, partition, offset, READ_BYTES):
                    yield message.content_type, message.payload
                    offset = message.offset + 1
