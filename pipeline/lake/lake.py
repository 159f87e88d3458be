"""A lake is a folder: one directory a table, and beside them staging, commit records, locks and the catalog.

It is created once and then only opened; what is fixed for its life stands in `lake.json`. A lake in an object store is
a prefix of a bucket with a Delta table a table, and a local folder for locks and the recovery store.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

import msgspec

from pipeline.lake import catalog
from pipeline.lake.commit import VERSION, Committer, LakeLockedError, LakeRefusedError
from pipeline.lake.encoding import encode
from pipeline.lake.folder import COMMITS, LOCKS, STAGING, FolderCommitter, sync_directory, write_synced, writing
from pipeline.lake.tables import ROLLUPS, TABLES, Table

if TYPE_CHECKING:  # an extra, and slow to import: only who has such a lake needs it
    from pipeline.lake.place import Place

FORMAT: Final = "lake.json"
SINK_PARTITIONS: Final = 4


class LakeMissingError(Exception):
    """There is no lake at this place; `parkpal run` creates it."""


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """What is fixed when a lake is created. `time_zone` decides its local days."""

    version: int = VERSION
    time_zone: str = "Asia/Manila"
    sink_partitions: int = SINK_PARTITIONS


@dataclass(frozen=True)
class Lake:
    """An existing lake. If it lies in an object store, `place` says where, and `root` is its local folder."""

    root: Path
    format: Format
    place: "Place | None" = None

    @classmethod
    def create(cls, url: str, form: Format | None = None) -> Self:
        """Open the lake, made first where there is none; its schema files and lake.duckdb are made to fit this program.

        Safe to call from several processes. Raises LakeWriteError, and like `open`.
        """
        if _in_store(url):
            return cls._create_in_store(url, form or Format(sink_partitions=1))
        root = _root(url)
        with writing(root):
            for name in (STAGING, COMMITS, LOCKS):
                (root / name).mkdir(parents=True, exist_ok=True)
            for table in (TABLES | ROLLUPS).values():
                _refresh_schema(root, table)
            _create_format(root, form or Format())
        lake = cls.open(url)
        catalog.build(root, lake.format.time_zone)
        return lake

    @classmethod
    def open(cls, url: str) -> Self:
        """Open an existing lake by `file:///path`, a plain path, or as `pipeline.lake.place` says.

        Raises ValueError (the URL), LakeMissingError (no lake there), LakeRefusedError (a newer version's).
        """
        if _in_store(url):
            return cls._open_in_store(url)
        root = _root(url)
        try:
            data = (root / FORMAT).read_bytes()
        except FileNotFoundError:
            raise LakeMissingError(f"no lake at {root}: parkpal run creates it") from None
        return cls(root, _known(data, str(root)))

    @classmethod
    def _create_in_store(cls, url: str, form: Format) -> Self:
        from pipeline.lake.delta import DeltaCommitter  # noqa: PLC0415 -- see above
        from pipeline.lake.place import parse_place, probe, put_first  # noqa: PLC0415

        place, root = parse_place(url)
        with writing(root):
            for name in (COMMITS, LOCKS):
                (root / name).mkdir(parents=True, exist_ok=True)
        probe(place)
        DeltaCommitter(place).create()
        put_first(place, FORMAT, msgspec.json.encode(form))
        return cls.open(url)

    @classmethod
    def _open_in_store(cls, url: str) -> Self:
        from pipeline.lake.place import get, parse_place  # noqa: PLC0415 -- see above

        place, root = parse_place(url)
        data = get(place, FORMAT)
        if data is None:
            raise LakeMissingError(f"no lake at {place.name}: parkpal run creates it")
        return cls(root, _known(data, place.name), place)

    def committer(self) -> Committer:
        """Return the committer of this lake's kind of storage."""
        if self.place is None:
            return FolderCommitter(self.root)
        from pipeline.lake.delta import DeltaCommitter  # noqa: PLC0415 -- see above

        return DeltaCommitter(self.place)

    @contextmanager
    def at_hand(self, paths: Iterable[str]) -> Iterator[Path]:
        """Give a folder in which these files can be read: the lake itself, or copies of those that are there."""
        if self.place is None:
            yield self.root
            return
        from pipeline.lake.place import fetch  # noqa: PLC0415 -- see above

        with TemporaryDirectory(dir=self.root) as folder:
            fetch(self.place, paths, Path(folder))
            yield Path(folder)

    def lock(self, part: int) -> int:
        """Lock a sink partition for this process; return the descriptor whose closing ends it.

        Raises LakeLockedError if another process, or an earlier call in this one, holds it.
        """
        if not 0 <= part < self.format.sink_partitions:
            raise ValueError(f"sink partition {part}: the lake has {self.format.sink_partitions}")
        return self._lock(f"k{part}", f"sink partition {part} of {self.root} is being written")

    def lock_run(self, share: str = "") -> int:
        """Lock the recovery store, of a share of the partitions, and all that decides what runs there; as `lock`."""
        return self._lock(f"run{share}", f"the lake {self.root} is being run")

    def _lock(self, name: str, held: str) -> int:
        descriptor = os.open(self.root / LOCKS / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode() or "unknown"
            os.close(descriptor)
            raise LakeLockedError(f"{held} by process {holder}: stop it first") from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        return descriptor


def _in_store(url: str) -> bool:
    return urlsplit(url).scheme == "s3"


def _known(data: bytes, name: str) -> Format:
    form = msgspec.json.decode(data, type=Format)
    if form.version > VERSION:
        raise LakeRefusedError(f"{name} has version {form.version}, this program knows {VERSION}: run the newer one")
    return form


def _root(url: str) -> Path:
    parts = urlsplit(url)
    if parts.scheme not in ("", "file") or parts.netloc not in ("", "localhost"):
        raise ValueError(f"lake {url!r}: expected file:///absolute/path, a path, or s3://bucket/prefix")
    root = Path(unquote(parts.path) if parts.scheme else url).absolute()
    if set("*?[]{}") & set(str(root)):
        raise ValueError(f"lake {url!r}: DuckDB would read its name as a pattern")
    return root


def _create_format(root: Path, form: Format) -> None:
    """Write lake.json, the last step: where it is, everything else is."""
    ZoneInfo(form.time_zone)
    draft = root / f"_{FORMAT}.{os.getpid()}"
    write_synced(draft, msgspec.json.encode(form))
    with suppress(FileExistsError):
        os.link(draft, root / FORMAT)  # the first of several creators decides
    draft.unlink()
    sync_directory(root)


def _refresh_schema(root: Path, table: Table) -> None:
    """Make the file without rows from which a plain glob learns all columns, before there is a first row."""
    path = root / table.name / "event_date=1970-01-01" / "schema.parquet"
    data = encode(table, table.schema.empty_table()).to_pybytes()
    if path.exists() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = root / STAGING / f"schema-{table.name}.{os.getpid()}"
    write_synced(draft, data)
    draft.replace(path)
    sync_directory(path.parent)
