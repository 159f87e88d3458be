"""Commits in an object store: files are put where no reader looks, and the logs of Delta tables show them.

A store has no rename, so a file lies at its final place from the start; readers of a Delta table see it once the
table's log lists it. The order of steps is that of `pipeline.lake.folder`. Staging: files, then the manifest.
Publishing: the log of each table, the record, and the manifest last. An addition to a log carries the commit's number
as transaction of its sink partition: one that is repeated after a crash is seen to be there, and left.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from typing import Final, TypeVar

import msgspec
import obstore
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Schema, Transaction
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction

from pipeline.fault import point
from pipeline.lake.commit import Commit, DataFile, LakeRefusedError, Slice, decode_commit
from pipeline.lake.encoding import encode, footer_of, statistics
from pipeline.lake.place import AT_ONCE, Place, delete, get, list_paths, storing
from pipeline.lake.tables import TABLES, Table

STAGING: Final = "_staging"
COMMITS: Final = "_commits"
NEWEST: Final = "_newest"
TRIES: Final = 8
RETRY_S: Final = 0.2
CONFIGURATION: Final[dict[str, str | None]] = {"delta.checkpointInterval": "20"}
HOOKS: Final = PostCommitHookProperties(cleanup_expired_logs=False)
"""Cleaning up lists the whole log: maintenance does it, not each commit."""

_A = TypeVar("_A")
_B = TypeVar("_B")


class DeltaCommitter:
    """The committer of a lake whose tables are Delta tables in an object store."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def create(self) -> None:
        """Make the tables that are missing, and the columns that a newer program brings."""
        with storing(self._place):
            at_once(self._create_table, list(TABLES.values()))

    def table(self, name: str) -> DeltaTable:
        """Open a table as its log stands now."""
        return DeltaTable(f"{self._place.name}/{name}", storage_options=self._place.options)

    def stage(self, commit: Commit, slices: Iterable[Slice]) -> Commit:
        """Put one file a slice, then the manifest that makes them a pending commit."""
        with storing(self._place):
            files = tuple(at_once(partial(self._put_file, commit), list(slices)))
            commit = msgspec.structs.replace(commit, files=files)
            self._put(_manifest(commit), commit)
        point("lake.staged")
        return commit

    def publish(self, pending: Commit) -> None:
        """Add the files to the logs of their tables, record the commit, drop the manifest."""
        last = self.published(pending.part)
        with storing(self._place):
            if last is None or last.seq < pending.seq:
                by_table: defaultdict[str, list[DataFile]] = defaultdict(list)
                for file in pending.files:
                    by_table[file.table].append(file)
                at_once(lambda table: self._show(pending, *table), list(by_table.items()))
                point("lake.placed")
                self._put(f"{COMMITS}/k{pending.part}/{pending.seq:08d}.json", pending)
                self._put(f"{NEWEST}/k{pending.part}.json", pending)
                point("lake.recorded")
            delete(self._place, [_manifest(pending)])

    def published(self, part: int) -> Commit | None:
        """Return the commit that the sink partition recorded last."""
        path = f"{NEWEST}/k{part}.json"
        data = get(self._place, path)
        return None if data is None else decode_commit(data, f"{self._place.name}/{path}")

    def discard(self, part: int) -> None:
        """Delete what the sink partition has staged: its manifests, and the files that they alone know."""
        with storing(self._place):
            for path in list_paths(self._place, f"{STAGING}/k{part}"):
                delete(self._place, [*(file.path for file in self._get(path).files), path])

    def staged(self) -> Iterator[Commit]:
        """Yield the commit of each manifest."""
        with storing(self._place):
            yield from at_once(self._get, list_paths(self._place, STAGING))

    def commits(self) -> Iterator[Commit]:
        """Yield all recorded commits, each sink partition's in order."""
        with storing(self._place):
            yield from at_once(self._get, list_paths(self._place, COMMITS))

    def files(self) -> Iterator[str]:
        """Yield the path of every file that the logs of the tables list."""
        with storing(self._place):
            for name in TABLES:
                for path in sorted(pa.table(self.table(name).get_add_actions())["path"].to_pylist()):
                    yield f"{name}/{path}"

    def _create_table(self, table: Table) -> None:
        schema = delta_schema(table)
        made = DeltaTable.create(
            f"{self._place.name}/{table.name}",
            schema,
            mode="ignore",
            partition_by=["event_date"],
            description=table.comment,
            configuration=CONFIGURATION,
            storage_options=self._place.options,
        )
        known = {field.name for field in made.schema().fields}
        missing = [field for field in Schema.from_arrow(schema).fields if field.name not in known]
        if missing:
            made.alter.add_columns(missing)

    def _put_file(self, commit: Commit, piece: Slice) -> DataFile:
        newest = pc.max(piece.rows[piece.table.date_column]).as_py()
        name = f"k{commit.part}-{newest:%H}-{commit.seq:08d}.parquet"
        path = f"{piece.table.name}/event_date={newest:%Y-%m-%d}/{name}"
        data = encode(piece.table, piece.rows, footer_of(commit, piece.table.name)).to_pybytes()
        obstore.put(self._place.store, path, data, use_multipart=False)
        point("lake.written")
        stats = statistics(piece.table, piece.rows)
        return DataFile(piece.table.name, path, piece.rows.num_rows, len(data), sha256(data).hexdigest(), stats)

    def _show(self, pending: Commit, table: str, files: Sequence[DataFile]) -> None:
        """Add the files to the table's log unless it has them; whether a failed try went through, the log tells."""
        for tries_left in reversed(range(TRIES)):
            log = self.table(table)
            if (log.transaction_version(f"k{pending.part}") or 0) >= pending.seq:
                return
            at_once(partial(self._check_there, pending), list(files))
            try:
                self._add(log, pending, files)
            except DeltaError:
                if not tries_left:
                    raise
                time.sleep(RETRY_S)

    def _add(self, log: DeltaTable, pending: Commit, files: Sequence[DataFile]) -> None:
        log.create_write_transaction(
            [add_action(file, data_change=True) for file in files],
            mode="append",
            schema=log.schema(),
            partition_by=["event_date"],
            commit_properties=CommitProperties(app_transactions=[Transaction(f"k{pending.part}", pending.seq)]),
            post_commithook_properties=HOOKS,
        )
        point("lake.renamed")

    def _check_there(self, pending: Commit, file: DataFile) -> None:
        try:
            found = obstore.head(self._place.store, file.path)["size"]
        except FileNotFoundError:
            found = None
        if found != file.bytes:
            raise LakeRefusedError(
                f"{self._place.name}/{file.path}: pending in commit {pending.seq} of sink partition {pending.part}, "
                f"but {'nowhere' if found is None else 'of another size'}: restore the lake together with its recovery "
                "store, or begin an empty lake and read the log again"
            )

    def _put(self, path: str, commit: Commit) -> None:
        obstore.put(self._place.store, path, msgspec.json.encode(commit), use_multipart=False)

    def _get(self, path: str) -> Commit:
        return decode_commit(bytes(obstore.get(self._place.store, path).bytes()), f"{self._place.name}/{path}")


def delta_schema(table: Table) -> pa.Schema:
    """Return a table's columns as Delta Lake knows them, with their comments, and event_date."""
    fields = [pa.field(f.name, _plain(f.type), metadata={"comment": table.comments[f.name]}) for f in table.schema]
    return pa.schema([*fields, pa.field("event_date", pa.date32())])


def _manifest(commit: Commit) -> str:
    return f"{STAGING}/k{commit.part}/{commit.seq:08d}.json"


def add_action(file: DataFile, *, data_change: bool) -> AddAction:
    """Return what a table's log says of a file that it takes in."""
    path = file.path.partition("/")[2]
    day = path.partition("/")[0].removeprefix("event_date=")
    return AddAction(path, file.bytes, {"event_date": day}, time.time_ns() // 1_000_000, data_change, file.stats)


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return the type under which Delta Lake knows a column; the bytes in Parquet are the same."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    return pa.decimal128(kind.precision, kind.scale) if pa.types.is_decimal(kind) else kind


def at_once(call: Callable[[_A], _B], items: Sequence[_A]) -> list[_B]:
    """Call for each item, several at a time; return the results in order."""
    if len(items) < 2:
        return [call(item) for item in items]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(call, items))
