"""The same rows as JSON, GeoJSON, CSV, Arrow or Parquet, as the request's Accept asks.

Tables are flat: a field within a field is named `outer_inner`. What JSON says about the answer as a whole (freshness,
k, what is suppressed) stands beside the features of GeoJSON, in the headers of tables, and in the schema's metadata of
Arrow and Parquet. A row's first field is its place; in GeoJSON a cell has its outline, any other place no geometry.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, get_args, get_type_hints

import h3
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from litestar import Response
from litestar.datastructures.headers import Accept
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, Operation, Schema

from api.errors import NotAcceptableError

JSON: Final = "application/json"
CSV: Final = "text/csv"
ARROW: Final = "application/vnd.apache.arrow.stream"
PARQUET: Final = "application/vnd.apache.parquet"
GEOJSON: Final = "application/geo+json"
FORMATS: Final = (JSON, GEOJSON, CSV, ARROW, PARQUET)

_TYPES: Final = {str: pa.string(), int: pa.int64(), float: pa.float64(), datetime: pa.timestamp("ms", tz="UTC")}
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


@dataclass
class TableOperation(Operation):
    """The operation of a route that answers with a table: the OpenAPI document lists all its formats."""

    def __post_init__(self) -> None:
        answer = (self.responses or {}).get("200")
        if isinstance(answer, OpenAPIResponse) and answer.content is not None:
            answer.content |= {
                name: OpenAPIMediaType(schema=Schema()) for name in FORMATS if name not in answer.content
            }


def choose_format(accept: str | None) -> str:
    """Return the format that an Accept header likes best, JSON without one; NotAcceptableError."""
    found = Accept(accept or "*/*").best_match(list(FORMATS))
    if found is None:
        raise NotAcceptableError(f"This is answered as {', '.join(FORMATS)}.")
    return found


def answer_rows(
    form: str, whole: msgspec.Struct, kind: type[msgspec.Struct], rows: Sequence[msgspec.Struct]
) -> Response[Any]:
    """Answer `whole` as JSON, or its rows, which are of `kind`, as a table with the rest of it in headers."""
    if form == JSON:
        return Response(msgspec.json.encode(whole), media_type=JSON)
    if form == GEOJSON:
        return Response(_to_geojson(whole, rows), media_type=GEOJSON)
    about = {f"ParkPal-{name}": value for name, value in _about(whole)}
    table = _table(kind, rows).replace_schema_metadata(about)
    return Response(_WRITERS[form](table), media_type=form, headers=about)


def _to_geojson(whole: msgspec.Struct, rows: Sequence[msgspec.Struct]) -> bytes:
    about = {name: value for name, value in msgspec.to_builtins(whole).items() if not isinstance(value, list)}
    features = [
        {"type": "Feature", "geometry": _outline(msgspec.structs.astuple(row)[0]), "properties": row} for row in rows
    ]
    return msgspec.json.encode({"type": "FeatureCollection", **about, "features": features})


def _outline(place: str) -> dict[str, Any] | None:
    if not h3.is_valid_cell(place):
        return None
    ring = [[round(lon, 6), round(lat, 6)] for lat, lon in h3.cell_to_boundary(place)]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


def _about(whole: msgspec.Struct) -> Iterator[tuple[str, str]]:
    for name, value in msgspec.to_builtins(whole).items():
        for inner, each in value.items() if isinstance(value, dict) else [("", value)]:
            if not isinstance(each, list):
                yield "-".join(word.capitalize() for word in f"{name}_{inner}".split("_") if word), str(each)


def _table(kind: type[msgspec.Struct], rows: Sequence[msgspec.Struct]) -> pa.Table:
    schema = pa.schema(list(_fields(kind, "")))
    return pa.Table.from_pylist([dict(_flat(msgspec.structs.asdict(row), "")) for row in rows], schema=schema)


def _fields(kind: type[msgspec.Struct], prefix: str) -> Iterator[tuple[str, pa.DataType]]:
    for name, hint in get_type_hints(kind).items():
        bare = next((each for each in get_args(hint) if each is not type(None)), hint)
        if issubclass(bare, msgspec.Struct):
            yield from _fields(bare, f"{prefix}{name}_")
        else:
            yield f"{prefix}{name}", _TYPES[bare]


def _flat(row: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, msgspec.Struct):
            yield from _flat(msgspec.structs.asdict(value), f"{prefix}{name}_")
        else:
            yield f"{prefix}{name}", value


def _to_csv(table: pa.Table) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(table.column_names)
    for row in table.to_pylist():
        writer.writerow([_to_text(value) for value in row.values()])
    return out.getvalue().encode()


def _to_text(value: object) -> object:
    """Keep spreadsheets from taking a text for a formula."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _to_arrow(table: pa.Table) -> bytes:
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return bytes(out.getvalue())


def _to_parquet(table: pa.Table) -> bytes:
    out = pa.BufferOutputStream()
    pq.write_table(table, out, compression="zstd")
    return bytes(out.getvalue())


_WRITERS: Final = {CSV: _to_csv, ARROW: _to_arrow, PARQUET: _to_parquet}
