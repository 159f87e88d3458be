"""Where the contract of the lake's commit runs: a folder, and Delta tables.

These lie in the S3 server that PARKPAL_TEST_S3 names, `s3://BUCKET?endpoint=URL`, else in a folder behind the same two
libraries.
"""

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import duckdb
from obstore.store import LocalStore

from pipeline.lake.delta import DeltaCommitter
from pipeline.lake.folder import COMMITS
from pipeline.lake.lake import LOCKS, Format, Lake
from pipeline.lake.place import Place

SERVER = os.environ.get("PARKPAL_TEST_S3")


def folder_lake(home: Path) -> Lake:
    """Make a lake that is a folder."""
    return Lake.create(str(home / "lake"))


def delta_lake(home: Path) -> Lake:
    """Make a lake of Delta tables."""
    if SERVER:
        server = urlsplit(SERVER)
        url = f"s3://{server.netloc}/{uuid4().hex}?{server.query}&home={home / 'home'}"
        (home / "url").write_text(url)
        return Lake.create(url, Format())
    for name in (COMMITS, LOCKS):
        (home / "home" / name).mkdir(parents=True)
    (home / "objects").mkdir()
    lake = _stand_in(home)
    DeltaCommitter(lake.place).create()
    return lake


def open_lake(home: Path) -> Lake:
    """Open the lake that was made in `home`, as another process would."""
    if (home / "url").exists():
        return Lake.open((home / "url").read_text())
    return _stand_in(home) if (home / "objects").exists() else Lake.open(str(home / "lake"))


def _stand_in(home: Path) -> Lake:
    place = Place((home / "objects").as_uri(), LocalStore(str(home / "objects")), {})
    return Lake(home / "home", Format(), place)


def seen(lake: Lake, table: str, columns: str = "device_id, seq") -> list[tuple[object, ...]]:
    """Return columns of every row that a reader sees, sorted."""
    if lake.place is None:
        return duckdb.execute(f"SELECT {columns} FROM '{lake.root}/{table}/**/*.parquet' ORDER BY ALL").fetchall()
    with duckdb.connect() as connection:
        connection.register("rows_seen", DeltaCommitter(lake.place).table(table).to_pyarrow_dataset())
        return connection.execute(f"SELECT {columns} FROM rows_seen ORDER BY ALL").fetchall()


LAKES: dict[str, Callable[[Path], Lake]] = {"folder": folder_lake, "delta": delta_lake}
