"""Files of recorded events, with the contract's columns: Parquet, CSV or NDJSON, told by the name's ending.

A value of the wrong type spoils its own row, which keeps its place and its reason; no row is dropped.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from pipeline.batch import arrow_events, json_events
from pipeline.batch.columns import COLUMNS, FLOAT_FIELDS, INTEGER_FIELDS, TIME_FIELDS
from pipeline.batch.rows import Fault, Foreign, UnreadableError

_OLDEST: Final = pl.CompatLevel.oldest()


def read_events(path: Path) -> Foreign:
    """Read all events in the order of the file.

    ValueError for another ending, a file that cannot be read, or a column whose type cannot hold its values.
    """
    try:
        if path.suffix == ".parquet":
            return _from_frame(pl.read_parquet(path, columns=_known(pl.read_parquet_schema(path))))
        if path.suffix == ".csv":
            header = pl.scan_csv(path, infer_schema=False).collect_schema()
            return _from_frame(pl.read_csv(path, columns=_known(header), infer_schema=False, null_values=""))
        if path.suffix in (".ndjson", ".jsonl"):
            return json_events.decode([line for line in path.read_bytes().splitlines() if line.strip()])
    except (pl.exceptions.PolarsError, UnreadableError) as error:
        raise ValueError(f"{path}: {error}") from error
    raise ValueError(f"{path}: want a name that ends in .parquet, .csv, .ndjson or .jsonl")


def _known(names: Iterable[str]) -> list[str]:
    known = [name for name in names if name in COLUMNS]
    if not known:
        raise UnreadableError(f"has none of the columns {', '.join(COLUMNS)}")
    return known


def _from_frame(frame: pl.DataFrame) -> Foreign:
    typed = frame.with_columns(_typed(name) for name, kind in frame.schema.items() if _is_text(name, kind))
    faults: dict[int, Fault] = {}
    for name in reversed(typed.columns):  # of several, the first column's fault is told
        for row in np.flatnonzero((typed[name].is_null() & frame[name].is_not_null()).to_numpy()).tolist():
            faults[row] = Fault("malformed", f"{name} is no {_KINDS[name]}")
    part = arrow_events.decode(arrow_events.to_columns(typed.to_arrow(compat_level=_OLDEST)), 0)
    raw = frame.to_arrow(compat_level=_OLDEST)
    return part._replace(faults=faults, payload_of=lambda row: arrow_events.row_to_json(raw, row))


def _is_text(name: str, kind: pl.DataType) -> bool:
    return name in _KINDS and kind == pl.String


def _typed(name: str) -> pl.Expr:
    text = pl.col(name).str.strip_chars()
    if name in FLOAT_FIELDS:
        return text.cast(pl.Float64, strict=False).alias(name)
    whole = text.cast(pl.Int64, strict=False)
    if name in INTEGER_FIELDS:
        return whole.alias(name)
    # Without an offset it is no RFC 3339 time, and becomes null here.
    times = text.str.to_datetime("%+", time_unit="ms", time_zone="UTC", strict=False)
    return pl.coalesce(whole, times.dt.epoch("ms")).alias(name)


_KINDS: Final = {
    **dict.fromkeys(FLOAT_FIELDS, "number"),
    **dict.fromkeys(INTEGER_FIELDS, "whole number"),
    **dict.fromkeys(TIME_FIELDS, "RFC 3339 time or whole number of ms"),
}
