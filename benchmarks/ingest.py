"""Events per second through `POST /v1/events`, from gzip over HTTP to durable in the log.

    python -m benchmarks.ingest [--seconds 10] [--senders 16]

One server process with the default settings, and the senders in another, over loopback; 30 events a batch, gzip, as
phones send. Beside it, in this process, what decoding the same bodies with msgspec alone costs, and their judgement.
CPU is the server's own, from its process times, so the senders' share of the machine does not count.
"""

import argparse
import asyncio
import gzip
import json
import math
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import msgspec
import psutil

from api.ingest.body import inflate
from api.ingest.events import Batch
from api.ingest.intake import judge_batch
from api.ingest.pseudonyms import Pseudonyms
from api.ingest.remembered import Remembered

EVENTS = 30
PHONES = 64


def build_body(draw: random.Random, first_seq: int) -> bytes:
    """Build a phone's batch: a fix every 5 s, with what Android reports beside it."""
    now = time.time_ns() // 1_000_000
    events: list[dict[str, Any]] = [
        {
            "event_time": now - 5000 * (EVENTS - n),
            "seq": first_seq + n,
            "lat": round(14.55 + draw.gauss(0, 0.01), 6),
            "lon": round(121.03 + draw.gauss(0, 0.01), 6),
            "accuracy_m": round(draw.uniform(3, 30), 1),
            "speed_mps": round(draw.uniform(0, 15), 2),
            "heading_deg": round(draw.uniform(0, 359), 1),
            "activity": "IN_VEHICLE",
            "activity_confidence": draw.randrange(50, 100),
        }
        for n in range(EVENTS)
    ]
    return gzip.compress(json.dumps({"sent_at": now, "events": events}).encode(), 6)


def time_parts(seconds: float) -> tuple[float, float]:
    """Return CPU us/event of msgspec's decode alone and of inflating and judging."""
    draw = random.Random(1)  # noqa: S311  # a seeded benchmark
    bodies = [build_body(draw, n * EVENTS) for n in range(200)]
    plain = [gzip.decompress(body) for body in bodies]
    decoder = msgspec.json.Decoder(Batch)
    pseudonyms, remembered = Pseudonyms(lambda _: bytes(32)), Remembered(1000)
    now = time.time_ns() // 1_000_000

    def judge(body: bytes) -> None:
        judge_batch(inflate(body, "gzip"), "0" * 32, now, pseudonyms, remembered)

    judge(bodies[0])
    return _time(decoder.decode, plain, seconds), _time(judge, bodies, seconds)


def _time(work: Any, bodies: list[bytes], seconds: float) -> float:  # noqa: ANN401  # any callable
    began, rounds = time.process_time(), 0
    while time.process_time() - began < seconds:
        for body in bodies:
            work(body)
        rounds += 1
    return (time.process_time() - began) / (rounds * len(bodies) * EVENTS) * 1e6


async def send(url: str, seconds: float, senders: int) -> tuple[int, list[float]]:
    """Push batches as fast as they are answered; return events accepted and latencies in s."""
    latencies: list[float] = []
    accepted = 0
    limits = httpx.Limits(max_connections=senders)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=30) as client:
        tokens = [
            (await client.post("/v1/devices", json={"consent": {"location_analytics": True}})).json()["token"]
            for _ in range(PHONES)
        ]
        end = time.monotonic() + seconds

        async def sender(number: int) -> None:
            nonlocal accepted
            draw = random.Random(number)  # noqa: S311  # a seeded benchmark
            bodies = [build_body(draw, n * EVENTS) for n in range(50)]
            turn = 0
            while time.monotonic() < end:
                token = tokens[(number + turn * senders) % PHONES]
                headers = {
                    "Authorization": f"Bearer {token}",
                    "Content-Type": "application/json",
                    "Content-Encoding": "gzip",
                }
                began = time.monotonic()
                answer = await client.post("/v1/events", headers=headers, content=bodies[turn % len(bodies)])
                latencies.append(time.monotonic() - began)
                answer.raise_for_status()
                accepted += answer.json()["accepted"] + answer.json()["duplicates"]
                turn += 1

        await asyncio.gather(*(sender(number) for number in range(senders)))
    return accepted, latencies


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--senders", type=int, default=16)
    options = parser.parse_args()
    decode_us, judge_us = time_parts(min(2.0, options.seconds))
    with TemporaryDirectory(prefix="parkpal-bench-") as folder:
        Path(folder).chmod(0o755)
        environ = {"PARKPAL_DATA_DIR": folder, "PARKPAL_REGISTRATIONS_PER_MINUTE": "100000"}
        program = "import sys; from parkpal.cli import main; sys.exit(main())"
        with subprocess.Popen(
            [sys.executable, "-c", program, "api", "--port", "0"],
            env=os.environ | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as server:
            assert server.stdout is not None
            url = next(found[0] for line in server.stdout if (found := re.search(r"http://\S+", line)))
            while True:
                try:
                    httpx.get(f"{url}/health/ready").raise_for_status()
                    break
                except httpx.HTTPError:
                    time.sleep(0.2)
            process = psutil.Process(server.pid)
            before, began = process.cpu_times(), time.monotonic()
            accepted, latencies = asyncio.run(send(url, options.seconds, options.senders))
            after, took = process.cpu_times(), time.monotonic() - began
            server.terminate()
    cpu = after.user + after.system - before.user - before.system
    latencies.sort()
    p50, p99 = latencies[len(latencies) // 2], latencies[math.ceil(len(latencies) * 0.99) - 1]
    print(f"events accepted             {accepted:>10,}  in {took:.1f} s, {options.senders} senders, {EVENTS} a batch")
    print(f"through HTTP                {accepted / took:>10,.0f}  events/s")
    print(
        f"server CPU                  {cpu / accepted * 1e6:>10.1f}  us/event = {accepted / cpu:,.0f} events/s a core"
    )
    print(f"inflate and judge           {judge_us:>10.2f}  us/event")
    print(f"msgspec decode alone        {decode_us:>10.2f}  us/event")
    print(f"all of it / decode alone    {cpu / accepted * 1e6 / decode_us:>10.0f}  x")
    print(f"answer p50 / p99            {p50 * 1e3:>10.0f}  / {p99 * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
