"""The real server over real sockets: several workers, hostile bodies, and an end that answers what is under way."""

import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from pipeline.batch import decode
from pipeline.log import POSITIONS
from pipeline.log.open import open_or_create_log

pytestmark = pytest.mark.postgres


@contextmanager
def server(
    folder: Path, database_url: str, *arguments: str, **environ: str
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run `parkpal api` on a free port; give its base URL when it is ready."""
    variables = {"PARKPAL_DATA_DIR": str(folder), "PARKPAL_DATABASE_URL": database_url} | environ
    program = "import sys; from parkpal.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "api", "--port", "0", *arguments],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield _base_url(process), process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def _base_url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    found = None
    while found is None and (line := process.stdout.readline()):
        found = re.search(r"http://\S+", line)
    assert found, process.communicate()
    for _ in range(300):
        try:
            if httpx.get(f"{found[0]}/health/ready").status_code == 200:
                return found[0]
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("the server did not become ready")


def register(url: str) -> dict[str, str]:
    answer = httpx.post(f"{url}/v1/devices", json={"consent": {"location_analytics": True}})
    return {"Authorization": f"Bearer {answer.json()['token']}", "Content-Type": "application/json"}


def batch(seq: int) -> dict[str, Any]:
    now = time.time_ns() // 1_000_000
    return {"sent_at": now, "events": [{"event_time": now, "seq": seq, "lat": 14.5, "lon": 121.0}]}


def rows(folder: Path) -> int:
    log = open_or_create_log(f"sqlite:///{folder}/log.sqlite")
    messages = [m for p in range(log.partitions(POSITIONS)) for m in log.read(POSITIONS, p, 0, 1 << 30)]
    log.close()
    return len(decode(messages).rows)


def test_hostile_bodies_are_answered_and_sigterm_answers_what_is_under_way(tmp_path: Path, database_url: str) -> None:
    """10 MB, a bomb and a body that is cut change nothing; half a batch at SIGTERM is read, written and answered."""
    with server(tmp_path, database_url) as (url, process):
        phone = register(url)
        answer = httpx.post(f"{url}/v1/events", headers=phone, content=b"x" * (10 << 20))
        assert answer.status_code == 413
        bomb = gzip.compress(bytes(50 << 20))
        answer = httpx.post(f"{url}/v1/events", headers=phone | {"Content-Encoding": "gzip"}, content=bomb)
        assert (answer.status_code, answer.json()["type"]) == (413, "urn:parkpal:problem:body-too-large")
        with connect(url) as cut:
            cut.sendall(head(phone, 100) + b"{")
        body = json.dumps(batch(0)).encode()
        with connect(url) as slow:
            slow.sendall(head(phone, len(body)) + body[:50])
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            slow.sendall(body[50:])
            assert slow.recv(65_536).startswith(b"HTTP/1.1 202")
        assert process.wait(timeout=30) == 0
    assert rows(tmp_path) == 1


def connect(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)))


def head(headers: dict[str, str], length: int) -> bytes:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(["POST /v1/events HTTP/1.1", "Host: x", *lines, f"Content-Length: {length}", "\r\n"]).encode()


def test_several_workers_share_the_limit_the_log_and_the_metrics(tmp_path: Path, database_url: str) -> None:
    with (
        server(tmp_path, database_url, "--workers", "2", PARKPAL_REGISTRATIONS_PER_MINUTE="2") as (url, _),
        ThreadPoolExecutor(4) as pool,
    ):
        answers = list(pool.map(lambda _: httpx.post(f"{url}/v1/devices", json={"consent": {}}).status_code, range(20)))
        assert sorted(answers) == [201] * 2 + [429] * 18
        with psycopg.connect(database_url) as connection:
            connection.execute("TRUNCATE rate_limits")
        phone = register(url)
        sent = pool.map(lambda n: httpx.post(f"{url}/v1/events", headers=phone, json=batch(n)).status_code, range(40))
        assert list(sent) == [202] * 40
        assert "parkpal_events_accepted_total 40.0" in httpx.get(f"{url}/metrics").text
    assert rows(tmp_path) == 40


def test_production_refuses_to_start_without_its_keys_and_its_schema(tmp_path: Path, database_url: str) -> None:
    """A missing key is not replaced by a new one, nor a schema moved, where people's data may hang on them."""
    program = "import sys; from parkpal.cli import main; sys.exit(main())"
    variables = {"PARKPAL_DATA_DIR": str(tmp_path), "PARKPAL_DATABASE_URL": database_url, "PARKPAL_ENV": "production"}
    ended = subprocess.run(
        [sys.executable, "-c", program, "api"], env=os.environ | variables, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "device-token.key is missing; make it once" in ended.stderr
